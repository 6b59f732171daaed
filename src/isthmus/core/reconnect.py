"""Where a device connects next, and when.

A device knows every region and any region can serve it, so it need not wait for DNS to learn that
one died. It asks DNS all the same, because DNS says where operators want it. The invariants:

- a region that failed is not tried twice in a row while there is another one. The one exception
  is a settled session that was closed: a crashed gateway process or a paced disconnect should
  cost one reconnect and not a change of region;
- a DNS error is never taken for a failover, and never ends a session;
- DNS moves a connected device only by a *change* of its answer: a device that fled a dead region
  before DNS knew would else be sent straight back;
- only a full round of failures is waited for, at most ``backoff_cap_s``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from isthmus.errors import InputError

#: How a connection, or an attempt at one, ended. ``closed``: end of file, reset or refused.
#: ``silent``: nothing came for too long. ``moved``: our own decision, after ``on_answer``.
Ending = Literal["closed", "silent", "moved"]

#: 2 to this power times any sensible base is beyond any sensible cap.
_DOUBLINGS_MAX = 16


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a region's gateway is. Without ``address`` the hostname is looked up."""

    region: str
    hostname: str
    port: int
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Connect to ``endpoint`` after ``delay_s``; ``reason`` says why, in one sentence."""

    endpoint: Endpoint
    delay_s: float
    reason: str


class Reconnect:
    """The decisions of one device; endpoints come in its order of preference.

    ``answer`` is always the region that DNS names now, or None if DNS did not answer or named
    none that we know.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        rng: random.Random,
        *,
        spread_s: float = 0.25,
        backoff_base_s: float = 0.5,
        backoff_cap_s: float = 30.0,
        settled_after_s: float = 5.0,
    ) -> None:
        self._endpoints = {endpoint.region: endpoint for endpoint in endpoints}
        if not endpoints or len(self._endpoints) < len(endpoints):
            regions = [endpoint.region for endpoint in endpoints]
            raise InputError(f"endpoints name {regions}", hint="at least one, each region once")
        self._rng = rng
        self._spread_s = spread_s
        self._backoff_base_s = backoff_base_s
        self._backoff_cap_s = backoff_cap_s
        #: A session that ends sooner counts as a failed attempt, or a gateway that accepts and
        #: then closes would be tried for ever.
        self._settled_after_s = settled_after_s
        #: Regions that failed in this round, and how many rounds failed entirely.
        self._failed: set[str] = set()
        self._rounds = 0
        self._current: str | None = None
        self._connected_at_s = 0.0
        self._last_answer: str | None = None

    def start(self, answer: str | None) -> Decision:
        """Decide the first connection."""
        answer = self._note(answer)
        region = answer or self._by_preference(None)[0]
        why = f"DNS names {region}" if answer else f"DNS named none, {region} is the first choice"
        return self._decide(region, self._spread(), f"{why}: connecting to {region}.")

    def connected(self, region: str, now_s: float) -> None:
        """Take note that ``region`` accepted us."""
        self._current = region
        self._connected_at_s = now_s

    def on_answer(self, answer: str | None) -> bool:
        """Tell whether a connected device should end its session and move to DNS's answer."""
        before = self._last_answer
        answer = self._note(answer)
        if answer is None or before is None or self._current is None:
            return False
        return answer not in (before, self._current)

    def ended(self, how: Ending, region: str, answer: str | None, now_s: float) -> Decision:
        """Decide what follows the end of a session with ``region``, or of an attempt at one."""
        answer = self._note(answer)
        settled = self._end_session(now_s)
        if settled or how == "moved":
            self._failed.clear()
            self._rounds = 0
        if how == "moved":
            return self._after_move(region, answer)
        if how == "closed" and settled:
            return self._after_close(region, answer)
        self._failed.add(region)
        verb = "fell silent" if how == "silent" else "closed or refused the connection"
        return self._next(region, answer, f"{region} {verb}", self._spread() if settled else 0.0)

    def _note(self, answer: str | None) -> str | None:
        if answer not in self._endpoints:
            return None
        self._last_answer = answer
        return answer

    def _end_session(self, now_s: float) -> bool:
        """Forget the session; tells whether there was one that had settled."""
        had_session = self._current is not None
        self._current = None
        return had_session and now_s - self._connected_at_s >= self._settled_after_s

    def _after_move(self, region: str, answer: str | None) -> Decision:
        target = answer or self._last_answer
        if target is None or target == region:
            return self._next(region, answer, f"left {region}", self._spread())
        reason = f"DNS now names {target}: moving there from {region}."
        return self._decide(target, self._spread(), reason)

    def _after_close(self, region: str, answer: str | None) -> Decision:
        if answer not in (None, region):
            return self._next(region, answer, f"{region} closed the connection", self._spread())
        dns = "DNS still names it" if answer else "DNS does not answer"
        reason = f"{region} closed the connection and {dns}: trying {region} once more."
        return self._decide(region, self._spread(), reason)

    def _next(self, region: str, answer: str | None, what: str, delay_s: float) -> Decision:
        """Leave ``region`` for the next one that has not failed; start over when all have."""
        order = self._by_preference(answer)
        target = next((each for each in order if each not in self._failed | {region}), None)
        if target is None:
            self._rounds += 1
            self._failed.clear()
            target = next((each for each in order if each != region), region)
            delay_s = self._backoff()
            why = f"no region is left in round {self._rounds}, waiting {delay_s:.1f} s for {target}"
        elif target == answer:
            why = f"DNS names {target}: connecting to it"
        else:
            why = f"connecting to {target}, the next by preference"
        return self._decide(target, delay_s, f"{what}; {why}.")

    def _by_preference(self, answer: str | None) -> list[str]:
        return sorted(self._endpoints, key=lambda region: region != answer)

    def _decide(self, region: str, delay_s: float, reason: str) -> Decision:
        return Decision(self._endpoints[region], delay_s, reason)

    def _spread(self) -> float:
        """A small delay, so that a fleet which lost its region does not arrive as one."""
        return self._rng.uniform(0.0, self._spread_s)

    def _backoff(self) -> float:
        """Exponential with full jitter: a fleet's retries spread over the whole interval."""
        longest_s = self._backoff_base_s * 2 ** min(self._rounds, _DOUBLINGS_MAX)
        return self._rng.uniform(0.0, min(longest_s, self._backoff_cap_s))
