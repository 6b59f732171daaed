"""Copies of the bus in a real stream: in order, once, and not confirmed before they are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.follow import Entry
from isthmus.region.bus import BusCopies
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
