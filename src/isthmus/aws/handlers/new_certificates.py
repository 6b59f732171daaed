"""Certificates that the region issues, and those that others have issued and that it is told of."""

from __future__ import annotations

from isthmus.aws import registering
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.registering import read_certificate
from isthmus.aws.resources import arn, moment, refuse
from isthmus.core import certificates
from isthmus.core.certificates import Mode
from isthmus.core.item import Item
from isthmus.core.registry import CertificateStatus
from isthmus.core.x509 import Certificate

#: What a certificate may be registered as.
_STATUSES = (CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED)

# Issued here


@OPERATIONS.handles("CreateKeysAndCertificate")
async def create_keys_and_certificate(context: Context, parameters: Parameters) -> Output:
    """The private key is in this answer and nowhere else."""
    authority = await registering.authority(context)
    keys = await context.x509.new_keys()
    certificate = context.x509.issue(authority, keys.public, moment(context.now_ms))
    output = await _issued(context, parameters, certificate)
    return output | {"keyPair": {"PublicKey": keys.public, "PrivateKey": keys.private}}


@OPERATIONS.handles("CreateCertificateFromCsr")
async def create_certificate_from_csr(context: Context, parameters: Parameters) -> Output:
    certificate = await registering.issued_for(context, parameters["certificateSigningRequest"])
    return await _issued(context, parameters, certificate)


async def _issued(context: Context, parameters: Parameters, certificate: Certificate) -> Output:
    is_active = parameters.get("setAsActive", False)
    status = CertificateStatus.ACTIVE if is_active else CertificateStatus.INACTIVE
    item = await registering.register(context, certificate, status, Mode.DEFAULT)
    return _shown(context, item) | {"certificatePem": certificate.pem}


# Issued by others


@OPERATIONS.handles("RegisterCertificate")
async def register_certificate(context: Context, parameters: Parameters) -> Output:
    """Its issuer is a registered and active CA, whose mode it takes."""
    certificate = read_certificate(context, parameters["certificatePem"])
    status = _status(context, parameters)
    ca = registering.verified_ca(context, certificate, parameters.get("caCertificatePem"))
    mode = certificates.mode(ca)
    return _shown(context, await registering.register(context, certificate, status, mode, ca.key))


@OPERATIONS.handles("RegisterCertificateWithoutCA")
async def register_certificate_without_ca(context: Context, parameters: Parameters) -> Output:
    certificate = read_certificate(context, parameters["certificatePem"])
    status = _status(context, parameters)
    return _shown(context, await registering.register(context, certificate, status, Mode.SNI_ONLY))


def _status(context: Context, parameters: Parameters) -> CertificateStatus:
    is_active = parameters.get("setAsActive", False)
    unsaid = CertificateStatus.ACTIVE if is_active else CertificateStatus.INACTIVE
    status = parameters.get("status", unsaid)
    if status not in _STATUSES:
        wanted = ", ".join(_STATUSES)
        raise refuse(context, f"A certificate cannot be registered as {status}, only as {wanted}")
    return CertificateStatus(status)


def _shown(context: Context, item: Item) -> Output:
    return {"certificateArn": arn(context, item), "certificateId": item.key}
