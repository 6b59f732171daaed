"""Nothing is acknowledged before its promise is kept; compared with a naive second version."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.confirm import Durability, Standing, Watermarks, Window
from isthmus.errors import BrokenInvariant

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3)),
        st.tuples(st.just("stored"), st.integers(0, 3)),
        st.tuples(st.just("confirmed"), st.integers(0, 3)),
        st.tuples(st.just("alone"), st.booleans()),
        st.tuples(st.just("release"), st.none()),
    ),
    max_size=60,
)


@dataclass
class Naive:
    """Remembers everything and decides each batch by itself."""

    durability: Durability
    sent: list[int] = field(default_factory=list)
    stored: int = 0
    confirmed: int = 0
    alone: bool = False
    released: list[int] = field(default_factory=list)
    unconfirmed: set[int] = field(default_factory=set)

    def release(self) -> list[int]:
        found = []
        for number in range(len(self.released) + 1, len(self.sent) + 1):
            here = number <= self.stored
            there = number <= self.confirmed
            if not here or not (there or self.alone or self.durability is Durability.REGION):
                break
            if not there and self.durability is Durability.TWO_REGIONS:
                self.unconfirmed.add(number)
            found.append(number)
        self.released += found
        return found


@given(st.sampled_from(Durability), STEPS)
def test_a_window_releases_what_a_naive_one_releases(durability, steps):
    window: Window[int] = Window(durability)
    naive = Naive(durability)
    for what, value in steps:
        match what:
            case "send":
                naive.sent.append(value)
                window.sent(len(naive.sent), len(naive.sent), 0.0, value)
            case "stored":
                naive.stored = window.stored = min(len(naive.sent), naive.stored + value)
            case "confirmed":
                naive.confirmed = window.confirmed = min(naive.stored, naive.confirmed + value)
            case "alone":
                naive.alone = window.alone = value
            case _:
                assert window.release() == naive.release()
        assert len(window) == len(naive.sent) - len(naive.released)
    assert window.release() == naive.release()
    assert naive.released == sorted(naive.released)
    covered = [n for each in window.ranges for n in range(each.first, each.last + 1)]
    assert covered == sorted(naive.unconfirmed)
    assert [each.messages for each in window.ranges] == [
        sum(naive.sent[n - 1] for n in range(each.first, each.last + 1)) for each in window.ranges
    ]
    # Ranges that touch are one range.
    for one, next_one in zip(window.ranges, window.ranges[1:], strict=False):
        assert one.last + 1 < next_one.first


@pytest.mark.parametrize(
    ("stored", "confirmed", "alone", "released"),
    [(2, 0, False, 0), (2, 1, False, 1), (0, 2, False, 0), (2, 0, True, 2), (0, 0, True, 0)],
)
def test_two_regions_means_stored_here_and_confirmed_there(stored, confirmed, alone, released):
    window: Window[str] = Window(Durability.TWO_REGIONS)
    window.sent(1, "a", 0.0, 1)
    window.sent(2, "b", 0.0, 1)
    window.stored, window.confirmed, window.alone = stored, confirmed, alone
    assert window.release() == ["a", "b"][:released]


def test_what_was_confirmed_between_two_ranges_is_in_neither():
    window: Window[str] = Window(Durability.TWO_REGIONS, alone=True)
    for number, confirmed in ((1, 0), (2, 2), (3, 2), (4, 2)):
        window.sent(number, "x", 0.0, 10 * number)
        window.stored, window.confirmed = number, confirmed
        window.release()
    assert [(each.first, each.last, each.messages) for each in window.ranges] == [
        (1, 1, 10),
        (3, 4, 70),
    ]


def test_one_region_is_enough_where_that_was_promised_and_nothing_is_listed_as_alone():
    window: Window[str] = Window(Durability.REGION)
    window.sent(1, "a", 0.0, 1)
    assert window.release() == []
    window.stored = 1
    assert window.release() == ["a"]
    assert window.ranges == []


def test_numbers_follow_each_other():
    window: Window[str] = Window(Durability.REGION)
    window.sent(1, "a", 0.0, 1)
    with pytest.raises(BrokenInvariant, match="batch 3 follows 1"):
        window.sent(3, "c", 0.0, 1)


def test_a_promise_is_overdue_when_its_oldest_batch_is():
    window: Window[str] = Window(Durability.TWO_REGIONS)
    assert not window.overdue(100.0, 10.0)
    window.sent(1, "a", 1.0, 1)
    window.sent(2, "b", 9.0, 1)
    assert not window.overdue(11.0, 10.0)
    assert window.overdue(11.1, 10.0)
    window.stored = window.confirmed = 1
    window.release()
    assert not window.overdue(11.1, 10.0)


def test_who_was_given_up_is_never_answered():
    window: Window[str] = Window(Durability.TWO_REGIONS)
    window.sent(1, "a", 0.0, 1)
    assert window.abandon() == ["a"]
    window.stored = window.confirmed = 1
    assert window.release() == []


ARRIVALS = st.lists(st.tuples(st.sampled_from(["w", "v"]), st.integers(1, 6)), max_size=30)


@given(ARRIVALS)
def test_a_watermark_is_the_highest_number_below_which_nothing_is_missing(arrivals):
    marks = Watermarks()
    taken: dict[str, list[int]] = {"w": [], "v": []}
    for writer, number in arrivals:
        standing = marks.advance(writer, number)
        known = taken[writer]
        if number in known:
            assert standing is Standing.KNOWN
        elif number == len(known) + 1:
            assert standing is Standing.NEW
            known.append(number)
        else:
            assert standing is Standing.VOID
        assert marks.get(writer) == len(known)


@given(ARRIVALS)
def test_confirmations_are_cumulative_and_may_come_in_any_order(arrivals):
    marks = Watermarks()
    for position, (writer, number) in enumerate(arrivals):
        earlier = [n for w, n in arrivals[:position] if w == writer]
        assert marks.raise_to(writer, number) == (number > max(earlier, default=0))
    greatest: dict[str, int] = {}
    for writer, number in arrivals:
        greatest[writer] = max(number, greatest.get(writer, 0))
    assert marks.snapshot() == greatest
    assert marks.covers(greatest)
    assert not marks.covers({**greatest, "w": greatest.get("w", 0) + 1})
    assert marks.covers({})


def test_a_snapshot_is_not_changed_by_what_comes_later():
    marks = Watermarks({"w": 1})
    before = marks.snapshot()
    marks.advance("w", 2)
    assert before == {"w": 1}
