"""The proof that a CA is somebody's: a certificate that it has signed, for a registration code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from isthmus.adapters.pki import load_certificate
from isthmus.errors import InputError

#: It is looked at once, a moment after it is made.
LIFETIME = timedelta(days=1)


def verification(ca_pem: str, key_pem: bytes, code: str) -> str:
    """A certificate for a registration code, signed with the CA's key."""
    ca, key = load_certificate(ca_pem), _key(key_pem)
    if key.public_key() != ca.public_key():
        raise InputError("the key is not that of the CA certificate")
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, code)]))
        .issuer_name(ca.subject)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - LIFETIME, ca.not_valid_before_utc))
        .not_valid_after(min(now + LIFETIME, ca.not_valid_after_utc))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"the CA's key cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise InputError("the CA's key is neither RSA nor one of an elliptic curve")
    return key
