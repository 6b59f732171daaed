"""Waits until a write's promise is kept: this region has it, and a second one.

The region's own log has the write when it is made; the peers' reports say how far each has
applied that log. While the region is alone nobody else can, and the caller is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from isthmus.core.peers import Peers
from isthmus.core.written import Name, Written
from isthmus.protocol import HeadReply, Report


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
    """What the peers have of this region, for those who wait for it."""

    def __init__(
        self,
        is_alone: Callable[[], bool],
        level: Callable[[], Awaitable[None]],
        newest: Callable[[Collection[Name]], Awaitable[Mapping[Name, int]]],
    ) -> None:
        """``level`` returns once the view has what was in the log when it was called, by whichever
        process of the region; ``newest`` says which revisions of items that view has.
        """
        self.peers = Peers()
        self._is_alone = is_alone
        self._level = level
        self._newest = newest
        self._changed = asyncio.Event()

    def heard(self, report: Report, now_s: float) -> None:
        """Take a peer's report in."""
        if self.peers.heard(report.region, report.incarnation, report.log, report.writers, now_s):
            self.wake()

    def heard_head(self, region: str, head: HeadReply) -> None:
        """Take in what a peer holds of our bus."""
        self.peers.holds(region, head.incarnation, head.writers)

    def wake(self) -> None:
        """Something that writers wait for may have happened."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def kept(
        self, incarnation: str, written: Written, peers: int, timeout_s: float, wanted: int = 1
    ) -> Kept:
        """Wait until peers have what was written, or this region is alone.

        ``incarnation`` is the region's own when it was written: another one may have something
        else there. Raises TimeoutError when neither comes true in time: the write is stored here,
        and no more is known of it; Unavailable where the log does not answer.
        """
        written = written.copy()
        async with asyncio.timeout(timeout_s):
            while True:
                confirmed = self.peers.applied(incarnation, written.newest)
                if not peers or self._is_alone():
                    return Kept(confirmed, peers)
                if len(confirmed) < wanted:
                    await self._changed.wait()
                    continue
                await self._level()
                if not written.is_overtaken(await self._newest(written.names)):
                    return Kept(confirmed, peers)
