"""Which filters match which topics, in both dialects, and that the tree agrees with the rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import MalformedPacket
from isthmus.wire.topics import (
    TopicTree,
    matches,
    validate_filter,
    validate_topic,
    within_aws_limits,
)

# Few and short, so that filters and topics often meet.
LEVELS = st.sampled_from(["", "a", "b", "$a"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=3).map("/".join).filter(bool)
FILTERS = (
    st.tuples(st.lists(st.one_of(LEVELS, st.just("+")), max_size=3), st.sampled_from([[], ["#"]]))
    .map(lambda parts: "/".join(parts[0] + parts[1]))
    .filter(bool)
)
DIALECTS = st.sampled_from(["aws", "standard"])


@pytest.mark.parametrize(
    ("topic_filter", "topic", "aws", "standard"),
    [
        ("a/b", "a/b", True, True),
        ("a/b", "a/B", False, False),
        ("a/b", "a/b/c", False, False),
        ("a/b/c", "a/b", False, False),
        ("a/#", "a", False, True),
        ("a/#", "a/", True, True),
        ("a/#", "a/b/c", True, True),
        ("a/#", "ab", False, False),
        ("+/#", "a", False, True),
        ("#", "a/b", True, True),
        ("#", "$aws/events", False, False),
        ("+/events", "$aws/events", False, False),
        ("$aws/#", "$aws/events", True, True),
        ("$aws/+", "$aws/events", True, True),
        ("a/#", "a/$b", True, True),
        ("a/+/c", "a/b/c", True, True),
        ("a/+", "a/", True, True),
        ("a/+", "a", False, False),
        ("+/+", "/a", True, True),
        ("/+", "/a", True, True),
        ("+", "/a", False, False),
    ],
)
def test_matches(topic_filter, topic, aws, standard):
    assert matches(topic_filter, topic) is aws
    assert matches(topic_filter, topic, dialect="standard") is standard
    for dialect, expected in (("aws", aws), ("standard", standard)):
        tree = TopicTree(dialect=dialect)
        tree.add(topic_filter, 1)
        assert list(tree.match(topic)) == [1] * expected


@pytest.mark.parametrize("topic", ["", "a/#", "+", "a+b", "a\0b", "x" * 65536, "\ud800"])
def test_one_cannot_publish_to(topic):
    with pytest.raises(MalformedPacket):
        validate_topic(topic)


@pytest.mark.parametrize(
    "topic_filter", ["", "a#", "#/a", "a/#/b", "##", "a+", "+a/b", "a\0", "é" * 40000, "\udfff"]
)
def test_one_cannot_subscribe_to(topic_filter):
    with pytest.raises(MalformedPacket):
        validate_filter(topic_filter)


@given(TOPICS, FILTERS)
def test_what_is_valid_is_taken(topic, topic_filter):
    validate_topic(topic)
    validate_filter(topic)
    validate_filter(topic_filter)


@pytest.mark.parametrize(
    ("topic", "within"),
    [
        ("a/b/c/d/e/f/g/h", True),
        ("a/b/c/d/e/f/g/h/i", False),
        ("x" * 256, True),
        ("x" * 257, False),
        ("é" * 129, False),
        ("$aws/rules/my_rule/a/b/c/d/e/f/g/h", True),
        ("$aws/rules/my_rule/a/b/c/d/e/f/g/h/i", False),
        ("$aws/rules/my_rule/" + "x" * 256, True),
        ("$share/group/a/b/c/d/e/f/g/h", True),
        ("$share/group/" + "x" * 257, False),
        ("$aws/things/a/b/c/d/e/f/g", False),
    ],
)
def test_aws_limits_do_not_count_prefixes(topic, within):
    assert within_aws_limits(topic) is within


@given(st.lists(FILTERS, max_size=12), st.lists(FILTERS, max_size=12), TOPICS, DIALECTS)
def test_the_tree_agrees_with_the_rule(kept, removed, topic, dialect):
    tree = TopicTree(dialect=dialect)
    for topic_filter in [*kept, *removed]:
        tree.add(topic_filter, topic_filter)
    for topic_filter in removed:
        tree.remove(topic_filter, topic_filter)
    expected = {each for each in kept if each not in removed}
    found = list(tree.match(topic))
    assert sorted(found) == sorted(
        each for each in expected if matches(each, topic, dialect=dialect)
    )


@given(st.lists(st.tuples(FILTERS, st.integers(0, 3)), max_size=12), st.randoms())
def test_an_emptied_tree_holds_nothing(entries, rng):
    tree = TopicTree()
    for topic_filter, value in entries:
        tree.add(topic_filter, value)
        assert tree
    rng.shuffle(entries)
    for topic_filter, value in entries:
        tree.remove(topic_filter, value)
    assert not tree


def test_values_under_one_filter_come_once_each_and_in_order():
    tree = TopicTree()
    for value in ("x", "y", "x"):
        tree.add("a/+", value)
    tree.add("a/#", "x")
    tree.remove("a/+", "never there")
    tree.remove("never/there", "x")
    assert list(tree.match("a/b")) == ["x", "x", "y"]


def test_a_match_does_not_visit_every_filter():
    class CountingText(str):
        __slots__ = ()
        asked = 0

        def __eq__(self, other):
            CountingText.asked += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    tree = TopicTree()
    for number in range(10_000):
        tree.add(f"devices/{number}/commands", CountingText(number))
    CountingText.asked = 0
    assert list(tree.match("devices/77/commands")) == ["77"]
    assert CountingText.asked < 10


def test_a_deep_filter_is_no_danger():
    tree = TopicTree()
    deep = "/".join(["+"] * 30_000)
    tree.add(deep, 1)
    assert list(tree.match("/" * 29_999)) == [1]
    tree.remove(deep, 1)
    assert not tree
