"""What is read of certificates and requests, and what is issued; whatever text comes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from made_certificates import identity, name, new_ca, new_key, pem, private_pem, request

from isthmus.adapters.sealing import KEY_BYTES, Sealing
from isthmus.adapters.x509 import DeviceX509
from isthmus.core.issuing import Authority
from isthmus.errors import InputError, Unavailable

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HERE = DeviceX509(Sealing(b"k" * KEY_BYTES))
AUTHORITY = HERE.new_authority(NOW)
CA = new_ca("a customer's")
RSA_KEY = rsa.generate_private_key(65537, 2048)


def loaded(text):
    return x509.load_pem_x509_certificate(text.encode())


def test_a_certificate_is_read_alone_and_without_what_follows_it():
    text = CA.sign("device")
    found = HERE.read(f"a comment\n{text}{private_pem(new_key())}{CA.pem}")
    assert found.pem == text
    assert found.id == identity(text)
    assert found.common_names == ("device",)
    assert not found.is_ca
    assert found.issuer == HERE.read(CA.pem).subject
    assert found.subject != found.issuer
    assert (found.not_before, found.not_after) == (
        loaded(text).not_valid_before_utc,
        loaded(text).not_valid_after_utc,
    )
    assert HERE.read(CA.pem).is_ca


def test_a_ca_has_signed_what_it_has_signed():
    other = new_ca("a customer's")
    text = CA.sign()
    assert HERE.is_issued_by(text, CA.pem)
    assert HERE.is_issued_by(CA.pem, CA.pem)
    # Of the same name.
    assert not HERE.is_issued_by(text, other.pem)
    assert not HERE.is_issued_by(text, new_ca("another", CA.key).pem)


@pytest.mark.parametrize(
    "key",
    [new_key(curve) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)] + [RSA_KEY],
    ids=lambda key: str(key.key_size),
)
def test_keys_that_devices_have(key):
    assert HERE.read(CA.sign(public_key=key.public_key()))
    issued = HERE.issue_for(AUTHORITY, request(key), NOW)
    assert loaded(issued.pem).public_key() == key.public_key()


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP256K1()),
        dsa.generate_private_key(2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa", "curve", "dsa", "ed25519"],
)
def test_keys_that_devices_must_not_have(key):
    with pytest.raises(InputError, match="neither RSA of 2048 bits"):
        HERE.read(CA.sign(public_key=key.public_key()))
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        with pytest.raises(InputError, match="neither RSA of 2048 bits"):
            HERE.issue_for(AUTHORITY, request(key), NOW)


def test_what_is_issued_is_a_clients_and_lasts_as_long_as_on_aws():
    keys = asyncio.run(HERE.new_keys())
    certificate = loaded(HERE.issue(AUTHORITY, keys.public, NOW).pem)
    private = serialization.load_pem_private_key(keys.private.encode(), password=None)
    assert private.public_key() == certificate.public_key()
    assert private.key_size == 2048
    certificate.verify_directly_issued_by(loaded(AUTHORITY.pem))
    assert certificate.subject == name("AWS IoT Certificate")
    assert certificate.not_valid_after_utc == datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert certificate.not_valid_before_utc == NOW - timedelta(minutes=5)
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca


def test_a_request_keeps_its_subject_and_gets_one_where_it_has_none():
    issued = HERE.issue_for(AUTHORITY, request(common_name="lamp"), NOW)
    assert issued.common_names == ("lamp",)
    assert HERE.issue_for(AUTHORITY, request(common_name=""), NOW).common_names == (
        "AWS IoT Certificate",
    )


def test_a_request_that_its_key_has_not_signed_is_refused():
    der = bytearray(x509.load_pem_x509_csr(request().encode()).public_bytes(DER))
    der[-1] ^= 1
    text = pem(x509.load_der_x509_csr(bytes(der)))
    with pytest.raises(InputError):
        HERE.issue_for(AUTHORITY, text, NOW)


def test_a_request_of_a_version_that_is_none_is_refused():
    der = x509.load_pem_x509_csr(request().encode()).public_bytes(DER)
    # Its first number.
    later = der.replace(b"\x02\x01\x00", b"\x02\x01\x01", 1)
    with pytest.raises(InputError, match="not a certificate signing request"):
        HERE.issue_for(AUTHORITY, armoured("CERTIFICATE REQUEST", later), NOW)


DER = serialization.Encoding.DER


def armoured(label, der):
    body = __import__("base64").encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


REAL = {
    "CERTIFICATE": [loaded(each).public_bytes(DER) for each in (CA.pem, CA.sign())],
    "CERTIFICATE REQUEST": [x509.load_pem_x509_csr(request().encode()).public_bytes(DER)],
}


@st.composite
def texts(draw, label):
    """Anything, and real ones with some bytes changed, removed or added."""
    kind = draw(st.sampled_from(["text", "bytes", "changed"]))
    if kind == "text":
        return draw(st.text())
    if kind == "bytes":
        return armoured(label, draw(st.binary()))
    der = bytearray(draw(st.sampled_from(REAL[label])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(der) - 1))
        match draw(st.sampled_from(["set", "cut", "add"])):
            case "set":
                der[at] = draw(st.integers(0, 255))
            case "cut":
                del der[at : at + draw(st.integers(1, 4))]
            case "add":
                der[at:at] = draw(st.binary(max_size=4))
    return armoured(label, bytes(der))


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(texts("CERTIFICATE"))
def test_no_text_makes_anything_but_a_certificate_or_that_error(text):
    try:
        found = HERE.read(text)
    except InputError:
        return
    assert HERE.read(found.pem) == found
    assert HERE.is_issued_by(found.pem, CA.pem) in (True, False)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(texts("CERTIFICATE REQUEST"))
def test_no_text_makes_anything_but_a_request_or_that_error(text):
    try:
        issued = HERE.issue_for(AUTHORITY, text, NOW)
    except InputError:
        return
    assert HERE.is_issued_by(issued.pem, AUTHORITY.pem)


# The CAs of a system


def test_a_ca_signs_wherever_its_key_opens_and_nowhere_else():
    elsewhere = DeviceX509(Sealing(b"k" * KEY_BYTES))
    assert elsewhere.may_sign(AUTHORITY)
    issued = elsewhere.issue_for(AUTHORITY, request(), NOW)
    assert HERE.is_issued_by(issued.pem, AUTHORITY.pem)
    for other in (DeviceX509(Sealing(b"x" * KEY_BYTES)), DeviceX509(None)):
        assert not other.may_sign(AUTHORITY)
        with pytest.raises(InputError):
            other.issue_for(AUTHORITY, request(), NOW)


def test_a_key_is_of_one_ca_and_cannot_be_moved_to_another():
    other = HERE.new_authority(NOW)
    assert other.id != AUTHORITY.id
    assert not HERE.may_sign(Authority(other.id, other.pem, AUTHORITY.sealed))
    assert not HERE.may_sign(Authority(AUTHORITY.id, other.pem, AUTHORITY.sealed))
    assert not HERE.may_sign(Authority("", "", ""))


def test_without_a_key_to_seal_with_there_is_no_ca():
    with pytest.raises(Unavailable, match="secrets_key"):
        DeviceX509(None).new_authority(NOW)


def test_a_key_is_not_shown_where_its_pair_is():
    keys = asyncio.run(HERE.new_keys())
    assert "PRIVATE" in keys.private
    assert "PRIVATE" not in repr(keys)
    assert "PRIVATE" not in repr(AUTHORITY)


def test_codes_are_of_64_digits_and_by_chance():
    codes = {HERE.new_code() for _ in range(100)}
    assert len(codes) == 100
    assert all(len(bytes.fromhex(each)) == 32 for each in codes)


def test_the_first_code_is_that_of_the_key_that_seals():
    first = HERE.first_code()
    assert len(bytes.fromhex(first)) == 32
    assert DeviceX509(Sealing(b"o" * KEY_BYTES)).first_code() != first
    with pytest.raises(Unavailable, match="no key"):
        DeviceX509(None).first_code()


def test_the_subject_of_a_ca_is_its_own():
    subjects = {loaded(HERE.new_authority(NOW).pem).subject for _ in range(3)}
    assert len(subjects) == 3
    (organization,) = loaded(AUTHORITY.pem).subject.get_attributes_for_oid(
        NameOID.ORGANIZATION_NAME
    )
    assert organization.value == "Isthmus"
