"""How much may be done when there is too much: buckets, a pace, a backlog, and who goes first.

Time is an argument, in seconds of any clock. A clock that goes back gives nothing, and takes
nothing for good: from there on it counts as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class _Level:
    """Rises by a rate, and never above the burst."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._level = burst
        self._at_s: float | None = None

    def level(self, now_s: float) -> float:
        """What is there at a time, which counts from then on."""
        if self._at_s is not None and now_s > self._at_s:
            risen = self._level + (now_s - self._at_s) * self._rate_per_s
            self._level = min(risen, self._burst)
        self._at_s = now_s
        return self._level


class TokenBucket(_Level):
    """In any window no more than the burst and what the rate gives in it; never below nothing."""

    def take(self, now_s: float, amount: float = 1.0) -> bool:
        """Take that much, or nothing."""
        if self.level(now_s) < amount:
            return False
        self._level -= amount
        return True

    def wait_s(self, now_s: float, amount: float = 1.0) -> float:
        """Seconds until so much can be taken, if nobody else takes any; never, above the burst."""
        if amount > self._burst:
            return float("inf")
        return max(0.0, amount - self.level(now_s)) / self._rate_per_s

    def is_full(self, now_s: float) -> bool:
        """Whether it is as if nobody had ever taken anything."""
        return self.level(now_s) >= self._burst


class Pace(_Level):
    """For what is known only once it was done: it is charged, and may leave a debt.

    Who does nothing while in debt does, in any window, no more than the burst, what the rate gives
    in it, and what was done at once last.
    """

    def charge(self, now_s: float, amount: float) -> float:
        """Note that so much was done; answers the seconds until more may be."""
        self._level = self.level(now_s) - amount
        return max(0.0, -self._level) / self._rate_per_s


class Buckets:
    """A bucket for each name that has asked lately; a full one is forgotten."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        #: The one that was asked last is the last.
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, name: str, now_s: float) -> bool:
        bucket = self._buckets.pop(name, None) or TokenBucket(self._rate_per_s, self._burst)
        taken = bucket.take(now_s)
        while self._buckets:
            oldest = next(iter(self._buckets))
            if not self._buckets[oldest].is_full(now_s):
                break
            del self._buckets[oldest]
        self._buckets[name] = bucket
        return taken

    def __len__(self) -> int:
        return len(self._buckets)


class Backlog:
    """Whether too much waits: above either bound, and from then on until both are half empty."""

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self.messages = 0
        self.bytes = 0
        self.is_over = False

    def weigh(self, messages: int, size: int) -> bool:
        """Take what waits now; True if ``is_over`` has changed by that."""
        self.messages, self.bytes = messages, size
        share = 2 if self.is_over else 1
        is_over = messages * share > self._messages_max or size * share > self._bytes_max
        has_changed = is_over != self.is_over
        self.is_over = is_over
        return has_changed


def heaviest(weights: Mapping[T, int], at_most: int) -> list[T]:
    """Who has to go, the heaviest first, for the others to weigh no more than that together."""
    total = sum(weights.values())
    gone = []
    for each in sorted(weights, key=lambda each: weights[each], reverse=True):
        if total <= at_most:
            break
        total -= weights[each]
        gone.append(each)
    return gone
