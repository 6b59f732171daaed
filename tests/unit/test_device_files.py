"""A device's key is its owner's, is whole or not there, and is never written over."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

from isthmus.adapters.device_files import DeviceFiles
from isthmus.adapters.pki import Pki
from isthmus.errors import ConfigError, InputError


@pytest.fixture
def files(tmp_path: Path) -> DeviceFiles:
    made = DeviceFiles(tmp_path / "lamp", "lamp")
    made.make_key()
    return made


def test_a_key_is_for_its_owner_only_and_stays_when_it_is_asked_for_again(files):
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.key.parent.stat().st_mode) == 0o700
    before = files.key.read_bytes()
    files.make_key()
    assert files.key.read_bytes() == before
    assert list(files.key.parent.iterdir()) == [files.key]


def test_a_key_that_another_run_has_made_meanwhile_stays(files, monkeypatch):
    before = files.key.read_bytes()
    monkeypatch.setattr(DeviceFiles, "has_key", False)
    files.make_key()
    assert files.key.read_bytes() == before
    assert list(files.key.parent.iterdir()) == [files.key]


def test_a_request_is_for_this_key_and_says_nothing_of_it_but_the_public_half(files):
    request = x509.load_pem_x509_csr(files.request().encode())
    assert request.is_signature_valid
    assert "PRIVATE" not in files.request()
    again = x509.load_pem_x509_csr(files.request().encode())
    assert again.public_key() == request.public_key()


def test_a_name_that_is_longer_than_a_subject_may_be_is_cut(tmp_path):
    made = DeviceFiles(tmp_path, "x" * 128)
    made.make_key()
    request = x509.load_pem_x509_csr(made.request().encode())
    assert "CN=" + "x" * 64 in request.subject.rfc4514_string()


def test_what_is_no_key_and_what_others_can_read_is_refused(files):
    files.key.chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        files.request()
    files.key.chmod(0o600)
    files.key.write_bytes(b"garbage")
    with pytest.raises(ConfigError, match="is not a key"):
        files.request()


def test_a_certificate_of_another_key_is_not_the_devices(files, tmp_path):
    assert files.certificate_id == ""
    other = Pki(tmp_path / "pki").device("other")
    files.keep(other.certificate.read_text(), b"ca")
    with pytest.raises(InputError, match="is not the certificate of"):
        _ = files.certificate_id
    files.key.write_bytes(other.key.read_bytes())
    assert files.certificate_id == other.certificate_id
    assert files.ca.read_bytes() == b"ca"
