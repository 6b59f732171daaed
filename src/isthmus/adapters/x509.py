"""Certificates of strangers, read and verified, and those that a region issues to devices.

Implements ``aws.x509.X509``. Private keys are in memory only: a device's until it is in its answer,
a CA's as long as the process lives. In items a CA's key is sealed (``adapters.sealing``).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isthmus.adapters import certificate_parts as parts
from isthmus.adapters.certificate_names import certificate_names
from isthmus.adapters.sealing import Sealing
from isthmus.core import issuing
from isthmus.core.issuing import Authority
from isthmus.core.x509 import Certificate, KeyPair
from isthmus.errors import InputError, Unavailable

#: As AWS's: never too early for a device whose clock is late, and for as long as a device may last.
BACKDATED = timedelta(minutes=5)
NOT_AFTER = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
#: What the registration code that a system begins with is derived for.
FIRST_CODE = "registration-code"
#: What AWS takes.
RSA_BITS_MIN = 2048
#: More than OpenSSL verifies with.
RSA_BITS_MAX = 16384
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
#: The subject of those that name none, as on AWS.
NAMELESS = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AWS IoT Certificate")])
#: Of a subject, by the names that AWS's provisioning templates have for them.
_SUBJECT = {
    "Country": NameOID.COUNTRY_NAME,
    "Organization": NameOID.ORGANIZATION_NAME,
    "OrganizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "DistinguishedNameQualifier": NameOID.DN_QUALIFIER,
    "StateName": NameOID.STATE_OR_PROVINCE_NAME,
    "CommonName": NameOID.COMMON_NAME,
    "SerialNumber": NameOID.SERIAL_NUMBER,
}
_CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


class DeviceX509:
    """Reads, verifies and issues certificates.

    ``sealing`` is None in a region that has no key to seal with: it issues nothing.
    """

    def __init__(self, sealing: Sealing | None) -> None:
        self._sealing = sealing
        self._keys: dict[Authority, ec.EllipticCurvePrivateKey] = {}

    # Reading

    def read(self, pem: str) -> Certificate:
        """The first certificate of a text; raises InputError where it is none that can be used."""
        with _broken("not a certificate"):
            return _described(_usable(x509.load_pem_x509_certificate(pem.encode())))

    def names(self, pem: str) -> Mapping[str, tuple[str, ...]]:
        """Every name in a certificate that policies may ask for."""
        return certificate_names(pem)

    def subject(self, pem: str) -> dict[str, str]:
        """What its subject says, by AWS's names; of several attributes of one name the first."""
        with _broken("not a certificate"):
            subject = x509.load_pem_x509_certificate(pem.encode()).subject
            found = {name: subject.get_attributes_for_oid(oid) for name, oid in _SUBJECT.items()}
        return {name: str(each[0].value) for name, each in found.items() if each}

    def is_issued_by(self, pem: str, ca_pem: str) -> bool:
        """Whether a CA has signed a certificate, and the names fit."""
        with _broken("not a certificate"):
            certificate = x509.load_pem_x509_certificate(pem.encode())
            ca = x509.load_pem_x509_certificate(ca_pem.encode())
        try:
            certificate.verify_directly_issued_by(ca)
        except parts.UNREADABLE:
            return False
        return True

    # Making

    def first_code(self) -> str:
        """Follows from the key that seals, so every region has it without a write."""
        if self._sealing is None:
            hint = "set secrets_key, the same in every region"
            raise Unavailable("this region has no key that a code would follow from", hint=hint)
        return self._sealing.derive(FIRST_CODE)

    def new_code(self) -> str:
        """64 hex digits by chance."""
        return secrets.token_hex(32)

    def new_authority(self, now: datetime) -> Authority:
        """A CA for devices, its key sealed."""
        if self._sealing is None:
            hint = "set secrets_key, the same in every region"
            raise Unavailable("this region has no key to seal the key of a CA with", hint=hint)
        key = ec.generate_private_key(ec.SECP256R1())
        subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        # The key is part of the name, so that two CAs are never taken for each other.
        subject = parts.subject(f"Isthmus IoT CA {subject_key.digest.hex()[:8]}", "ca")
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(NOT_AFTER)
            .add_extension(subject_key, critical=False)
            .add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(parts.key_usage(is_ca=True), critical=True)
            # Of what it signs, nothing is ever taken for a server.
            .add_extension(_CLIENT, critical=False)
            .sign(key, hashes.SHA256())
        )
        found = _described(certificate)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        sealed = self._sealing.seal(private.decode(), issuing.sealed_for(found.id))
        return Authority(found.id, found.pem, sealed)

    def may_sign(self, authority: Authority) -> bool:
        """Whether a CA is here with its key."""
        try:
            self._key(authority)
        except InputError:
            return False
        return True

    async def new_keys(self) -> KeyPair:
        """An RSA key of 2048 bits, made in a thread: it takes a tenth of a second of CPU."""
        key = await asyncio.to_thread(rsa.generate_private_key, 65537, RSA_BITS_MIN)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            # What AWS answers, and devices' libraries read.
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        return KeyPair(public.decode(), private.decode())

    def issue(
        self,
        authority: Authority,
        public_key: str,
        now: datetime,
        not_after: datetime | None = None,
    ) -> Certificate:
        """A device's certificate for a public key that was made here; it lasts as AWS's do."""
        key = serialization.load_pem_public_key(public_key.encode())
        if not isinstance(key, rsa.RSAPublicKey):
            raise InputError("not an RSA key")
        return self._issued(authority, NAMELESS, key, now, not_after or NOT_AFTER)

    def issue_for(self, authority: Authority, request: str, now: datetime) -> Certificate:
        """A device's certificate for a signing request; raises InputError where it is none."""
        with _broken("not a certificate signing request"):
            read = x509.load_pem_x509_csr(request.encode())
            if not read.is_signature_valid:
                raise ValueError("its signature is not of its key")
            subject = read.subject if list(read.subject) else NAMELESS
            return self._issued(authority, subject, _usable_key(read.public_key()), now)

    def _issued(
        self,
        authority: Authority,
        subject: x509.Name,
        key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
        now: datetime,
        not_after: datetime = NOT_AFTER,
    ) -> Certificate:
        signer = self._key(authority)
        issuer = x509.load_pem_x509_certificate(authority.pem.encode())
        public = signer.public_key()
        certificate = (
            x509.CertificateBuilder(issuer.subject, subject, key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(not_after)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False
            )
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(parts.key_usage(is_ca=False), critical=True)
            .add_extension(_CLIENT, critical=False)
            .sign(signer, hashes.SHA256())
        )
        return _described(certificate)

    def _key(self, authority: Authority) -> ec.EllipticCurvePrivateKey:
        """The key of a CA; raises InputError where it does not open here."""
        key = self._keys.get(authority)
        if key is None:
            if self._sealing is None:
                raise InputError("this region opens nothing")
            with _broken("not a CA"):
                certificate = x509.load_pem_x509_certificate(authority.pem.encode())
                identity = certificate.fingerprint(hashes.SHA256()).hex()
                opened = self._sealing.open(authority.sealed, issuing.sealed_for(identity))
                loaded = serialization.load_pem_private_key(opened.encode(), password=None)
            if not isinstance(loaded, ec.EllipticCurvePrivateKey):
                raise InputError("not the key of a CA of ours")
            self._keys[authority] = key = loaded
        return key


@contextmanager
def _broken(what: str) -> Iterator[None]:
    """Whatever the library finds wrong with a text is the text's fault."""
    try:
        yield
    except parts.UNREADABLE as error:
        raise InputError(f"{what}: {error}") from None


def _usable(certificate: x509.Certificate) -> x509.Certificate:
    _usable_key(certificate.public_key())
    return certificate


def _usable_key(key: object) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    if isinstance(key, rsa.RSAPublicKey) and RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES):
        return key
    raise ValueError(f"its key is neither RSA of {RSA_BITS_MIN} bits or more nor on a NIST curve")


def _described(certificate: x509.Certificate) -> Certificate:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        is_ca = constraints.value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Certificate(
        id=certificate.fingerprint(hashes.SHA256()).hex(),
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        subject=_hash(certificate.subject),
        issuer=_hash(certificate.issuer),
        common_names=tuple(str(each.value) for each in names),
        is_ca=is_ca,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _hash(name: x509.Name) -> str:
    return hashlib.sha256(name.public_bytes()).hexdigest()
