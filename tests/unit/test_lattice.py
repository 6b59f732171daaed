"""Every value has a join with the three laws, canonical bytes, and a form that can be read back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shadow_nodes import NODES, TREES

from isthmus.core.lattice import (
    Fields,
    Flag,
    GrowSet,
    Latest,
    Live,
    Opaque,
    Register,
    canonical,
    decode,
    encode,
    join,
    registers,
)
from isthmus.core.stamp import Stamp
from isthmus.errors import InputError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(2, 4) | st.sampled_from(["", "a", "é"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=3,
)
DOTS = st.builds("{}.i:{}".format, st.sampled_from(["eu", "us"]), st.integers(1, 3))
STAMPS = st.builds(
    Stamp, st.integers(0, 2), st.integers(0, 1), st.sampled_from(["eu", "us"]), st.just("i")
)
LEAVES = st.one_of(
    TREES,
    st.builds(Flag, st.booleans()),
    st.builds(GrowSet, st.frozensets(st.sampled_from("abc"))),
    st.builds(Register, STAMPS, DOTS, JSON),
    st.builds(Latest, STAMPS, JSON),
    st.builds(
        lambda entries, dead: Live(entries, dead).join(Live()),
        st.dictionaries(DOTS, JSON, max_size=3),
        st.frozensets(DOTS, max_size=3),
    ),
    # Kinds of a later release, before and after ours in the order of tags.
    st.builds(Opaque, st.sampled_from(["aaa", "lww2", "zzz"]), JSON),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.builds(Fields, st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)),
    max_leaves=6,
)


def bytes_of(value) -> bytes:
    return canonical(encode(value))


@given(VALUES, VALUES)
def test_join_is_commutative(a, b):
    assert bytes_of(join(a, b)) == bytes_of(join(b, a))


@given(VALUES, VALUES, VALUES)
def test_join_is_associative(a, b, c):
    assert bytes_of(join(join(a, b), c)) == bytes_of(join(a, join(b, c)))


@given(VALUES, VALUES)
def test_join_is_idempotent_and_absorbs_what_is_in_it(a, b):
    assert bytes_of(join(a, a)) == bytes_of(a)
    both = join(a, b)
    assert bytes_of(join(both, a)) == bytes_of(join(both, b)) == bytes_of(both)


@given(VALUES)
def test_what_was_encoded_is_read_back(value):
    raw = bytes_of(value)
    again = decode(json.loads(raw))
    assert again == value
    assert bytes_of(again) == raw


@given(VALUES, VALUES)
def test_equal_values_have_equal_bytes_and_others_have_not(a, b):
    assert (a == b) == (bytes_of(a) == bytes_of(b))


def test_bytes_do_not_depend_on_the_order_in_which_things_came():
    one = Fields({"a": GrowSet(frozenset("xy")), "b": Live({"eu.i:1": 1, "us.i:1": 2})})
    other = Fields({"b": Live({"us.i:1": 2, "eu.i:1": 1}), "a": GrowSet(frozenset("yx"))})
    assert bytes_of(one) == bytes_of(other)


@given(VALUES, VALUES)
def test_a_release_that_does_not_know_a_kind_joins_to_what_one_that_knows_it_can_join_again(a, b):
    """The old release's join of unknown kinds loses nothing that brings two old regions apart."""
    old = [Opaque(tag, value) for each in (a, b) for tag, value in encode(each).items()]
    both = bytes_of(join(*old))
    assert both == bytes_of(join(*reversed(old)))
    assert both in (bytes_of(old[0]), bytes_of(old[1]))


GARBAGE = st.one_of(
    JSON,
    st.dictionaries(
        st.sampled_from(["flag", "grow", "reg", "live", "map", "shadow", "later"]),
        st.one_of(
            JSON,
            st.just({"entries": [1], "dead": []}),
            st.just({"entries": {"x": 1}, "dead": "no"}),
            st.just([["a", 0, "eu", "i"], "eu.i:1", None]),
            st.builds(lambda root: {"root": root}, JSON),
            st.builds(lambda root: {"root": json.loads(canonical(root))}, NODES),
            st.just({"root": {"cut": [1, 0, "eu", "i", 1], "later": 1}}),
            st.just({"deletes": {"eu.i": 0}}),
            st.just([[0, 0, "eu", "i"], 7, None]),
            st.lists(st.integers() | st.text(max_size=2), max_size=4),
        ),
        min_size=1,
        max_size=2,
    ),
)


@given(st.recursive(GARBAGE, lambda inner: st.fixed_dictionaries({"map": inner})), VALUES)
def test_garbage_is_refused_and_whatever_is_not_refused_is_sound(raw, value):
    try:
        found = decode(raw)
    except InputError:
        return
    for name in (found, Fields({"x": found})):
        assert decode(json.loads(bytes_of(name))) == name
    assert bytes_of(join(found, value)) == bytes_of(join(value, found))
    assert list(registers(found)) == list(registers(found))


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"flag": True, "grow": []},
        {"flag": 1},
        {"map": 5},
        {"map": {"x": 5}},
        {"grow": [1, "a"]},
        {"grow": "abc"},
        {"live": []},
        {"live": {"entries": {}}},
        {"live": {"entries": {"eu.i:1": 1}, "dead": [1]}},
        {"reg": []},
        {"reg": [["1", 0, "eu", "i"], "eu.i:1", None]},
        {"reg": [[1, 0, "eu"], "eu.i:1", None]},
        {"reg": [[1, 0, "eu", "i"], 5, None]},
    ],
)
def test_what_is_not_a_value_is_refused(raw):
    with pytest.raises(InputError):
        decode(raw)


def test_what_is_dead_stays_dead_and_what_was_not_seen_is_not_killed():
    seen = Live().add("eu.i:1", "old")
    here, there = seen.kill(), seen.add("us.i:1", "new")
    assert here.join(there).entries == {"us.i:1": "new"}
    assert here.join(seen).entries == {}


@pytest.mark.parametrize("value", [True, 1.0, 0, "1", None])
def test_entries_under_one_dot_that_a_bug_made_differ_are_joined_alike_everywhere(value):
    one, other = Live({"eu.i:1": 1}), Live({"eu.i:1": value})
    assert bytes_of(one.join(other)) == bytes_of(other.join(one))


@given(st.lists(st.builds(Register, STAMPS, DOTS, JSON), min_size=1, max_size=5))
def test_a_register_keeps_the_greatest_stamp(written):
    kept = written[0]
    for each in written[1:]:
        kept = kept.join(each)
    assert kept.stamp == max(each.stamp for each in written)


@given(VALUES)
def test_registers_are_found_wherever_they_are(value):
    for path, found in registers(value):
        at = value
        for name in path.split("/")[1:]:
            at = at.get(name)
        assert at is found
