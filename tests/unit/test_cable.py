"""A cable passes bytes on both ways, and nothing while it is cut."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from isthmus.errors import ConfigError
from isthmus.local.cable import Cable
from isthmus.local.system import LocalSystem, Settings

HOST = "127.0.0.1"


@asynccontextmanager
async def an_echo() -> AsyncIterator[Cable]:
    """A cable, opened, to a server that answers with what it is sent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    cable = Cable(HOST, server.sockets[0].getsockname()[1])
    await cable.open()
    try:
        yield cable
    finally:
        await cable.cut()
        server.close()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes = b"hello"
) -> bytes:
    writer.write(text)
    return await reader.read(100)


async def test_what_is_cut_is_closed_and_refused_until_it_heals_on_the_same_port() -> None:
    async with an_echo() as cable:
        port = cable.port
        before = await asyncio.open_connection(HOST, port)
        assert await ask(*before) == b"hello"
        await cable.cut()
        assert await before[0].read() == b""
        before[1].close()
        # A region that is started again does not heal what is cut.
        await cable.open()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        await cable.heal()
        assert cable.port == port
        after = await asyncio.open_connection(HOST, port)
        assert await ask(*after) == b"hello"
        after[1].close()


async def test_who_is_reset_hears_of_it() -> None:
    async with an_echo() as cable:
        reader, writer = await asyncio.open_connection(HOST, cable.port)
        assert await ask(reader, writer) == b"hello"
        await cable.cut(reset=True)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_what_is_under_way_is_lost() -> None:
    async with an_echo() as cable:
        reader, writer = await asyncio.open_connection(HOST, cable.port)
        assert await ask(reader, writer) == b"hello"
        cable.lose()
        assert await ask(reader, writer) == b""
        writer.close()


@pytest.mark.parametrize(("cables", "service"), [(True, "cable"), (False, "nats")])
async def test_regions_reach_each_other_through_cables_where_that_is_asked_for(
    tmp_path: Path, cables: bool, service: str
) -> None:
    system = LocalSystem(Settings(tmp_path, cables=cables, aws_api=False), random.Random(7))
    try:
        (peer,) = system.region_config("eu").peers
        assert peer.nats.url == system.address("us").url(service, "tls")
        # What is a region's own does not go with the cable.
        assert system.region_config("eu").nats.url == system.address("eu").url("nats", "tls")
    finally:
        await system.stop()


async def test_a_system_without_cables_says_what_it_takes_to_cut_it(tmp_path: Path) -> None:
    system = LocalSystem(Settings(tmp_path, aws_api=False), random.Random(7))
    try:
        with pytest.raises(ConfigError, match="cables is false"):
            await system.cut()
    finally:
        await system.stop()
