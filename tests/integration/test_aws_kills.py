"""kill -9 in the middle of many writes: what was answered is there, and nothing is half there."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import pytest
import pytest_asyncio
from aws_clients import Key, a_key
from aws_wire import Client, Refused, place
from aws_writers import Count, State, Writer, listed_certificates
from regions import HOME, OTHER, Regions, two_regions, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
_log = logging.getLogger(__name__)
T = TypeVar("T")

#: Longer than an answer takes: what is acknowledged too soon is not in the other region by chance.
FAR_S = 0.1
NIGHTLY = [pytest.mark.nightly, pytest.mark.timeout(3600)]
#: How often, among how many writes, and how many of them at a time.
ROUNDS = pytest.mark.parametrize(
    ("times", "writes", "at_once"),
    [
        pytest.param(1, 150, 16, id="once"),
        pytest.param(20, 1000, 250, id="20-times", marks=NIGHTLY),
    ],
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    directory = tmp_path_factory.mktemp("regions")
    # On a machine that many writers share, a second of silence is no sign of a peer's death.
    async with two_regions(
        directory, cuttable=True, alone_start_s=1.0, alone_after_s=5.0
    ) as started:
        yield started


class Round:
    """Writers at work, whose region is killed once."""

    def __init__(self, regions: Regions, key: Key, name: str, writes: int, at_once: int) -> None:
        self._regions = regions
        self._key = key
        self._chance = random.Random(name)
        self.count = Count(writes)
        self.count.kill_at = self._chance.randrange(writes // 10, writes * 9 // 10)
        self._pool = ThreadPoolExecutor(at_once)
        self._clients: list[Client] = []
        self._writers = [
            Writer(
                f"{name}-{number}",
                self._client(HOME),
                self.count,
                random.Random(f"{name}-{number}"),
            )
            for number in range(at_once)
        ]
        #: Certificates of others, or of earlier rounds.
        self._known: set[str] = set()

    def _client(self, region: str) -> Client:
        client = Client(self._key, place(self._regions, region))
        self._clients.append(client)
        return client

    async def _each(self, do: Callable[[Writer], T]) -> list[T]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(loop.run_in_executor(self._pool, do, each) for each in self._writers)
        )

    async def begin(self) -> None:
        self._known = await asyncio.to_thread(listed_certificates, self._client(HOME))

    async def write(self) -> None:
        """Write until all is written, or all have been cut off."""
        await self._each(Writer.write_on)

    async def check(self, region: str, *, is_away: bool = False) -> list[State]:
        """What a region shows of every writer, which is what it may be."""

        def check(writer: Writer) -> State:
            # Closed at once: an API has so many connections and no more.
            with closing(self._client(region)) as client:
                return writer.check(client, is_away=is_away)

        found = await self._each(check)
        await asyncio.to_thread(self._check_certificates, self._client(region))
        return found

    def _check_certificates(self, client: Client) -> None:
        told = set[str]().union(*(each.certificates for each in self._writers))
        others = listed_certificates(client) - self._known - told
        assert len(others) <= sum(each.untold for each in self._writers)

    async def settle(self) -> None:
        """Both regions show the same, from which the writers go on."""
        await self._regions.level()
        here, there = await self.check(HOME), await self.check(OTHER)
        assert here == there
        for writer, found in zip(self._writers, here, strict=True):
            writer.settle(found)

    def end(self) -> None:
        for each in self._clients:
            each.close()
        self._pool.shutdown()
        _log.info(
            "%d writes were acknowledged, %d of them alone, and %d not answered; killed after %d",
            self.count.acknowledged,
            self.count.alone,
            self.count.unanswered,
            self.count.kill_at,
        )


async def serves(regions: Regions, key: Key, region: str) -> None:
    """Wait until a region's API answers."""

    def answers() -> bool:
        client = Client(key, place(regions, region))
        try:
            client.call("DescribeEndpoint")
        except (OSError, Refused):
            return False
        finally:
            client.close()
        return True

    await until(f"the API of {region} serves", lambda: asyncio.to_thread(answers))


@ROUNDS
async def test_a_process_of_the_api_is_killed(
    regions: Regions, times: int, writes: int, at_once: int
) -> None:
    key = await a_key(regions)
    for number in range(times):
        one = Round(regions, key, f"api{number}of{times}", writes, at_once)
        try:
            await one.begin()
            one.count.kill = lambda: regions.signal(HOME, "api", signal.SIGKILL)
            await one.write()
            assert one.count.unanswered
            await serves(regions, key, HOME)
            await one.check(HOME)
            await one.settle()
            await one.write()
            await one.settle()
        finally:
            one.end()


def kill_and_lose(regions: Regions) -> None:
    """A region goes with all that it had on the way to the other one."""
    for cable in regions.system.cables.values():
        cable.lose()
    regions.system.kill(HOME)


@ROUNDS
async def test_a_whole_region_is_killed(
    regions: Regions, times: int, writes: int, at_once: int
) -> None:
    key = await a_key(regions)
    for number in range(times):
        one = Round(regions, key, f"region{number}of{times}", writes, at_once)
        try:
            await one.begin()
            one.count.kill = lambda: kill_and_lose(regions)
            for cable in regions.system.cables.values():
                cable.delay_s = FAR_S
            await one.write()
            assert one.count.unanswered
            await regions.system.gone(HOME)
            await regions.system.cut()
            for cable in regions.system.cables.values():
                cable.delay_s = 0.0
            # Before the other one is back: what was confirmed is here already.
            assert one.count.alone < one.count.acknowledged
            await serves(regions, key, OTHER)
            await one.check(OTHER, is_away=True)
            await regions.system.heal()
            await regions.system.start(HOME)
            await regions.together()
            await serves(regions, key, HOME)
            await one.settle()
            await one.write()
            await one.settle()
        finally:
            one.end()
