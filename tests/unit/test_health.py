"""Votes with hysteresis, verdicts by a majority of the configured sites."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.health import (
    Health,
    Hysteresis,
    Observation,
    Probe,
    Vote,
    Watch,
    after_pause,
    after_probe,
    detection_s_max,
    verdict_of,
    was_paused,
)

RULES = Hysteresis(down_after=2, up_after=3, probe_timeout_s=0.8, pause_limit_s=1.0)
SITES = ("eu", "us", "witness")


def probed(outcomes: str, seen: Observation | None = None, at_s: float = 0.0) -> Observation:
    """Fold a string of probes: ``.`` came back, ``x`` failed."""
    seen = seen or Observation()
    for outcome in outcomes:
        failure = None if outcome == "." else "connection refused"
        seen = after_probe(seen, Probe(at_s, at_s + 0.1, failure), RULES)
        at_s += 0.25
    return seen


def test_a_vote_is_unknown_until_enough_probes_agree():
    assert probed("").vote.health is Health.UNKNOWN
    assert probed("..").vote.health is Health.UNKNOWN
    assert probed("...").vote.health is Health.HEALTHY
    assert probed("x").vote.health is Health.UNKNOWN
    assert probed("xx").vote == Vote(
        Health.UNHEALTHY, "2 probes in a row failed: connection refused."
    )


def test_one_failure_changes_nothing_and_starts_no_count_after_a_good_probe():
    assert probed("...x.x.x").vote.health is Health.HEALTHY
    assert probed("...xx").vote.health is Health.UNHEALTHY
    assert probed("xx..").vote.health is Health.UNHEALTHY
    assert probed("xx..x..").vote.health is Health.UNHEALTHY
    assert probed("xx...").vote.health is Health.HEALTHY


@given(st.text(alphabet=".x", max_size=30))
def test_a_vote_agrees_with_a_naive_reading_of_the_last_probes(outcomes):
    expected = Health.UNKNOWN
    for end in range(1, len(outcomes) + 1):
        if outcomes[:end].endswith("xx"):
            expected = Health.UNHEALTHY
        if outcomes[:end].endswith("..."):
            expected = Health.HEALTHY
    assert probed(outcomes).vote.health is expected


def test_a_paused_observer_forgets_its_vote_and_what_it_probed_meanwhile():
    seen = after_pause(probed("..."), now_s=100.0)
    assert seen.vote.health is Health.UNKNOWN
    assert probed("xxxx", seen, at_s=98.0).vote.health is Health.UNKNOWN
    assert probed("xx", seen, at_s=100.0).vote.health is Health.UNHEALTHY
    assert probed("...", seen, at_s=100.0).vote.health is Health.HEALTHY


def test_a_probe_that_took_longer_than_it_could_is_a_pause():
    seen = after_probe(probed("...x"), Probe(10.0, 12.0, "timed out"), RULES)
    assert seen.vote.health is Health.UNKNOWN
    assert seen.void_before_s == 12.0
    slow = after_probe(probed("...x"), Probe(10.0, 11.0, "timed out"), RULES)
    assert slow.vote.health is Health.UNHEALTHY


def test_a_tick_is_late_only_beyond_the_limit():
    assert not was_paused(due_s=10.0, now_s=11.0, rules=RULES)
    assert was_paused(due_s=10.0, now_s=11.1, rules=RULES)


@pytest.mark.parametrize("late_s", [1.1, 60.0])
def test_a_pause_voids_every_vote_and_is_found_once(late_s):
    watch = Watch(("eu", "us", "ap"), RULES, tick_s=0.2)
    assert watch.check_pause(1000.0) is None  # Nothing ran yet that could have been paused.
    watch.tick(0.0)
    told = [watch.count("eu", Probe(n, n, None)) for n in (0.0, 0.1, 0.2)]
    assert [vote and vote.health for vote in told] == [None, None, Health.HEALTHY]
    for at_s in (0.0, 0.1):
        watch.count("us", Probe(at_s, at_s, "refused"))
    assert watch.check_pause(1.2) is None
    pause = watch.check_pause(0.2 + late_s)
    assert pause is not None
    assert pause.late_s == pytest.approx(late_s)
    assert set(pause.votes) == {"eu", "us"}  # The vote on ap was unknown before.
    assert {vote.health for vote in watch.votes.values()} == {Health.UNKNOWN}
    assert watch.check_pause(0.2 + late_s) is None
    assert watch.count("us", Probe(0.3, 0.3, None)) is None
    assert watch.votes["us"].reason == "The observer was paused; it waits for fresh probes."


@given(st.lists(st.tuples(st.integers(0, 24), st.booleans()), max_size=30))
def test_a_vote_is_only_on_probes_since_the_last_pause(steps):
    """Each step waits some eighths of a second, ticks, and counts a probe of that moment."""
    watch = Watch(("eu",), RULES, tick_s=0.25)
    watch.tick(0.0)
    now_s, outcomes = 0.0, ""
    for eighths, is_good in steps:
        now_s += eighths / 8
        paused = watch.check_pause(now_s) is not None
        assert paused is (eighths > 10)
        outcomes = ("" if paused else outcomes) + (".x"[not is_good])
        watch.tick(now_s)
        watch.count("eu", Probe(now_s, now_s, None if is_good else "refused"))
        assert watch.votes["eu"].health is probed(outcomes).vote.health


def votes_of(text: str) -> dict[str, Vote]:
    """``h``, ``u``, ``?`` for each site in order; ``-`` was not heard."""
    kinds = {"h": Health.HEALTHY, "u": Health.UNHEALTHY, "?": Health.UNKNOWN}
    pairs = zip(SITES, text, strict=True)
    return {site: Vote(kinds[letter], "silence.") for site, letter in pairs if letter in kinds}


def verdict(text: str) -> Health:
    return verdict_of("eu", votes_of(text), SITES).health


def test_a_verdict_needs_a_majority_of_the_configured_sites():
    assert verdict("uu-") is Health.UNHEALTHY
    assert verdict("hh-") is Health.HEALTHY
    assert verdict("hhu") is Health.HEALTHY
    assert verdict("u--") is Health.DEGRADED
    assert verdict("uh?") is Health.DEGRADED
    assert verdict("h--") is Health.UNKNOWN
    assert verdict("h??") is Health.UNKNOWN
    assert verdict("---") is Health.UNKNOWN


def test_a_site_that_is_not_configured_has_no_vote():
    votes = votes_of("u--") | {"mallory": Vote(Health.UNHEALTHY, "because.")}
    assert verdict_of("eu", votes, SITES).health is Health.DEGRADED


def test_a_verdict_says_why_in_one_sentence():
    assert verdict_of("eu", votes_of("-uu"), SITES).reason == (
        "2 of 3 configured sites say that eu is unhealthy (us: silence.; witness: silence.)."
    )
    assert verdict_of("eu", votes_of("hh-"), SITES).reason == (
        "2 of 3 configured sites say that eu is healthy."
    )
    assert verdict_of("eu", votes_of("h--"), SITES).reason == (
        "1 of 3 configured sites say that eu is healthy, and 2 are needed."
    )


def test_detection_is_predicted_from_interval_threshold_and_timeout():
    assert detection_s_max(0.25, RULES) == 0.25 + 2 * 0.8
