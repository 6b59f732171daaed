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
from isthmus.core import registry, shadows
from isthmus.core.cursor import Cursor
from isthmus.core.item import Item
from isthmus.core.registry import THING, Writer
from isthmus.core.shadow_request import read_update
from isthmus.core.shadows import SHADOW
from isthmus.core.stamp import StampClock
from isthmus.region.items import Merged
from isthmus.region.own_messages import OwnMessages
from isthmus.region.shadow_teller import ShadowTeller
from real_nats import real_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN, PEER, INCARNATION = "us", "eu", "i"
#: Said behind what a test is about, to know that it has all been read.
LAST = "$aws/things/last/shadow/update/delta"


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


def merged(before: Item, theirs: Item) -> Merged:
    return Merged(before, items.join(before, theirs))


class Told:
    """A teller, and what it has stored since it was made."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.own = OwnMessages(client, OWN)
        self.teller = ShadowTeller(OWN, self.own)

    async def __aenter__(self) -> Told:
        stream = await self._client.jetstream().stream_info(streams.bus(OWN))
        self._after = stream.state.last_seq
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def begin(self, held: Cursor, head: int) -> None:
        await self.teller.begin(held, INCARNATION, head)

    async def read(self) -> list[str]:
        """The ends of the topics of what is told, behind the things."""
        await self.teller.tell()
        marker = updated(Item(SHADOW, "last"), {"desired": {"a": 1}})
        self.teller.merged(10**6, Merged(Item(SHADOW, "last"), marker))
        await self.teller.tell()
        found: list[str] = []
        async with asyncio.timeout(20):
            async with aclosing(follow(self._client, streams.bus(OWN), self._after)) as lists:
                async for entries in lists:
                    for entry in entries:
                        found += (each.topic for each in batches.decode(entry.payload).messages)
                    if LAST in found:
                        return [
                            topic.removeprefix("$aws/things/").replace("/shadow/update", "")
                            for topic in found
                            if not topic.startswith("$aws/things/last/")
                        ]
        raise AssertionError("the stream has ended")


CAR = Item(SHADOW, "car")
WANTED = updated(CAR, {"desired": {"a": 1}})
DONE = updated(WANTED, {"reported": {"a": 1}})


async def test_what_has_come_is_told_and_what_was_known_is_not(client: Client) -> None:
    async with Told(client) as told:
        await told.begin(Cursor(INCARNATION, 5, "x"), 5)
        told.teller.merged(6, merged(CAR, WANTED))
        told.teller.merged(7, merged(WANTED, WANTED))
        told.teller.merged(8, merged(WANTED, DONE))
        thing = registry.put_thing(
            Item(THING, "car"), Writer(StampClock(PEER, INCARNATION), 1_000), {}
        )
        told.teller.merged(9, Merged(Item(THING, "car"), thing))
        assert await told.read() == ["car/documents", "car/delta", "car/documents"]


async def test_a_region_that_had_nothing_tells_nothing_of_what_it_is_given(client: Client) -> None:
    async with Told(client) as told:
        await told.begin(Cursor(), 7)
        told.teller.merged(7, merged(CAR, WANTED))
        told.teller.merged(8, merged(WANTED, DONE))
        assert await told.read() == ["car/documents"]


async def test_after_a_crash_what_may_not_have_been_told_is_told_again(client: Client) -> None:
    own = updated(Item(SHADOW, "own"), {"desired": {"a": 1}}, OWN)
    async with Told(client) as told:
        await told.begin(Cursor(INCARNATION, 5, "x"), 8)
        for sequence, item in ((5, WANTED), (6, WANTED), (7, own), (8, DONE), (9, WANTED)):
            told.teller.merged(sequence, merged(item, item))
        assert await told.read() == ["car/delta"]


async def test_of_another_log_nothing_is_told_again(client: Client) -> None:
    async with Told(client) as told:
        await told.begin(Cursor("another", 5, "x"), 8)
        told.teller.merged(6, merged(WANTED, WANTED))
        assert await told.read() == []


async def test_a_process_knows_what_it_has_told(client: Client) -> None:
    async with Told(client) as told:
        await told.begin(Cursor(INCARNATION, 5, "x"), 5)
        await told.begin(Cursor(INCARNATION, 5, "x"), 8)
        told.teller.merged(6, merged(WANTED, WANTED))
        assert await told.read() == []
