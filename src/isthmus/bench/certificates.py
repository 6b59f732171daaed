"""Registers certificates by the hundred thousand, past the API, as a migration leaves them behind.

Each is the item that a registration writes, with a text of the length of a certificate that names
no CA, under a fingerprint that nobody has the key of. The region's services and gateways read them
from the log like any other.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from nats.aio.client import Client

from isthmus.adapters.nats.publisher import Publisher
from isthmus.adapters.nats.streams import log_subject
from isthmus.clock import now_ms
from isthmus.core import registry
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock

#: Writes that the log has not answered yet.
IN_FLIGHT_MAX = 2_000
PEM_LINES, PEM_LINE_CHARACTERS = 18, 64


def pem(number: int) -> tuple[str, str]:
    """A fingerprint and a text for it, both different for every number."""
    fingerprint = hashlib.sha256(str(number).encode()).hexdigest()
    line = fingerprint.ljust(PEM_LINE_CHARACTERS, "A")
    lines = ("-----BEGIN CERTIFICATE-----", *[line] * PEM_LINES, "-----END CERTIFICATE-----", "")
    return fingerprint, "\n".join(lines)


async def register_many(
    client: Client, region: str, count: int, progress: Callable[[int], None]
) -> int:
    """Write certificates 1 to ``count`` into a region's log; returns its position after them."""
    publisher, clock = Publisher(client), StampClock(region, "bench")
    await publisher.start()
    in_flight: set[asyncio.Future[int]] = set()
    position = 0
    for number in range(1, count + 1):
        key, text = pem(number)
        writer = Writer(clock, now_ms())
        item = registry.register_certificate(
            Item(registry.CERTIFICATE, key), writer, text, active=True
        )
        in_flight.add(
            await publisher.send(log_subject(registry.CERTIFICATE, key), item.encode(), {})
        )
        if len(in_flight) >= IN_FLIGHT_MAX or number == count:
            wanted = asyncio.ALL_COMPLETED if number == count else asyncio.FIRST_COMPLETED
            done, in_flight = await asyncio.wait(in_flight, return_when=wanted)
            position = max(position, *(each.result() for each in done))
            progress(number - len(in_flight))
    return position
