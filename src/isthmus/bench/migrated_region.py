"""A region that grows from one large fleet to a larger one, as a stand for a bench of the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from msgspec.structs import replace

from isthmus.adapters.nats import connection
from isthmus.bench.api_client import Server
from isthmus.bench.api_regions import api_server, api_target, until_answered
from isthmus.bench.migrated import Fleet, write
from isthmus.bench.plan import Outcome
from isthmus.bench.regions import local_system, sync_seldom, until_open
from isthmus.bench.stand import Ended, Stand, Target, Tools
from isthmus.clock import monotonic_s, now_ms
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.local.operator import Operator
from isthmus.local.system import LocalSystem

#: Until processes have given back what they needed while they read, and no longer: a second for so
#: many things.
SETTLED_PER_S = 5_000


def isthmus_fleet(region: str, first: int, last: int) -> Stand:
    """A region with so many things, which clients call.

    When they are done it is told by how much the memory of all processes of the region grows from
    the first number of things to the last; and how long a start takes with the last number, after
    all processes were killed at once.
    """

    @asynccontextmanager
    async def stand(directory: Path, tools: Tools) -> AsyncIterator[Target]:
        ended = Ended()
        async with local_system(directory, (region,), tools, ended) as (system, operator):
            # A fleet is written item by item, and what is measured is not the disk.
            sync_seldom(system, region, "nats.json")
            await system.start(region)
            await until_open(operator, (region,), 0)
            server = await api_server(system, operator, region)
            growing = _Growing(system, operator, region, server, tools)
            await growing.to(first)

            async def complete(outcome: Outcome) -> Outcome:
                before = await growing.memory()
                await growing.to(last)
                after = await growing.memory()
                grown = {name: after[name] - before[name] for name in before}
                start_s = await growing.start_again()
                return replace(outcome, memory_growth=grown, start_s=start_s)

            yield api_target(system, server, ended, complete)

    return stand


class _Growing:
    """A region, and the things that were written into it."""

    def __init__(
        self, system: LocalSystem, operator: Operator, region: str, server: Server, tools: Tools
    ) -> None:
        self._system = system
        self._operator = operator
        self._region = region
        self._server = server
        self._tools = tools
        self._fleet = Fleet(Writer(StampClock(region, "bench"), now_ms()))
        self._things = 0
        self._position = 0

    async def to(self, things: int) -> None:
        """Write more things until there are so many, and wait until all processes know them."""
        access = self._system.nats_access(self._region, "services")
        client = await connection.connect(access, name="services")
        try:
            doing = self._tools.doing
            self._position = await write(
                client, self._items(things), lambda count: doing(f"{count:,} items are written")
            )
        finally:
            await client.close()
        self._things = things
        await self._known()

    def _items(self, things: int) -> Iterator[Item]:
        if not self._things:
            yield from self._fleet.shared()
        for number in range(self._things, things):
            yield from self._fleet.of(number)

    async def _known(self) -> None:
        await until_open(self._operator, (self._region,), self._position)
        await until_answered(self._server)

    async def memory(self) -> dict[str, int]:
        """Bytes that each process of the region has in memory."""
        await asyncio.sleep(self._things / SETTLED_PER_S)
        pids = self._system.pids(self._region)
        return {name: psutil.Process(pid).memory_info().rss for name, pid in pids.items()}

    async def start_again(self) -> float:
        """Seconds from the start of killed processes until devices and requests are let in."""
        self._system.kill(self._region)
        await self._system.gone(self._region)
        began_s = monotonic_s()
        await self._system.start(self._region)
        await self._known()
        return monotonic_s() - began_s
