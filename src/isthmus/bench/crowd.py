"""Connections that do nothing but stay, and how many of them did not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from isthmus.bench.client import KEEP_ALIVE_S, Faults, MqttClient
from isthmus.bench.plan import Client
from isthmus.errors import BrokenInvariant
from isthmus.wire import mqtt3_encode
from isthmus.wire.packets import Pingreq, Pingresp

PING = mqtt3_encode.encode(Pingreq())
PONG = mqtt3_encode.encode(Pingresp())
#: Everybody is heard this often, well before the keep-alive is over.
PING_EVERY_S = KEEP_ALIVE_S / 4


class Losses(Faults):
    """What is lost is counted, and ends nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def tell(self, reason: str) -> None:
        self.count += 1


class Idler(MqttClient):
    """A client that is there."""

    def __init__(self, client: Client, losses: Losses) -> None:
        super().__init__(client, losses)
        self._owed = b""

    def ping(self) -> None:
        self._owed += PONG
        self.write(PING)

    def received(self, data: bytes) -> None:
        if not self._owed.startswith(data):
            raise BrokenInvariant(f"not an answer to PINGREQ: {data[:16].hex(' ')}")
        self._owed = self._owed[len(data) :]


async def keep_alive(idlers: Sequence[Idler]) -> None:
    """Ping one after another, for ever."""
    while idlers:
        for each in idlers:
            await asyncio.sleep(PING_EVERY_S / len(idlers))
            each.ping()
