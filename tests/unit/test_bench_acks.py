"""The generator's reader of PUBACKs: what it counts, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.bench.acks import AckReader
from isthmus.errors import BrokenInvariant
from isthmus.wire.mqtt3_encode import encode_puback


def pubacks(*packet_ids: int) -> bytes:
    return b"".join(map(encode_puback, packet_ids))


@given(
    ids=st.integers(1, 7),
    bursts=st.lists(st.integers(1, 7), max_size=20),
    cuts=st.lists(st.integers(1, 9), min_size=1),
)
def test_counts_acknowledgements_however_they_are_cut(ids, bursts, cuts):
    reader, sent = AckReader(ids), 0
    for burst in bursts:
        burst = min(burst, ids)
        reader.sent += burst
        data = pubacks(*((sent + each) % ids + 1 for each in range(burst)))
        sent += burst
        complete, place = 0, 0
        while place < len(data):
            piece = data[place : place + cuts[place % len(cuts)]]
            complete += reader.feed(piece)
            place += len(piece)
        assert complete == burst
        assert (reader.acked, reader.owed) == (sent, 0)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (pubacks(2), "40 02 00 02 came after 0 of 3, expected 40 02 00 01"),
        (pubacks(1, 3), "40 02 00 03 came after 0 of 3, expected 40 02 00 02"),
        (pubacks(1, 1), "expected 40 02 00 02"),
        (b"\xd0\x00", "d0 00 came"),
        (pubacks(1, 2, 3, 4), "4 PUBACKs for 3 publishes"),
    ],
)
def test_refuses_what_was_not_sent(answer, said):
    reader = AckReader(8)
    reader.sent = 3
    with pytest.raises(BrokenInvariant, match=said):
        reader.feed(answer)


def test_refuses_more_than_could_be_owed():
    reader = AckReader(2)
    reader.sent = 2
    with pytest.raises(BrokenInvariant, match="expected nothing"):
        reader.feed(pubacks(1, 2, 1, 2, 1))


def test_names_the_packet_whose_beginning_came_before():
    reader = AckReader(8)
    reader.sent = 2
    assert reader.feed(pubacks(1) + b"\x40\x02\x00") == 1
    with pytest.raises(BrokenInvariant, match="09 came after 1 of 2, expected 02"):
        reader.feed(b"\x09")
