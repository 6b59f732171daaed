"""Certificates that no device should have, from the socket to what the region makes of them.

A client shows them to the gateway's TLS, and the region is asked about whoever TLS lets through, as
a gateway asks. Whatever is shown: nothing is raised, nobody is active, and nothing is registered
that the CA's key has not signed.
"""

from __future__ import annotations

import asyncio
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aws_region import AwsRegion
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from made_certificates import name, new_ca, new_key
from OpenSSL import SSL, crypto
from test_api_newcomers import CA, PENDING, X509, ca_item, come
from tls_clients import Authority

from isthmus.core import registry
from isthmus.core.registry import CERTIFICATE, CertificateStatus
from isthmus.gateway.tls import TlsStream, mqtt_context

#: What cryptography does not read, only pyOpenSSL's own objects can show. The library only warns of
#: names that are too long, and of serial numbers below zero.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Passing pyOpenSSL"),
    pytest.mark.filterwarnings("ignore:Attribute's length"),
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
]
FLIGHTS = 6
DAY = timedelta(days=1)
KEY = new_key()
#: ecdsa-with-SHA256, as DER has it.
ALGORITHM = bytes.fromhex("300a06082a8648ce3d040302")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> SSL.Context:
    directory: Path = tmp_path_factory.mktemp("pki")
    return mqtt_context(Authority(directory).files)


@pytest.fixture(scope="module")
def ca() -> Any:
    return ca_item()


def build(
    subject: x509.Name | None = None,
    key: Any = KEY,
    issuer: x509.Name | None = None,
    signer: Any = CA.key,
    begins: datetime | None = None,
    ends: datetime | None = None,
    extensions: tuple[x509.ExtensionType, ...] = (),
) -> bytes:
    """A certificate in DER, as good as can be where nothing else is said."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name("lamp") if subject is None else subject)
        .issuer_name(issuer or CA.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or now - DAY)
        .not_valid_after(ends or now + DAY)
    )
    for each in extensions:
        builder = builder.add_extension(each, critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def signed_anew(tbs: bytes) -> bytes:
    """A certificate of these bytes, which the CA has signed whatever they are."""
    signature = CA.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return der(0x30, tbs + ALGORITHM + der(0x03, b"\0" + signature))


def shown(context: SSL.Context, raw: bytes, key: Any = KEY) -> TlsStream | None:
    """The gateway's stream after a client has shown a certificate; None where OpenSSL cannot."""
    client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client_context.set_cipher_list(b"ALL:@SECLEVEL=0")
    try:
        client_context.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, raw))
        client_context.use_privatekey(crypto.PKey.from_cryptography_key(key))
    except (SSL.Error, crypto.Error):
        return None
    client, stream = SSL.Connection(client_context, None), TlsStream(context)
    client.set_connect_state()
    for _ in range(FLIGHTS):
        try:
            client.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error:
            break
        try:
            said = client.bio_read(1 << 20)
        except SSL.WantReadError:
            break
        _, answer = stream.feed(said)
        if stream.ended is not None:
            break
        if answer:
            client.bio_write(answer)
    return stream


def becomes(
    context: SSL.Context, ca: Any, raw: bytes, key: Any = KEY
) -> CertificateStatus | str | None:
    """What becomes of who shows a certificate: its status, or that TLS refuses it."""
    stream = shown(context, raw, key)
    if stream is None or not stream.principal:
        return "refused"
    region = AwsRegion(x509=X509)
    asyncio.run(region.store.merge(ca))
    outcome = come(region, stream.certificate())
    item = region.store.get(CERTIFICATE, stream.principal)
    assert outcome.status is registry.certificate_status(item)
    certificates = [each.key for each in region.store.view.of_kind(CERTIFICATE)]
    assert certificates == ([] if outcome.status is None else [stream.principal])
    return outcome.status


def subject(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x509.Name([x509.NameAttribute(*each, _validate=False) for each in attributes])


USAGE = x509.ExtendedKeyUsage
IMPOSTOR = new_ca()
LONG = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x" * 40_000)
TOO_LONG = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x" * 60_000)
HUGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x" * 200_000)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, PENDING),
        ({"ends": datetime.now(UTC) - timedelta(hours=1)}, "refused"),
        ({"begins": datetime.now(UTC) + timedelta(hours=1)}, "refused"),
        ({"extensions": (USAGE([ExtendedKeyUsageOID.SERVER_AUTH]),)}, "refused"),
        ({"extensions": (USAGE([ExtendedKeyUsageOID.CODE_SIGNING]),)}, "refused"),
        ({"extensions": (USAGE([ExtendedKeyUsageOID.CLIENT_AUTH]),)}, PENDING),
        ({"signer": KEY, "issuer": name("lamp")}, None),
        ({"signer": KEY}, None),
        ({"signer": IMPOSTOR.key}, None),
        ({"signer": IMPOSTOR.key, "issuer": name("nobody")}, None),
        ({"issuer": name("nobody")}, None),
        ({"extensions": (LONG,)}, PENDING),
        ({"subject": x509.Name([])}, PENDING),
        ({"subject": subject((NameOID.COMMON_NAME, "a\0b"))}, PENDING),
        ({"subject": subject((NameOID.COMMON_NAME, "../$aws/#+"))}, PENDING),
        ({"subject": subject((NameOID.COMMON_NAME, "\u202e\U0001f4a1"))}, PENDING),
        ({"subject": subject((NameOID.COMMON_NAME, "x" * 5000))}, PENDING),
        ({"subject": subject((NameOID.COUNTRY_NAME, "Nowhere"))}, PENDING),
        ({"subject": subject(*[(NameOID.COMMON_NAME, str(n)) for n in range(500)])}, PENDING),
    ],
    ids=lambda each: "-".join(each)[:40] if isinstance(each, dict) else str(each),
)
def test_who_is_registered_and_who_is_refused(
    context: SSL.Context, ca: Any, changes: dict[str, Any], found: CertificateStatus | str | None
) -> None:
    assert becomes(context, ca, build(**changes)) == found


def test_what_is_too_long_is_refused_by_tls_or_left_alone(context: SSL.Context, ca: Any) -> None:
    assert becomes(context, ca, build(extensions=(HUGE,))) == "refused"
    stream = shown(context, build(extensions=(TOO_LONG,)))
    assert stream is not None
    # Longer than a gateway asks about.
    assert len(stream.certificate()) > 65_536


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (ec.generate_private_key(ec.SECP384R1()), PENDING),
        (ec.generate_private_key(ec.SECP521R1()), PENDING),
        (rsa.generate_private_key(65537, 2048), PENDING),
        (rsa.generate_private_key(65537, 1024), None),
        (ed25519.Ed25519PrivateKey.generate(), None),
        (ec.generate_private_key(ec.SECP256K1()), None),
    ],
    ids=["P-384", "P-521", "RSA-2048", "RSA-1024", "Ed25519", "secp256k1"],
)
def test_keys_are_those_that_aws_takes(
    context: SSL.Context, ca: Any, key: Any, found: CertificateStatus | None
) -> None:
    status = becomes(context, ca, build(key=key), key)
    # A key that TLS does not take is refused before.
    assert status == found or (found is None and status == "refused")


@pytest.mark.parametrize("serial", [b"\0", b"\x80", b"\xff" * 20, b"\x7f" * 60, b""], ids=repr)
def test_serial_numbers_of_any_kind_break_nothing(
    context: SSL.Context, ca: Any, serial: bytes
) -> None:
    certificate = x509.load_der_x509_certificate(build())
    tbs = certificate.tbs_certificate_bytes
    number = certificate.serial_number
    old = der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
    assert old in tbs
    head = 2 if tbs[1] < 0x80 else 2 + (tbs[1] & 0x7F)
    changed = der(0x30, tbs[head:].replace(old, der(0x02, serial), 1))
    assert becomes(context, ca, signed_anew(changed)) in ("refused", None, PENDING)


def has_signed(raw: bytes) -> bool:
    """Whether the CA's key has signed this, by cryptography alone."""
    certificate = x509.load_der_x509_certificate(raw)
    try:
        CA.key.public_key().verify(
            certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256())
        )
    except InvalidSignature:
        return False
    return True


GOOD = build(
    subject((NameOID.COUNTRY_NAME, "DE"), (NameOID.COMMON_NAME, "lamp"), (NameOID.TITLE, "t")),
    extensions=(
        USAGE([ExtendedKeyUsageOID.CLIENT_AUTH]),
        x509.BasicConstraints(False, None),
        x509.SubjectAlternativeName([x509.DNSName("lamp"), x509.RFC822Name("a@b")]),
    ),
)
TBS = x509.load_der_x509_certificate(GOOD).tbs_certificate_bytes
#: Other bytes in some places: with more or fewer of them hardly any would be a certificate at all.
ACCIDENTS = st.lists(
    st.tuples(
        st.integers(0, len(GOOD)),
        st.one_of(
            st.sampled_from([0, 1, 12, 19, 20, 28, 30, 0x7F, 0x80, 0xFF]), st.integers(0, 255)
        ),
    ),
    min_size=1,
    max_size=3,
)


def after(raw: bytes, accidents: list[tuple[int, int]]) -> bytes:
    data = bytearray(raw)
    for at, value in accidents:
        data[at % len(data)] = value
    return bytes(data)


@pytest.mark.parametrize("tag", [12, 19, 20, 22, 26, 28, 30], ids=hex)
@pytest.mark.parametrize("text", [b"\xff\xfe\xfd\xfc", b"\xc3\x28\0\0", b"\xd8\0\xd8\0"], ids=repr)
def test_names_that_are_no_text_break_nothing(
    context: SSL.Context, ca: Any, tag: int, text: bytes
) -> None:
    raw = signed_anew(TBS.replace(der(12, b"lamp"), der(tag, text), 1))
    assert becomes(context, ca, raw) in ("refused", None, PENDING)


@settings(max_examples=400)
@given(ACCIDENTS)
def test_a_broken_certificate_is_registered_only_if_the_ca_has_signed_it(
    context: SSL.Context, ca: Any, accidents: list[tuple[int, int]]
) -> None:
    raw = after(GOOD, accidents)
    found = becomes(context, ca, raw)
    assert found in ("refused", None, PENDING)
    assert found is not PENDING or has_signed(raw)


@settings(max_examples=400)
@given(ACCIDENTS)
def test_whatever_a_ca_has_signed_breaks_nothing(
    context: SSL.Context, ca: Any, accidents: list[tuple[int, int]]
) -> None:
    raw = signed_anew(after(TBS, accidents))
    assert becomes(context, ca, raw) in ("refused", None, PENDING)
