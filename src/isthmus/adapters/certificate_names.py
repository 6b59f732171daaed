"""The names in a certificate as policies know them: of its subject and issuer, and its number.

Developer guide, "Using X.509 certificate policy variables". What cannot be read has no value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from cryptography import x509
from cryptography.x509.oid import NameOID

from isthmus.adapters.certificate_parts import UNREADABLE
from isthmus.core.policy_keys import CERTIFICATE, SERIAL_NUMBER

_PARTS = {
    NameOID.COMMON_NAME: "CommonName",
    NameOID.COUNTRY_NAME: "Country",
    NameOID.DN_QUALIFIER: "DistinguishedNameQualifier",
    NameOID.GENERATION_QUALIFIER: "GenerationQualifier",
    NameOID.GIVEN_NAME: "GivenName",
    NameOID.INITIALS: "Initials",
    NameOID.ORGANIZATION_NAME: "Organization",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OrganizationalUnit",
    NameOID.PSEUDONYM: "Pseudonym",
    NameOID.SERIAL_NUMBER: "SerialNumber",
    NameOID.STATE_OR_PROVINCE_NAME: "State",
    NameOID.SURNAME: "Surname",
    NameOID.TITLE: "Title",
}
#: As the guide writes a directory's name: ``cn=LightBulbCert,ou=SmartHome,o=IoT,c=US``.
_LOWER = {
    NameOID.COMMON_NAME: "cn",
    NameOID.COUNTRY_NAME: "c",
    NameOID.ORGANIZATION_NAME: "o",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "ou",
    NameOID.STATE_OR_PROVINCE_NAME: "st",
    NameOID.LOCALITY_NAME: "l",
    NameOID.DOMAIN_COMPONENT: "dc",
    NameOID.USER_ID: "uid",
}
#: "Any special character must be prefixed with a backslash", says the guide of these.
_SPECIAL = str.maketrans({each: f"\\{each}" for each in ',"\\+=<>;'})


def certificate_names(pem: str) -> Mapping[str, tuple[str, ...]]:
    """Each name that a certificate has and policies may ask for, with its values in their order."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        found[SERIAL_NUMBER].append(str(certificate.serial_number))
        for end, name in (("Subject", certificate.subject), ("Issuer", certificate.issuer)):
            for part, value in _parts(name):
                found[f"{CERTIFICATE}{end}.{part}"].append(value)
        extensions = certificate.extensions
    except UNREADABLE:
        return {name: tuple(values) for name, values in found.items()}
    for end, kind in (
        ("Subject", x509.SubjectAlternativeName),
        ("Issuer", x509.IssuerAlternativeName),
    ):
        for extension in extensions:
            if isinstance(extension.value, kind):
                for part, value in _alternatives(extension.value):
                    found[f"{CERTIFICATE}{end}.AlternativeName.{part}"].append(value)
    return {name: tuple(values) for name, values in found.items()}


def _parts(name: x509.Name) -> Iterator[tuple[str, str]]:
    for attribute in name:
        part = _PARTS.get(attribute.oid)
        if part is not None:
            yield part, str(attribute.value).translate(_SPECIAL)


def _alternatives(names: Iterable[x509.GeneralName]) -> Iterator[tuple[str, str]]:
    for name in names:
        match name:
            case x509.RFC822Name():
                yield "RFC822Name", name.value
            case x509.DNSName():
                yield "DNSName", name.value
            case x509.UniformResourceIdentifier():
                yield "UniformResourceIdentifier", name.value
            case x509.IPAddress():
                yield "IPAddress", str(name.value)
            case x509.DirectoryName():
                yield "DirectoryName", name.value.rfc4514_string(_LOWER)
