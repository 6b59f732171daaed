"""What a region tells of its registry, on a real nats-server, whenever it is stopped."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client
from regions import until

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.change_log import NatsChangeLog
from isthmus.adapters.nats.follow import follow
from isthmus.core import batch as batches
from isthmus.core import registry, resource
from isthmus.core.arns import Naming
from isthmus.core.batch import Message
from isthmus.core.item import Item
from isthmus.core.presence_events import CLIENT
from isthmus.core.registry import THING, Writer
from isthmus.core.settings import ALL, EVENT_CONFIGURATIONS
from isthmus.core.stamp import StampClock
from isthmus.region import registry_events
from isthmus.region.registry_events import RegistryTeller
from isthmus.region.state import StateStore
from isthmus.region.view_table import view_table
from real_nats import REGIONS, real_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN, STREAMS = "eu", (streams.LOG, streams.STATE, *map(streams.bus, REGIONS))
WITHIN_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with (
        real_nats(tmp_path_factory.mktemp("nats")) as server,
        server.user("services") as connected,
    ):
        yield connected


class Registry:
    """A region's log and bus, and where its teller keeps what it has told."""

    def __init__(self, client: Client, directory: Path) -> None:
        self.client = client
        self.log = NatsChangeLog(client)
        self.directory = directory
        self.clock = StampClock(OWN, "i")

    async def write(self, item: Item) -> None:
        await self.log.put(item, (await self.log.get(item.kind, item.key)).revision)

    async def put(self, name: str, value: int = 0) -> None:
        held = (await self.log.get(THING, name)).item
        writer = Writer(self.clock, 1_000)
        await self.write(registry.put_thing(held, writer, {"value": str(value)}))

    async def delete(self, name: str) -> None:
        held = (await self.log.get(THING, name)).item
        await self.write(registry.delete(held, Writer(self.clock, 1_000)))

    async def switch(self, *, is_on: bool) -> None:
        held = (await self.log.get(EVENT_CONFIGURATIONS, ALL)).item
        writer = Writer(self.clock, 1_000)
        await self.write(resource.put(held, writer, {"THING": is_on}, {}))

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        async with view_table(self.directory, "events", self.client) as told:
            self._table = told
            naming = Naming("123456789012", "eu-west-1", frozenset())
            teller = RegistryTeller(OWN, naming, self.client, StateStore(self.client), told)
            before = await self._followers()
            running = asyncio.create_task(teller.run())

            async def follows() -> bool:
                return await self._followers() > before

            try:
                await until("it has begun", follows)
                yield
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    async def remembered(self) -> None:
        """Wait until it is remembered that everything was told."""
        head = await self.log.head()
        await until("it is remembered", lambda: self._table.position == head)

    async def _followers(self) -> int:
        info = await self.client.jetstream().stream_info(streams.LOG)
        return info.state.consumer_count

    async def told(self, last: str) -> list[Message]:
        """Everything that was told, once it has come to this."""
        found: list[Message] = []
        async with asyncio.timeout(WITHIN_S):
            async with aclosing(follow(self.client, streams.bus(OWN), 0)) as lists:
                async for entries in lists:
                    for entry in entries:
                        batch = batches.decode(entry.payload)
                        assert batch.sources[0].client == CLIENT
                        found += batch.messages
                    if found and shown(found[-1]) == last:
                        return found
        raise AssertionError("lists do not end")

    async def all_told(self) -> list[str]:
        """What was told, the last of which is something that is done for that."""
        await self.put("last")
        found = [shown(each) for each in await self.told("last/created 1")]
        return found[:-1]


def shown(message: Message) -> str:
    name, version = message.topic.removeprefix("$aws/events/thing/"), version_of(message)
    return f"{name} {version}"


def version_of(message: Message) -> int:
    version: int = msgspec.json.decode(message.payload)["versionNumber"]
    return version


@pytest_asyncio.fixture(loop_scope="module")
async def region(client: Client, tmp_path: Path) -> Registry:
    js = client.jetstream()
    for name in STREAMS:
        await js.delete_stream(name)
    await streams.ensure_streams(client, REGIONS, 1024**2)
    return Registry(client, tmp_path)


async def test_what_changes_after_it_was_switched_on_is_told(region):
    async with region.telling():
        await region.put("before")
        await region.switch(is_on=True)
        await region.put("before", 1)
        await region.put("after")
        await region.told("after/created 1")
        await region.delete("after")
        await region.told("after/deleted 2")
        await region.switch(is_on=False)
        await region.put("silent")
        await region.switch(is_on=True)
        assert await region.all_told() == [
            "before/updated 2",
            "after/created 1",
            "after/deleted 2",
        ]


async def test_who_starts_again_goes_on_where_he_was(region):
    async with region.telling():
        await region.switch(is_on=True)
        await region.put("a")
        await region.remembered()
    await region.put("a", 1)
    async with region.telling():
        assert await region.all_told() == ["a/created 1", "a/updated 2"]


async def test_who_never_told_anything_begins_with_the_present(region, caplog):
    await region.switch(is_on=True)
    await region.put("old")
    async with region.telling():
        assert "tell-from-now" in actions(caplog)
        await region.remembered()
        await region.put("old", 1)
        assert await region.all_told() == ["old/updated 2"]


async def test_who_is_stopped_before_he_has_told_anything_tells_it(region):
    async with region.telling():
        pass
    await region.switch(is_on=True)
    await region.put("a")
    async with region.telling():
        assert await region.all_told() == ["a/created 1"]


async def test_who_lost_what_was_told_begins_with_the_present(region, caplog):
    async with region.telling():
        await region.switch(is_on=True)
        await region.put("a")
        await region.remembered()
        await region.put("a", 1)
        await region.remembered()
    assert "tell-from-now" not in actions(caplog)
    shutil.rmtree(region.directory / "views")
    await region.put("a", 2)
    async with region.telling():
        assert "tell-from-now" in actions(caplog)
        assert await region.all_told() == ["a/created 1", "a/updated 2"]


async def test_what_is_of_no_registry_is_passed_over(region, caplog):
    other = Item("certificate", "a" * 64)
    async with region.telling():
        await region.write(other)
        await region.client.jetstream().publish("log.thing.none", b"no item")
        await region.client.jetstream().publish("log.thing.other", other.encode())
        await region.switch(is_on=True)
        assert await region.all_told() == []


async def test_a_log_without_things_is_no_other_log(region, caplog):
    await region.write(Item("certificate", "a" * 64))
    for begun in ({"tell-from-now"}, set()):
        async with region.telling():
            assert actions(caplog) - {""} == begun
        caplog.clear()


async def test_what_was_stored_and_not_remembered_is_told_again_under_the_same_id(region):
    async with region.telling():
        await region.switch(is_on=True)
        await region.put("first")
        await region.told("first/created 1")
        await region.remembered()
    saved = shutil.copytree(region.directory, region.directory.with_suffix(".saved"))
    async with region.telling():
        await region.put("a")
        await region.put("b")
        before = await region.told("b/created 1")
    # As a crash leaves it: nothing was remembered. What was told is gone from the log besides.
    shutil.rmtree(region.directory)
    saved.rename(region.directory)
    await region.delete("b")
    await region.put("a", 1)
    async with region.telling():
        after = await region.told("a/updated 2")
    again = after[len(before) :]
    assert [shown(each) for each in again][-2:] == ["b/deleted 2", "a/updated 2"]
    # What was told last is told again, word for word; it may have been told in two parts.
    assert again[:-2]
    assert again[:-2] == before[-len(again[:-2]) :]


async def test_what_was_noted_and_not_stored_is_told(region):
    async with region.telling():
        await region.switch(is_on=True)
        await region.put("first")
        await region.told("first/created 1")
        await region.remembered()
    saved = shutil.copytree(region.directory, region.directory.with_suffix(".saved"))
    async with region.telling():
        await region.put("a")
        (*_, told) = await region.told("a/created 1")
    # As a crash leaves it: it is noted that this will be told.
    shutil.rmtree(region.directory)
    saved.rename(region.directory)
    await region.client.jetstream().purge_stream(streams.bus(OWN))
    await region.put("a", 1)
    async with region.telling():
        first, _ = await region.told("a/updated 2")
    assert first == told


async def test_what_the_bus_does_not_take_is_told_later(region, caplog):
    js = region.client.jetstream()
    async with region.telling():
        await region.switch(is_on=True)
        await js.delete_stream(streams.bus(OWN))
        await region.put("a")
        await until("it is refused", lambda: "tell" in actions(caplog))
        await streams.ensure_streams(region.client, REGIONS, 1024**2)
        assert await region.all_told() == ["a/created 1"]


async def test_many_changes_are_told_in_parts_and_in_their_order(region, monkeypatch):
    monkeypatch.setattr(registry_events, "STORE_MAX", 3)
    names = [f"n{number}" for number in range(20)]
    async with region.telling():
        await region.switch(is_on=True)
        await region.put("begun")
        await region.told("begun/created 1")
        await region.remembered()
    for name in names:
        await region.put(name)
    async with region.telling():
        told = await region.all_told()
    assert told[1:] == [f"{name}/created 1" for name in names]
    info = await region.client.jetstream().stream_info(streams.bus(OWN))
    assert info.state.messages >= 1 + len(names) / 3


def actions(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {getattr(record, "action", "") for record in caplog.records}
