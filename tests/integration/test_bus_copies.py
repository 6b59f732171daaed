"""Copies of the bus in a real stream: in order, once, and not confirmed before they are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from nats.aio.client import Client

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.change_log import NatsChangeLog
from isthmus.adapters.nats.entries import Entry
from isthmus.core.batch import Batch, encode
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, GrowSet
from isthmus.core.retained import RETAINED, retain, retained
from isthmus.core.stamp import StampClock
from isthmus.errors import Unavailable
from isthmus.region.bus import BusCopies
from isthmus.region.bus_reader import BusReader, Reached
from isthmus.region.items import ItemStore
from isthmus.region.presence import Presence
from isthmus.region.state import StateStore, read_name
from isthmus.tasks import end
from isthmus.wire.packets import Publish
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


def reader(client: Client) -> BusReader:
    store, state = ItemStore(NatsChangeLog(client)), StateStore(client)
    presence = Presence(client, state, "us", lambda *_: True, lambda _: True)
    return BusReader(client, store, state, presence, "us", ["us"])


@asynccontextmanager
async def reading(client: Client) -> AsyncIterator[BusReader]:
    found = reader(client)
    running = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        await end([running])


async def heads(found: BusReader) -> dict[str, int]:
    async with asyncio.timeout(5):
        while (known := await found.heads()) is None:
            pass
    return known


async def publish(client: Client, writer: str, number: int, *items: Item) -> None:
    batch = Batch("us", writer, number, (), (), tuple(item.encode() for item in items))
    subject, name = streams.bus_subject("us", writer), f"{writer}:{number}"
    await client.jetstream().publish(subject, encode(batch), headers={"Nats-Msg-Id": name})


@pytest.mark.asyncio(loop_scope="module")
async def test_heads_are_known_when_everything_is_read_and_end_at_a_gap(server: RealNats) -> None:
    async with server.user("services") as client:
        for writer, numbers in (("b" * 32, (1, 2, 3)), ("c" * 32, (1, 3))):
            for number in numbers:
                await publish(client, writer, number)
        # Nothing is read yet, and that is not to have nothing.
        assert await reader(client).heads() is None
        async with reading(client) as found:
            assert await heads(found) == {"b" * 32: 3, "c" * 32: 1}


@pytest.mark.asyncio(loop_scope="module")
async def test_what_batches_carry_is_in_the_log_and_nothing_that_they_must_not(
    server: RealNats,
) -> None:
    async with server.user("services") as client:
        message = Publish("t", b"kept", 1, retain=True)
        kept = retain(Item(RETAINED, "t"), StampClock("us", "g"), message, 1)
        forged = Item("certificate", "f", {}, Fields({"activated": GrowSet(frozenset({"x"}))}))
        await publish(client, "d" * 32, 1, forged)
        await publish(client, "d" * 32, 2, kept)
        async with reading(client) as found:
            await heads(found)
        log = NatsChangeLog(client)
        assert retained((await log.get(RETAINED, "t")).item).payload == b"kept"
        assert (await log.get("certificate", "f")).revision == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_another_process_goes_on_where_this_one_stood(server: RealNats) -> None:
    async with server.user("services") as client:
        await publish(client, "e" * 32, 1)
        state = StateStore(client)
        async with reading(client) as found, asyncio.timeout(10):
            known = await heads(found)
            last = (await client.jetstream().stream_info(streams.bus("us"))).state.last_seq
            while (noted := await state.get(read_name("us"), Reached)) is None or (
                noted.sequence < last
            ):
                pass
        assert noted.writers == known
        # What it knows of the beginning it can only have from the note.
        await client.jetstream().purge_stream(streams.bus("us"), keep=1)
        async with reading(client) as found:
            assert await heads(found) == known


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_stored_though_the_write_failed_is_told_by_the_next_one(
    server: RealNats,
) -> None:
    async with server.user("services") as client:
        copies, before = BusCopies(client, "eu", REGIONS), BusCopies(client, "eu", REGIONS)
        for each in (copies, before):
            await each.load()
        arrived = batches(3, "us")
        # As if the answers to these had been lost on the way.
        await before.store("us", arrived[:2])
        with pytest.raises(Unavailable, match="does not take a copy"):
            await copies.store("us", arrived[:2])

        assert (await copies.store("us", arrived[:2]))[WRITER] == 2
        assert await copies.store("us", arrived) == {WRITER: 3}
