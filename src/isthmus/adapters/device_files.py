"""The files of a device: its key, which is made here and never leaves, and its certificate.

A key that is there is never written over: the device may be using it. What appears under a name is
whole, so that who is cut off goes on with what is there.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from isthmus.adapters import certificate_parts as parts
from isthmus.adapters import private_files
from isthmus.adapters.pki import certificate_id, load_certificate
from isthmus.errors import ConfigError, InputError

#: X.520's upper bound; a thing's name may be longer, and is then cut in the request's subject.
_COMMON_NAME_MAX = 64


class DeviceFiles:
    """What a directory has of one device."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self.key = directory / f"{name}.key"
        self.certificate = directory / f"{name}.pem"
        self.ca = directory / "ca.pem"

    @property
    def has_key(self) -> bool:
        return self.key.exists()

    def make_key(self) -> None:
        """Make the key, if none is there."""
        if self.has_key:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        part = self.key.with_name(f".{self.key.name}.{secrets.token_hex(8)}")
        private_files.write(part, pem, is_synced=True)
        try:
            # Unlike a rename it fails where another run was first.
            os.link(part, self.key)
        except FileExistsError:
            return
        finally:
            part.unlink()

    def request(self) -> str:
        """A signing request for the key."""
        subject = parts.subject(self._name[:_COMMON_NAME_MAX], "device")
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        return builder.sign(self._key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def keep(self, certificate: str, ca: bytes) -> None:
        """Keep what the device shows, and what it verifies the server with."""
        private_files.write(self.ca, ca, 0o644)
        private_files.write(self.certificate, certificate.encode(), 0o644, is_synced=True)

    @property
    def certificate_id(self) -> str:
        """The id of the certificate that is there; nothing where none is."""
        if not self.certificate.exists():
            return ""
        pem = self.certificate.read_bytes()
        if load_certificate(pem).public_key() != self._key().public_key():
            raise InputError(
                f"{self.certificate} is not the certificate of {self.key}",
                hint="another directory with --out",
            )
        return certificate_id(pem)

    def _key(self) -> ec.EllipticCurvePrivateKey:
        try:
            key = load_pem_private_key(private_files.read(self.key), None)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{self.key} is not a key: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{self.key} is not a key that was made here")
        return key
