"""The topics of shadows: what is asked on them, and what is told of which shadow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import shadow_topics, shadows
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import ShadowRefused, read_update
from isthmus.core.shadow_topics import ASKED, TOLD, Request, request, told
from isthmus.core.shadows import SHADOW
from isthmus.core.stamp import StampClock
from isthmus.wire.topics import matches

THINGS = st.from_regex(r"[a-zA-Z0-9:_-]{1,128}", fullmatch=True)
NAMES = st.none() | st.from_regex(r"[$a-zA-Z0-9:_-]{1,64}", fullmatch=True)


@given(thing=THINGS, name=NAMES, what=st.sampled_from(["get", "update", "delete"]))
def test_what_is_asked_and_told_is_of_one_shadow(thing, name, what):
    topic = told(shadows.key(thing, name), what, "accepted")
    asked = topic.removesuffix("/accepted")
    assert request(asked) == Request(thing, name, what)
    assert request(asked).key == shadows.key(thing, name)
    assert any(matches(each, asked) for each in ASKED)
    assert any(matches(each, topic) for each in TOLD)


@pytest.mark.parametrize(
    ("thing", "name", "message"),
    [
        ("", None, "Invalid thing name"),
        ("a b", None, "Invalid thing name"),
        ("a~b", None, "Invalid thing name"),
        ("x" * 129, None, "Invalid thing name"),
        ("thing", "", "Invalid shadow name"),
        ("thing", "ä", "Invalid shadow name"),
        ("thing", "x" * 65, "Invalid shadow name"),
    ],
)
def test_what_can_be_no_shadow_is_refused(thing, name, message):
    with pytest.raises(ShadowRefused, match=message):
        _ = Request(thing, name, "get").key


def writer() -> Writer:
    return Writer(StampClock("eu", "i"), 1000)


def update(item: Item, payload: bytes) -> shadows.Updated:
    return shadows.update(item, writer(), read_update(payload))


def test_what_is_left_to_do_is_told_last():
    updated = update(Item(SHADOW, "t"), b'{"state":{"desired":{"a":1}}}')
    ends = [topic.rsplit("/", 2)[1:] for topic, _ in shadow_topics.of_update(updated)]
    assert ends == [["update", "accepted"], ["update", "documents"], ["update", "delta"]]
    done = update(updated.item, b'{"state":{"reported":{"a":1}}}')
    assert len(shadow_topics.of_update(done)) == 2


def test_again_is_told_what_is_left_to_do():
    wanted = update(Item(SHADOW, "t"), b'{"state":{"desired":{"a":1}}}').item
    ((topic, _),) = shadow_topics.again(wanted)
    assert topic.endswith("/update/delta")
    done = update(wanted, b'{"state":{"reported":{"a":1}}}').item
    assert shadow_topics.again(done) == []
    assert shadow_topics.again(shadows.delete(wanted, writer()).item) == []
