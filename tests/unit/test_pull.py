"""A region pulls on from where the peer proved its cursor, and confirms only what it holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.confirm import Watermarks
from isthmus.core.cursor import Cursor, resume_after
from isthmus.core.pull import CONFIRM_REPEAT_S, Pull


def pull() -> Pull:
    """Pulled before from a peer's first incarnation; not in contact now."""
    return Pull(Cursor("p1", 7, "l7"), Cursor("p1", 9, "b9"))


def test_who_pulls_for_the_first_time_begins_at_the_beginning():
    each = Pull()
    assert each.incarnation == ""
    each.resume("p1", 0, 0)
    assert (each.log, each.bus) == (Cursor("p1"), Cursor("p1"))
    assert each.incarnation == "p1"


def test_a_cursor_that_still_holds_is_kept():
    each = pull()
    each.resume("p1", 7, 9)
    assert (each.log, each.bus) == (Cursor("p1", 7, "l7"), Cursor("p1", 9, "b9"))
    assert each.incarnation == "p1"


def test_a_log_that_is_no_longer_where_it_was_is_pulled_from_the_beginning():
    each = pull()
    each.resume("p1", 0, 9)
    assert (each.log, each.bus) == (Cursor("p1"), Cursor("p1", 9, "b9"))


def test_a_bus_that_is_no_longer_where_it_was_is_pulled_from_the_beginning():
    each = pull()
    each.resume("p1", 7, 0)
    assert (each.log, each.bus) == (Cursor("p1", 7, "l7"), Cursor("p1"))


def test_a_peer_that_started_anew_is_pulled_from_the_beginning():
    each = pull()
    each.resume("p2", 0, 0)
    assert (each.log, each.bus) == (Cursor("p2"), Cursor("p2"))


def test_what_was_taken_is_where_the_next_contact_goes_on():
    each = Pull()
    each.resume("p1", 0, 0)
    assert each.took_log(3, "l3") == each.log == Cursor("p1", 3, "l3")
    assert each.bus == Cursor("p1")
    assert each.took_bus(4, "b4") == each.bus == Cursor("p1", 4, "b4")
    each.lost()
    assert (each.log, each.bus) == (Cursor("p1", 3, "l3"), Cursor("p1", 4, "b4"))


def test_what_is_pulled_by_is_void_under_another_incarnation():
    each = pull()
    each.resume("p1", 7, 9)
    assert not each.is_void("p1")
    assert each.is_void("p2")


def test_without_contact_nothing_is_pulled_that_could_be_void():
    each = pull()
    assert not each.is_void("p2")
    each.resume("p1", 7, 9)
    each.lost()
    assert not each.is_void("p2")


# Confirmations


def test_a_confirmation_is_repeated_for_a_while_and_then_no_more():
    each = Pull()
    assert each.confirmations(0.0) == {}
    each.confirm({"w": 3}, 1.0)
    assert each.confirmations(1.0) == {"w": 3}
    assert each.confirmations(1.0 + CONFIRM_REPEAT_S) == {"w": 3}
    assert each.confirmations(1.1 + CONFIRM_REPEAT_S) == {}


def test_a_writer_that_moves_on_is_repeated_from_then():
    each = Pull()
    each.confirm({"w": 3, "v": 1}, 0.0)
    each.confirm({"w": 4}, 5.0)
    assert each.confirmations(5.0) == {"w": 4, "v": 1}
    assert each.confirmations(5.0 + CONFIRM_REPEAT_S) == {"w": 4}


def test_what_we_hold_is_true_of_the_next_contact_too():
    each = pull()
    each.confirm({"w": 3}, 0.0)
    each.lost()
    each.resume("p2", 0, 0)
    assert each.confirmations(1.0) == {"w": 3}


@given(
    st.lists(st.tuples(st.sampled_from(["w", "v"]), st.integers(0, 4), st.booleans()), max_size=30)
)
def test_a_report_says_what_was_confirmed_not_too_long_ago(steps):
    each = Pull()
    now_s, held = 0.0, {"w": 0, "v": 0}
    said_s: dict[str, float] = {}
    for writer, quarters, moves in steps:
        now_s += quarters * CONFIRM_REPEAT_S / 4
        if moves:
            held[writer] += 1
            each.confirm({writer: held[writer]}, now_s)
            said_s[writer] = now_s
        fresh = {w for w, at_s in said_s.items() if now_s - at_s <= CONFIRM_REPEAT_S}
        assert each.confirmations(now_s) == {w: held[w] for w in fresh}


# Level


def test_level_is_all_of_the_log_and_all_that_the_peer_has_of_our_own_bus():
    each = pull()
    own_bus = Watermarks({"w": 2})
    assert each.is_level("p1", 7, {"w": 2}, own_bus)
    assert each.is_level("p1", 6, {}, own_bus)


@pytest.mark.parametrize(
    ("incarnation", "log_sequence", "writers"),
    [
        ("p2", 7, {"w": 2}),
        ("p2", 0, {}),
        ("p1", 8, {"w": 2}),
        ("p1", 7, {"w": 3}),
        ("p1", 7, {"w": 2, "v": 1}),
    ],
)
def test_who_lacks_anything_is_not_level(incarnation, log_sequence, writers):
    assert not pull().is_level(incarnation, log_sequence, writers, Watermarks({"w": 2}))


def test_who_never_pulled_is_not_level_even_with_an_empty_log():
    each = Pull()
    assert not each.is_level("p1", 0, {}, Watermarks())
    each.resume("p1", 0, 0)
    assert each.is_level("p1", 0, {}, Watermarks())


# A log as the peer has it: what was written, and how often it was restored and written again.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from("abc")),
        st.tuples(st.just("restore"), st.integers(0, 6)),
        st.tuples(st.just("contact"), st.none()),
        st.tuples(st.just("take"), st.integers(1, 3)),
        st.tuples(st.just("lost"), st.none()),
    ),
    max_size=40,
)


@given(STEPS)
def test_who_is_level_has_taken_everything_that_the_peer_has(steps):
    """A restored log re-uses sequences under another incarnation; ids repeat here."""
    each = Pull()
    log, starts, taken = [], 1, []
    for what, value in [*steps, ("contact", None), ("take", len(steps))]:
        incarnation = f"p{starts}"
        match what:
            case "write":
                log = [*log, value]
            case "restore":
                log, starts = log[:value], starts + 1
                assert each.is_void(f"p{starts}") == (each.incarnation != "")
                each.lost()
            case "contact":
                at = each.log.sequence
                found = log[at - 1] if 0 < at <= len(log) else None
                each.resume(incarnation, resume_after(each.log, incarnation, found), 0)
            case "take" if each.incarnation:
                at = each.log.sequence
                for sequence, entry in enumerate(log[at : at + value], at + 1):
                    taken.append((incarnation, sequence, entry))
                    each.took_log(sequence, entry)
            case "lost":
                each.lost()
        there = [(f"p{starts}", n, entry) for n, entry in enumerate(log, 1)]
        if each.is_level(f"p{starts}", len(log), {}, Watermarks()):
            assert set(there) <= set(taken)
    assert each.is_level(f"p{starts}", len(log), {}, Watermarks())
