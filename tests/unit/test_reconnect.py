"""Where a device goes when its region closes, falls silent, or is no longer DNS's answer."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.reconnect import Decision, Endpoint, Reconnect
from isthmus.errors import InputError

EU, US, AP = (Endpoint(name, f"{name}.iot.example.com", 8883) for name in ("eu", "us", "ap"))
SETTLED_S = 1000.0
ENDS = st.sampled_from(["closed", "silent"])
ANSWERS = st.sampled_from(["eu", "us", "ap", "unknown", None])


def reconnect(*endpoints: Endpoint, seed: int = 1) -> Reconnect:
    return Reconnect(endpoints or (EU, US), random.Random(seed))


def connected_to_eu() -> Reconnect:
    decider = reconnect()
    assert decider.start("eu").endpoint is EU
    decider.connected("eu", 0.0)
    return decider


def test_starts_where_dns_says_else_with_the_first_preference():
    assert reconnect().start("us").endpoint is US
    assert reconnect().start("us").reason == "DNS names us: connecting to us."
    assert reconnect().start(None).endpoint is EU
    assert reconnect().start("mars").endpoint is EU


def test_closed_goes_where_dns_says():
    decision = connected_to_eu().ended("closed", "eu", "us", SETTLED_S)
    assert decision.endpoint is US
    assert decision.reason == "eu closed the connection; DNS names us: connecting to it."


@pytest.mark.parametrize("answer", ["eu", None, "mars"])
def test_closed_tries_the_lost_region_once_and_then_the_next_without_waiting(answer):
    decider = connected_to_eu()
    again = decider.ended("closed", "eu", answer, SETTLED_S)
    assert again.endpoint is EU
    assert again.delay_s <= 0.25
    assert again.reason.endswith("trying eu once more.")
    on = decider.ended("closed", "eu", answer, SETTLED_S + 1)
    assert on.endpoint is US
    assert on.delay_s == 0
    assert on.reason == (
        "eu closed or refused the connection; connecting to us, the next by preference."
    )


@pytest.mark.parametrize("answer", ["eu", "us", None])
def test_silent_never_goes_back_at_once(answer):
    decision = connected_to_eu().ended("silent", "eu", answer, SETTLED_S)
    assert decision.endpoint is US
    assert decision.delay_s <= 0.25
    assert decision.reason.startswith("eu fell silent; ")


def test_silent_prefers_dns_to_the_order_of_preference():
    decider = reconnect(EU, US, AP)
    decider.connected("eu", 0.0)
    assert decider.ended("silent", "eu", "ap", SETTLED_S).endpoint is AP


def test_a_session_that_never_settled_counts_as_a_failed_attempt():
    decider = connected_to_eu()
    assert decider.ended("closed", "eu", "eu", 0.1).endpoint is US
    decider.connected("us", 0.2)
    decision = decider.ended("closed", "us", "eu", 0.3)
    assert decision.endpoint is EU
    assert "no region is left in round 1, waiting" in decision.reason


def test_the_first_attempts_of_a_fleet_are_spread():
    delays = {reconnect(seed=seed).ended("silent", "eu", None, 0.0).delay_s for seed in range(20)}
    assert delays == {0.0}, "an attempt that failed goes on without waiting"
    spread = set()
    for seed in range(20):
        decider = reconnect(seed=seed)
        decider.connected("eu", 0.0)
        spread.add(decider.ended("silent", "eu", None, SETTLED_S).delay_s)
    assert len(spread) == 20
    assert max(spread) <= 0.25


def test_backoff_grows_by_rounds_up_to_its_cap():
    decider = reconnect()
    decision = decider.start(None)
    longest = []
    for _ in range(40):
        decision = decider.ended("closed", decision.endpoint.region, None, 0.0)
        longest.append(decision.delay_s)
    assert set(longest[0::2]) == {0}, "one wait a round"
    assert 0 < longest[1] <= 1
    assert 10 < max(longest) <= 30


def test_only_a_change_of_the_answer_moves_a_device():
    decider = connected_to_eu()
    assert decider.ended("silent", "eu", "eu", SETTLED_S).endpoint is US
    decider.connected("us", SETTLED_S)
    assert not decider.on_answer("eu"), "DNS does not know yet: no bouncing back"
    assert not decider.on_answer("us")
    assert decider.on_answer("eu"), "failback"
    decision = decider.ended("moved", "us", "eu", SETTLED_S + 1)
    assert decision.endpoint is EU
    assert decision.reason == "DNS now names eu: moving there from us."


def test_a_change_during_a_dns_outage_is_seen_after_it():
    decider = connected_to_eu()
    assert not decider.on_answer(None)
    assert decider.on_answer("us")


def test_a_first_answer_is_no_change():
    decider = reconnect()
    decider.start(None)
    decider.connected("eu", 0.0)
    assert not decider.on_answer("us")


def test_after_a_move_that_failed_the_device_goes_back():
    decider = connected_to_eu()
    assert decider.on_answer("us")
    assert decider.ended("moved", "eu", "us", 1.0).endpoint is US
    assert decider.ended("closed", "us", "us", 2.0).endpoint is EU


def test_a_single_region_is_tried_again_with_backoff():
    decider = reconnect(EU)
    decider.start(None)
    decision = decider.ended("silent", "eu", None, 0.0)
    assert decision.endpoint is EU
    assert 0 < decision.delay_s <= 1
    assert decision.reason == (
        f"eu fell silent; no region is left in round 1, waiting {decision.delay_s:.1f} s for eu."
    )


@pytest.mark.parametrize("endpoints", [(), (EU, EU)])
def test_endpoints_must_be_there_and_distinct(endpoints):
    with pytest.raises(InputError, match="endpoints name"):
        Reconnect(endpoints, random.Random(1))


@dataclass
class Story:
    """Plays a device's life against the decider and checks what must hold at every step."""

    endpoints: tuple[Endpoint, ...]
    seed: int
    now_s: float = 0.0
    decisions: list[Decision] = field(default_factory=list)

    def play(self, steps):
        decider = Reconnect(self.endpoints, random.Random(self.seed))
        self.decisions.append(decider.start(None))
        for how, answer, session_s in steps:
            region = self.decisions[-1].endpoint.region
            if session_s is not None:
                decider.connected(region, self.now_s)
                self.now_s += session_s
            decision = decider.ended(how, region, answer, self.now_s)
            self.check(how, region, session_s, decision)
            self.decisions.append(decision)

    def check(self, how, failed_region, session_s, decision):
        assert decision.endpoint in self.endpoints
        assert 0 <= decision.delay_s <= 30
        assert decision.reason.endswith(".")
        second_chance = how == "closed" and session_s is not None and session_s >= 5
        if len(self.endpoints) > 1 and not second_chance:
            assert decision.endpoint.region != failed_region


STEPS = st.lists(
    st.tuples(ENDS, ANSWERS, st.sampled_from([None, 0.1, 4.9, 5.0, 1000.0])), max_size=60
)
ENDPOINTS = st.sampled_from([(EU,), (EU, US), (US, EU, AP)])


@given(ENDPOINTS, STEPS, st.integers())
def test_never_sticks_to_a_region_that_failed_and_delays_are_bounded(endpoints, steps, seed):
    Story(endpoints, seed).play(steps)


@given(ENDPOINTS, STEPS, st.integers())
def test_the_same_seed_gives_the_same_decisions(endpoints, steps, seed):
    one, other = Story(endpoints, seed), Story(endpoints, seed)
    one.play(steps)
    other.play(steps)
    assert one.decisions == other.decisions


@given(st.integers(min_value=2, max_value=3), ANSWERS)
def test_every_region_is_tried_before_any_wait(count, answer):
    endpoints = (US, EU, AP)[:count]
    decider = Reconnect(endpoints, random.Random(1))
    region = decider.start(answer).endpoint.region
    tried = {region}
    for _ in range(count - 1):
        decision = decider.ended("closed", region, answer, 0.0)
        assert decision.delay_s == 0
        region = decision.endpoint.region
        tried.add(region)
    assert len(tried) == count
    assert decider.ended("closed", region, answer, 0.0).delay_s > 0


@given(ENDPOINTS, ANSWERS, st.lists(st.sampled_from([None, "unknown"])))
def test_a_dns_outage_never_moves_a_healthy_device(endpoints, first, outage):
    decider = Reconnect(endpoints, random.Random(1))
    region = decider.start(first).endpoint.region
    decider.connected(region, 0.0)
    assert not any(decider.on_answer(answer) for answer in outage)
    assert not decider.on_answer(region), "and its end is no news"
