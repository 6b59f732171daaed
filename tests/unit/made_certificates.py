"""Certificates that others than a region have made: CAs of customers, what they sign, requests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def pem(thing):
    return thing.public_bytes(Encoding.PEM).decode()


def identity(text):
    certificate = x509.load_pem_x509_certificate(text.encode())
    return certificate.fingerprint(hashes.SHA256()).hex()


def private_pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def new_key(curve=ec.SECP256R1):
    return ec.generate_private_key(curve())


def signed(subject, public_key, issuer, key, is_ca=False, algorithm=None):
    return (
        x509.CertificateBuilder(issuer, subject, public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1000))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .sign(key, algorithm or hashes.SHA256())
    )


@dataclass
class Ca:
    """A CA of a customer."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self):
        return pem(self.certificate)

    @property
    def id(self):
        return identity(self.pem)

    def sign(self, common_name="device", public_key=None):
        """The text of a certificate."""
        public_key = public_key or new_key().public_key()
        subject = name(common_name)
        return pem(signed(subject, public_key, self.certificate.subject, self.key))


def new_ca(common_name="ca", key=None, is_ca=True):
    key = key or new_key()
    subject = name(common_name)
    return Ca(key, signed(subject, key.public_key(), subject, key, is_ca))


def request(key=None, common_name="device", algorithm=None):
    """The text of a signing request."""
    subject = name(common_name) if common_name else x509.Name([])
    builder = x509.CertificateSigningRequestBuilder(subject)
    return pem(builder.sign(key or new_key(), algorithm or hashes.SHA256()))
