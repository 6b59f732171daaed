"""A stream is followed without a gap, and without a pause for what is asked next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from isthmus.adapters.nats import follow as following
from isthmus.adapters.nats.entries import Entry
from isthmus.adapters.nats.follow import follow
from isthmus.bench.delay import Proxy
from isthmus.bench.plan import Route
from isthmus.config import Listen
from isthmus.tasks import end
from real_nats import RealNats, real_nats

STREAM = "BUS_eu"
ONE_WAY_S = 0.2


@asynccontextmanager
async def far_away(server: RealNats) -> AsyncIterator[Client]:
    """A connection to a server that is some way off."""
    target = Listen(host=server.host, port=server.port)
    proxy = Proxy(Route(host=server.host, target=target), ONE_WAY_S)
    try:
        async with server.user("services", port=await proxy.start()) as client:
            yield client
    finally:
        proxy.close()


async def test_a_request_is_open_all_the_time_however_far_the_server_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PULL_EXPIRES_S", 1.0)

    async def read(client: Client) -> None:
        async with aclosing(follow(client, STREAM, 0)) as lists:
            async for _ in lists:
                pass

    async with real_nats(tmp_path) as server, server.user("services", "watch") as near:
        js = near.jetstream()

        async def waiting() -> int:
            return sum(each.num_waiting or 0 for each in await js.consumers_info(STREAM))

        async with far_away(server) as client:
            task = asyncio.create_task(read(client))
            try:
                async with asyncio.timeout(20):
                    while not await waiting():
                        pass
                # Three requests run out meanwhile.
                async with asyncio.timeout(3.5):
                    while await waiting():
                        pass
                pytest.fail("for a moment nothing was asked for")
            except TimeoutError:
                assert await waiting()
            finally:
                await end([task])


@pytest.mark.parametrize("rest_s", [0.0, 0.05])
async def test_more_than_is_asked_for_at_once_comes_in_order(tmp_path: Path, rest_s: float) -> None:
    count = 3 * following.PULL_BATCH + 1
    found: list[Entry] = []
    async with real_nats(tmp_path) as server, far_away(server) as client:
        async with server.user("services", "fill") as near:
            for number in range(count):
                await near.publish("bus.eu.w", str(number).encode())
            await near.flush()
            await near.flush()
        async with aclosing(follow(client, STREAM, 0, rest_s=rest_s)) as lists:
            async for entries in lists:
                found += entries
                if len(found) >= count:
                    break
    assert [entry.sequence for entry in found] == list(range(1, count + 1))
    assert [int(entry.payload) for entry in found] == list(range(count))


async def test_who_rests_is_given_together_what_came_meanwhile(tmp_path: Path) -> None:
    async with (
        real_nats(tmp_path) as server,
        server.user("services") as client,
        aclosing(follow(client, STREAM, 0, rest_s=1.0)) as lists,
    ):
        found: list[list[int]] = []

        async def read() -> None:
            async for entries in lists:
                found.append([int(entry.payload) for entry in entries])
                if sum(map(len, found)) >= 30:
                    return

        reading = asyncio.create_task(read())
        for number in range(30):
            await client.publish("bus.eu.w", str(number).encode())
            await client.flush()
        await asyncio.wait_for(reading, 20)
    assert [number for each in found for number in each] == list(range(30))
    assert len(found) <= 3


@pytest.mark.parametrize("kinds", [["a"], ["a", "c"]])
async def test_what_is_not_wanted_is_passed_by_and_leaves_no_gap(
    tmp_path: Path, kinds: list[str]
) -> None:
    subjects = [f"log.{kind}.1" for kind in "abcabc"]
    wanted = [(number, each) for number, each in enumerate(subjects, 1) if each[4] in kinds]

    async with real_nats(tmp_path) as server, server.user("services") as client:
        js = client.jetstream()
        # All versions are kept, so that none is missing.
        await js.delete_stream("LOG")
        await js.add_stream(name="LOG", subjects=["log.>"])
        for each in subjects:
            await js.publish(each, b"x")

        async def read(after: int, count: int) -> list[tuple[int, str]]:
            found: list[tuple[int, str]] = []
            filters = [f"log.{kind}.>" for kind in kinds]
            async with (
                asyncio.timeout(20),
                aclosing(follow(client, "LOG", after, subjects=filters)) as lists,
            ):
                async for entries in lists:
                    found += [(each.sequence, each.subject) for each in entries]
                    if len(found) >= count:
                        break
            return found

        assert await read(0, len(wanted)) == wanted
        assert await read(wanted[0][0], len(wanted) - 1) == wanted[1:]
