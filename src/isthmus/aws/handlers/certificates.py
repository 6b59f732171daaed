"""Certificates that are there: describe, update, delete, list."""

from __future__ import annotations

from functools import partial
from typing import Any

from isthmus.aws import attached, attached_policies
from isthmus.aws.by_creation import page
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.resources import arn, dates, existing, moment, present, refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import certificates, lives, registry
from isthmus.core.item import Item
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, CertificateStatus, Writer
from isthmus.errors import InputError

_CHANGES = {
    CertificateStatus.ACTIVE: registry.activate,
    CertificateStatus.INACTIVE: registry.deactivate,
    CertificateStatus.REVOKED: registry.revoke,
}


@OPERATIONS.handles("DescribeCertificate")
def describe_certificate(context: Context, parameters: Parameters) -> Output:
    item = _existing(context, parameters)
    described = {
        "certificateArn": arn(context, item),
        "certificateId": item.key,
        "caCertificateId": item.register("ca"),
        "status": registry.certificate_status(item),
        "ownedBy": context.naming.account_id,
        "customerVersion": item.version,
        "transferData": {},
        "generationId": lives.resource_id(item),
        "certificateMode": certificates.mode(item),
        **validity(context, item),
        **dates(item),
    }
    return {"certificateDescription": described}


def validity(context: Context, item: Item) -> dict[str, Any]:
    """A certificate and from when to when it may be used, as far as that is known.

    Of one that was revoked unseen there is the id, and operators register keys of any kind.
    """
    pem = item.register("pem")
    if pem is None:
        return {}
    try:
        read = context.x509.read(pem)
    except InputError:
        return {"certificatePem": pem}
    validity = {"notBefore": read.not_before, "notAfter": read.not_after}
    return {"certificatePem": pem, "validity": validity}


@OPERATIONS.handles("UpdateCertificate")
async def update_certificate(context: Context, parameters: Parameters) -> Output:
    wanted = parameters["newStatus"]
    if wanted not in _CHANGES:
        raise refuse(context, f"The status of a certificate cannot be set to {wanted}")
    status = CertificateStatus(wanted)

    def update(item: Item, writer: Writer) -> Item:
        held = registry.certificate_status(present(context, item))
        if held is status:
            return item
        if held is CertificateStatus.REVOKED:
            message = f"Certificate {item.key} is revoked, which is for good"
            raise ServiceError("CertificateStateException", message)
        return _CHANGES[status](item, writer)

    await context.write(CERTIFICATE, _existing(context, parameters).key, update)
    return {}


@OPERATIONS.handles("DeleteCertificate")
async def delete_certificate(context: Context, parameters: Parameters) -> Output:
    """Its policies are detached after it, where that is asked for: without it they are void."""
    item = _existing(context, parameters)
    attached = [each.key for each in attached_policies.policies(context, item)]
    is_forced = parameters.get("forceDelete", False)
    await context.write(CERTIFICATE, item.key, partial(_deleted, context, is_forced))
    for policy in attached if is_forced else ():
        key = attached_policies.key(policy, item)
        await context.write(ATTACHMENT, key, registry.detach)
    return {}


def _deleted(context: Context, is_forced: bool, item: Item, writer: Writer) -> Item:
    if registry.certificate_status(present(context, item)) is CertificateStatus.ACTIVE:
        message = "Certificate must be deactivated (not ACTIVE) before deletion."
        raise ServiceError("CertificateStateException", f"{message} Id: {item.key}")
    if any(attached.things(context, item)):
        message = f"Things must be detached before deletion (arn: {arn(context, item)})"
        raise ServiceError("DeleteConflictException", message)
    if not is_forced and any(attached_policies.policies(context, item)):
        message = f"Policies must be detached before deletion (arn: {arn(context, item)})"
        raise ServiceError("DeleteConflictException", message)
    return registry.delete(item, writer)


@OPERATIONS.handles("ListCertificates")
def list_certificates(context: Context, parameters: Parameters) -> Output:
    return page(context, (CERTIFICATE,), partial(_listed, context))


@OPERATIONS.handles("ListCertificatesByCA")
def list_certificates_by_ca(context: Context, parameters: Parameters) -> Output:
    """Of a CA that is not registered there are none."""
    path = (certificates.LISTED_BY_CA, parameters["caCertificateId"].lower())
    return page(context, path, partial(_listed, context))


def _listed(context: Context, key: str) -> dict[str, Any]:
    item = context.get(CERTIFICATE, key)
    return {
        "certificateArn": arn(context, item),
        "certificateId": item.key,
        "status": registry.certificate_status(item),
        "certificateMode": certificates.mode(item),
        "creationDate": moment(lives.created_ms(item)),
    }


def _existing(context: Context, parameters: Parameters) -> Item:
    return existing(context, CERTIFICATE, parameters["certificateId"].lower())
