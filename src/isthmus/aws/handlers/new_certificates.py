"""Certificates that the region issues, and those that others have issued and that it is told of."""

from __future__ import annotations

from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.registering import read_certificate
from isthmus.aws.resources import already, arn, moment, refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import ca_certificates, certificates, issuing, lists, registry
from isthmus.core.ca_certificates import CA_CERTIFICATE
from isthmus.core.certificates import Mode
from isthmus.core.issuing import DEVICES, ISSUING_CA, Authority
from isthmus.core.item import Item
from isthmus.core.registry import CERTIFICATE, CertificateStatus, Writer
from isthmus.core.x509 import Certificate
from isthmus.errors import InputError, Unavailable

#: What a certificate may be registered as.
_STATUSES = (CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED)

# Issued here


@OPERATIONS.handles("CreateKeysAndCertificate")
async def create_keys_and_certificate(context: Context, parameters: Parameters) -> Output:
    """The private key is in this answer and nowhere else."""
    authority = await _authority(context)
    keys = await context.x509.new_keys()
    certificate = context.x509.issue(authority, keys.public, moment(context.now_ms))
    output = await _issued(context, parameters, certificate)
    return output | {"keyPair": {"PublicKey": keys.public, "PrivateKey": keys.private}}


@OPERATIONS.handles("CreateCertificateFromCsr")
async def create_certificate_from_csr(context: Context, parameters: Parameters) -> Output:
    authority = await _authority(context)
    request = parameters["certificateSigningRequest"]
    try:
        certificate = context.x509.issue_for(authority, request, moment(context.now_ms))
    except InputError as error:
        raise refuse(context, str(error)) from None
    return await _issued(context, parameters, certificate)


async def _issued(context: Context, parameters: Parameters, certificate: Certificate) -> Output:
    is_active = parameters.get("setAsActive", False)
    status = CertificateStatus.ACTIVE if is_active else CertificateStatus.INACTIVE
    item = await _register(context, certificate, status, Mode.DEFAULT)
    return _shown(context, item) | {"certificatePem": certificate.pem}


async def _authority(context: Context) -> Authority:
    """A CA whose key opens here; the first one is made by whoever needs it."""

    def usable(item: Item) -> list[Authority]:
        return [each for each in issuing.authorities(item) if context.x509.may_sign(each)]

    if not (found := usable(context.get(ISSUING_CA, DEVICES))):
        try:
            made = context.x509.new_authority(moment(context.now_ms))
        except Unavailable as error:
            raise ServiceError("ServiceUnavailableException", str(error)) from None

        def add(item: Item, writer: Writer) -> Item:
            return item if usable(item) else issuing.add(item, writer, made)

        found = usable(await context.write(ISSUING_CA, DEVICES, add))
    return found[0]


# Issued by others


@OPERATIONS.handles("RegisterCertificate")
async def register_certificate(context: Context, parameters: Parameters) -> Output:
    """Its issuer is a registered and active CA, whose mode it takes."""
    certificate = read_certificate(context, parameters["certificatePem"])
    status = _status(context, parameters)
    ca = _issuer(context, parameters, certificate)
    if not context.x509.is_issued_by(certificate.pem, ca.register("pem")):
        raise _unverified(f"CA certificate {ca.key} has not signed it")
    if not ca_certificates.is_active(ca):
        message = f"CA certificate {ca.key} is not active"
        raise ServiceError("CertificateStateException", message)
    mode = certificates.mode(ca)
    return _shown(context, await _register(context, certificate, status, mode, ca.key))


@OPERATIONS.handles("RegisterCertificateWithoutCA")
async def register_certificate_without_ca(context: Context, parameters: Parameters) -> Output:
    certificate = read_certificate(context, parameters["certificatePem"])
    status = _status(context, parameters)
    return _shown(context, await _register(context, certificate, status, Mode.SNI_ONLY))


def _status(context: Context, parameters: Parameters) -> CertificateStatus:
    is_active = parameters.get("setAsActive", False)
    unsaid = CertificateStatus.ACTIVE if is_active else CertificateStatus.INACTIVE
    status = parameters.get("status", unsaid)
    if status not in _STATUSES:
        wanted = ", ".join(_STATUSES)
        raise refuse(context, f"A certificate cannot be registered as {status}, only as {wanted}")
    return CertificateStatus(status)


def _issuer(context: Context, parameters: Parameters, certificate: Certificate) -> Item:
    """The registered CA that is to have signed a certificate."""
    given = parameters.get("caCertificatePem")
    if given is not None:
        ca = context.get(CA_CERTIFICATE, read_certificate(context, given).id)
        if not ca.lives:
            raise _unverified("The CA certificate that is given is not registered")
        return ca
    path = (ca_certificates.LISTED_BY_SUBJECT, certificate.issuer)
    names = list(context.listed(*path, after=None))
    if not names:
        raise _unverified("No CA certificate of its issuer's name is registered")
    if len(names) > 1:
        message = f"{len(names)} CA certificates have its issuer's name: give caCertificatePem"
        raise ServiceError("CertificateConflictException", message)
    return context.get(CA_CERTIFICATE, lists.key_of(names[0]))


def _unverified(message: str) -> ServiceError:
    return ServiceError("CertificateValidationException", message)


# Both


async def _register(
    context: Context,
    certificate: Certificate,
    status: CertificateStatus,
    mode: Mode,
    ca: str | None = None,
) -> Item:
    def register(item: Item, writer: Writer) -> Item:
        if item.lives:
            raise already(context, item)
        is_revoked = registry.certificate_status(item) is CertificateStatus.REVOKED
        if is_revoked and status is not CertificateStatus.REVOKED:
            message = f"Certificate {item.key} was revoked, which is for good"
            raise ServiceError("CertificateStateException", message)
        return certificates.register(item, writer, certificate.pem, status, mode, ca)

    return await context.write(CERTIFICATE, certificate.id, register)


def _shown(context: Context, item: Item) -> Output:
    return {"certificateArn": arn(context, item), "certificateId": item.key}
