"""Certificates that are registered: those in requests, read, and those that a region issues."""

from __future__ import annotations

from isthmus.aws.context import Context
from isthmus.aws.resources import moment, refuse, vacant
from isthmus.aws.service_error import ServiceError
from isthmus.core import ca_certificates, certificates, issuing, lists, registry
from isthmus.core.ca_certificates import CA_CERTIFICATE
from isthmus.core.certificates import Expiry, Mode
from isthmus.core.issuing import DEVICES, ISSUING_CA, Authority
from isthmus.core.item import Item
from isthmus.core.registry import CERTIFICATE, CertificateStatus, Writer
from isthmus.core.x509 import Certificate
from isthmus.errors import InputError, Unavailable

# Issued here


async def issued_for(context: Context, request: str) -> Certificate:
    """A certificate for a signing request; raises ServiceError where that is none."""
    signs = await authority(context)
    try:
        return context.x509.issue_for(signs, request, moment(context.now_ms))
    except InputError as error:
        raise refuse(context, str(error)) from None


async def authority(context: Context) -> Authority:
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


def read_certificate(context: Context, pem: str) -> Certificate:
    """The certificate in a text; raises ServiceError where there is none that can be used."""
    try:
        return context.x509.read(pem)
    except InputError as error:
        raise ServiceError("CertificateValidationException", str(error)) from None


def verified_ca(context: Context, certificate: Certificate, ca_pem: str | None) -> Item:
    """The registered and active CA that has signed a certificate, be it given or found."""
    ca = _issuer(context, ca_pem, certificate)
    if not context.x509.is_issued_by(certificate.pem, ca.register("pem")):
        raise _unverified(f"CA certificate {ca.key} has not signed it")
    if not ca_certificates.is_active(ca):
        message = f"CA certificate {ca.key} is not active"
        raise ServiceError("CertificateStateException", message)
    return ca


def _issuer(context: Context, given: str | None, certificate: Certificate) -> Item:
    """The registered CA that is to have signed a certificate."""
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


async def register(
    context: Context,
    certificate: Certificate,
    status: CertificateStatus,
    mode: Mode,
    ca: str | None = None,
    expiry: Expiry | None = None,
) -> Item:
    """Begin a certificate that is not there yet."""

    def begin(item: Item, writer: Writer) -> Item:
        vacant(context, item)
        is_revoked = registry.certificate_status(item) is CertificateStatus.REVOKED
        if is_revoked and status is not CertificateStatus.REVOKED:
            message = f"Certificate {item.key} was revoked, which is for good"
            raise ServiceError("CertificateStateException", message)
        return certificates.register(item, writer, certificate.pem, status, mode, ca, expiry)

    return await context.write(CERTIFICATE, certificate.id, begin)
