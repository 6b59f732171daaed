"""Writes large fleets into a region's log, past the API, as a migration leaves them.

Each item is the one that the API would have written, but that no certificate can be used: a text
has the length of a certificate and is none, and nobody has the key. The region's processes read
them from the log like any others.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator

from nats.aio.client import Client

from isthmus.adapters.nats.publisher import Publisher
from isthmus.adapters.nats.streams import log_subject
from isthmus.clock import now_ms
from isthmus.core import certificates, memberships, policies, registry, thing_groups
from isthmus.core.certificates import Mode
from isthmus.core.item import Item
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, POLICY, CertificateStatus, Writer
from isthmus.core.stamp import StampClock
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.things import THING

#: Writes that the log has not answered yet.
IN_FLIGHT_MAX = 2_000
PEM_LINES, PEM_LINE_CHARACTERS = 18, 64
#: Of which each thing is in two.
GROUPS = 100
ATTRIBUTES = ("serial", "model", "site")
DOCUMENT = '{"Version":"2012-10-17","Statement":[]}'


def pem(number: int) -> tuple[str, str]:
    """A fingerprint and a text for it, both different for every number."""
    fingerprint = hashlib.sha256(str(number).encode()).hexdigest()
    line = fingerprint.ljust(PEM_LINE_CHARACTERS, "A")
    lines = ("-----BEGIN CERTIFICATE-----", *[line] * PEM_LINES, "-----END CERTIFICATE-----", "")
    return fingerprint, "\n".join(lines)


def certificate(writer: Writer, number: int) -> Item:
    """An active certificate."""
    key, text = pem(number)
    status, mode = CertificateStatus.ACTIVE, Mode.SNI_ONLY
    return certificates.register(Item(CERTIFICATE, key), writer, text, status, mode)


class Fleet:
    """Things, each with a certificate, its policy, and two groups: all that is written of one."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        key = policies.version_key("fleet", 1, DOCUMENT)
        self._version = policies.put_version(Item(registry.POLICY_VERSION, key), writer, DOCUMENT)
        self._policy = policies.put(Item(POLICY, "fleet"), writer, key)
        self._groups = [
            thing_groups.create(Item(THING_GROUP, f"group-{number:03}"), writer, {}, {}, None)
            for number in range(GROUPS)
        ]

    def shared(self) -> Iterator[Item]:
        """What is there once."""
        yield from (self._version, self._policy, *self._groups)

    def of(self, number: int) -> Iterator[Item]:
        """What is there of each thing."""
        writer = self._writer
        values = {name: f"{name}-{number}" for name in ATTRIBUTES}
        thing = registry.put_thing(Item(THING, f"fleet-{number:07}"), writer, values)
        principal = certificate(writer, number)
        yield from (thing, principal)
        for target in (thing, self._policy):
            key = registry.attachment_key(f"{target.kind}:{target.key}", principal.key)
            yield registry.attach(Item(ATTACHMENT, key), writer, target, principal)
        groups = [self._groups[number % GROUPS], self._groups[(number + 1) % GROUPS]]
        yield memberships.changed(Item(MEMBERSHIPS, thing.key), writer, thing, add=groups)


async def register_certificates(
    client: Client, region: str, count: int, progress: Callable[[int], None]
) -> int:
    """Write certificates 1 to ``count`` into a region's log; returns its position after them."""
    writer = Writer(StampClock(region, "bench"), now_ms())
    made = (certificate(writer, number) for number in range(1, count + 1))
    return await write(client, made, progress)


async def write(client: Client, items: Iterator[Item], progress: Callable[[int], None]) -> int:
    """Write new items into a region's log; returns its position after them."""
    publisher = Publisher(client)
    await publisher.start()
    in_flight: set[asyncio.Future[int]] = set()
    position = count = 0
    for item in items:
        subject = log_subject(item.kind, item.key)
        in_flight.add(await publisher.send(subject, item.encode(), {}))
        count += 1
        if len(in_flight) >= IN_FLIGHT_MAX:
            done, in_flight = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
            position = max(position, *(each.result() for each in done))
            progress(count - len(in_flight))
    position = max(position, *await asyncio.gather(*in_flight))
    progress(count)
    return position
