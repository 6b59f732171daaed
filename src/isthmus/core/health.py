"""Health: the outcomes of probes in, a vote out; the votes of the sites in, a verdict out.

An observer's vote already contains its hysteresis, so whoever counts votes needs no memory. A vote
is about what somebody saw: a process that was paused saw nothing, so what it probed around its
pause is void and its vote is ``unknown`` until fresh probes came in.

Invariant: a verdict is ``healthy`` or ``unhealthy`` only if a majority of the *configured* sites
votes so. A majority of those heard from would make one cut-off site a majority.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec


class Health(StrEnum):
    """What a vote or a verdict says of a region; only a verdict is ever ``degraded``."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class Vote(msgspec.Struct, frozen=True):
    """What one site's observer says of one region, and why."""

    health: Health
    reason: str


#: Every observer's vote at its start.
NOT_YET = Vote(Health.UNKNOWN, "No probe has told yet.")


class Verdict(msgspec.Struct, frozen=True):
    """What the votes of all configured sites say of one region, and why."""

    region: str
    health: Health
    reason: str
    votes: dict[str, Health]


@dataclass(frozen=True)
class Hysteresis:
    """How many probes in a row it takes to change a vote, and what a pause is."""

    down_after: int
    up_after: int
    probe_timeout_s: float
    #: A tick later than this means that the process was paused. It must stay below the time that
    #: ``down_after`` failing probes take, or a pause could look like a region's death.
    pause_limit_s: float


@dataclass(frozen=True)
class Probe:
    """One probe that ended; ``failure`` is None for a good one."""

    started_s: float
    finished_s: float
    failure: str | None


@dataclass(frozen=True)
class Observation:
    """What one observer remembers of one region."""

    vote: Vote = NOT_YET
    failures_in_a_row: int = 0
    successes_in_a_row: int = 0
    void_before_s: float = -math.inf


def after_probe(seen: Observation, probe: Probe, rules: Hysteresis) -> Observation:
    """Count one probe; a probe that the observer slept through counts as a pause instead."""
    if probe.started_s < seen.void_before_s:
        return seen
    overslept_s = probe.finished_s - probe.started_s - rules.probe_timeout_s
    if overslept_s > rules.pause_limit_s:
        return after_pause(seen, probe.finished_s)
    if probe.failure is None:
        return _after_success(seen, rules)
    return _after_failure(seen, probe.failure, rules)


def after_pause(seen: Observation, now_s: float) -> Observation:
    """Forget what was seen: a thawed observer must not vote on what it slept through."""
    reason = "The observer was paused; it waits for fresh probes."
    return replace(
        seen,
        vote=Vote(Health.UNKNOWN, reason),
        failures_in_a_row=0,
        successes_in_a_row=0,
        void_before_s=now_s,
    )


def was_paused(due_s: float, now_s: float, rules: Hysteresis) -> bool:
    """Say whether a tick that was due at ``due_s`` came so late that the process was paused."""
    return now_s - due_s > rules.pause_limit_s


@dataclass(frozen=True)
class Pause:
    """A pause that was found: how late the process was, and the votes that changed by it."""

    late_s: float
    votes: Mapping[str, Vote]


class Watch:
    """What one observer has seen of every region, and so its votes.

    Everybody asks ``check_pause`` before using what just came in: after a thaw nothing says that
    the tick is the first to run.
    """

    def __init__(self, regions: Iterable[str], rules: Hysteresis, tick_s: float) -> None:
        self._rules = rules
        self._tick_s = tick_s
        self._seen = {region: Observation() for region in regions}
        self._tick_due_s = math.inf

    @property
    def votes(self) -> dict[str, Vote]:
        """What this site says of each region now."""
        return {region: seen.vote for region, seen in self._seen.items()}

    def tick(self, now_s: float) -> None:
        """Note that the process runs; it ticks again after ``tick_s``."""
        self._tick_due_s = now_s + self._tick_s

    def check_pause(self, now_s: float) -> Pause | None:
        """Void every vote if the process has been paused; a pause is found once."""
        if not was_paused(self._tick_due_s, now_s, self._rules):
            return None
        late_s = now_s - self._tick_due_s
        self.tick(now_s)
        changed = {
            region: vote
            for region, seen in self._seen.items()
            if (vote := self._replace(region, after_pause(seen, now_s)))
        }
        return Pause(late_s, changed)

    def count(self, region: str, probe: Probe) -> Vote | None:
        """Count a probe that ended; answers the region's vote if it changed."""
        return self._replace(region, after_probe(self._seen[region], probe, self._rules))

    def _replace(self, region: str, seen: Observation) -> Vote | None:
        before = self._seen[region].vote
        self._seen[region] = seen
        return seen.vote if seen.vote.health is not before.health else None


def _after_success(seen: Observation, rules: Hysteresis) -> Observation:
    successes = min(seen.successes_in_a_row + 1, rules.up_after)
    vote = seen.vote
    if successes == rules.up_after and vote.health is not Health.HEALTHY:
        vote = Vote(Health.HEALTHY, f"{successes} probes in a row came back.")
    return replace(seen, vote=vote, failures_in_a_row=0, successes_in_a_row=successes)


def _after_failure(seen: Observation, failure: str, rules: Hysteresis) -> Observation:
    # The counter stops at its threshold: an outage of a year needs no larger number, and a vote
    # whose reason stays the same is not news to the other sites.
    failures = min(seen.failures_in_a_row + 1, rules.down_after)
    vote = seen.vote
    if failures == rules.down_after and vote.health is not Health.UNHEALTHY:
        vote = Vote(Health.UNHEALTHY, f"{failures} probes in a row failed: {failure}.")
    return replace(seen, vote=vote, failures_in_a_row=failures, successes_in_a_row=0)


def majority_of(sites: Collection[str]) -> int:
    """How many of the configured sites are a majority."""
    return len(set(sites)) // 2 + 1


def verdict_of(region: str, votes: Mapping[str, Vote], sites: Collection[str]) -> Verdict:
    """Count the votes of the configured sites; a site that is not heard has none in ``votes``."""
    counted = {site: votes[site].health for site in sorted(sites) if site in votes}
    needed = majority_of(sites)
    healthy = sum(1 for vote in counted.values() if vote is Health.HEALTHY)
    unhealthy = [site for site, vote in counted.items() if vote is Health.UNHEALTHY]
    complaints = "; ".join(f"{site}: {votes[site].reason}" for site in unhealthy)
    if len(unhealthy) >= needed:
        health, count, ending = Health.UNHEALTHY, len(unhealthy), f" ({complaints})"
    elif healthy >= needed:
        health, count, ending = Health.HEALTHY, healthy, ""
    elif unhealthy:
        health, count, ending = Health.DEGRADED, len(unhealthy), f" ({complaints})"
    else:
        health, count, ending = Health.UNKNOWN, healthy, f", and {needed} are needed"
    said = Health.UNHEALTHY if unhealthy and health is not Health.HEALTHY else Health.HEALTHY
    reason = f"{count} of {len(set(sites))} configured sites say that {region} is {said}{ending}."
    return Verdict(region, health, reason, counted)


def detection_s_max(interval_s: float, rules: Hysteresis) -> float:
    """Predict the longest time from an outage to a vote: every probe runs into its timeout.

    A probe that ended well just before the outage costs one interval; after it each failing probe
    starts as soon as the one before has ended, or an interval after its start.
    """
    return interval_s + rules.down_after * max(rules.probe_timeout_s, interval_s)
