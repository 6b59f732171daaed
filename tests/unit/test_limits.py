"""Limits hold in every window of time, whatever is asked and wherever the clock goes."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.limits import Backlog, Buckets, Pace, TokenBucket, heaviest

RATES = st.floats(0.1, 1000.0)
BURSTS = st.floats(1.0, 1000.0)
#: Seconds since the step before, back too; and how much is asked for.
STEPS = st.lists(st.tuples(st.floats(-50.0, 50.0), st.floats(0.0, 200.0)), max_size=40)
SLACK = 1e-6


def windows(done: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of every stretch of steps: the time that passed within it, and what was done in all."""
    return [
        (
            sum(max(0.0, step) for step, _ in done[first + 1 : last + 1]),
            sum(amount for _, amount in done[first : last + 1]),
        )
        for first in range(len(done))
        for last in range(first, len(done))
    ]


@given(RATES, BURSTS, STEPS)
def test_no_window_has_more_than_the_burst_and_the_rate(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket, done = TokenBucket(rate, burst), []
    for (step, amount), now_s in zip(steps, accumulate(step for step, _ in steps), strict=True):
        done.append((step, amount if bucket.take(now_s, amount) else 0.0))
        assert 0.0 <= bucket.level(now_s) <= burst
    for passed_s, amount in windows(done):
        assert amount <= (burst + rate * passed_s) * (1 + SLACK) + SLACK


@given(RATES, BURSTS, STEPS)
def test_what_is_refused_can_be_had_after_the_wait_and_not_before(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket, now_s = TokenBucket(rate, burst), 0.0
    for _, amount in steps:
        amount = min(amount, burst)
        wait_s = bucket.wait_s(now_s, amount)
        if wait_s > SLACK:
            assert not bucket.take(now_s, amount)
            assert not bucket.take(now_s + wait_s / 2, amount)
        now_s += wait_s + SLACK
        assert bucket.take(now_s, amount)


def test_more_than_the_burst_can_never_be_had() -> None:
    bucket = TokenBucket(1.0, 2.0)
    assert bucket.wait_s(0.0, 3.0) == float("inf")
    assert not bucket.take(1_000.0, 3.0)


def test_a_clock_that_went_back_starves_nobody() -> None:
    bucket = TokenBucket(1.0, 1.0)
    assert bucket.take(1_000.0)
    assert not bucket.take(0.0)
    assert bucket.take(1.0)


@given(RATES, BURSTS, st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 200.0)), max_size=40))
def test_who_waits_out_its_debt_keeps_the_pace(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    pace, now_s, wait_s, done = Pace(rate, burst), 0.0, 0.0, []
    for idle_s, amount in steps:
        now_s += wait_s + idle_s
        done.append((wait_s + idle_s, amount))
        wait_s = pace.charge(now_s, amount)
    most = max((amount for _, amount in done), default=0.0)
    for passed_s, amount in windows(done):
        assert amount <= (burst + rate * passed_s + most) * (1 + SLACK) + SLACK


def test_a_debt_is_paid_by_the_rate() -> None:
    pace = Pace(10.0, 5.0)
    assert pace.charge(0.0, 5.0) == 0.0
    assert pace.charge(0.0, 20.0) == 2.0
    assert pace.charge(1.0, 0.0) == 1.0


def test_every_name_has_a_bucket_of_its_own_and_full_ones_are_forgotten() -> None:
    buckets = Buckets(1.0, 2.0)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("b", 0.0)
    assert len(buckets) == 2
    assert buckets.take("c", 2.0)
    assert len(buckets) == 1


@given(st.lists(st.tuples(st.text(max_size=1), st.floats(0.0, 3.0))))
def test_to_forget_a_bucket_gives_nobody_more(asked: list[tuple[str, float]]) -> None:
    buckets, kept, now_s = Buckets(1.0, 2.0), {}, 0.0
    for name, step in asked:
        now_s += step
        bucket = kept.setdefault(name, TokenBucket(1.0, 2.0))
        assert buckets.take(name, now_s) == bucket.take(now_s)


@pytest.mark.parametrize("over", [(11, 0), (0, 101), (11, 101)])
def test_a_backlog_is_over_until_it_is_half_of_both_bounds(over: tuple[int, int]) -> None:
    backlog = Backlog(10, 100)
    assert not backlog.weigh(10, 100)
    assert backlog.weigh(*over)
    assert backlog.is_over
    assert not backlog.weigh(6, 10)
    assert not backlog.weigh(1, 51)
    assert backlog.is_over
    assert backlog.weigh(5, 50)
    assert not backlog.is_over
    assert not backlog.weigh(10, 100)


@given(st.dictionaries(st.integers(), st.integers(0, 100)), st.integers(0, 500))
def test_the_heaviest_go_and_no_more_than_must(weights: dict[int, int], at_most: int) -> None:
    gone = heaviest(weights, at_most)
    left = {each: weights[each] for each in weights if each not in gone}
    assert sum(left.values()) <= at_most
    if gone:
        assert sum(left.values()) + weights[gone[-1]] > at_most
        assert min(weights[each] for each in gone) >= max(left.values(), default=0)
