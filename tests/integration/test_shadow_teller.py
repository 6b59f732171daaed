"""What a region tells of the shadows that come from a peer, on a real nats-server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.follow import follow
from isthmus.core import batch as batches
from isthmus.core import item as items
from isthmus.core import registry, shadow_telling, shadows
from isthmus.core.cursor import Cursor
from isthmus.core.item import Item
from isthmus.core.registry import THING, Writer
from isthmus.core.shadow_request import read_update
from isthmus.core.shadow_telling import FirstFill
from isthmus.core.shadows import SHADOW
from isthmus.core.stamp import StampClock
from isthmus.errors import Unavailable
from isthmus.region import shadow_teller
from isthmus.region.items import Merged
from isthmus.region.own_messages import OwnMessages
from isthmus.region.shadow_teller import ShadowTeller
from isthmus.tasks import end
from real_nats import real_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN, PEER, INCARNATION = "us", "eu", "i"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with (
        real_nats(tmp_path_factory.mktemp("nats")) as server,
        server.user("services") as connected,
    ):
        yield connected


def updated(item: Item, state: dict[str, Any], region: str = PEER) -> Item:
    payload = json.dumps({"state": state}).encode()
    writer = Writer(StampClock(region, INCARNATION), 1_000)
    return shadows.update(item, writer, read_update(payload)).item


def merged(before: Item, theirs: Item, revision: int = 0) -> Merged:
    return Merged(before, items.join(before, theirs), revision)


class Told:
    """A teller, and what it has stored since it was made."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.own = OwnMessages(client, OWN)
        self.cursors: list[int] = []
        self._reached = asyncio.Event()
        self.teller = ShadowTeller(self.own, self._note)

    def _note(self, told: shadow_telling.Told) -> None:
        self.cursors.append(told.cursor.sequence)
        self._reached.set()

    async def __aenter__(self) -> Told:
        stream = await self._client.jetstream().stream_info(streams.bus(OWN))
        self._after = stream.state.last_seq
        self._running = asyncio.create_task(self.teller.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await end([self._running])

    def begin(self, told: int, head: int, first: FirstFill | None = None) -> None:
        known = shadow_telling.Told(Cursor(INCARNATION, told, "x"), told)
        self.teller.begin(known, INCARNATION, head, head, first or FirstFill())

    async def until(self, sequence: int) -> None:
        self.teller.reached(Cursor(INCARNATION, sequence, "x"))
        async with asyncio.timeout(20):
            while sequence not in self.cursors:
                self._reached.clear()
                await self._reached.wait()

    async def read(self) -> list[str]:
        """What is told: things, and the ends of the topics."""
        await self.until(10**6)
        topics: list[str] = []
        stream = await self._client.jetstream().stream_info(streams.bus(OWN))
        if stream.state.last_seq > self._after:
            async with aclosing(follow(self._client, streams.bus(OWN), self._after)) as lists:
                async for entries in lists:
                    for entry in entries:
                        topics += (each.topic for each in batches.decode(entry.payload).messages)
                    if entries[-1].sequence == stream.state.last_seq:
                        break
        return [
            topic.removeprefix("$aws/things/").replace("/shadow/update", "") for topic in topics
        ]


CAR = Item(SHADOW, "car")
WANTED = updated(CAR, {"desired": {"a": 1}})
DONE = updated(WANTED, {"reported": {"a": 1}})


async def test_what_has_come_is_told_and_what_was_known_is_not(client: Client) -> None:
    async with Told(client) as told:
        told.begin(5, 5)
        told.teller.merged(6, merged(CAR, WANTED))
        told.teller.merged(7, merged(WANTED, WANTED))
        told.teller.merged(8, merged(WANTED, DONE))
        thing = registry.put_thing(
            Item(THING, "car"), Writer(StampClock(PEER, INCARNATION), 1_000), {}
        )
        told.teller.merged(9, Merged(Item(THING, "car"), thing, 9))
        assert await told.read() == ["car/documents", "car/delta", "car/documents"]


async def test_a_region_that_had_nothing_tells_nothing_of_what_it_is_given(client: Client) -> None:
    async with Told(client) as told:
        told.begin(0, 9, FirstFill(INCARNATION, 7))
        told.teller.merged(7, merged(CAR, WANTED))
        told.teller.merged(8, merged(WANTED, DONE))
        assert await told.read() == ["car/documents"]


async def test_of_another_log_a_first_fill_says_nothing(client: Client) -> None:
    async with Told(client) as told:
        told.begin(0, 9, FirstFill("another", 7))
        told.teller.merged(7, merged(CAR, WANTED))
        assert await told.read() == ["car/documents", "car/delta"]


async def test_what_may_not_have_been_told_is_told_again(client: Client) -> None:
    async with Told(client) as told:
        told.begin(5, 8)
        for sequence, item in ((5, WANTED), (6, WANTED), (8, DONE), (9, WANTED)):
            told.teller.merged(sequence, merged(item, item, sequence))
        assert await told.read() == ["car/delta"]
        # All of it is told by now, whatever the peer's log is.
        told.begin(5, 9)
        told.teller.merged(7, merged(WANTED, WANTED, 7))
        await told.until(10**6 + 1)
        assert await told.read() == ["car/delta"]


async def test_much_is_told_in_parts(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """NATS takes 8 MiB at once, and a part of a log has more to tell."""
    monkeypatch.setattr(shadow_telling, "STORE_MAX_BYTES", 64 * 1024)
    async with Told(client) as told:
        told.begin(0, 0)
        large = updated(CAR, {"desired": {"a": [1] * 1000}})
        for sequence in range(1, 11):
            told.teller.merged(sequence, merged(CAR, large))
        assert await told.read() == ["car/documents", "car/delta"] * 10
    stream = await client.jetstream().stream_info(streams.bus(OWN))
    assert stream.state.last_seq - told._after > 5


async def test_a_bus_that_takes_nothing_holds_up_nobody(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_teller, "RETRY_S", 0.01)
    async with Told(client) as told:
        store, refused = told.own.store, asyncio.Event()

        async def refuse(*_: object) -> None:
            refused.set()
            raise Unavailable("full")

        monkeypatch.setattr(told.own, "store", refuse)
        told.begin(0, 0)
        told.teller.merged(1, merged(CAR, WANTED))
        told.teller.reached(Cursor(INCARNATION, 1, "x"))
        await refused.wait()
        told.teller.merged(2, merged(WANTED, DONE))
        # Nothing is taken for told.
        assert told.cursors == []
        monkeypatch.setattr(told.own, "store", store)
        assert await told.read() == ["car/documents", "car/delta", "car/documents"]
        assert told.cursors == [1, 10**6]


async def test_so_much_waits_and_no_more(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_telling, "WAITING_MAX_BYTES", 10)
    async with Told(client) as told:
        told.begin(0, 0)
        told.teller.merged(1, merged(CAR, WANTED))
        assert await told.read() == []
