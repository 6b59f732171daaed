"""The observer: probes every region from outside, again and again, and votes.

The vote is core.health's; here are the loops that feed it. One probe of a region runs at a time,
so a region that does not answer is never asked more often than one that does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from isthmus.config import RoutedRegion
from isthmus.core.health import Health, Hysteresis, Probe, Vote, Watch

log = logging.getLogger(__name__)

#: How often the process checks that it has not been asleep; cheap, and well below any pause limit.
TICK_S = 0.2


class Prober(Protocol):
    """Asks one region for a sign of life.

    Answers None if it came, else why it did not, in words that stay the same while the cause does.
    It ends by itself within the probe's timeout, and holds nothing open afterwards.
    """

    async def probe(self, region: RoutedRegion) -> str | None: ...


class Observer:
    """One vote per region, renewed by probes; tells of each vote that changed and of each pause."""

    def __init__(
        self,
        regions: Sequence[RoutedRegion],
        prober: Prober,
        rules: Hysteresis,
        interval_s: float,
        *,
        clock: Callable[[], float],
        on_vote: Callable[[str, Vote], None],
        on_pause: Callable[[float], None],
    ) -> None:
        self._regions = tuple(regions)
        self._prober = prober
        self._interval_s = interval_s
        self._clock = clock
        self._on_vote = on_vote
        self._on_pause = on_pause
        self._seen = Watch((region.name for region in regions), rules, TICK_S)

    @property
    def votes(self) -> dict[str, Vote]:
        """What this site says of each region now."""
        return self._seen.votes

    async def run(self) -> None:
        """Probe until cancelled."""
        self._seen.tick(self._clock())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick())
            for region in self._regions:
                tasks.create_task(self._watch(region))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.check_pause()
            self._seen.tick(self._clock())

    def check_pause(self) -> None:
        """Void every vote if this process has been paused, and tell of it."""
        pause = self._seen.check_pause(self._clock())
        if pause is None:
            return
        extra = {"action": "paused", "late_s": pause.late_s}
        log.warning("the observer was paused", extra=extra)
        for region, vote in pause.votes.items():
            self._tell(region, vote)
        self._on_pause(pause.late_s)

    async def _watch(self, region: RoutedRegion) -> None:
        while True:
            started_s = self._clock()
            failure = await self._prober.probe(region)
            self.check_pause()
            finished_s = self._clock()
            vote = self._seen.count(region.name, Probe(started_s, finished_s, failure))
            if vote is not None:
                self._tell(region.name, vote)
            await asyncio.sleep(max(0.0, started_s + self._interval_s - finished_s))

    def _tell(self, region: str, vote: Vote) -> None:
        level = logging.INFO if vote.health is Health.HEALTHY else logging.WARNING
        extra = {"action": "vote", "region": region, "health": vote.health, "reason": vote.reason}
        log.log(level, "a vote changed", extra=extra)
        self._on_vote(region, vote)
