"""A nameserver answers once a majority was heard, or its grace is over; a pause begins anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.answering import Answering
from isthmus.core.routing import Rules

SITES = ("eu", "us", "witness")
RULES = Rules(preference=("eu", "us"), sites=SITES)
GRACE_S = 3

heard = st.sets(st.sampled_from([*SITES, "mallory"]))
moments = st.lists(st.tuples(st.integers(0, 2), st.none() | heard), max_size=12)


def test_a_site_that_is_alone_waits_for_its_grace_and_no_longer():
    answering = Answering(3.0, 100.0)
    assert not answering.may_answer({"eu"}, RULES, 102.9)
    assert not answering.contacted
    assert answering.may_answer({"eu"}, RULES, 103.0)
    assert not answering.contacted


def test_contact_once_is_enough_until_a_pause():
    answering = Answering(3.0, 100.0)
    assert answering.may_answer({"eu", "us"}, RULES, 100.0)
    assert answering.contacted
    assert answering.may_answer({"eu"}, RULES, 100.1)
    answering.pause(200.0)
    assert not answering.contacted
    assert not answering.may_answer({"eu"}, RULES, 202.9)
    assert answering.may_answer({"eu"}, RULES, 203.0)


@given(moments)
def test_leave_to_answer_agrees_with_a_naive_reading_of_what_happened_since_it_began(taken):
    answering = Answering(float(GRACE_S), 0.0)
    now_s, begun_s, majority = 0, 0, False
    for wait_s, sites in taken:
        now_s += wait_s
        if sites is None:
            answering.pause(now_s)
            begun_s, majority = now_s, False
            continue
        majority = majority or len(sites - {"mallory"}) > len(SITES) / 2
        expected = majority or now_s - begun_s >= GRACE_S
        assert answering.may_answer(sites, RULES, now_s) is expected
        assert answering.contacted is majority
