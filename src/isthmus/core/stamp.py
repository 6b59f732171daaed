"""Stamps: hybrid logical clock time plus region and incarnation, totally ordered.

A new stamp is greater than the clock, than the last one made here, and than every stamp in the
item that is being written and in those it refers to. There is no merge on receipt, so a region
whose clock is wrong poisons only the items it touched (docs/correctness.md, section 4).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Stamp(NamedTuple):
    """When and where something was written; compared field by field."""

    #: Milliseconds since 1970 by the writer's clock, or later where an older write was ahead of it.
    ms: int
    counter: int
    region: str
    incarnation: str


#: Before every stamp that a clock makes.
ZERO = Stamp(0, 0, "", "")


class StampClock:
    """Makes the stamps of one process; the caller brings the time."""

    def __init__(self, region: str, incarnation: str) -> None:
        self.region = region
        self.incarnation = incarnation
        self._last = ZERO

    @property
    def actor(self) -> str:
        """Who writes, in version vectors: region and incarnation."""
        return f"{self.region}.{self.incarnation}"

    def stamp(self, now_ms: int, seen: Iterable[Stamp] = ()) -> Stamp:
        """Return a stamp greater than ``now_ms``, the last one made here and all of ``seen``."""
        floor = max(seen, default=ZERO)
        floor = max(floor, self._last)
        if now_ms > floor.ms:
            made = Stamp(now_ms, 0, self.region, self.incarnation)
        else:
            made = Stamp(floor.ms, floor.counter + 1, self.region, self.incarnation)
        self._last = made
        return made
