"""Who stands at the door, on real sockets: let in by turns and by the rate, or closed unread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from isthmus.config import Limits
from isthmus.gateway import door as doors
from isthmus.gateway.door import Door, Listening, listen
from isthmus.gateway.shedding import Shedding

#: None within the time of a test.
NEVER_PER_S = 0.001
WITHIN_S = 20.0
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class House(asyncio.Protocol):
    """What is behind the door: it notes who came in, and what they said."""

    def __init__(self, **limits: Any) -> None:
        self.shedding = Shedding(Limits(**limits))
        self.door = Door(self.shedding.limits, self.shedding, lambda: 0)
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        self.port = 0
        self.listening: list[Listening] = []
        self.clients: list[Client] = []

    def data_received(self, data: bytes) -> None:
        self.said.put_nowait(data)

    async def open(self) -> None:
        came = partial(self.door.came, make=lambda: self)
        self.listening = await listen("127.0.0.1", 0, 100, came, is_shared=False)
        self.port = self.listening[0]._sock.getsockname()[1]

    async def comes(self, name: bytes, address: str = "127.0.0.1") -> Client:
        client = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        self.clients.append(client)
        client[1].write(name)
        return client

    async def close(self) -> None:
        for each in self.listening:
            each.close()
        self.door.close()
        for _, writer in self.clients:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def waits(self, count: int) -> None:
        await until(lambda: self.door.waiting == count)

    async def turned_away(self, reason: str) -> None:
        await until(lambda: self.shedding.told(0).refused.get(reason) == 1)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what the loop brings about, and nothing here tells of."""
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def is_closed(client: Client) -> bool:
    """Wait until the other side has closed."""
    try:
        async with asyncio.timeout(WITHIN_S):
            return await client[0].read() == b""
    except ConnectionError:
        return True


@asynccontextmanager
async def house(**limits: Any) -> AsyncIterator[House]:
    found = House(**limits)
    await found.open()
    try:
        yield found
    finally:
        await found.close()


async def test_without_a_limit_everybody_comes_in() -> None:
    async with house() as found:
        names = {f"{number:04}".encode() for number in range(300)}
        await asyncio.gather(*(found.comes(name) for name in names))
        async with asyncio.timeout(WITHIN_S):
            assert {await found.said.get() for _ in names} == names
        assert found.shedding.told(0).refused == {}


async def test_over_the_rate_the_oldest_comes_in_first() -> None:
    async with house(connects_per_s=50.0, connects_burst=1) as found:
        names = [f"{number:04}".encode() for number in range(30)]
        for name in names:
            await found.comes(name)
        async with asyncio.timeout(WITHIN_S):
            assert [await found.said.get() for _ in names] == names


async def test_whoever_finds_the_queue_full_is_closed_and_the_others_wait_unread() -> None:
    limits = {"connects_per_s": NEVER_PER_S, "connects_burst": 1, "connects_waiting_max": 2}
    async with house(**limits) as found:
        await found.comes(b"inside")
        assert await found.said.get() == b"inside"
        for number in (1, 2):
            await found.comes(b"waits")
            await found.waits(number)
        assert await is_closed(await found.comes(b"too many"))
        await found.turned_away("full")
        assert found.said.empty()
        assert found.door.waiting == 2


async def test_whoever_has_waited_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "CONNECT_TIMEOUT_S", 0.01)
    async with house(connects_per_s=NEVER_PER_S, connects_burst=1) as found:
        await found.comes(b"inside")
        assert await found.said.get() == b"inside"
        assert await is_closed(await found.comes(b"waits"))
        await found.turned_away("waited-too-long")


async def test_whoever_has_left_takes_nobodys_turn() -> None:
    async with house(connects_per_s=10.0, connects_burst=1) as found:
        await found.comes(b"inside")
        assert await found.said.get() == b"inside"
        _, writer = await found.comes(b"leaves")
        await found.comes(b"stays")
        writer.close()
        async with asyncio.timeout(WITHIN_S):
            assert await found.said.get() == b"stays"
        await found.turned_away("left")


async def test_some_addresses_wait_for_no_turn() -> None:
    limits = {"connects_per_s": NEVER_PER_S, "connects_burst": 1, "connects_waiting_max": 1}
    async with house(connects_first=("127.0.0.9",), **limits) as found:
        await found.comes(b"inside")
        assert await found.said.get() == b"inside"
        await found.comes(b"waits")
        await found.waits(1)
        await found.comes(b"observes", "127.0.0.9")
        async with asyncio.timeout(WITHIN_S):
            assert await found.said.get() == b"observes"


async def test_when_the_door_is_closed_whoever_waits_is_closed() -> None:
    async with house(connects_per_s=NEVER_PER_S, connects_burst=1) as found:
        await found.comes(b"inside")
        waits = await found.comes(b"waits")
        await found.waits(1)
        found.door.close()
        assert await is_closed(waits)


async def test_whoever_resets_at_once_is_in_nobodys_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doors, "ACCEPT_AGAIN_S", 10 * WITHIN_S)
    house = House(connects_first=("127.0.0.9",))
    await house.open()
    try:
        # Both come while this turn of the loop lasts, and the first has gone again by then.
        with socket.create_connection(("127.0.0.1", house.port)) as resets:
            resets.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await house.comes(b"stays")
        async with asyncio.timeout(WITHIN_S):
            assert await house.said.get() == b"stays"
    finally:
        await house.close()
