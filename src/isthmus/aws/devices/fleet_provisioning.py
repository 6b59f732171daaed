"""Fleet provisioning: a device that comes with a claim certificate gets one of its own.

Developer guide, "Device provisioning MQTT API". The certificate waits for its activation until the
device has shown, by its token, that it is its own, and a template has said what else the device
gets; until then it lets nobody in, and one that nobody provisions is deleted (``aws.expiring``).

A device may send a request again, here or in another region, where it has heard no answer: it gets
another certificate, or what the template gives it is found as it should be. Where two devices are
provisioned as one thing, in one region or in two at once, that thing has both their certificates.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec

from isthmus.aws import device_payloads, hooks, models, ownership, registering, versioned
from isthmus.aws.context import Context
from isthmus.aws.device_questions import DEVICE_QUESTIONS, Answered, Asked
from isthmus.aws.handlers import register_thing
from isthmus.aws.ownership import Ownership
from isthmus.aws.resources import arn, moment, present
from isthmus.aws.service_error import COMMON_ERRORS, ServiceError
from isthmus.core import provisioning, provisioning_plan, provisioning_templates, registry
from isthmus.core.certificates import Expiry, Mode
from isthmus.core.device_topics import CREATE_CERTIFICATE, CREATE_FROM_CSR, PROVISION
from isthmus.core.item import Item
from isthmus.core.limits import TokenBucket
from isthmus.core.provisioning_plan import Plan
from isthmus.core.provisioning_templates import (
    ENABLED,
    HOOK,
    PROVISIONING_TEMPLATE,
    PROVISIONING_TEMPLATE_VERSION,
    TYPE,
    TemplateType,
)
from isthmus.core.registry import CERTIFICATE, CertificateStatus
from isthmus.core.template_values import CERTIFICATE_PARAMETER, show
from isthmus.core.x509 import Certificate
from isthmus.errors import InputError, Unavailable

#: The parameter that a template knows its certificate by.
CERTIFICATE_ID = f"{CERTIFICATE_PARAMETER}Id"
#: Beyond the life of its token, for whoever provisions it at the last moment, and for the lag.
GRACE_MS = 300_000
#: Certificates that one process makes for devices in a second; and at once, where none was made
#: for a while, so that the first start of a fleet does not wait. Each is an
#: item in every region, and what is left of one that nobody provisions stays.
CREATED_PER_S = 10.0
CREATED_AT_ONCE = 1_000
_Answer = dict[str, Any]


class Nothing(msgspec.Struct, frozen=True):
    """A request for a certificate with new keys has no members."""


class SigningRequest(msgspec.Struct, frozen=True, rename="camel"):
    #: As long as the API takes one.
    certificate_signing_request: Annotated[str, msgspec.Meta(max_length=4096)]


class Provision(msgspec.Struct, frozen=True, rename="camel"):
    certificate_ownership_token: Annotated[str, msgspec.Meta(max_length=4096)]
    parameters: dict[str, str] = {}


def creations() -> TokenBucket:
    """That of a process."""
    return TokenBucket(CREATED_PER_S, CREATED_AT_ONCE)


@DEVICE_QUESTIONS.handles(CREATE_CERTIFICATE, like="CreateKeysAndCertificate")
async def create_keys_and_certificate(context: Context, asked: Asked) -> Answered:
    """The private key is in this answer and nowhere else."""

    async def answer() -> _Answer:
        if asked.payload:
            _read(asked, Nothing)
        _take_turn(context)
        authority = await registering.authority(context)
        keys = await context.x509.new_keys()
        certificate = context.x509.issue(authority, keys.public, moment(context.now_ms))
        return await _given(context, asked, certificate) | {"privateKey": keys.private}

    return await _answered(asked, answer)


@DEVICE_QUESTIONS.handles(CREATE_FROM_CSR, like="CreateCertificateFromCsr")
async def create_certificate_from_csr(context: Context, asked: Asked) -> Answered:
    async def answer() -> _Answer:
        request = _read(asked, SigningRequest).certificate_signing_request
        _take_turn(context)
        return await _given(context, asked, await registering.issued_for(context, request))

    return await _answered(asked, answer)


def _take_turn(context: Context) -> None:
    if not context.creations.take(context.now_ms / 1000):
        message = "Too many certificates are asked for; ask again in some seconds"
        raise ServiceError("ThrottlingException", message)


async def _given(context: Context, asked: Asked, certificate: Certificate) -> _Answer:
    """Register a new certificate, and tell the device of it and how it is the device's."""
    until_ms = context.now_ms + ownership.LASTS_MS
    waiting, expiry = CertificateStatus.PENDING_ACTIVATION, Expiry(until_ms + GRACE_MS)
    await registering.register(context, certificate, waiting, Mode.DEFAULT, expiry=expiry)
    owned = Ownership(certificate.id, asked.principal, asked.client, until_ms)
    return {
        "certificateId": certificate.id,
        "certificatePem": certificate.pem,
        "certificateOwnershipToken": ownership.token(context.sealing, owned),
    }


@DEVICE_QUESTIONS.handles(PROVISION, like="RegisterThing")
async def provision(context: Context, asked: Asked) -> Answered:
    """What AWS calls RegisterThing here too."""

    async def answer() -> _Answer:
        request = _read(asked, Provision)
        certificate = _owned(context, asked, request)
        template = _template(context, asked.topic.split("/")[2])
        given = _own(request.parameters)
        overrides = await _overrides(context, asked, template, certificate, given)
        own = {CERTIFICATE_ID: certificate.key}
        plan = _plan(context, template, given | overrides | own)
        _check_use(context, certificate, plan)
        await register_thing.provision(context, plan)
        named = {} if plan.thing is None else {"thingName": plan.thing.name}
        return {"deviceConfiguration": plan.configuration, **named}

    return await _answered(asked, answer)


def _own(parameters: dict[str, str]) -> dict[str, str]:
    """What a device may say of itself: not what stands for the words of its certificate."""
    return {
        name: value
        for name, value in parameters.items()
        if not name.startswith(CERTIFICATE_PARAMETER)
    }


def _owned(context: Context, asked: Asked, request: Provision) -> Item:
    """The certificate that a request shows to be the device's."""
    text = request.certificate_ownership_token
    try:
        key = ownership.owned_by(
            context.sealing, text, asked.principal, asked.client, context.now_ms
        )
    except InputError as error:
        raise ServiceError("InvalidCertificateOwnershipToken", str(error)) from None
    return present(context, context.get(CERTIFICATE, key))


def _template(context: Context, name: str) -> Item:
    item = context.get(PROVISIONING_TEMPLATE, name)
    if not item.lives or item.register(TYPE) != TemplateType.FLEET_PROVISIONING:
        message = f"There is no template {show(name)} for fleet provisioning"
        raise ServiceError("ResourceNotFoundException", message)
    if not item.register(ENABLED):
        raise ServiceError("AccessDenied", f"The template {name} is not enabled")
    return item


async def _overrides(
    context: Context, asked: Asked, template: Item, certificate: Item, parameters: dict[str, str]
) -> dict[str, str]:
    """What the template's hook, if it has one, says instead of the device's parameters."""
    hook = template.register(HOOK)
    if hook is None:
        return {}
    event = {
        "claimCertificateId": asked.principal,
        "certificateId": certificate.key,
        "certificatePem": certificate.register("pem"),
        "templateArn": arn(context, template),
        "clientId": asked.client,
        "parameters": parameters,
    }
    try:
        verdict = await hooks.verdict(context.hooks, hook["targetArn"], event)
    except InputError:
        # The region's log says why; a device is not to know.
        raise ServiceError("AccessDenied", "The template's hook does not answer") from None
    except Unavailable:
        message = "Too many devices wait for the template's hook; ask again"
        raise ServiceError("ThrottlingException", message) from None
    if not verdict.allow_provisioning:
        raise ServiceError("AccessDenied", "The template's hook does not allow it")
    return _own(verdict.parameter_overrides)


def _plan(context: Context, template: Item, parameters: dict[str, str]) -> Plan:
    version = provisioning_templates.default_version(template)
    assert version is not None, "a template that is there has a default version"
    body = versioned.document(context, PROVISIONING_TEMPLATE_VERSION, version)
    try:
        return provisioning_plan.render(provisioning.read(body), parameters)
    except InputError as error:
        raise ServiceError("InvalidParameters", str(error)) from None


def _check_use(context: Context, certificate: Item, plan: Plan) -> None:
    """Raise ServiceError where a certificate is used for anything but its device's first start."""
    wanted = plan.certificate
    if wanted is None or wanted.value != certificate.key:
        message = f"The template does not name its certificate by {CERTIFICATE_ID}"
        raise ServiceError("InvalidParameters", message)
    status = registry.certificate_status(certificate)
    # What was provisioned before, and asked again, is as the template says.
    if status not in (CertificateStatus.PENDING_ACTIVATION, wanted.status):
        raise ServiceError("InvalidCertificateOwnershipToken", f"The certificate is {status}")
    things = set(context.items.view.things(certificate.key))
    if things - {None if plan.thing is None else plan.thing.name}:
        message = "The certificate is another thing's"
        raise ServiceError("InvalidCertificateOwnershipToken", message)


# Both ways


def _read(asked: Asked, kind: type[Any]) -> Any:
    try:
        return device_payloads.read(asked.topic, asked.payload, kind)
    except InputError as error:
        raise ServiceError("InvalidPayload", str(error)) from None


async def _answered(asked: Asked, answer: Callable[[], Awaitable[_Answer]]) -> Answered:
    """What is asked, or why not; on the topic that is for the one or for the other."""
    try:
        last, said = "accepted", await answer()
    except ServiceError as error:
        last, said = "rejected", _refusal(error)
    return Answered([(f"{asked.topic}/{last}", device_payloads.write(asked.topic, said))])


#: Statuses of the errors that are told to devices only: AWS documents their form and no list.
ERRORS = {
    "AccessDenied": 403,
    "InvalidCertificateOwnershipToken": 403,
    "InvalidParameters": 400,
    "InvalidPayload": 400,
}


def _refusal(error: ServiceError) -> _Answer:
    statuses = {**COMMON_ERRORS, **models.service(models.IOT).errors, **ERRORS}
    return {
        "statusCode": statuses.get(error.code, 500),
        "errorCode": error.code.removesuffix("Exception"),
        "errorMessage": error.message,
    }
