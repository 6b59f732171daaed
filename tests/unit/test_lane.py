"""When a lane hands on what it has gathered, with a real NATS behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from isthmus.adapters.nats.publisher import Publisher
from isthmus.core.batch import Batch, Source
from isthmus.core.promises import Promise
from isthmus.core.session import Ticket
from isthmus.gateway import lane as lanes
from isthmus.gateway.lane import Lane
from isthmus.region.state import StateStore
from isthmus.wire.packets import Publish
from real_nats import real_nats


class Publishing:
    """A client, and whoever watches its batches."""

    source = Source("c", "client", "p" * 64)

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.kept_one = asyncio.Event()

    def kept(self, tickets: list[Ticket]) -> None:
        self.kept_one.set()

    def fail(self, reason: str) -> None:
        raise AssertionError(reason)

    def sent(self, batch: Batch) -> None:
        self.sizes.append(len(batch.messages))

    def stored(self, batch: Batch) -> None: ...
    def forget(self, writer: str) -> None: ...
    def loaded(self) -> None: ...


@asynccontextmanager
async def running(directory: Path, client: Publishing) -> AsyncIterator[Lane]:
    async with real_nats(directory) as nats, nats.user("gateway") as user:
        publisher = Publisher(user)
        await publisher.start()
        lane = Lane(publisher, StateStore(user), "eu", Promise.REGION, client)
        task = asyncio.create_task(lane.run())
        try:
            yield lane
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_who_hurries_waits_for_no_company_but_for_what_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who does not hurry waits for ever.
    monkeypatch.setattr(lanes, "GATHER_S", 3600.0)
    monkeypatch.setattr(lanes, "GATHER_MAX_S", 3600.0)
    client = Publishing()
    async with running(tmp_path, client) as lane:

        def say() -> None:
            lane.put(client, Publish("t", b"x", 1), 0, (), "")

        say()
        say()
        assert client.sizes == []
        lane.hurry()
        assert client.sizes == [2]
        say()
        lane.hurry()
        assert client.sizes == [2]
        async with asyncio.timeout(10):
            await client.kept_one.wait()
        lane.hurry()
        assert client.sizes == [2, 1]
        lane.hurry()
        assert client.sizes == [2, 1]
