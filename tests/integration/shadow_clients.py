"""Clients of shadows: one of MQTT that hears all that is told, and those of botocore."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aws_clients import Caller, a_key
from mqtt_wire import Wire
from regions import HOME, Regions, until

from isthmus.wire import mqtt3
from isthmus.wire.packets import Publish


class Shadow:
    """A client that asks of one shadow, and hears all that is told of it."""

    def __init__(self, wire: Wire, thing: str, name: str | None) -> None:
        self.wire = wire
        self.root = f"$aws/things/{thing}/shadow" + (f"/name/{name}" if name else "")

    async def hear(self) -> None:
        assert await self.wire.subscribe(f"{self.root}/#", qos=1) == (1,)

    def ask(self, what: str, payload: bytes) -> None:
        self.wire.send(Publish(f"{self.root}/{what}", payload))

    async def told(self) -> tuple[str, Any]:
        """The next message: the end of its topic, and what it says."""
        while isinstance(found := await self.wire.next(), mqtt3.Puback):
            pass
        assert isinstance(found, Publish), found or self.wire.ended
        self.wire.send(mqtt3.Puback(found.packet_id))
        assert found.topic.startswith(self.root + "/")
        return found.topic.removeprefix(self.root + "/"), json.loads(found.payload)

    async def update(self, **members: Any) -> dict[str, Any]:
        """Update it; what was told of that, by the ends of the topics."""
        self.ask("update", json.dumps(members).encode())
        return dict([await self.told() for _ in range(2)])


@asynccontextmanager
async def shadow(
    regions: Regions, thing: str, name: str | None = None, region: str = HOME
) -> AsyncIterator[Shadow]:
    device = await regions.who_may(f"{thing}-{region}", "iot:*")
    await until(f"{region} lets {device} in", partial(regions.admitted, region, device))
    async with regions.client(region, device) as wire:
        found = Shadow(wire, thing, name)
        await found.hear()
        yield found


async def data(regions: Regions, region: str = HOME, role: str = "operator") -> Caller:
    return Caller(regions, await a_key(regions, role), region, service="iot-data")


async def document(caller: Caller, thing: str, **named: str) -> dict[str, Any]:
    found = await caller("get_thing_shadow", thingName=thing, **named)
    read: dict[str, Any] = json.loads(found["payload"].read())
    return read
