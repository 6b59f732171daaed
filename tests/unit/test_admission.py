"""Nobody is admitted before gateway and region have caught up after their newest absence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.admission import Absence, Admission, Gate

OPEN, CLOSED = Admission.OPEN, Admission.CATCHING_UP


def test_a_gateway_starts_closed_and_opens_when_its_view_is_there():
    gate = Gate(pause_limit_s=1.0)
    assert gate.admission is CLOSED
    gate.caught_up(gate.absence, 10)
    gate.applied(9)
    assert gate.admission is CLOSED
    gate.applied(10)
    assert gate.admission is OPEN


def test_a_region_without_items_opens_too():
    gate = Gate(pause_limit_s=1.0)
    gate.caught_up(gate.absence, 0)
    assert gate.admission is OPEN


def test_an_answer_to_a_question_from_before_the_pause_opens_nothing():
    gate = Gate(pause_limit_s=1.0)
    gate.tick(0.0)
    asked = gate.absence
    assert gate.tick(5.0)
    gate.caught_up(asked, 0)
    assert gate.admission is CLOSED
    gate.caught_up(gate.absence, 0)
    assert gate.admission is OPEN


def test_a_gateway_that_no_longer_hears_its_region_admits_nobody_new():
    gate = Gate(pause_limit_s=1.0)
    gate.caught_up(gate.absence, 0)
    assert not gate.cut_off(100.0)
    gate.heard(100.0)
    assert not gate.cut_off(101.0)
    assert gate.admission is OPEN
    asked = gate.absence
    assert gate.cut_off(101.1)
    assert gate.admission is CLOSED
    assert not gate.cut_off(102.0)
    gate.caught_up(asked, 0)
    assert gate.admission is CLOSED
    gate.heard(103.0)
    gate.caught_up(gate.absence, 0)
    assert gate.admission is OPEN


STEPS = st.one_of(
    st.tuples(st.just("tick"), st.floats(0, 2)),
    st.tuples(st.just("ask"), st.none()),
    st.tuples(st.just("answer"), st.integers(0, 5)),
    st.tuples(st.just("applied"), st.integers(0, 5)),
)


@given(st.lists(STEPS, max_size=30))
def test_it_is_open_only_after_an_answer_since_the_pause_whose_position_is_applied(steps):
    gate = Gate(pause_limit_s=1.0)
    now_s, ticked_s, pauses = 0.0, None, 0
    asked = (gate.absence, 0)
    needed, applied = None, 0
    for what, value in steps:
        if what == "tick":
            now_s += value
            paused = ticked_s is not None and now_s - ticked_s > 1.0
            ticked_s = now_s
            assert gate.tick(now_s) == paused
            if paused:
                pauses, needed = pauses + 1, None
        elif what == "ask":
            asked = (gate.absence, pauses)
        elif what == "answer":
            gate.caught_up(asked[0], value)
            if asked[1] == pauses:
                needed = value
        else:
            applied = max(applied, value)
            gate.applied(value)
        expected = needed is not None and applied >= needed
        assert gate.admission is (OPEN if expected else CLOSED)


def absence() -> Absence:
    return Absence(pause_limit_s=1.0, alone_start_s=30.0, since_s=100.0)


@pytest.mark.parametrize(
    ("levels", "serves"),
    [
        ([True], True),
        ([True, True], True),
        ([True, None], True),
        ([None], False),
        ([None, None], False),
        ([False], False),
        ([True, False], False),
        ([False, None], False),
        ([], True),
    ],
)
def test_a_region_that_starts_serves_when_level_with_a_peer_and_behind_none(levels, serves):
    each = absence()
    assert each.may_serve(levels, 1, 101.0) == serves
    assert each.is_over == serves


def test_a_region_that_reaches_nobody_serves_after_a_while():
    each = absence()
    assert not each.may_serve([None], 1, 130.0)
    assert each.may_serve([None], 1, 130.1)


def test_no_wait_makes_up_for_being_behind_a_peer_that_answers():
    assert not absence().may_serve([False], 1, 1000.0)
    assert not absence().may_serve([None, False], 1, 1000.0)


def test_who_was_level_once_goes_on_without_peers_but_not_behind_one():
    each = absence()
    assert each.may_serve([True], 1, 101.0)
    assert each.may_serve([None], 1, 102.0)
    assert not each.may_serve([False], 1, 103.0)
    assert each.may_serve([None], 1, 104.0)


def test_a_pause_begins_a_new_absence():
    each = absence()
    assert each.may_serve([True], 1, 100.5)
    assert each.tick(101.0) == 0.0
    assert each.tick(102.5) == 1.5
    assert not each.is_over
    assert not each.may_serve([None], 2, 102.6)
    # The wait begins anew: nobody knows what happened meanwhile.
    assert not each.may_serve([None], 2, 132.5)
    assert each.may_serve([None], 2, 132.6)


def test_what_was_asked_before_a_pause_does_not_end_the_absence_after_it():
    each = absence()
    asked = each.number
    each.tick(110.0)
    assert not each.may_serve([True], asked, 110.1)
    assert not each.is_over
    assert each.may_serve([True], each.number, 110.2)


def test_a_pause_counts_from_the_start_and_only_beyond_its_limit():
    each = absence()
    assert each.tick(101.0) == 0.0
    assert each.tick(102.0) == 0.0
    assert absence().tick(101.5) == 1.5
    assert each.since_s == 100.0


def test_a_pause_is_told_once():
    each = absence()
    assert each.tick(110.0) == 10.0
    assert each.tick(110.5) == 0.0


ABSENCE_STEPS = st.one_of(
    st.tuples(st.just("tick"), st.sampled_from([0.5, 1.0, 1.5, 20.0])),
    st.tuples(st.just("ask"), st.lists(st.sampled_from([True, False, None]), max_size=3)),
)


@given(st.lists(ABSENCE_STEPS, max_size=40))
def test_a_region_serves_alone_only_if_it_was_level_or_waited_since_its_newest_absence(steps):
    each = absence()
    now_s, history = 100.0, [("absent", 100.0)]
    for what, value in steps:
        if what == "tick":
            now_s += value
            assert each.tick(now_s) == (value if value > 1.0 else 0.0)
            history += [("absent", now_s)] if value > 1.0 else []
            continue
        served = each.may_serve(value, each.number, now_s)
        newest = max(n for n, (happened, _) in enumerate(history) if happened == "absent")
        served_since = any(happened == "served" for happened, _ in history[newest:])
        if False in value:
            assert not served
        elif True in value or not value:
            assert served
        else:
            assert served == (served_since or now_s - history[newest][1] > 30.0)
        history += [("served", now_s)] if served else []
