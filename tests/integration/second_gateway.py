"""Another gateway of a running region, in the test's own process and with a clock of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
from regions import HOME, Regions, until

from isthmus import config as configs
from isthmus.adapters.nats import connection
from isthmus.clock import monotonic_s
from isthmus.config import Listen, RegionConfig
from isthmus.core.admission import Admission
from isthmus.core.table import MemoryTable
from isthmus.gateway.gateway import Gateway


class Second(Gateway):
    """Another gateway of the region, in this process, so that its clock can be another."""

    late_s = 0.0
    running: asyncio.Task[None]

    def now_s(self) -> float:
        return monotonic_s() + self.late_s

    @property
    def is_open(self) -> bool:
        return self._gate.admission is Admission.OPEN

    def look(self, late_s: float) -> None:
        """Close who has been silent for too long, so many seconds from now."""
        self._sweep(monotonic_s() + late_s)

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


def free_place(host: str) -> Listen:
    """Where nobody listens."""
    with socket.socket() as free:
        free.bind((host, 0))
        return Listen(host=host, port=free.getsockname()[1])


def standard_gateway(regions: Regions) -> AbstractAsyncContextManager[Second]:
    """One that speaks the standards where AWS IoT Core deviates from them."""
    file = regions.system.region_dir(HOME) / "region.toml"
    host = configs.load(file, RegionConfig).mqtt.host
    place = msgspec.structs.replace(free_place(host), dialect="standard")
    return second_gateway(regions, mqtt=place)


@asynccontextmanager
async def second_gateway(regions: Regions, **changes: Any) -> AsyncIterator[Second]:
    """Serves by the first one's settings, at another place, with these ``changes``."""
    file = regions.system.region_dir(HOME) / "region.toml"
    config = configs.load(file, RegionConfig)
    changes = {"mqtt": free_place(config.mqtt.host), "https": None, **changes}
    client = await connection.connect(config.gateway_nats, name="gateway")
    gateway = Second(msgspec.structs.replace(config, **changes), client, MemoryTable())
    ready = asyncio.Event()
    gateway.running = asyncio.create_task(gateway.run(ready.set))
    try:
        await ready.wait()
        await until("it lets clients in", lambda: gateway.is_open)
        yield gateway
    finally:
        await gateway.stop()
        await client.close()
