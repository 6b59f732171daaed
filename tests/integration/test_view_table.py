"""A process's view on disk is used again where it is of the region's log, and only there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.change_log import NatsChangeLog
from isthmus.adapters.nats.streams import LOG
from isthmus.core import registry
from isthmus.core.item import Item
from isthmus.core.log_view import LogView
from isthmus.core.registry import Writer
from isthmus.core.retained import RETAINED, retain
from isthmus.core.stamp import StampClock
from isthmus.core.table import MemoryTable
from isthmus.errors import InputError
from isthmus.region.items import ItemStore
from isthmus.region.view_table import view_table
from isthmus.wire.packets import Publish
from real_nats import REGIONS, real_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = StampClock("eu", "0001")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with (
        real_nats(tmp_path_factory.mktemp("nats")) as server,
        server.user("services") as connected,
    ):
        yield connected


@pytest_asyncio.fixture(loop_scope="module")
async def log(client: Client) -> NatsChangeLog:
    await begin_again(client)
    return NatsChangeLog(client)


async def begin_again(client: Client) -> None:
    """A log as a region finds it that has lost its disk."""
    await client.jetstream().delete_stream(LOG)
    await streams.ensure_streams(client, REGIONS, 1024**2)


def thing(name: str, value: int = 0) -> Item:
    return registry.put_thing(Item("thing", name), Writer(CLOCK, 1_000), {"value": str(value)})


async def write(log: NatsChangeLog, *made: Item) -> None:
    for item in made:
        await log.put(item, (await log.get(item.kind, item.key)).revision)


async def read(client: Client, directory: Path) -> None:
    """Have a process read all there is, and end."""
    async with view_table(directory, "api", client) as table:
        store = ItemStore(NatsChangeLog(client), table)
        head = await store.log.head()
        for sequence in range(table.position + 1, head + 1):
            await take_one(client, store, sequence)


async def take_one(client: Client, store: LogView, sequence: int) -> None:
    message = await client.jetstream().get_msg(LOG, sequence)
    store.take(sequence, *streams.log_name(message.subject), message.data)


async def known(client: Client, directory: Path) -> int:
    """How far the next process of this kind would have read."""
    async with view_table(directory, "api", client) as table:
        return table.position


async def test_the_next_process_goes_on_where_the_last_one_ended(client, log, tmp_path):
    await write(log, thing("a"), thing("b"))
    await read(client, tmp_path)
    async with view_table(tmp_path, "api", client) as table:
        assert (table.position, len(table)) == (2, 2)
    # Of another kind, or for other lists, it is another one.
    async with view_table(tmp_path, "gateway", client) as table:
        assert table.position == 0
    async with view_table(tmp_path, "api", client, {"thing": lambda _: ()}) as table:
        assert table.position == 0
    # Who holds fewer kinds has passed over the others.
    await read(client, tmp_path)
    assert await known(client, tmp_path) == 2
    async with view_table(tmp_path, "api", client, without={"shadow"}) as table:
        assert table.position == 0


async def test_each_of_several_processes_has_its_own(client, log, tmp_path):
    await write(log, thing("a"))
    await read(client, tmp_path)
    async with (
        view_table(tmp_path, "api", client) as one,
        view_table(tmp_path, "api", client) as two,
    ):
        assert (one.position, two.position) == (1, 0)


async def test_what_the_log_has_newer_versions_of_is_no_reason_to_doubt(client, log, tmp_path):
    await write(log, thing("a"), thing("b"), thing("c"))
    await read(client, tmp_path)
    await write(log, thing("c", 1), thing("b", 1))
    # What proves that it is this log is where it goes on from.
    assert await known(client, tmp_path) == 1


async def test_a_log_that_was_wiped_begins_another_view(client, log, tmp_path):
    await write(log, thing("a"))
    await read(client, tmp_path)
    await begin_again(client)
    assert await known(client, tmp_path) == 0
    await client.jetstream().delete_stream(LOG)
    try:
        assert await known(client, tmp_path) == 0
    finally:
        await streams.ensure_streams(client, REGIONS, 1024**2)


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_log_that_was_restored_and_went_on_otherwise_does_too(client, log, tmp_path, lost):
    first = [thing(name) for name in "abc"]
    await write(log, *first)
    await read(client, tmp_path)
    await begin_again(client)
    await write(log, *first[: 3 - lost])
    await write(log, *(thing(f"new-{number}") for number in range(5)))
    assert await known(client, tmp_path) == 0


async def test_a_log_that_was_filled_again_from_peers_begins_another_view(client, log, tmp_path):
    first = [thing(name) for name in "abc"]
    await write(log, *first)
    await read(client, tmp_path)
    await begin_again(client)
    await write(log, first[2], first[1], first[0])
    assert await known(client, tmp_path) == 0


async def read_garbage(client: Client, log: NatsChangeLog, directory: Path) -> None:
    """Have a process read an item, and behind it what is none."""
    await write(log, thing("a"))
    await client.jetstream().publish(streams.log_subject("thing", "b"), b"garbage")
    async with view_table(directory, "api", client) as table:
        store = ItemStore(log, table)
        await take_one(client, store, 1)
        with pytest.raises(InputError):
            await take_one(client, store, 2)
        assert table.position == 2


async def test_what_is_no_item_proves_nothing(client, log, tmp_path):
    await read_garbage(client, log, tmp_path)
    await client.jetstream().delete_msg(LOG, 2)
    assert await known(client, tmp_path) == 1


async def test_a_log_that_ends_before_the_view_begins_another_one(client, log, tmp_path):
    await read_garbage(client, log, tmp_path)
    found = (await log.get("thing", "a")).item
    await begin_again(client)
    await write(log, found)
    assert await known(client, tmp_path) == 0


async def test_what_a_view_has_passed_over_proves_nothing(client, log, tmp_path):
    """What stands in its place in a log that was restored was never read."""
    await write(log, thing("a"), *(Item("shadow", name) for name in "abc"))
    async with view_table(tmp_path, "gateway", client) as table:
        view = LogView(table, without={"shadow"})
        for sequence in range(1, 5):
            await take_one(client, view, sequence)
        assert (table.position, len(table)) == (4, 1)
    async with view_table(tmp_path, "gateway", client) as table:
        assert table.position == 1


async def test_what_all_is_superseded_proves_nothing(client, log, tmp_path):
    await write(log, thing("a"))
    await read(client, tmp_path)
    await write(log, thing("a", 1))
    assert await known(client, tmp_path) == 0


def retained(ms: int) -> Item:
    publish = Publish("t", str(ms).encode(), 1, retain=True)
    return retain(Item(RETAINED, "t"), StampClock("eu", "a"), publish, ms)


async def test_what_a_batch_brought_before_the_log_has_it_is_no_reason_to_doubt(
    client, log, tmp_path
):
    await write(log, retained(1))
    async with view_table(tmp_path, "api", client) as table:
        store = ItemStore(log, table)
        await take_one(client, store, 1)
        store.join(retained(2))
    assert await known(client, tmp_path) == 1
    await begin_again(client)
    await write(log, retained(3))
    assert await known(client, tmp_path) == 0


async def test_where_no_file_can_be_written_the_view_is_in_memory(client, log, tmp_path, caplog):
    (tmp_path / "views").write_bytes(b"not a directory")
    async with view_table(tmp_path, "api", client) as table:
        assert isinstance(table, MemoryTable)
    assert [each.action for each in caplog.records] == ["view-in-memory"]
