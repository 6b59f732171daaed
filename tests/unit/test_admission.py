"""A gateway admits nobody before it has caught up after its newest absence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.admission import Admission, Gate

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
