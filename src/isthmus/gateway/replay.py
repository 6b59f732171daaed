"""Reads the bus streams of this region for sessions that go on, and gives them what they missed.

Who returns at the same time is served by one reading of each stream, from the earliest place of any
of them. Nothing waits in memory for a client that does not acknowledge.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.bus_places import fetch, locate
from isthmus.adapters.nats.entries import Entry
from isthmus.adapters.nats.follow import follow
from isthmus.clock import now_ms
from isthmus.core import batch as batches
from isthmus.core.batch import Batch
from isthmus.core.place import Place
from isthmus.core.returning import Returning
from isthmus.core.session import Granted
from isthmus.errors import InputError, StreamRewound, Unavailable
from isthmus.gateway.delivery import Delivery, copy_of, end_of

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

_log = logging.getLogger(__name__)

RETRY_S = 0.2


class Replay:
    """The clients that return, and one task that reads for them."""

    def __init__(
        self, client: Client, delivery: Delivery, is_level: Callable[[Connection], None]
    ) -> None:
        self._client = client
        self._delivery = delivery
        self._is_level = is_level
        self._returning: dict[Connection, Returning] = {}
        self._news = asyncio.Event()

    def add(self, connection: Connection, returning: Returning) -> None:
        """Begin to give a client what it missed."""
        connection.behind = returning.behind
        self._returning[connection] = returning
        self._news.set()

    def drop(self, connection: Connection) -> None:
        """The client has gone again, or has everything."""
        self._returning.pop(connection, None)

    def has_room(self, connection: Connection) -> None:
        """A client has acknowledged something."""
        if connection in self._returning:
            self._news.set()

    async def run(self) -> None:
        """Read for whoever returns, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            takers = [
                connection
                for connection, returning in self._returning.items()
                if not returning.session.backlog
            ]
            try:
                if takers:
                    await self._read_all(takers)
            except (NatsError, TimeoutError, Unavailable, StreamRewound) as error:
                _log.info("replay", extra={"action": "read-again", "reason": repr(error)})
                await asyncio.sleep(RETRY_S)
                self._news.set()

    def _still(self, takers: Sequence[Connection]) -> dict[Connection, Returning]:
        """Those who are there and have room."""
        return {
            each: returning
            for each in takers
            if (returning := self._returning.get(each)) is not None and not returning.is_full
        }

    async def _read_all(self, takers: Sequence[Connection]) -> None:
        for connection, returning in self._still(takers).items():
            await self._send_again(connection, returning)
        # Our own stream last: it is where most of what they wait for comes from.
        for origin in reversed(self._delivery.origins):
            await self._read(origin, takers)
        for connection, returning in self._still(takers).items():
            if returning.is_level:
                self.drop(connection)
                self._is_level(connection)
            elif not returning.session.backlog:
                self._news.set()

    async def _send_again(self, connection: Connection, returning: Returning) -> None:
        """What the client was sent on another connection, under the same packet ids."""
        entry: Entry | None = None
        batch: Batch | None = None
        while returning.owed and connection in self._still([connection]):
            owed = returning.owed[0]
            if entry is None or owed.id != entry.id:
                entry = await fetch(self._client, owed.origin, Place(owed.sequence, owed.id))
                batch = _decoded(entry.payload) if entry is not None else None
            if connection not in self._returning:
                return
            returning.owed.pop(0)
            if entry is not None:
                # As this region's copy has it: another one's sequences mean nothing here.
                owed = owed._replace(sequence=entry.sequence)
            if batch is not None and owed.at < len(batch.messages):
                message = batch.messages[owed.at]
                copy = copy_of(message, Granted(1))
                connection.perform(returning.session.deliver(copy, message.at_ms, now_ms(), owed))

    async def _read(self, origin: str, takers: Sequence[Connection]) -> None:
        """Read one stream for everybody who has room, up to where it is delivered live."""
        for returning in self._still(takers).values():
            if origin in returning.behind and origin not in returning.after:
                place = returning.places.get(origin, Place())
                returning.locate(origin, await locate(self._client, origin, place))
        # What is not followed here is read up to its present end.
        end = await end_of(self._client, origin)
        reading = {
            connection: returning
            for connection, returning in self._still(takers).items()
            if returning.begin_reading(origin)
        }
        if self._is_reached(origin, end, reading):
            return
        start = min(returning.after[origin] for returning in reading.values())
        async with aclosing(follow(self._client, streams.bus(origin), start)) as lists:
            async for entries in lists:
                for entry in entries:
                    if entry.sequence > self._delivery.places.get(origin, end).sequence:
                        break
                    self._give(origin, entry, reading)
                # Not a moment later: from here on the same messages come live.
                if self._is_reached(origin, end, reading):
                    return
                await asyncio.sleep(0)

    def _is_reached(self, origin: str, end: Place, reading: dict[Connection, Returning]) -> bool:
        """Let who is level with a stream have it live; True if there is nobody else to read for."""
        place = self._delivery.places.get(origin, end)
        for connection, returning in list(reading.items()):
            if connection in self._returning and returning.is_read_for(origin):
                returning.reached(origin, place.sequence)
            if connection not in self._returning or not returning.is_read_for(origin):
                del reading[connection]
        return not reading

    def _give(self, origin: str, entry: Entry, reading: dict[Connection, Returning]) -> None:
        """Give one batch to everybody who has not had it."""
        wanting = {
            connection: returning
            for connection, returning in reading.items()
            if connection in self._returning and returning.begin_batch(origin, entry.sequence)
        }
        batch = _decoded(entry.payload) if wanting else None
        now = now_ms()
        for at, message in enumerate(batch.messages if batch else ()):
            if not message.qos or batch is None:
                continue
            publisher = batch.sources[message.source].client
            # By the subscriptions of this moment: they may change while a client is read for.
            receivers = self._delivery.receivers(message, publisher)
            for connection, (granted, share) in receivers.items():
                returning = wanting.get(connection) if granted.qos else None
                owed = returning and returning.take(origin, entry.sequence, entry.id, at, share)
                if returning and owed:
                    copy = copy_of(message, granted)
                    said = returning.session.deliver(copy, message.at_ms, now, owed)
                    connection.perform(said)
        for returning in wanting.values():
            returning.end_batch(origin, entry.sequence, entry.id)


def _decoded(payload: bytes) -> Batch | None:
    try:
        return batches.decode(payload)
    except InputError:
        # Delivery has said so when it came.
        return None
