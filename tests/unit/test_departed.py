"""Who ends a session that its gateway cannot, and when a will is due."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import departed, sessions
from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.core.place import Place
from isthmus.core.sessions import Hold, Owner, State
from isthmus.core.whereabouts import Whereabouts
from isthmus.wire.packets import Will

PLACES = {"eu": Place(3, "w:3")}


def claimed(delay_s: int | None = None, expiry_s: int = 60) -> Item:
    will = None if delay_s is None else Will("t", b"gone", delay_s=delay_s)
    owner = Owner(
        region="eu", gateway="g", turn=0, level=5, expiry_s=expiry_s, places=PLACES, will=will
    )
    return Hold("car", 1, "eu", "c1").claim(owner, begins=True)


def state(item: Item) -> State:
    return sessions.read(item)


def ended(item: Item, now_ms: int) -> Item:
    found = state(item)
    left = departed.ended(found, found.given(None), now_ms)
    assert left is not None
    return items.join(item, sessions.end(item, left))


def test_a_session_ends_where_its_client_stood_and_lasts_as_long_as_it_asked():
    item = ended(claimed(), 5_000)
    found = state(item)
    assert (found.left.places, found.left.at_ms) == (PLACES, 5_000)
    assert [found.is_over(at) for at in (64_999, 65_000)] == [False, True]
    assert departed.ended(found, found.given(None), 6_000) is None
    assert departed.ended(State(), ({}, ()), 6_000) is None


@pytest.mark.parametrize(
    ("delay_s", "expiry_s", "due_ms"),
    [(0, 0, 5_000), (2, 60, 7_000), (90, 60, 65_000), (9, 0, 5_000)],
)
def test_a_will_is_due_after_its_delay_or_with_the_session(delay_s, expiry_s, due_ms):
    found = state(ended(claimed(delay_s, expiry_s), 5_000))
    for lives, due_at in ((False, due_ms), (True, due_ms + departed.GRACE_MS)):
        due = [
            departed.is_will_due(found, gateway_lives=lives, now_ms=at)
            for at in (due_at - 1, due_at)
        ]
        assert due == [False, True]


def test_without_a_will_or_after_it_nothing_is_due():
    assert not departed.is_will_due(state(claimed(0)), gateway_lives=False, now_ms=10**9)
    item = ended(claimed(), 5_000)
    assert not departed.is_will_due(state(item), gateway_lives=False, now_ms=10**9)


def test_two_survivors_that_end_a_session_at_once_agree():
    item = claimed(0)
    one, other = ended(item, 5_000), ended(item, 5_100)
    assert items.join(one, other).encode() == items.join(other, one).encode()
    assert state(items.join(one, other)).left is not None


@pytest.mark.parametrize(
    ("own", "region", "heard", "acts"),
    [
        ("eu", "eu", set(), True),
        ("us", "eu", set(), True),
        ("us", "eu", {"eu"}, False),
        ("us", "eu", {"ap"}, False),
        ("ap", "eu", {"us"}, True),
    ],
)
def test_of_the_survivors_one_acts(own, region, heard, acts):
    assert departed.acts_for(own, region, ["ap", "eu", "us"], heard.__contains__) is acts


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["eu", "us", "left", "none"]))))
def test_a_client_is_where_its_session_was_last(history):
    whereabouts, last = Whereabouts(), {}
    for client, where in history:
        found = State()
        if where != "none":
            owner = state(claimed(0)).owner
            found = State(1, msgspec.structs.replace(owner, region=where))
        if where == "left":
            found = found._replace(left=departed.ended(found, (PLACES, ()), 0))
        whereabouts.note(client, departed.place_of(found))
        last[client] = where
    wanted: dict[tuple[str, str], set[str]] = {}
    for client, where in last.items():
        if where in ("eu", "us"):
            wanted.setdefault((where, "g"), set()).add(client)
    assert whereabouts.clients == wanted
