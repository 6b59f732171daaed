"""Makes and keeps the certificates of a system: CAs, devices, gateways, sites, operators.

    root ─┬─ devices    signs devices; can sign nothing that a client takes for a server
          └─ servers    signs gateways and APIs: what devices and users connect to
    internal            signs NATS servers, sites and operators; a trust of its own

The invariant: no chain leads from the device side to ``internal``. Whoever verifies operators or
sites trusts ``internal`` alone, so no certificate that the devices CA signed, whatever its
subject says, is ever taken for an operator's.

Everything is idempotent: what is there and still good is used again, what is about to end is
renewed (a CA keeps its key, so what it signed stays valid), and a broken leaf is made anew. A
broken CA is an error, because a new one would lock out every device of the old. One process at a
time may write to the directory.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from isthmus.adapters import certificate_parts as parts
from isthmus.adapters import private_files
from isthmus.errors import ConfigError, InputError

#: Clocks of devices run late: a certificate made now must be valid for them too.
BACKDATED = timedelta(minutes=5)
CA_LIFETIME = timedelta(days=20 * 365)
#: A leaf never outlives its CA; this much it has at least when it is made.
CA_RENEWED_BEFORE = timedelta(days=3 * 365)
DEVICE_LIFETIME = timedelta(days=5 * 365)
#: Above 825 days Apple's TLS refuses a server.
LEAF_LIFETIME = timedelta(days=397)
LEAF_RENEWED_BEFORE = timedelta(days=30)

#: X.520's upper bound; names of devices may be longer and are then cut in the subject.
_COMMON_NAME_MAX = 64
_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
_CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
_SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)


class Validity(NamedTuple):
    """From when to when a certificate may be used."""

    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """Files of one certificate. ``chain`` is the leaf and its intermediate, where it has one."""

    certificate: Path
    key: Path
    chain: Path
    certificate_id: str


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    file: Path


@dataclass(frozen=True, slots=True)
class _Request:
    """What a leaf is to say."""

    kind: str
    name: str
    usages: tuple[x509.ObjectIdentifier, ...]
    lifetime: timedelta
    alternatives: tuple[x509.GeneralName, ...] = ()

    @property
    def subject(self) -> x509.Name:
        return parts.subject(self.name[:_COMMON_NAME_MAX], self.kind)


def load_certificate(pem: str | bytes) -> x509.Certificate:
    """The first certificate in a PEM text; raises InputError where there is none."""
    try:
        return x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)
    except ValueError as error:
        raise InputError(f"not a PEM certificate: {error}") from None


def certificate_id(pem: str | bytes) -> str:
    """AWS IoT's id of a certificate: the SHA-256 of its DER in lowercase hex."""
    return _id(load_certificate(pem))


def validity(pem: str | bytes) -> Validity:
    """From when to when the certificate may be used, in UTC."""
    certificate = load_certificate(pem)
    return Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Pki:
    """The certificates under one directory."""

    def __init__(self, directory: Path, now: Callable[[], datetime] = _utc_now) -> None:
        self._directory = directory
        self._now = now
        private_files.make_directory(directory)
        self._root = self._authority("root", None, 1, ())
        self._devices = self._authority("devices", self._root, 0, _CLIENT)
        self._servers = self._authority("servers", self._root, 0, _SERVER)
        self._internal = self._authority("internal", None, 0, ())

    @property
    def ca_file(self) -> Path:
        """What devices and users verify gateways and APIs with."""
        return self._root.file

    @property
    def devices_ca_file(self) -> Path:
        """What gateways verify devices with; an intermediate, so a partial chain."""
        return self._devices.file

    @property
    def internal_ca_file(self) -> Path:
        """What verifies NATS servers, sites and operators, and nobody else."""
        return self._internal.file

    def device(self, name: str) -> Identity:
        """A device's certificate. Its file holds the leaf only, as devices on AWS have it."""
        return self._leaf(self._devices, _Request("device", name, _CLIENT, DEVICE_LIFETIME))

    def gateway(self, region: str, names: Iterable[str], addresses: Iterable[str]) -> Identity:
        """A gateway's: ``names`` are the stable name and the region's own name."""
        return self._leaf(self._servers, _server("gateway", region, names, addresses, _SERVER))

    def api(self, region: str, names: Iterable[str], addresses: Iterable[str]) -> Identity:
        """The certificate of a region's API."""
        return self._leaf(self._servers, _server("api", region, names, addresses, _SERVER))

    def aws_api(self, region: str, names: Iterable[str], addresses: Iterable[str]) -> Identity:
        """The certificate of a region's AWS-compatible API."""
        return self._leaf(self._servers, _server("aws-api", region, names, addresses, _SERVER))

    def nats(self, region: str, names: Iterable[str], addresses: Iterable[str]) -> Identity:
        """A region's NATS servers'; they are clients of each other within a cluster."""
        request = _server("nats", region, names, addresses, _SERVER + _CLIENT)
        return self._leaf(self._internal, request)

    def site(self, name: str, names: Iterable[str], addresses: Iterable[str]) -> Identity:
        """A site's, for both ends of the directors' mesh; its subject has OU=site."""
        request = _server("site", name, names, addresses, _SERVER + _CLIENT)
        return self._leaf(self._internal, request)

    def operator(self, name: str) -> Identity:
        """An operator's; its subject has OU=operator."""
        return self._leaf(self._internal, _Request("operator", name, _CLIENT, LEAF_LIFETIME))

    def _authority(
        self,
        name: str,
        issuer: _Authority | None,
        path_length: int,
        usages: tuple[x509.ObjectIdentifier, ...],
    ) -> _Authority:
        file, key_file = self._directory / f"{name}-ca.pem", self._directory / f"{name}-ca.key"
        certificate, key = _read_authority(file, key_file, issuer)
        if key is None:
            key = ec.generate_private_key(ec.SECP256R1())
            private_files.write(key_file, _key_pem(key), is_synced=True)
        ends = certificate.not_valid_after_utc if certificate else self._now()
        if certificate is None or ends - self._now() < CA_RENEWED_BEFORE:
            certificate = self._issue_authority(name, key, issuer, path_length, usages)
            private_files.write(file, _pem(certificate), 0o644, is_synced=True)
        return _Authority(certificate, key, file)

    def _issue_authority(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: _Authority | None,
        path_length: int,
        usages: tuple[x509.ObjectIdentifier, ...],
    ) -> x509.Certificate:
        # The key is part of the name, so that two systems' CAs are never taken for each other.
        digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
        subject = parts.subject(f"Isthmus {name} CA {digest[:8]}", "ca")
        ends = self._now() + CA_LIFETIME
        if issuer:
            ends = min(ends, issuer.certificate.not_valid_after_utc)
        builder = (
            self._builder(subject, key.public_key(), ends, issuer)
            .add_extension(x509.BasicConstraints(True, path_length), critical=True)
            .add_extension(parts.key_usage(is_ca=True), critical=True)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return builder.sign(issuer.key if issuer else key, hashes.SHA256())

    def _leaf(self, issuer: _Authority, request: _Request) -> Identity:
        if not _NAME.fullmatch(request.name):
            raise InputError(f"{request.kind} is named {request.name!r}", hint=_NAME.pattern)
        folder = self._directory / request.kind
        private_files.make_directory(folder)
        file, key_file = folder / f"{request.name}.pem", folder / f"{request.name}.key"
        certificate = self._reusable(file, key_file, issuer, request)
        if certificate is None:
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self._issue_leaf(issuer, request, key.public_key())
            # The certificate comes last: a crash in between leaves a pair that does not match.
            private_files.write(key_file, _key_pem(key))
        leaf, intermediate = _pem(certificate), _pem(issuer.certificate)
        chain_file = file
        if issuer is self._devices:
            # A device's own file is the leaf alone, as AWS hands it out.
            chain_file = folder / f"{request.name}.chain.pem"
            _write_if_other(chain_file, leaf + intermediate)
        _write_if_other(file, leaf + intermediate if issuer is self._servers else leaf)
        return Identity(file, key_file, chain_file, _id(certificate))

    def _reusable(
        self, file: Path, key_file: Path, issuer: _Authority, request: _Request
    ) -> x509.Certificate | None:
        """The certificate that is there, if it says what is asked and will for a while."""
        try:
            certificate, key = load_certificate(file.read_bytes()), _read_key(key_file)
            certificate.verify_directly_issued_by(issuer.certificate)
        except (FileNotFoundError, ValueError, TypeError, InputError, InvalidSignature):
            return None
        fits = (
            certificate.subject == request.subject
            and _alternatives(certificate) == request.alternatives
            and _spki(certificate.public_key()) == _spki(key.public_key())
            and certificate.not_valid_after_utc - self._now() >= LEAF_RENEWED_BEFORE
        )
        return certificate if fits else None

    def _issue_leaf(
        self, issuer: _Authority, request: _Request, public_key: ec.EllipticCurvePublicKey
    ) -> x509.Certificate:
        ends = min(self._now() + request.lifetime, issuer.certificate.not_valid_after_utc)
        builder = (
            self._builder(request.subject, public_key, ends, issuer)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(parts.key_usage(is_ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(request.usages), critical=False)
        )
        if request.alternatives:
            names = x509.SubjectAlternativeName(request.alternatives)
            builder = builder.add_extension(names, critical=False)
        return builder.sign(issuer.key, hashes.SHA256())

    def _builder(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        ends: datetime,
        issuer: _Authority | None,
    ) -> x509.CertificateBuilder:
        """What every certificate has; its own issuer where there is none."""
        signer = issuer.key.public_key() if issuer else public_key
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now() - BACKDATED)
            .not_valid_after(ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(authority, critical=False)
        )


def _server(
    kind: str,
    name: str,
    names: Iterable[str],
    addresses: Iterable[str],
    usages: tuple[x509.ObjectIdentifier, ...],
) -> _Request:
    try:
        alternatives: list[x509.GeneralName] = [x509.DNSName(each) for each in names]
        alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    except ValueError as error:
        raise InputError(f"{kind} {name!r}: {error}", hint="DNS names and IP addresses") from None
    if not alternatives:
        raise InputError(f"{kind} {name!r} has no name and no address to be verified by")
    return _Request(kind, name, usages, LEAF_LIFETIME, tuple(dict.fromkeys(alternatives)))


def _read_authority(
    file: Path, key_file: Path, issuer: _Authority | None
) -> tuple[x509.Certificate | None, ec.EllipticCurvePrivateKey | None]:
    """What is there of a CA; raises ConfigError if it is there and broken."""
    hint = f"restore {file} and {key_file} together"
    if not key_file.exists():
        if file.exists():
            raise ConfigError(f"{file} is there without its key {key_file}", hint=hint)
        return None, None
    try:
        key = _read_key(key_file)
        # Only the key: an earlier run ended between the two files.
        certificate = load_certificate(file.read_bytes()) if file.exists() else None
        if certificate:
            certificate.verify_directly_issued_by(issuer.certificate if issuer else certificate)
    except (ValueError, TypeError, InputError, InvalidSignature) as error:
        raise ConfigError(f"the CA in {file} is broken: {error}", hint=hint) from None
    if certificate and _spki(certificate.public_key()) != _spki(key.public_key()):
        raise ConfigError(f"{key_file} is not the key of {file}", hint=hint)
    return certificate, key


def _read_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(private_files.read(file), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{file} is not an elliptic curve key")
    return key


def _write_if_other(file: Path, content: bytes) -> None:
    """Not synced to the disk: a leaf that a power loss tore is noticed and made anew."""
    if not file.exists() or file.read_bytes() != content:
        private_files.write(file, content, 0o644)


def _alternatives(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.value)


def _spki(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _id(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
