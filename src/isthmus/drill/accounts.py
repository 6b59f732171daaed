"""The accounts of a drill: what clients were told against what the lakes hold.

Pure: events and lake rows in, counts and named failures out. The drill finds a message by the
sequence in its payload, which the product never looks at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from isthmus.adapters.lake import LakeRow
from isthmus.core.undecodable import UNDECODABLE
from isthmus.drill.observed import Client

#: Client and sequence in its payload.
Key = tuple[str, int]


ANSWER_ON_ITS_WAY_S = 0.5


class _Payload(msgspec.Struct):
    seq: int


_PAYLOADS = msgspec.json.Decoder(_Payload)


@dataclass(slots=True)
class LakeAccount:
    """One region's lake."""

    raw: Counter[Key] = field(default_factory=Counter)
    default: Counter[Key] = field(default_factory=Counter)
    #: When this region first had a message, and which region had accepted that copy.
    stored: dict[Key, list[tuple[float, str]]] = field(default_factory=dict)
    positions: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[LakeRow]) -> LakeAccount:
        """Count the rows of a raw view."""
        account = cls()
        for row in rows:
            try:
                key = (row.client, _PAYLOADS.decode(row.body()).seq)
            except UNDECODABLE:
                continue
            account.raw[key] += 1
            if not row.maybe_dup_of:
                account.default[key] += 1
            account.stored.setdefault(key, []).append((row.stored_s, row.origin))
            account.positions[row.position] = row.stored_s
        return account

    def duplicates(self) -> int:
        """Copies beyond the first in the default view."""
        return sum(count - 1 for count in self.default.values())

    def duplicates_raw(self) -> int:
        return sum(count - 1 for count in self.raw.values())


def acknowledged(clients: Mapping[str, Client]) -> dict[Key, float]:
    """Everything that clients were told is safe, and when."""
    return {(name, seq): at for name, client in clients.items() for seq, at in client.acked}


def missing(told: Iterable[Key], lake: LakeAccount) -> list[Key]:
    """Acknowledged messages that a lake does not have."""
    return sorted(key for key in told if not lake.raw[key])


@dataclass(frozen=True, slots=True)
class Alone:
    """A stretch of time in which a region was alone."""

    region: str
    from_s: float
    to_s: float


def alone_stretches(region: str, history: Iterable[Mapping[str, object]]) -> list[Alone]:
    """From the transitions that a region remembers; the last one may be open."""
    stretches, since = [], None
    for state in history:
        at_s = float(str(state["since_ms"])) / 1000
        if state["alone"] and since is None:
            since = at_s
        elif not state["alone"] and since is not None:
            stretches.append(Alone(region, since, at_s))
            since = None
    return [*stretches, Alone(region, since, float("inf"))] if since is not None else stretches


def too_early(
    told: Mapping[Key, float], lakes: Mapping[str, LakeAccount], alone: Iterable[Alone]
) -> list[Key]:
    """Messages acknowledged before two regions had them, though nobody was alone."""
    stretches = list(alone)
    # What left the gateway alone may reach the client, and be noted, after the state has ended.
    return sorted(
        key
        for key, at_s in told.items()
        if _regions_that_had(key, at_s, lakes) < 2
        and not any(each.from_s <= at_s <= each.to_s + ANSWER_ON_ITS_WAY_S for each in stretches)
    )


def _regions_that_had(key: Key, at_s: float, lakes: Mapping[str, LakeAccount]) -> int:
    return sum(
        any(stored_s <= at_s for stored_s, _ in lake.stored.get(key, ())) for lake in lakes.values()
    )


def lags_s(lakes: Mapping[str, LakeAccount], outage: tuple[float, float]) -> list[float]:
    """How much later the other region had each message, leaving out what waited for an outage."""
    first, second = list(lakes.values())[:2]
    lags = []
    for position, at_s in first.positions.items():
        other_s = second.positions.get(position)
        if other_s is None:
            continue
        earlier, later = sorted((at_s, other_s))
        if not (outage[0] - 1.0 <= earlier <= outage[1]):
            lags.append(later - earlier)
    return lags


def percentiles(values: Iterable[float], digits: int = 3) -> dict[str, float | None]:
    """p50, p95, p99 and max; None where there are no values."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p95": None, "p99": None, "max": None}
    picks = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
    # The smallest value that at least this share of all values does not exceed.
    return {
        name: round(ordered[max(0, -int(-share * len(ordered) // 1) - 1)], digits)
        for name, share in picks.items()
    }
