"""What is said of subscriptions is what clients did, in that order."""

from __future__ import annotations

import json
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.batch import Source
from isthmus.core.subscription_events import TOPICS_MAX, Change, event, gathered

#: A client subscribes to a filter, or to one that it has, or leaves one.
DONE = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()), max_size=40
)


def noted(done):
    """What sessions note of that: a filter that they have they leave before they take it again."""
    held = {"a": set(), "b": set()}
    for client, topic_filter, is_subscribed in done:
        if topic_filter in held[client]:
            yield client, topic_filter, False
            held[client].discard(topic_filter)
        if is_subscribed:
            yield client, topic_filter, True
            held[client].add(topic_filter)


@given(DONE)
def test_whoever_hears_all_events_knows_what_a_client_is_subscribed_to(done):
    heard, held = {"a": set(), "b": set()}, {"a": set(), "b": set()}
    said = list(gathered(noted(done)))
    for client, change in said:
        assert 1 <= len(change.topics) <= TOPICS_MAX
        for topic_filter in change.topics:
            if change.is_subscribed:
                heard[client].add(topic_filter)
            else:
                heard[client].discard(topic_filter)
    for client, topic_filter, is_subscribed in done:
        (held[client].add if is_subscribed else held[client].discard)(topic_filter)
    assert heard == held
    # Nothing is said twice that stands together.
    for _, changes in groupby(said, key=lambda each: each[0]):
        for one, other in zip(found := list(changes), found[1:], strict=False):
            is_full = len(one[1].topics) == TOPICS_MAX
            assert is_full or one[1].is_subscribed is not other[1].is_subscribed


def test_what_is_subscribed_to_again_was_not_left():
    again = [("a", "x", False), ("a", "x", True), ("a", "y", False), ("a", "y", True)]
    assert list(gathered(again)) == [("a", Change(True, ("x", "y")))]
    left = [("a", "x", False), ("a", "y", True)]
    assert list(gathered(left)) == [("a", Change(False, ("x",))), ("a", Change(True, ("y",)))]


def test_the_events_are_those_of_aws():
    source = Source("session", "lamp", "cert")
    said = event(source, "", Change(True, ("a/+", "b")), 9)
    assert (said.topic, said.qos) == ("$aws/events/subscriptions/subscribed/lamp", 1)
    assert json.loads(said.payload) == {
        "clientId": "lamp",
        "timestamp": 9,
        "eventType": "subscribed",
        "sessionIdentifier": "session",
        "principalIdentifier": "cert",
        "topics": ["a/+", "b"],
    }
    left = event(source, "", Change(False, ("b",)), 9)
    assert left.topic == "$aws/events/subscriptions/unsubscribed/lamp"
    assert json.loads(left.payload)["eventType"] == "unsubscribed"
    of_thing = event(source, "lamp-1", Change(True, ("b",)), 9)
    assert json.loads(of_thing.payload)["thingName"] == "lamp-1"


@pytest.mark.parametrize("client", ["a+b", "a#"])
def test_a_name_that_no_topic_can_have_has_no_events(client):
    assert event(Source("session", client, "cert"), "", Change(True, ("a",)), 9) is None
