"""Certificates that no region should take for a device's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from regions import HOME, Regions

from isthmus.adapters.pki import Identity, certificate_id
from isthmus.local import bring_up
from isthmus.local.system import LocalSystem

DAY = timedelta(days=1)


class Strange:
    """Signs with the key of the system's own devices CA, which makes them as good as can be."""

    def __init__(self, system: LocalSystem, directory: Path) -> None:
        self._system = system
        self._directory = directory
        ca = system.pki.devices_ca_file
        self._ca = x509.load_pem_x509_certificate(ca.read_bytes())
        self._ca_key = serialization.load_pem_private_key(ca.with_suffix(".key").read_bytes(), None)

    def identity(self, how: str, name: str) -> Identity | None:
        """A certificate that speaks for a device, and is not right."""
        now = datetime.now(UTC)
        match how:
            case "none":
                return None
            case "unknown":
                return self._make(name, now - DAY, now + DAY)
            case "self-signed":
                return self._make(name, now - DAY, now + DAY, self_signed=True)
            case "expired":
                return self._make(name, now - 2 * DAY, now - DAY)
            case "not yet valid":
                return self._make(name, now + DAY, now + 2 * DAY)
            case "a server's":
                return self._make(name, now - DAY, now + DAY, ExtendedKeyUsageOID.SERVER_AUTH)
        raise ValueError(how)

    def _make(
        self,
        name: str,
        begins: datetime,
        ends: datetime,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        *,
        self_signed: bool = False,
    ) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else self._ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(key if self_signed else self._ca_key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        file, key_file = self._directory / "strange.pem", self._directory / "strange.key"
        file.write_bytes(pem)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return Identity(file, key_file, file, certificate_id(pem))

    async def register(self, regions: Regions, name: str, identity: Identity) -> None:
        """Register such a certificate for a device."""
        entry = {
            "thing": name,
            "attributes": {},
            "certificate_pem": identity.certificate.read_text(),
            "policies": [bring_up.FLEET_POLICY],
        }
        await regions.operator.register(HOME, [entry], [bring_up.fleet_policy(HOME)])
