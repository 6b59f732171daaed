"""Writes that the log takes as atomic batches, on a real nats-server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client

from isthmus.adapters.nats import change_log, streams
from isthmus.adapters.nats.change_log import TOGETHER_MIN, NatsChangeLog
from isthmus.adapters.nats.publisher import Message, Publisher
from isthmus.adapters.nats.streams import LOG
from isthmus.core import registry
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.errors import StaleRevision, Unavailable
from real_nats import REGIONS, RealNats, real_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = StampClock("eu", "0001")
BATCH_ID = "Nats-Batch-Id"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealNats]:
    async with real_nats(tmp_path_factory.mktemp("nats")) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def client(nats: RealNats) -> AsyncIterator[Client]:
    async with nats.user("services") as found:
        yield found


def thing(key: str) -> Item:
    return registry.put_thing(Item("thing", key), Writer(CLOCK, 1_000), {})


async def batch_of(client: Client, sequence: int) -> str:
    """The id of the batch that a message was stored in; empty for one that was stored singly."""
    found = await client.jetstream().get_msg(LOG, sequence)
    return str((found.headers or {}).get(BATCH_ID, ""))


async def put_all(log: NatsChangeLog, prefix: str, count: int) -> list[int | BaseException]:
    wanted = [thing(f"{prefix}-{number}") for number in range(count)]
    return await asyncio.gather(*(log.put(each, 0) for each in wanted), return_exceptions=True)


async def test_what_is_written_at_once_is_one_batch(client: Client) -> None:
    found = await put_all(NatsChangeLog(client), "batch", TOGETHER_MIN)

    assert all(isinstance(each, int) for each in found)
    assert len({await batch_of(client, each) for each in found} - {""}) == 1  # type: ignore[arg-type]


async def test_few_writes_are_written_singly(client: Client) -> None:
    found = await put_all(NatsChangeLog(client), "few", TOGETHER_MIN - 1)

    assert {await batch_of(client, each) for each in found} == {""}  # type: ignore[arg-type]


async def test_where_one_is_stale_the_others_go_in_smaller_batches(client: Client) -> None:
    log = NatsChangeLog(client)
    await log.put(thing("stale-0"), 0)

    stale, *found = await put_all(log, "stale", 4 * TOGETHER_MIN)

    assert isinstance(stale, StaleRevision)
    batches = [await batch_of(client, each) for each in found]  # type: ignore[arg-type]
    assert batches.count("") == TOGETHER_MIN - 1
    assert len(set(batches) - {""}) == 2


async def test_who_gives_up_takes_nobody_with_him(client: Client) -> None:
    log = NatsChangeLog(client)
    await log.put(thing("listening"), 0)
    tasks = [
        asyncio.create_task(log.put(thing(f"gone-{number}"), 0)) for number in range(TOGETHER_MIN)
    ]
    await asyncio.sleep(0)
    tasks[0].cancel()

    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(found[0], asyncio.CancelledError)
    assert all(isinstance(each, int) for each in found[1:])
    assert (await log.get("thing", "gone-0")).revision == 0


async def test_a_server_that_hangs_is_told_of_every_write(
    nats: RealNats, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_log, "TIMEOUT_S", 0.1)
    log = NatsChangeLog(client)
    await log.put(thing("before"), 0)
    assert nats.child.pid
    os.kill(nats.child.pid, signal.SIGSTOP)
    try:
        found = await put_all(log, "hangs", TOGETHER_MIN)
    finally:
        os.kill(nats.child.pid, signal.SIGCONT)

    assert {type(each) for each in found} == {Unavailable}


async def test_a_log_of_an_earlier_release_takes_batches_from_now_on(nats: RealNats) -> None:
    async with nats.user("services") as client:
        js = client.jetstream()
        log = NatsChangeLog(client)
        await log.put(thing("kept"), 0)
        config = (await js.stream_info(LOG)).config
        config.allow_atomic = False
        await js.update_stream(config)
        # Until then there are none, and nothing fails.
        found = await put_all(log, "earlier", TOGETHER_MIN)
        assert {await batch_of(client, each) for each in found} == {""}  # type: ignore[arg-type]

        await streams.ensure_streams(client, REGIONS, 1024**2)

        found = await put_all(log, "later", TOGETHER_MIN)
        assert "" not in {await batch_of(client, each) for each in found}  # type: ignore[arg-type]
        assert (await log.get("thing", "kept")).revision


async def test_a_batch_is_not_larger_than_it_may_be(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(thing("large-0").encode())
    monkeypatch.setattr(change_log, "TOGETHER_BYTES", TOGETHER_MIN * size)

    found = await put_all(NatsChangeLog(client), "large", 2 * TOGETHER_MIN)

    batches = [await batch_of(client, each) for each in found]  # type: ignore[arg-type]
    assert [batches.count(each) for each in dict.fromkeys(batches)] == [TOGETHER_MIN] * 2


async def test_an_older_server_is_sent_none(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = client.connected_server_version
    monkeypatch.setattr(streams, "BATCHES_FROM", (version.major, version.minor + 1))

    found = await put_all(NatsChangeLog(client), "older", TOGETHER_MIN)

    assert {await batch_of(client, each) for each in found} == {""}  # type: ignore[arg-type]


async def test_the_answer_to_one_message_is_not_taken_for_a_batchs(client: Client) -> None:
    """As a server answers that ignores what it does not know."""
    subject = "log.thing.unknowing"
    publisher = Publisher(client)
    await publisher.start()

    async def send(message: Message) -> Any:
        return await (await publisher.send_together([message]))

    async with asyncio.timeout(10):
        assert await send(Message(subject, b"1", {})) > 0

        def unknowing(*args: Any, headers: dict[str, str], **options: Any) -> Any:
            return publish(*args, headers=None, **options)

        publish = client.publish
        client.publish = unknowing  # type: ignore[method-assign, assignment]
        with pytest.raises(Unavailable, match="batch"):
            await send(Message(subject, b"2", {}))
