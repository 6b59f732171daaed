"""What is sealed opens with its key and for its purpose, and with nothing else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters import private_files
from isthmus.adapters.sealing import Sealing, make_key
from isthmus.errors import ConfigError, InputError

SEALING, OTHER = Sealing(bytes(32)), Sealing(b"\1" * 32)


@given(st.text(st.characters(codec="utf-8"), max_size=50), st.text(st.characters(codec="utf-8")))
def test_what_is_sealed_opens_for_its_purpose_only(secret: str, purpose: str) -> None:
    sealed = SEALING.seal(secret, purpose)
    assert sealed != SEALING.seal(secret, purpose)
    assert SEALING.open(sealed, purpose) == secret
    for sealing, other in ((OTHER, purpose), (SEALING, purpose + "x")):
        with pytest.raises(InputError):
            sealing.open(sealed, other)


@given(st.one_of(st.text(), st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode())))
def test_garbage_does_not_open(garbage: str) -> None:
    with pytest.raises(InputError):
        SEALING.open(garbage, "purpose")


def test_what_follows_from_a_key_is_the_same_for_one_purpose_and_no_other() -> None:
    derived = {SEALING.derive("a"), SEALING.derive("b"), OTHER.derive("a")}
    assert len(derived) == 3
    assert all(len(bytes.fromhex(each)) == 32 for each in derived)
    assert Sealing(bytes(32)).derive("a") in derived


def test_a_changed_bit_does_not_open() -> None:
    raw = bytearray(base64.b64decode(SEALING.seal("secret", "purpose")))
    for place in range(len(raw)):
        raw[place] ^= 1
        with pytest.raises(InputError):
            SEALING.open(base64.b64encode(raw).decode(), "purpose")
        raw[place] ^= 1


def test_a_key_is_made_once_for_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    make_key(file)
    sealed = Sealing.load(file).seal("secret", "purpose")
    make_key(file)
    assert Sealing.load(file).open(sealed, "purpose") == "secret"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        Sealing.load(file)


@pytest.mark.parametrize("content", [b"", b"00" * 31, b"00" * 33, b"G0" * 32, b"00" * 32 + b"\n\n"])
def test_a_broken_key_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secrets.key"
    private_files.write(file, content)
    with pytest.raises(ConfigError) as refused:
        Sealing.load(file)
    assert str(refused.value) == f"{file} is not 64 hex digits in lower case"


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        Sealing.load(tmp_path / "secrets.key")
