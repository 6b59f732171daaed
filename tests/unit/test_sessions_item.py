"""A session's item: the newest connection's word holds, in whatever order regions hear it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Latest
from isthmus.core.place import ALL, Owed, Place
from isthmus.core.session import Granted
from isthmus.core.sessions import (
    SESSION,
    Hold,
    Left,
    Owner,
    Progress,
    floor,
    read,
    read_progress,
    tell_progress,
)
from isthmus.core.stamp import Stamp
from isthmus.wire.packets import Will
from isthmus.wire.properties import PublishProperties

NOTHING = Item(SESSION, "car")
PLACES = {"eu": Place(7, "w:3"), "us": Place(2, "v:1", given=3)}
OWED = (Owed("eu", 6, "w:2", 4, packet_id=9),)


def owner(gateway: str = "g", expiry_s: int = 60, **fields) -> Owner:
    fields = {"turn": 1, "level": 4, "places": PLACES} | fields
    return Owner(region="eu", gateway=gateway, expiry_s=expiry_s, **fields)


def left(at_ms: int = 1_000, expiry_s: int = 60, **fields) -> Left:
    return Left(at_ms=at_ms, expiry_s=expiry_s, **{"places": {}} | fields)


def joined(*parts: Item) -> Item:
    found = NOTHING
    for each in parts:
        found = items.join(found, items.decode(each.encode()))
    return found


def test_a_session_is_read_back_as_it_was_written():
    hold = Hold("car", 1, "eu", "c1")
    will = Will("t", b"\0x", 1, True, 5, PublishProperties(correlation_data=b"\1"))
    mine = owner(owed=OWED, will=will)
    item = joined(hold.claim(mine, begins=True), hold.change({"a/#": Granted(1, True), "b": None}))
    state = read(item)
    assert (state.epoch, state.owner, state.left) == (1, mine, None)
    assert state.filters == {"a/#": Granted(1, True)}
    assert state.owner.will.payload == will.payload
    item = joined(item, hold.leave(left(places=PLACES, owed=OWED)))
    assert read(item).left == left(places=PLACES, owed=OWED)


def test_a_greater_epoch_holds_whatever_the_older_connection_still_writes():
    older, newer = Hold("car", 1, "us", "c9"), Hold("car", 2, "eu", "c1")
    parts = [
        older.claim(owner("old"), begins=True),
        older.change({"a": Granted(1)}),
        newer.claim(owner("new"), begins=False),
        newer.change({"a": Granted(0)}),
        older.change({"a": None}),
        older.leave(left()),
    ]
    found = {joined(*order).encode() for order in itertools.permutations(parts)}
    assert len(found) == 1
    item = items.decode(found.pop())
    assert read(item).owner.gateway == "new"
    assert read(item).left is None
    assert read(item).filters == {"a": Granted(0)}
    assert newer.is_held(item)
    assert not older.is_held(item)


def test_of_two_connections_of_one_epoch_one_holds_and_the_others_leaving_is_its_own():
    eu, us = Hold("car", 1, "eu", "c1"), Hold("car", 1, "us", "c2")
    item = joined(
        eu.claim(owner("at-eu"), begins=True),
        us.claim(owner("at-us"), begins=True),
        eu.leave(left()),
    )
    assert [hold.is_held(item) for hold in (eu, us)] == [False, True]
    assert read(item).left is None
    assert read(joined(item, us.leave(left()))).left == left()


def test_what_an_older_session_subscribed_to_is_not_a_new_ones():
    first, second = Hold("car", 1, "eu", "c1"), Hold("car", 2, "eu", "c2")
    item = joined(
        first.claim(owner(), begins=True),
        first.change({"a": Granted(1), "b": Granted(1)}),
        second.claim(owner(), begins=True),
        second.change({"b": Granted(0)}),
    )
    assert read(item).filters == {"b": Granted(0)}


def test_a_session_is_over_when_its_time_is():
    assert read(NOTHING).is_over(0)
    hold = Hold("car", 1, "eu", "c1")
    item = hold.claim(owner(expiry_s=60), begins=True)
    assert not read(item).is_over(10**12)
    # Who leaves may change how long it lasts.
    item = joined(item, hold.leave(left(1_000, 5)))
    assert [read(item).is_over(at) for at in (0, 5_999, 6_000)] == [False, False, True]
    assert read(hold.claim(owner(expiry_s=0), begins=True)).is_over(0)


def test_what_a_client_was_given_is_told_by_whoever_knows_best():
    hold = Hold("car", 1, "eu", "c1")
    item = hold.claim(owner(turn=3, owed=OWED), begins=False)
    beyond = Progress(turn=4, places={"eu": Place(9, "w:5")})
    before = Progress(turn=3, places={"eu": Place(8, "w:4")})
    assert read(item).given(None) == (PLACES, OWED)
    # Told before the client came: it says nothing of it.
    assert read(item).given(before) == (PLACES, OWED)
    assert read(item).given(beyond) == (beyond.places, ())
    item = joined(item, hold.leave(left(places=PLACES, owed=OWED)))
    assert read(item).given(beyond) == (PLACES, OWED)
    assert read(NOTHING).given(None) == ({}, ())


def test_progress_is_read_back_and_the_last_word_counts():
    first = tell_progress("eu", "g", Progress(turn=1, places={"eu": Place(9, "w:9")}))
    second = tell_progress("eu", "g", Progress(turn=2, places={"eu": Place(8, "w:8")}))
    for order in ((first, second), (second, first)):
        assert read_progress(items.join(*order)).turn == 2
    assert read_progress(None) is read_progress(NOTHING) is None


PLACE = st.builds(Place, st.integers(1, 9), st.just("w:1"), st.sampled_from([0, 3, ALL]))
HAVING = st.tuples(
    st.dictionaries(st.sampled_from(["eu", "us"]), PLACE),
    st.lists(
        st.builds(
            Owed, st.sampled_from(["eu", "us"]), st.integers(1, 9), st.just("w:1"), st.just(0)
        ),
        max_size=3,
    ),
)


@given(st.lists(HAVING, min_size=1, max_size=4))
def test_a_floor_is_passed_by_nobody(found):
    lowest = floor(found)
    for places, owed in found:
        for origin, place in lowest.items():
            assert place.after <= places.get(origin, Place()).after
            assert all(place.after < each.sequence for each in owed if each.origin == origin)


@pytest.mark.parametrize("value", [{}, [], "x", {"region": 1}])
def test_what_nobody_here_can_read_is_nothing(value):
    item = Item(SESSION, "car", {}, Fields({"owner": Latest(Stamp(3, 0, "eu", "c"), value)}))
    assert read(item).owner is None
    assert read(item).is_over(0)
    # Its epoch counts nevertheless: who claims the session must be above it.
    assert read(item).epoch == 3
