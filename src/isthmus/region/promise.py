"""Waits until a write's promise is kept: this region has it, and a second one.

The region's own log has the write when it is made; the peers' reports say how far each has
applied that log. While the region is alone nobody else can, and the caller is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from isthmus.core.confirm import Watermarks
from isthmus.protocol import Report


@dataclass(frozen=True, slots=True)
class Kept:
    """Which other regions have a write; none while this region is alone."""

    confirmed_by: tuple[str, ...]
    #: Whether there is any other region that could have it.
    peers: int

    @property
    def replicated(self) -> bool:
        return bool(self.confirmed_by) or not self.peers


class Promises:
    """What the peers have of this region."""

    def __init__(self, incarnation: asyncio.Future[str], is_alone: Callable[[], bool]) -> None:
        self._incarnation = incarnation
        self._is_alone = is_alone
        self._reports: dict[str, Report] = {}
        self._heard_s: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._confirmed: dict[str, Watermarks] = {}

    def heard(self, report: Report, now_s: float) -> None:
        """Take a peer's report in."""
        self._heard_s[report.region] = now_s
        before = self._reports.get(report.region)
        if before is None or before.incarnation != report.incarnation:
            # What a peer held under another incarnation it may have lost since.
            self._confirmed[report.region] = Watermarks()
        for writer, number in report.writers.items():
            self._confirmed[report.region].raise_to(writer, number)
        self._reports[report.region] = report
        if before is None or before.log != report.log:
            self.wake()

    def wake(self) -> None:
        """Something that writers wait for may have happened."""
        self._changed.set()
        self._changed = asyncio.Event()

    def confirmed(self) -> Watermarks:
        """Per writer of this region, what some peer holds now."""
        union = Watermarks()
        for each in self._confirmed.values():
            for writer, number in each.snapshot().items():
                union.raise_to(writer, number)
        return union

    def heard_within(self, region: str, now_s: float, limit_s: float) -> bool:
        return now_s - self._heard_s.get(region, float("-inf")) <= limit_s

    def confirmed_by(self, revision: int) -> tuple[str, ...]:
        """The peers that have applied this region's log up to a revision."""
        incarnation = self._incarnation.result() if self._incarnation.done() else None
        return tuple(
            sorted(
                region
                for region, report in self._reports.items()
                if report.log.incarnation == incarnation and report.log.sequence >= revision
            )
        )

    async def kept(self, revision: int, peers: int, timeout_s: float) -> Kept:
        """Wait until a peer has the revision, or this region is alone.

        Raises TimeoutError when neither comes true in time: the write is stored here, and no more
        is known of it.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                confirmed = self.confirmed_by(revision)
                if confirmed or not peers or self._is_alone():
                    return Kept(confirmed, peers)
                await self._changed.wait()
