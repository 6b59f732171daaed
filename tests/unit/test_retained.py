"""Of a topic the newest message that was published to be kept, in whatever order regions hear."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import carried
from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Flag, Latest
from isthmus.core.retained import RETAINED, Retained, retain, retained
from isthmus.core.stamp import Stamp, StampClock
from isthmus.errors import InputError
from isthmus.wire.packets import Publish
from isthmus.wire.properties import PublishProperties

NOTHING = Item(RETAINED, "t")
PROPERTIES = st.none() | st.builds(
    PublishProperties,
    message_expiry_s=st.none() | st.integers(1, 100),
    content_type=st.none() | st.text(max_size=3),
    correlation_data=st.none() | st.binary(max_size=3),
    user_properties=st.lists(st.tuples(st.text(max_size=2), st.text(max_size=2))).map(tuple),
)


def clock(region: str = "eu") -> StampClock:
    return StampClock(region, "g")


def publish(payload: bytes, qos: int = 1, properties: PublishProperties | None = None) -> Publish:
    return Publish("t", payload, qos, retain=True, properties=properties)


@given(st.binary(min_size=1, max_size=20), st.integers(0, 1), st.integers(0, 2**41), PROPERTIES)
def test_what_is_retained_is_read_back_from_the_log_as_it_was_published(
    payload, qos, at_ms, properties
):
    item = retain(NOTHING, clock(), publish(payload, qos, properties), at_ms)
    found = retained(items.decode(item.encode()))
    assert found == Retained(payload=payload, qos=qos, at_ms=at_ms, properties=properties)
    assert found.publish("t") == publish(payload, qos, properties)


def test_an_empty_payload_leaves_none():
    item = retain(NOTHING, clock(), publish(b"x"), 1)
    assert retained(items.join(item, retain(item, clock(), publish(b""), 2))) is None


def test_whoever_has_seen_a_message_replaces_it_whatever_the_clocks_say():
    first = retain(NOTHING, clock("us"), publish(b"first"), 9_000)
    second = retain(first, clock("eu"), publish(b"second"), 1)
    assert retained(items.join(first, second)).payload == b"second"


def test_two_regions_that_retain_at_once_agree_and_list_no_conflict():
    both = [retain(NOTHING, clock(region), publish(region.encode()), 5) for region in ("eu", "us")]
    joined = {items.join(*order).encode() for order in itertools.permutations(both)}
    assert len(joined) == 1
    assert items.conflicts(*both) == []


def test_what_nobody_here_can_read_is_nothing():
    assert retained(None) is None
    assert retained(NOTHING) is None
    for value in ([], {"payload": 1}, "x"):
        stamp = Stamp(1, 0, "eu", "g")
        assert retained(Item(RETAINED, "t", {}, Fields({"message": Latest(stamp, value)}))) is None


@pytest.mark.parametrize("kind", ["certificate", "policy", "attachment", "thing", "retained2"])
def test_a_batch_carries_nothing_that_gives_rights(kind):
    item = Item(kind, "k", {}, Fields({"revoked": Flag(True)}))
    with pytest.raises(InputError, match="must not carry"):
        carried.read(item.encode())
    assert carried.read(retain(NOTHING, clock(), publish(b"x"), 1).encode()).key == "t"
