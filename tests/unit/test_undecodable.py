"""What another process wrote is refused when it cannot be read, and nothing escapes the refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus import protocol
from isthmus.core import batch, item
from isthmus.errors import InputError

SOURCE = Path(__file__).parents[2] / "src"
NOT_UTF8 = b'{"gateway": "\x80"}'
DEEP = b"[" * 100_000
READERS = {
    "a message between processes": lambda raw: protocol.decode(raw, protocol.WillRequest),
    "a message that holds anything": lambda raw: protocol.decode(raw, dict),
    "an item": item.decode,
    "a batch": batch.decode,
    "what a batch carries": batch.carried_by,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@given(raw=st.binary(max_size=80))
@example(raw=NOT_UTF8)
@example(raw=DEEP)
@example(raw=b"\x95\xd9\x02\x00\x80")
@example(raw=b"\x91" * 100_000)
def test_whatever_comes_is_read_or_refused(read, raw):
    try:
        read(raw)
    except InputError:
        return


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("raw", [NOT_UTF8, DEEP], ids=["not UTF-8", "too deep"])
def test_text_that_is_none_and_too_deep_a_nesting_are_refused(read, raw):
    with pytest.raises(InputError):
        read(raw)


def test_one_place_says_what_a_decoder_raises():
    named = [
        path.name for path in SOURCE.rglob("*.py") if "msgspec.DecodeError" in path.read_text()
    ]
    assert named == ["undecodable.py"]
