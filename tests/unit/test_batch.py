"""A batch is read back as it was written, by this release and by others."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.batch import Batch, Message, Source, batch_id, carried_by, decode, encode
from isthmus.core.presence import Present, Word
from isthmus.errors import InputError
from isthmus.wire.properties import PublishProperties

TEXT = st.text(max_size=5)
SOURCES = st.builds(Source, TEXT, TEXT, TEXT)
MESSAGES = st.builds(
    Message,
    st.integers(0, 3),
    TEXT,
    st.binary(max_size=5),
    st.integers(0, 1),
    st.booleans(),
    st.integers(0, 2**50),
    TEXT,
    st.none()
    | st.builds(
        PublishProperties,
        st.none() | st.integers(0, 1),
        st.none() | st.integers(0, 2**32 - 1),
        st.none() | TEXT,
        st.none() | st.binary(max_size=3),
        st.none() | TEXT,
        st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
        st.just(()),
    ),
)
WORDS = st.builds(
    Word,
    TEXT,
    st.integers(0, 2**53),
    TEXT,
    TEXT,
    st.builds(Present, TEXT, st.integers(0, 2**53), TEXT, TEXT),
    st.booleans(),
)
BATCHES = st.builds(
    Batch,
    TEXT,
    TEXT,
    st.integers(1, 2**40),
    st.lists(SOURCES, max_size=3).map(tuple),
    st.lists(MESSAGES, max_size=3).map(tuple),
    st.lists(st.binary(max_size=5), max_size=3).map(tuple),
    st.lists(WORDS, max_size=3).map(tuple),
)


@given(BATCHES)
def test_a_batch_is_read_back(batch):
    assert decode(encode(batch)) == batch


@given(BATCHES)
def test_what_it_carries_is_read_without_its_messages(batch):
    carried = carried_by(encode(batch))
    assert (carried.items, carried.presence) == (batch.items, batch.presence)


def test_a_batch_of_a_release_that_knew_of_nothing_to_carry_has_none():
    raw = msgspec.msgpack.encode(["eu", "w", 1, [], []])
    assert decode(raw).items == carried_by(raw).items == ()
    assert decode(raw).presence == carried_by(raw).presence == ()


@given(BATCHES, st.data())
def test_a_batch_that_was_cut_off_is_refused(batch, data):
    raw = encode(batch)
    with pytest.raises(InputError):
        decode(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(BATCHES)
def test_fields_that_a_later_release_adds_at_the_end_are_passed_over(batch):
    origin, writer, number, sources, messages, *carried = msgspec.msgpack.decode(encode(batch))
    later = [[*each, "later"] for each in messages]
    raw = [origin, writer, number, [[*each, 1] for each in sources], later, *carried, {"more": 1}]
    assert decode(msgspec.msgpack.encode(raw)) == batch


def test_a_message_of_a_release_that_knew_no_identity_has_none():
    raw = ["eu", "w", 1, [["c", "client", "p"]], [[0, "t", b"x", 1, False, 5]]]
    assert decode(msgspec.msgpack.encode(raw)).messages[0].id == ""


def test_a_message_of_a_release_that_knew_no_properties_has_none():
    raw = ["eu", "w", 1, [["c", "client", "p"]], [[0, "t", b"x", 1, False, 5, "id"]]]
    (message,) = decode(msgspec.msgpack.encode(raw)).messages
    assert (message.id, message.properties) == ("id", None)


def test_properties_are_stored_in_an_order_that_never_changes():
    """Releases agree on this array; one with fewer fields is read too."""
    properties = PublishProperties(
        payload_format=1,
        message_expiry_s=60,
        response_topic="re",
        correlation_data=b"\1",
        content_type="text/plain",
        user_properties=(("k", "v"),),
    )
    stored = [1, 60, "re", b"\1", "text/plain", [["k", "v"]], []]
    message = Message(0, "t", b"x", 1, False, 5, "", properties)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message))[7] == stored
    raw = ["eu", "w", 1, [["c", "client", "p"]], [[0, "t", b"x", 1, False, 5, "", stored[:6]]]]
    assert decode(msgspec.msgpack.encode(raw)).messages == (message,)


def test_the_id_names_writer_and_number():
    assert batch_id("ab12", 7) == "ab12:7"
