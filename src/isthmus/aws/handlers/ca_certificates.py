"""CA certificates of customers, and the registration codes that prove whose they are."""

from __future__ import annotations

from functools import partial
from typing import Any

from isthmus.aws import tagging
from isthmus.aws.by_creation import page
from isthmus.aws.context import Context
from isthmus.aws.handlers.certificates import validity
from isthmus.aws.handlers.provisioning_templates import read_template
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.registering import read_certificate
from isthmus.aws.resources import arn, dates, existing, moment, present, refuse, vacant
from isthmus.aws.service_error import ServiceError
from isthmus.core import ca_certificates, certificates, lives, registry
from isthmus.core.ca_certificates import CA_CERTIFICATE, CODES, REGISTRATION_CODE, SAME_SUBJECT_MAX
from isthmus.core.certificates import Mode
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.x509 import Certificate

# Registration codes


@OPERATIONS.handles("GetRegistrationCode")
def get_registration_code(context: Context, parameters: Parameters) -> Output:
    """The same one until it is deleted."""
    return {"registrationCode": _codes(context)[0]}


@OPERATIONS.handles("DeleteRegistrationCode")
async def delete_registration_code(context: Context, parameters: Parameters) -> Output:
    """The next one is made at once."""
    code = context.x509.new_code()

    def replace(item: Item, writer: Writer) -> Item:
        return ca_certificates.replace_codes(item, writer, code)

    await context.write(REGISTRATION_CODE, CODES, replace)
    return {}


def _codes(context: Context) -> list[str]:
    item = context.get(REGISTRATION_CODE, CODES)
    return ca_certificates.codes(item, context.x509.first_code())


# CA certificates


@OPERATIONS.handles("RegisterCACertificate")
async def register_ca_certificate(context: Context, parameters: Parameters) -> Output:
    ca = read_certificate(context, parameters["caCertificate"])
    if not ca.is_ca:
        message = "Its basic constraints do not say that it is a CA"
        raise ServiceError("CertificateValidationException", message)
    mode = Mode(parameters.get("certificateMode", Mode.DEFAULT))
    _check_possession(context, parameters, ca, mode)
    config = parameters.get("registrationConfig")
    _check_config(context, config)
    tags = tagging.given(context, parameters.get("tags", []))

    path = (ca_certificates.LISTED_BY_SUBJECT, ca.subject)

    def register(item: Item, writer: Writer) -> Item:
        vacant(context, item)
        if context.items.catalogue.count(*path) >= SAME_SUBJECT_MAX:
            message = f"{SAME_SUBJECT_MAX} CA certificates have this subject already"
            raise ServiceError("LimitExceededException", message)
        return ca_certificates.register(
            item,
            writer,
            ca.pem,
            ca.subject,
            mode,
            is_active=parameters.get("setAsActive", False),
            auto_registers=parameters.get("allowAutoRegistration", False),
            config=config,
            tags=tags,
        )

    async with context.turn(*path):
        item = await context.write(CA_CERTIFICATE, ca.id, register)
    return {"certificateArn": arn(context, item), "certificateId": item.key}


def _check_possession(
    context: Context, parameters: Parameters, ca: Certificate, mode: Mode
) -> None:
    """Whoever registers a CA by default shows that he has its key."""
    pem = parameters.get("verificationCertificate")
    if mode is Mode.SNI_ONLY:
        if pem is not None:
            raise refuse(context, "verificationCertificate must be empty in SNI_ONLY mode")
        return
    if pem is None:
        raise refuse(context, "verificationCertificate is required in DEFAULT mode")
    shown = read_certificate(context, pem)
    if not context.x509.is_issued_by(shown.pem, ca.pem):
        message = "The CA has not signed the verification certificate"
        raise ServiceError("CertificateValidationException", message)
    if not set(shown.common_names) & set(_codes(context)):
        message = "The common name of the verification certificate is not the registration code"
        raise ServiceError("RegistrationCodeValidationException", message)


def _check_config(context: Context, config: dict[str, str] | None) -> None:
    """Raise ServiceError for what no device could ever be registered by."""
    if not config:
        return
    body, name = config.get("templateBody"), config.get("templateName")
    if (body is None) == (name is None):
        raise refuse(context, "registrationConfig needs one of templateBody and templateName")
    if body is None:
        return
    if "roleArn" not in config:
        raise refuse(context, "registrationConfig needs a roleArn beside its templateBody")
    read_template(context, body)


@OPERATIONS.handles("DescribeCACertificate")
def describe_ca_certificate(context: Context, parameters: Parameters) -> Output:
    item = _existing(context, parameters)
    described = {
        **_listed(context, item.key),
        "ownedBy": context.naming.account_id,
        "autoRegistrationStatus": _auto(item),
        "customerVersion": item.version,
        "generationId": lives.resource_id(item),
        "certificateMode": certificates.mode(item),
        **validity(context, item),
        **dates(item),
    }
    config = ca_certificates.registration_config(item)
    return {"certificateDescription": described, "registrationConfig": config}


@OPERATIONS.handles("UpdateCACertificate")
async def update_ca_certificate(context: Context, parameters: Parameters) -> Output:
    config = parameters.get("registrationConfig")
    _check_config(context, config)
    is_removed = parameters.get("removeAutoRegistration", False)
    auto = parameters.get("newAutoRegistrationStatus")
    if is_removed and (config or auto == "ENABLE"):
        message = "removeAutoRegistration cannot stand beside what is to register devices"
        raise refuse(context, message)

    def update(item: Item, writer: Writer) -> Item:
        present(context, item)
        if (status := parameters.get("newStatus")) is not None:
            item = ca_certificates.set_active(item, writer, is_active=status == "ACTIVE")
        if auto is not None or is_removed:
            item = ca_certificates.set_auto_registration(item, writer, is_on=auto == "ENABLE")
        if config is not None or is_removed:
            item = ca_certificates.set_config(item, writer, config)
        return item

    await context.write(CA_CERTIFICATE, _existing(context, parameters).key, update)
    return {}


@OPERATIONS.handles("DeleteCACertificate")
async def delete_ca_certificate(context: Context, parameters: Parameters) -> Output:
    def delete(item: Item, writer: Writer) -> Item:
        if ca_certificates.is_active(present(context, item)):
            message = f"CA certificate {item.key} must be deactivated before deletion"
            raise ServiceError("CertificateStateException", message)
        return registry.delete(item, writer)

    await context.write(CA_CERTIFICATE, _existing(context, parameters).key, delete)
    return {}


@OPERATIONS.handles("ListCACertificates")
def list_ca_certificates(context: Context, parameters: Parameters) -> Output:
    """All of them, or those that register devices by a template."""
    template = parameters.get("templateName")
    path = (ca_certificates.LISTED_BY_TEMPLATE, template) if template else (CA_CERTIFICATE,)
    return page(context, path, partial(_listed, context))


def _listed(context: Context, key: str) -> dict[str, Any]:
    item = context.get(CA_CERTIFICATE, key)
    return {
        "certificateArn": arn(context, item),
        "certificateId": item.key,
        "status": "ACTIVE" if ca_certificates.is_active(item) else "INACTIVE",
        "creationDate": moment(lives.created_ms(item)),
    }


def _auto(item: Item) -> str:
    return "ENABLE" if ca_certificates.auto_registers(item) else "DISABLE"


def _existing(context: Context, parameters: Parameters) -> Item:
    return existing(context, CA_CERTIFICATE, parameters["certificateId"].lower())
