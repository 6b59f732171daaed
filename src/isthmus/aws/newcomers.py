"""Devices that come with a certificate that nobody has registered: a CA vouches for them.

A certificate that an active CA with auto-registration has signed is registered as waiting for its
activation. Who activates it: the template of its CA, the list of devices that are expected, or the
user's own activator, which hears of it in an event.

Regions that a device comes to at once each register it. Their items are joined as those of any
other certificate are: it is one certificate, and whoever activates either activates it. Who
deactivates the CA in one region may be too late for a device that comes to another one at that
moment; it is registered there, and can be deactivated by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from isthmus.aws import versioned
from isthmus.aws.context import Context
from isthmus.aws.handlers import register_thing
from isthmus.aws.resources import called, existing, refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import (
    ca_certificates,
    certificates,
    expected_devices,
    lists,
    provisioning,
    provisioning_plan,
    provisioning_templates,
    registration_events,
    registry,
)
from isthmus.core.ca_certificates import CA_CERTIFICATE
from isthmus.core.expected_devices import EXPECTED_DEVICE
from isthmus.core.item import Item
from isthmus.core.provisioning import Source, Template
from isthmus.core.provisioning_plan import Plan
from isthmus.core.provisioning_templates import (
    ENABLED,
    PROVISIONING_TEMPLATE,
    PROVISIONING_TEMPLATE_VERSION,
    TYPE,
    TemplateType,
)
from isthmus.core.registry import CERTIFICATE, CertificateStatus, Writer
from isthmus.core.template_values import CERTIFICATE_PARAMETER
from isthmus.core.x509 import Certificate
from isthmus.errors import InputError


class Outcome(NamedTuple):
    """What has become of a newcomer."""

    #: Of its certificate; None where nobody registers it.
    status: CertificateStatus | None
    #: For the log.
    reason: str = ""
    #: What everybody is to hear: pairs of topic and payload.
    events: tuple[tuple[str, bytes], ...] = ()


async def come(context: Context, pem: str, address: str) -> Outcome:
    """Register a certificate that came by itself, or tell again of one that waits.

    TLS has proven the key, the dates and the purpose.
    """
    try:
        certificate = context.x509.read(pem)
    except InputError as error:
        return Outcome(None, str(error))
    held = registry.certificate_status(context.get(CERTIFICATE, certificate.id))
    if held not in (None, CertificateStatus.PENDING_ACTIVATION):
        return Outcome(held, f"the certificate is {held}")
    ca = _registering_ca(context, certificate)
    if ca is None:
        return Outcome(held, "no active CA that registers devices has signed the certificate")
    item = await _registered(context, certificate, ca)
    status = registry.certificate_status(item)
    if status is not CertificateStatus.PENDING_ACTIVATION:
        return Outcome(status, f"the certificate is {status}")
    reason = await _provisioned(context, certificate, ca)
    item = context.get(CERTIFICATE, certificate.id)
    status = registry.certificate_status(item)
    if status is None:
        return Outcome(None, "the certificate was deleted meanwhile")
    event = registration_events.payload(
        item,
        ca.key,
        status,
        account=context.naming.account_id,
        address=address,
        now_ms=context.now_ms,
        is_first=held is None,
    )
    events = ((registration_events.topic(ca.key), event),)
    return Outcome(status, reason or f"the certificate is registered, and is {status}", events)


def _registering_ca(context: Context, certificate: Certificate) -> Item | None:
    """The CA that has signed a certificate, if it registers devices."""
    path = (ca_certificates.LISTED_BY_SUBJECT, certificate.issuer)
    for name in context.listed(*path, after=None):
        ca = context.get(CA_CERTIFICATE, lists.key_of(name))
        if ca_certificates.is_registering(ca) and context.x509.is_issued_by(
            certificate.pem, ca.register("pem")
        ):
            return ca
    return None


async def _registered(context: Context, certificate: Certificate, ca: Item) -> Item:
    """The certificate, registered by this or by somebody else; or not, if the CA is off by now."""

    def register(item: Item, writer: Writer) -> Item:
        # Also where it was revoked before anybody registered it.
        is_decided = registry.certificate_status(item) is not None
        if is_decided or not ca_certificates.is_registering(context.get(CA_CERTIFICATE, ca.key)):
            return item
        waiting, mode = CertificateStatus.PENDING_ACTIVATION, certificates.mode(ca)
        return certificates.register(item, writer, certificate.pem, waiting, mode, ca.key)

    return await context.write(CERTIFICATE, certificate.id, register)


async def _provisioned(context: Context, certificate: Certificate, ca: Item) -> str:
    """Give a device what it is to have, and activate it; the reason where that cannot be.

    Whatever is left of one that was cut off is completed when the device comes again.
    """
    try:
        plan = _plan(context, certificate, ca)
        if plan is not None:
            await register_thing.provision(context, _for_newcomer(plan, certificate))
    except (ServiceError, InputError) as error:
        return f"it cannot be provisioned: {error.args[0]}"
    return ""


def _plan(context: Context, certificate: Certificate, ca: Item) -> Plan | None:
    """What a device gets: by its CA's template, or else by the list of those that are expected."""
    config = ca_certificates.registration_config(ca)
    if config is not None:
        template = _template(context, config)
        return provisioning_plan.render(template, _parameters(context, certificate))
    for key in expected_devices.keys(certificate.id, ca.key, certificate.common_names):
        expected = expected_devices.expected(context.get(EXPECTED_DEVICE, key))
        if expected is not None:
            return provisioning_plan.attaching(certificate.id, expected.thing, expected.policy)
    return None


def _parameters(context: Context, certificate: Certificate) -> dict[str, str]:
    """What AWS gives to a template; what the certificate does not say is not given."""
    subject = context.x509.subject(certificate.pem) | {"Id": certificate.id}
    return {f"{CERTIFICATE_PARAMETER}{name}": value for name, value in subject.items()}


def _template(context: Context, config: Mapping[str, str]) -> Template:
    if "templateBody" in config:
        return provisioning.read(config["templateBody"])
    item = existing(context, PROVISIONING_TEMPLATE, config["templateName"])
    version = provisioning_templates.default_version(item)
    if item.register(TYPE) != TemplateType.JITP or not item.register(ENABLED) or version is None:
        raise refuse(context, f"{called(item)} is not one for JITP, or is not enabled")
    return provisioning.read(versioned.document(context, PROVISIONING_TEMPLATE_VERSION, version))


def _for_newcomer(plan: Plan, certificate: Certificate) -> Plan:
    """A plan of which the certificate is the one that came, however the template names it.

    As PEM it is activated only while it waits: who deactivates it meanwhile is not overruled.
    """
    if plan.certificate is None:
        return plan
    given = replace(plan.certificate, source=Source.PEM, value=certificate.pem, ca_pem=None)
    return replace(plan, certificate=given)
