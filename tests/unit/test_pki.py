"""Certificates verify where they should, nowhere else, and are kept from run to run."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isthmus.adapters.pki import Pki, certificate_id, load_certificate, validity
from isthmus.errors import ConfigError, InputError

NAMES = ["iot.example.com", "eu.iot.example.com"]
ADDRESSES = ["127.0.1.1", "::1"]


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki") / "deep" / "er")


def server_context(identity, ca_file):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.chain, identity.key)
    context.load_verify_locations(ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    # The devices CA is an intermediate, and is trusted as it is.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    return context


def client_context(identity, ca_file, *, is_chain_sent=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(identity.chain if is_chain_sent else identity.certificate, identity.key)
    context.load_verify_locations(ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def handshake(server, client, hostname):
    """A whole TLS handshake and one byte each way through memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=hostname)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)

    def step(action):
        try:
            return action()
        except ssl.SSLWantReadError:
            return None

    for _ in range(4):
        step(ours.do_handshake)
        step(theirs.do_handshake)
    # With TLS 1.3 the client's certificate is refused only after its own handshake is done.
    ours.write(b"?")
    assert theirs.read(1) == b"?"
    theirs.write(b"!")
    assert ours.read(1) == b"!"
    return dict(field for each in theirs.getpeercert()["subject"] for field in each)


@pytest.mark.parametrize("hostname", [*NAMES, *ADDRESSES])
@pytest.mark.parametrize("is_chain_sent", [False, True])
def test_a_device_and_a_gateway_verify_each_other(pki, hostname, is_chain_sent):
    server = server_context(pki.gateway("eu", NAMES, ADDRESSES), pki.devices_ca_file)
    client = client_context(pki.device("v-1"), pki.ca_file, is_chain_sent=is_chain_sent)
    assert handshake(server, client, hostname)["commonName"] == "v-1"


@pytest.mark.parametrize("hostname", ["us.iot.example.com", "example.com", "127.0.2.1"])
def test_a_wrong_name_is_refused(pki, hostname):
    server = server_context(pki.gateway("eu", NAMES, ADDRESSES), pki.devices_ca_file)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(server, client_context(pki.device("v-1"), pki.ca_file), hostname)


def test_a_device_is_never_taken_for_an_operator_or_a_server(pki):
    for is_chain_sent in (False, True):
        server = server_context(pki.api("eu", NAMES, ADDRESSES), pki.internal_ca_file)
        client = client_context(pki.device("v-1"), pki.ca_file, is_chain_sent=is_chain_sent)
        with pytest.raises(ssl.SSLError, match="certificate verify failed"):
            handshake(server, client, NAMES[0])
    pretender = server_context(pki.device("v-1"), pki.devices_ca_file)
    client = client_context(pki.device("v-2"), pki.ca_file)
    client.check_hostname = False
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(pretender, client, None)


def test_operators_and_sites_are_told_apart_by_their_unit(pki):
    site = pki.site("witness", ["witness.example.com"], [])
    server = server_context(site, pki.internal_ca_file)
    seen = []
    for identity in (pki.operator("alice"), pki.site("eu", ["eu.example.com"], [])):
        client = client_context(identity, pki.internal_ca_file)
        seen.append(handshake(server, client, "witness.example.com")["organizationalUnitName"])
    assert seen == ["operator", "site"]
    client = client_context(pki.operator("alice"), pki.ca_file)
    with pytest.raises(ssl.SSLError, match="verify failed"):
        handshake(server, client, "witness.example.com")


def test_an_operator_speaks_to_an_api_and_to_nats(pki):
    api = server_context(pki.api("eu", ["api.example.com"], []), pki.internal_ca_file)
    client = client_context(pki.operator("alice"), pki.ca_file)
    assert handshake(api, client, "api.example.com")["commonName"] == "alice"
    nats = server_context(pki.nats("eu", [], ["127.0.1.1"]), pki.internal_ca_file)
    peer = client_context(pki.nats("us", [], ["127.0.2.1"]), pki.internal_ca_file)
    assert handshake(nats, peer, "127.0.1.1")["organizationalUnitName"] == "nats"


def test_another_systems_certificates_are_strangers(pki, tmp_path):
    other = Pki(tmp_path / "other")
    server = server_context(pki.gateway("eu", NAMES, ADDRESSES), pki.devices_ca_file)
    with pytest.raises(ssl.SSLError, match="verify failed"):
        handshake(server, client_context(other.device("v-1"), pki.ca_file), NAMES[0])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client_context(pki.device("v-1"), other.ca_file), NAMES[0])


def test_the_extensions_are_those_of_the_profile(pki):
    leaf_file = pki.gateway("eu", NAMES, ADDRESSES).certificate
    leaf, intermediate = x509.load_pem_x509_certificates(leaf_file.read_bytes())
    root = load_certificate(pki.ca_file.read_bytes())
    internal = load_certificate(pki.internal_ca_file.read_bytes())
    devices = load_certificate(pki.devices_ca_file.read_bytes())
    lengths = ((leaf, None), (intermediate, 0), (devices, 0), (internal, 0), (root, 1))
    expected = [(each, length is not None, length) for each, length in lengths]
    for certificate, is_ca, path_length in expected:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert basic.critical
        assert (basic.value.ca, basic.value.path_length) == (is_ca, path_length)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert (usage.value.key_cert_sign, usage.value.digital_signature) == (is_ca, not is_ca)
        assert isinstance(certificate.public_key().curve, ec.SECP256R1)
    for signed, signer in ((leaf, intermediate), (intermediate, root)):
        signed.verify_directly_issued_by(signer)
        own = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        named = signed.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert named.key_identifier == own
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == NAMES
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address(each) for each in ADDRESSES
    ]
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH]
    age = datetime.now(UTC) - leaf.not_valid_before_utc
    assert timedelta(minutes=5) <= age < timedelta(minutes=7)
    assert len({each.serial_number for each in (leaf, intermediate, root, internal)}) == 4


def test_the_id_is_the_hash_of_the_der(pki):
    identity = pki.device("v-1")
    pem = identity.certificate.read_text()
    assert identity.certificate_id == certificate_id(pem) == certificate_id(pem.encode())
    assert identity.certificate_id == hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    assert len(x509.load_pem_x509_certificates(identity.certificate.read_bytes())) == 1
    assert len(x509.load_pem_x509_certificates(identity.chain.read_bytes())) == 2
    assert certificate_id(identity.chain.read_bytes()) == identity.certificate_id
    begins, ends = validity(pem)
    assert begins < datetime.now(UTC) < ends


@pytest.mark.parametrize(
    "garbage", ["", b"\xff\x00", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_garbage_is_not_a_certificate(garbage):
    for function in (load_certificate, certificate_id, validity):
        with pytest.raises(InputError, match="not a PEM certificate"):
            function(garbage)


def snapshot(directory):
    return {
        path.relative_to(directory): (path.stat().st_mtime_ns, path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
    }


def make_everything(directory, now=None):
    pki = Pki(directory, *([now] if now else []))
    return [
        pki.device("v-1"),
        pki.gateway("eu", NAMES, ADDRESSES),
        pki.api("eu", NAMES, ADDRESSES),
        pki.nats("eu", [], ADDRESSES),
        pki.site("eu", NAMES, []),
        pki.operator("alice"),
    ]


def test_keys_are_their_owners_only_under_any_umask(tmp_path):
    previous = os.umask(0)
    try:
        make_everything(tmp_path / "pki")
    finally:
        os.umask(previous)
    for path in (tmp_path / "pki", *(tmp_path / "pki").rglob("*")):
        expected = 0o700 if path.is_dir() else 0o600 if path.suffix == ".key" else 0o644
        assert path.stat().st_mode & 0o777 == expected, path
        assert path.is_dir() or path.suffix in (".key", ".pem"), path


def test_a_key_has_its_mode_before_it_has_content(tmp_path, monkeypatch):
    modes = []
    real = os.open

    def watched(path, flags, mode=0o777, **more):
        modes.append((flags & (os.O_CREAT | os.O_EXCL), mode))
        return real(path, flags, mode, **more)

    pki = Pki(tmp_path / "pki")
    monkeypatch.setattr(os, "open", watched)
    monkeypatch.setattr(os, "chmod", None)
    pki.operator("alice")
    assert (os.O_CREAT | os.O_EXCL, 0o600) in modes


def test_a_second_run_uses_what_is_there(tmp_path):
    first = make_everything(tmp_path / "pki")
    before = snapshot(tmp_path / "pki")
    assert make_everything(tmp_path / "pki") == first
    assert snapshot(tmp_path / "pki") == before


def test_leaves_are_renewed_before_they_end_and_authorities_keep_their_keys(tmp_path):
    directory = tmp_path / "pki"
    ids = [each.certificate_id for each in make_everything(directory)]
    in_a_year = datetime.now(UTC) + timedelta(days=380)
    later = [each.certificate_id for each in make_everything(directory, lambda: in_a_year)]
    assert later[0] == ids[0]
    assert not set(later[1:]) & set(ids[1:])

    root_before = (directory / "root-ca.pem").read_bytes()
    key_before = (directory / "root-ca.key").read_bytes()
    late = datetime.now(UTC) + timedelta(days=16.5 * 365)
    device = validity(Pki(directory, lambda: late).device("v-1").certificate.read_bytes())
    assert device.not_after == validity((directory / "devices-ca.pem").read_bytes()).not_after

    far = datetime.now(UTC) + timedelta(days=18 * 365)
    renewed = make_everything(directory, lambda: far)
    assert (directory / "root-ca.pem").read_bytes() != root_before
    assert (directory / "root-ca.key").read_bytes() == key_before
    leaf, intermediate = x509.load_pem_x509_certificates(renewed[1].chain.read_bytes())
    assert leaf.not_valid_after_utc <= intermediate.not_valid_after_utc
    intermediate.verify_directly_issued_by(load_certificate(root_before))


def test_a_renewed_intermediate_reaches_the_files_of_leaves_that_stay(tmp_path):
    directory = tmp_path / "pki"
    device = Pki(directory).device("v-1")
    for name in ("devices-ca.pem", "servers-ca.pem"):
        (directory / name).unlink()
    again = Pki(directory)
    assert again.device("v-1") == device
    chain = x509.load_pem_x509_certificates(device.chain.read_bytes())
    assert chain[1] == load_certificate(again.devices_ca_file.read_bytes())


def test_other_names_make_another_certificate(tmp_path):
    pki = Pki(tmp_path / "pki")
    first = pki.gateway("eu", NAMES, ADDRESSES)
    second = pki.gateway("eu", NAMES, [*ADDRESSES, "127.0.9.1"])
    assert first.certificate == second.certificate
    assert first.certificate_id != second.certificate_id
    assert pki.gateway("eu", NAMES * 2, [*ADDRESSES, "127.0.9.1"]) == second


DAMAGES = ["no key", "no certificate", "garbage", "other key", "empty key", "other", "stranger"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_leaf_is_made_anew(tmp_path, damage):
    pki = Pki(tmp_path / "pki")
    identity, other = pki.device("v-1"), pki.device("v-2")
    match damage:
        case "no key":
            identity.key.unlink()
        case "no certificate":
            identity.certificate.unlink()
        case "garbage":
            identity.certificate.write_bytes(b"\x00")
        case "other key":
            identity.key.write_bytes(other.key.read_bytes())
        case "empty key":
            identity.key.write_bytes(b"")
        case "other":
            identity.key.write_bytes(other.key.read_bytes())
            identity.certificate.write_bytes(other.certificate.read_bytes())
        case "stranger":
            stranger = other = Pki(tmp_path / "other").device("v-1")
            identity.key.write_bytes(stranger.key.read_bytes())
            identity.certificate.write_bytes(stranger.certificate.read_bytes())
    taken = {identity.certificate_id, other.certificate_id}
    again = pki.device("v-1")
    assert again.certificate_id not in taken
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(again.certificate, again.key)
    assert pki.device("v-1") == again


@pytest.mark.parametrize("damage", ["no key", "garbage", "other key", "empty key", "other root"])
def test_a_broken_authority_is_never_replaced_silently(tmp_path, damage):
    directory = tmp_path / "pki"
    Pki(directory)
    certificate, key = directory / "devices-ca.pem", directory / "devices-ca.key"
    match damage:
        case "no key":
            key.unlink()
        case "garbage":
            certificate.write_bytes(b"\x00")
        case "other key":
            key.write_bytes((directory / "root-ca.key").read_bytes())
        case "empty key":
            key.write_bytes(b"")
        case "other root":
            for each in ("root-ca.pem", "root-ca.key"):
                (directory / each).unlink()
    before = certificate.read_bytes()
    with pytest.raises(ConfigError, match="devices-ca"):
        Pki(directory)
    assert certificate.read_bytes() == before


def test_what_others_can_read_is_refused(tmp_path):
    directory = tmp_path / "pki"
    key = Pki(directory).device("v-1").key
    key.chmod(0o640)
    with pytest.raises(ConfigError, match=r"v-1\.key is open to others"):
        Pki(directory).device("v-1")
    key.chmod(0o600)
    directory.chmod(0o755)
    with pytest.raises(ConfigError, match="pki is open to others"):
        Pki(directory)


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a b", "x" * 129, "é"])
def test_a_name_is_never_a_path(pki, name):
    for make in (pki.device, pki.operator):
        with pytest.raises(InputError, match="is named"):
            make(name)


def test_a_long_device_name_is_cut_in_the_subject_only(pki):
    first, second = pki.device("x" * 128), pki.device("x" * 127)
    subject = load_certificate(first.certificate.read_bytes()).subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "x" * 64
    assert first.certificate_id != second.certificate_id


@pytest.mark.parametrize(
    ("names", "addresses"), [([], []), (["é.example.com"], []), ([], ["127.0.0.256"])]
)
def test_a_server_needs_something_to_be_verified_by(pki, names, addresses):
    with pytest.raises(InputError, match="gateway 'eu'"):
        pki.gateway("eu", names, addresses)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    pki = Pki(tmp_path / "pki")
    pki.device("v-0")
    before = snapshot(tmp_path / "pki")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        pki.device("v-1")
    assert snapshot(tmp_path / "pki") == before
