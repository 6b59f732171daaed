"""Copies of the bus in a real stream: in order, once, and not confirmed before they are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from nats.aio.client import Client

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.follow import Entry
from isthmus.region.bus import BusCopies
from isthmus.region.heads import OwnHeads
from isthmus.tasks import end
from real_nats import REGIONS, RealNats, real_nats

WRITER = "a" * 32


def batches(count: int, origin: str = "eu") -> list[Entry]:
    subject = streams.bus_subject(origin, WRITER)
    return [Entry(n, subject, b"batch %d" % n, f"{WRITER}:{n}") for n in range(1, count + 1)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealNats]:
    async with real_nats(tmp_path_factory.mktemp("nats")) as started:
        yield started


@pytest.mark.asyncio(loop_scope="module")
async def test_two_peers_may_put_the_same_lost_batches_back_at_once(server: RealNats) -> None:
    async with server.user("services") as client:
        copies = BusCopies(client, "eu", REGIONS)
        await copies.load()
        lost = batches(20)

        risen = await asyncio.gather(copies.store("eu", lost), copies.store("eu", lost[:15]))

        assert risen[0] == {WRITER: 20}
        assert copies.held["eu"].get(WRITER) == 20
        info = await client.jetstream().stream_info(streams.bus("eu"))
        assert info.state.messages == 20


@pytest.mark.asyncio(loop_scope="module")
async def test_heads_are_known_when_everything_is_read_and_end_at_a_gap(server: RealNats) -> None:
    async with server.user("services") as client:
        stream = client.jetstream()
        for writer, numbers in (("b" * 32, (1, 2, 3)), ("c" * 32, (1, 3))):
            for number in numbers:
                await stream.publish(
                    streams.bus_subject("us", writer),
                    b"x",
                    headers={"Nats-Msg-Id": f"{writer}:{number}"},
                )
        heads = OwnHeads(client, "us")
        # Nothing is read yet, and that is not to have nothing.
        assert await heads.now() is None

        following = asyncio.create_task(heads.run())
        async with asyncio.timeout(5):
            while (known := await heads.now()) is None:
                pass
        await end([following])

        assert known == {"b" * 32: 3, "c" * 32: 1}
        assert await _resumed(client, heads) == known


async def _resumed(client: Client, before: OwnHeads) -> dict[str, int] | None:
    """The heads of another process, which begins where the first one stood."""
    numbers = await before.now()
    assert numbers is not None
    info = await client.jetstream().stream_info(streams.bus("us"))
    heads = OwnHeads(client, "us")
    heads.begin(info.state.last_seq, numbers)
    return await heads.now()
