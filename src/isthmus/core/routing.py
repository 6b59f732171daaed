"""Routing: which region serves a name, decided alike at every site and without a leader.

A route is one item per name. It has a join, so sites that decided apart agree on contact, and an
epoch, so that an older plan never replaces a newer one. Only two things write the next epoch: a
majority of the configured sites that votes the target unhealthy, or an operator's intent. A former
target that is healthy again changes nothing: failback is an operator's ``move``.

Invariants, each with a check of its name: one route per epoch after a join, a route never goes
back, a failover has its majority.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from isthmus.core.health import Health, Verdict, majority_of
from isthmus.errors import BrokenInvariant

#: Epochs become SOA serials, which are compared by RFC 1982 and stay ordered over half their range.
EPOCH_MAX = 2**31 - 1
Epoch = Annotated[int, msgspec.Meta(ge=1, le=EPOCH_MAX)]
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]

#: Concurrent intents rank in this order: what holds a name still wins over what moves it.
RANKS = ("pause", "pin", "move")


class Route(msgspec.Struct, frozen=True):
    """Which region serves a name. The higher epoch wins; ``reason`` and ``votes`` say why."""

    name: Short
    epoch: Epoch
    target: Short
    reason: Annotated[str, msgspec.Meta(max_length=2000)]
    votes: dict[str, Health] = {}


class Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator wants of a name.

    ``pause`` stops every change, ``pin`` moves to ``target`` and stays there, both until they
    expire or are lifted; ``move`` is a switchover or a failback. ``if_epoch`` is the epoch that the
    operator saw, so that nobody moves what somebody else has just moved.
    """

    id: Short
    kind: Literal["pause", "pin", "move"]
    if_epoch: Epoch
    #: Milliseconds since 1970.
    expires_ms: Annotated[int, msgspec.Meta(ge=0)]
    target: str = ""
    #: Move to a region even if it is not known to be healthy.
    force: bool = False
    #: Ends a pause or a pin early. Once set it stays set: see ``join_intents``.
    lifted: bool = False


@dataclass(frozen=True)
class Rules:
    """What every site of a system is configured alike with."""

    #: Regions in order of preference.
    preference: tuple[str, ...]
    sites: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """The next route, or None to keep the present one; and one sentence that says why."""

    route: Route | None
    reason: str
    #: Intents that lost or were refused, by id: losers are reported, never dropped in silence.
    refused: Mapping[str, str]


@dataclass(frozen=True)
class Served:
    """What this site's nameserver answers, which a cut-off site may override for itself."""

    target: str
    override: bool
    reason: str


def first_route(name: str, rules: Rules) -> Route:
    """The route of a new system, which every site derives alike and so needs no vote for."""
    return Route(name, 1, rules.preference[0], "A new system starts with its first region.")


def join(mine: Route, theirs: Route, preference: Sequence[str]) -> Route:
    """Merge two versions of one name's route: a maximum, hence a join."""
    if mine.name != theirs.name:
        raise BrokenInvariant(f"routes of {mine.name!r} and {theirs.name!r} were joined")
    return max(mine, theirs, key=lambda route: _standing(route, preference))


def _standing(route: Route, preference: Sequence[str]) -> tuple[int, int, bytes]:
    known = route.target in preference
    rank = preference.index(route.target) if known else len(preference)
    return route.epoch, -rank, msgspec.json.encode(route, order="deterministic")


def join_intents(mine: Intent, theirs: Intent) -> Intent:
    """Merge two versions of one intent: lifted once is lifted, and the later expiry holds.

    So a lift lasts as long as any version that it lifts. Of the rest the greater bytes win.
    """
    both = {
        "lifted": mine.lifted or theirs.lifted,
        "expires_ms": max(mine.expires_ms, theirs.expires_ms),
    }
    versions = [msgspec.structs.replace(each, **both) for each in (mine, theirs)]
    return max(versions, key=lambda each: msgspec.json.encode(each, order="deterministic"))


def decide(
    route: Route,
    verdicts: Mapping[str, Verdict],
    sites_heard: Collection[str],
    rules: Rules,
    intents: Sequence[Intent],
    now_ms: int,
) -> Decision:
    """Say what the route should become. ``sites_heard`` includes the site that asks."""
    refused: dict[str, str] = {}
    winner: Decision | None = None
    for intent in sorted(intents, key=lambda each: (RANKS.index(each.kind), each.id)):
        if intent.lifted:
            continue
        if winner is not None:
            refused[intent.id] = f"Another intent came first. {winner.reason}"
            continue
        why = _void(intent, now_ms)
        if not why and not _in_force(intent, route):
            why = refusal(intent, route, verdicts, rules, now_ms)
        if why:
            refused[intent.id] = why
        else:
            winner = _obey(intent, route)
    if winner is None:
        winner = _failover(route, verdicts, sites_heard, rules)
    return Decision(winner.route, winner.reason, refused)


def _in_force(intent: Intent, route: Route) -> bool:
    """Say whether an intent that was obeyed once still holds the name."""
    if intent.kind == "pause":
        return route.epoch >= intent.if_epoch
    return intent.kind == "pin" and route.epoch > intent.if_epoch and route.target == intent.target


def _void(intent: Intent, now_ms: int) -> str:
    return f"{intent.kind} {intent.id!r} has expired." if intent.expires_ms <= now_ms else ""


def refusal(
    intent: Intent, route: Route, verdicts: Mapping[str, Verdict], rules: Rules, now_ms: int
) -> str:
    """Say why a new intent cannot be obeyed now; empty if it can."""
    if why := _void(intent, now_ms):
        return why
    if intent.if_epoch != route.epoch:
        return f"if_epoch is {intent.if_epoch}, but the route of {route.name} has {route.epoch}."
    if intent.kind == "pause":
        return ""
    if intent.target not in rules.preference:
        return f"target {intent.target!r} is not one of {', '.join(rules.preference)}."
    verdict = verdicts.get(intent.target)
    health = verdict.health if verdict else Health.UNKNOWN
    if health is not Health.HEALTHY and not intent.force:
        return f"target {intent.target} is {health}: {verdict.reason if verdict else 'no votes.'}"
    return ""


def _obey(intent: Intent, route: Route) -> Decision:
    if intent.kind == "pause":
        return Decision(None, f"Paused by intent {intent.id!r}: {route.target} stays.", {})
    if _in_force(intent, route):
        return Decision(None, f"Pinned to {route.target} by intent {intent.id!r}.", {})
    if intent.kind == "move" and intent.target == route.target:
        return Decision(None, f"{route.name} is already at {route.target}.", {})
    forced = ", by force" if intent.force else ""
    reason = f"An operator's {intent.kind} {intent.id!r} to {intent.target}{forced}."
    return Decision(_next(route, intent.target, reason, {}), reason, {})


def _failover(
    route: Route,
    verdicts: Mapping[str, Verdict],
    sites_heard: Collection[str],
    rules: Rules,
) -> Decision:
    heard = len(set(sites_heard) & set(rules.sites))
    needed = majority_of(rules.sites)
    if heard < needed:
        text = f"{heard} of {len(rules.sites)} configured sites are heard, {needed} must be"
        return Decision(None, f"{text}: {route.target} stays.", {})
    verdict = verdicts.get(route.target)
    health = verdict.health if verdict else Health.UNKNOWN
    if verdict is None or health is not Health.UNHEALTHY or _against(verdict, rules) < needed:
        return Decision(None, f"{route.target} is {health}: it stays.", {})
    for region in rules.preference:
        candidate = verdicts.get(region)
        if region != route.target and candidate and candidate.health is Health.HEALTHY:
            reason = f"{verdict.reason} {region} is healthy."
            return Decision(_next(route, region, reason, verdict.votes), reason, {})
    text = f"{route.target} is unhealthy, but no other region is known to be healthy"
    return Decision(None, f"{text}: it stays.", {})


def _against(verdict: Verdict, rules: Rules) -> int:
    return sum(1 for site in rules.sites if verdict.votes.get(site) is Health.UNHEALTHY)


def _next(route: Route, target: str, reason: str, votes: dict[str, Health]) -> Route:
    if route.epoch >= EPOCH_MAX:
        raise BrokenInvariant(f"{route.name} has no epoch after {route.epoch}")
    return Route(route.name, route.epoch + 1, target, reason[:2000], votes)


def served_target(
    route: Route,
    own_votes: Mapping[str, Health],
    sites_heard: Collection[str],
    rules: Rules,
) -> Served:
    """Say what this site's nameserver answers.

    A cut-off site serves the last route. Only if its own probes say that the target is dead, and
    that another region is not, does it override, for itself and without an epoch: the override is
    gone with the first contact.
    """
    heard = len(set(sites_heard) & set(rules.sites))
    if heard >= majority_of(rules.sites):
        return Served(route.target, False, route.reason)
    cut_off = f"Cut off, {heard} of {len(rules.sites)} configured sites are heard"
    if own_votes.get(route.target) is Health.UNHEALTHY:
        for region in rules.preference:
            if own_votes.get(region) is Health.HEALTHY:
                reason = f"{cut_off}, and {route.target} does not answer here: {region} for now."
                return Served(region, True, reason)
    return Served(route.target, False, f"{cut_off}: the last route is kept.")


def check_one_route_per_epoch(one: Route, other: Route, preference: Sequence[str]) -> None:
    """Two sites that exchanged their routes hold the same one."""
    if join(one, other, preference) != join(other, one, preference):
        raise BrokenInvariant(f"two routes of {one.name} have epoch {one.epoch} after a join")


def check_route_never_goes_back(old: Route, new: Route, preference: Sequence[str]) -> None:
    """An older plan never replaces a newer one."""
    if join(old, new, preference) != new:
        raise BrokenInvariant(f"epoch {new.epoch} of {new.name} would replace epoch {old.epoch}")


def check_failover_has_majority(verdict: Verdict, rules: Rules) -> None:
    """No region is left without a majority of the configured sites that votes it unhealthy."""
    if _against(verdict, rules) < majority_of(rules.sites):
        raise BrokenInvariant(f"{verdict.region} would be left by a minority")
