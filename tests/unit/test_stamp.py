"""A new stamp is greater than everything its writer knew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.stamp import ZERO, Stamp, StampClock

STAMPS = st.builds(
    Stamp,
    st.integers(0, 5),
    st.integers(0, 3),
    st.sampled_from(["eu", "us"]),
    st.sampled_from(["i1", "i2"]),
)


@given(st.lists(st.tuples(st.integers(0, 5), st.lists(STAMPS, max_size=3)), max_size=10))
def test_a_stamp_is_greater_than_the_last_one_and_all_that_was_seen(history):
    clock = StampClock("eu", "i1")
    last = ZERO
    for now_ms, seen in history:
        made = clock.stamp(now_ms, seen)
        assert made > last
        assert all(made > each for each in seen)
        assert made.ms >= now_ms
        assert (made.region, made.incarnation) == ("eu", "i1")
        last = made


@given(st.integers(0, 5), st.lists(STAMPS, max_size=3))
def test_a_stamp_is_not_further_ahead_of_the_clock_than_what_was_seen(now_ms, seen):
    made = StampClock("eu", "i1").stamp(now_ms, seen)
    assert made.ms == max([now_ms, *(each.ms for each in seen)])


@given(STAMPS, STAMPS)
def test_writers_of_different_regions_never_make_the_same_stamp(one, other):
    eu, us = StampClock("eu", "i"), StampClock("us", "i")
    assert eu.stamp(0, [one, other]) != us.stamp(0, [one, other])


def test_a_clock_that_ran_ahead_poisons_only_what_it_wrote():
    right = StampClock("us", "i")
    ahead = StampClock("eu", "i").stamp(1_000_000)
    assert right.stamp(10, [ahead]) > ahead
    assert StampClock("us", "i").stamp(10) < ahead


def test_the_actor_names_region_and_incarnation():
    assert StampClock("eu", "5e1f").actor == "eu.5e1f"
