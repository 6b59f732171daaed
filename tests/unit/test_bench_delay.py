"""The distance that a bench puts between regions: everything arrives, in order, and not before."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.bench.delay import DelayLine, Proxy
from isthmus.bench.plan import Route
from isthmus.config import Listen

HOST = "127.0.0.1"
PIECES = st.lists(st.tuples(st.floats(0, 10), st.binary(min_size=1, max_size=5)))


@given(PIECES, st.floats(0, 3), st.floats(0, 20))
def test_what_was_put_arrives_after_its_time_and_in_order(pieces, one_way_s, now_s):
    line, sent_s = DelayLine(one_way_s), 0.0
    arrived, later = b"", b""
    for pause_s, data in pieces:
        sent_s += pause_s
        line.put(sent_s, data)
        if sent_s + one_way_s <= now_s:
            arrived += data
        else:
            later += data
    assert line.take(now_s) == arrived
    assert line.held_bytes == len(later)
    assert (line.next_s is None) == (not later)
    assert line.take(float("inf")) == later
    assert (line.held_bytes, line.next_s) == (0, None)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    """A server, and its port; ends when all its connections have."""
    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
            await close(writer)

    server = await asyncio.start_server(connection, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*tasks)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def proxy_to(port: int, one_way_s: float) -> AsyncIterator[int]:
    proxy = Proxy(Route(host=HOST, target=Listen(host=HOST, port=port)), one_way_s)
    try:
        yield await proxy.start()
    finally:
        proxy.close()


@pytest.mark.parametrize("one_way_s", [0.0, 0.002])
async def test_every_byte_comes_back_through_a_real_socket(one_way_s):
    async with serving(echo) as port, proxy_to(port, one_way_s) as near:

        async def exchange(data: bytes) -> None:
            reader, writer = await asyncio.open_connection(HOST, near)
            for start in range(0, len(data), 50_000):
                writer.write(data[start : start + 50_000])
            assert await reader.readexactly(len(data)) == data
            await close(writer)

        rng = random.Random(1)
        await asyncio.gather(*(exchange(rng.randbytes(size)) for size in (1, 70_000, 3_000_000)))


async def test_what_is_held_is_bounded_and_not_lost(monkeypatch):
    monkeypatch.setattr("isthmus.bench.delay.HELD_MAX_BYTES", 10_000)
    async with serving(echo) as port, proxy_to(port, 0.001) as near:
        reader, writer = await asyncio.open_connection(HOST, near)
        data = random.Random(2).randbytes(400_000)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        await close(writer)


async def test_the_end_of_one_side_reaches_the_other_after_what_was_sent():
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())

    async with serving(listen) as port, proxy_to(port, 0.002) as near:
        reader, writer = await asyncio.open_connection(HOST, near)
        writer.write(b"last words")
        writer.write_eof()
        assert await reader.read() == b""
        await close(writer)
    assert heard == [b"last words"]


async def test_without_a_target_the_connection_is_closed():
    async with serving(echo) as port:
        pass
    async with proxy_to(port, 0.0) as near:
        reader, writer = await asyncio.open_connection(HOST, near)
        assert await reader.read() == b""
        await close(writer)
