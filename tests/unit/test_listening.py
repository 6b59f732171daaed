"""A gateway listens everywhere that its settings say, or nowhere."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import msgspec
import pytest
from region_settings import REGION
from tls_clients import Authority

from isthmus.config import Limits, Listen
from isthmus.gateway.door import Door
from isthmus.gateway.listeners import Listeners
from isthmus.gateway.shedding import Shedding
from isthmus.gateway.websocket import by_certificate


def place(sock: socket.socket) -> Listen:
    host, port = sock.getsockname()
    return Listen(host=host, port=port)


async def answers(listen: Listen) -> bool:
    try:
        _, writer = await asyncio.open_connection(listen.host, listen.port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_where_one_place_is_taken_it_listens_at_none(tmp_path: Path) -> None:
    files = Authority(tmp_path).files
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mqtt, https = place(free), place(taken)
        free.close()
        both = msgspec.structs.replace(REGION, mqtt=mqtt, mqtt_tls=files, https=https)
        door = Door(Limits(), Shedding(Limits()), lambda: 0)
        with pytest.raises(OSError, match="in use"):
            await Listeners(both, by_certificate).open(lambda *_: asyncio.Protocol(), door)
        assert not await answers(mqtt)
        one = Listeners(msgspec.structs.replace(both, https=None), by_certificate)
        await one.open(lambda *_: asyncio.Protocol(), door)
        assert await answers(mqtt)
        one.close()
        assert not await answers(mqtt)
