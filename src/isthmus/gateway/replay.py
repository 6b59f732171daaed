"""Gives sessions that go on what they missed, from the bus streams of this region.

Who returns at the same time is served by one reading of each stream, from the earliest place of any
of them. A client that does not acknowledge as fast as that is left where it is, and read for again
when it has: nothing waits for it in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.bus_places import fetch, find
from isthmus.adapters.nats.follow import Entry, follow
from isthmus.clock import now_ms
from isthmus.core import batch as batches
from isthmus.core.batch import Batch
from isthmus.core.place import Owed, Place, Places
from isthmus.core.session import Granted, Session
from isthmus.errors import InputError, StreamRewound, Unavailable
from isthmus.gateway.delivery import Delivery, Subscriber, copy_of, end_of, receivers
from isthmus.wire.topics import TopicTree

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

_log = logging.getLogger(__name__)

RETRY_S = 0.2
#: Messages that may wait behind what a client has not acknowledged.
AHEAD_MAX = 50


@dataclass(slots=True, eq=False)
class Returning:
    """A client that is given what it missed."""

    connection: Connection
    session: Session
    #: What it has been given.
    places: Places
    #: What it was sent before and has not acknowledged: the first that it is given.
    owed: list[Owed]
    #: By origin: the sequence in this region's stream after which the rest begins.
    after: dict[str, int] = field(default_factory=dict)
    #: By origin: messages of the batch there that it was given already.
    passed: dict[str, int] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return self.session.backlog >= AHEAD_MAX


class Replay:
    """The clients that return, and one task that reads for them."""

    def __init__(
        self, client: Client, delivery: Delivery, is_level: Callable[[Returning], None]
    ) -> None:
        self._client = client
        self._delivery = delivery
        self._is_level = is_level
        self._returning: dict[Returning, None] = {}
        self._news = asyncio.Event()

    def add(self, returning: Returning) -> None:
        """Begin to give a client what it missed."""
        returning.connection.behind = set(self._delivery.followed)
        self._returning[returning] = None
        self._news.set()

    def drop(self, returning: Returning) -> None:
        """The client has gone again."""
        self._returning.pop(returning, None)

    def wake(self) -> None:
        """A client may have room for more."""
        self._news.set()

    async def run(self) -> None:
        """Read for whoever returns, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            takers = [each for each in self._returning if not each.session.backlog]
            try:
                if takers:
                    await self._read_all(takers)
            except (NatsError, TimeoutError, Unavailable, StreamRewound) as error:
                _log.info("replay", extra={"action": "read-again", "reason": repr(error)})
                await asyncio.sleep(RETRY_S)
                self._news.set()

    async def _read_all(self, takers: list[Returning]) -> None:
        for each in takers:
            await self._send_again(each)
        takers = [each for each in takers if not each.owed]
        # Our own stream last: it is where most of what they wait for comes from.
        for origin in reversed(self._delivery.origins):
            await self._read(origin, takers)
        for each in takers:
            if each in self._returning and not each.connection.behind and not each.is_full:
                self.drop(each)
                self._is_level(each)

    async def _send_again(self, returning: Returning) -> None:
        """What the client was sent on another connection, under the same packet ids."""
        batch: Batch | None = None
        while returning.owed and not returning.is_full and returning in self._returning:
            owed = returning.owed[0]
            place = Place(owed.sequence, owed.id)
            if batch is None or owed.id != f"{batch.writer}:{batch.number}":
                entry = await fetch(self._client, owed.origin, place)
                batch = _decoded(entry.payload) if entry is not None else None
            returning.owed.pop(0)
            if batch is not None and owed.at < len(batch.messages):
                message = batch.messages[owed.at]
                copy = copy_of(message, Granted(1))
                said = returning.session.deliver(copy, message.at_ms, now_ms(), owed)
                returning.connection.perform(said)

    async def _read(self, origin: str, takers: Sequence[Returning]) -> None:
        """Read one stream for everybody who has room, up to where it is delivered live."""
        takers = [each for each in takers if each in self._returning and not each.is_full]
        for each in takers:
            if origin not in each.after:
                place = each.places.get(origin, Place())
                each.after[origin] = await find(self._client, origin, place)
        if self._pass_over(origin, takers):
            return
        is_followed = origin in self._delivery.followed
        end = await end_of(self._client, origin)
        start = min(each.after[origin] for each in takers)
        if start >= end.sequence:
            self._pass_over(origin, takers)
            return
        tree: TopicTree[Subscriber] = TopicTree()
        for each in takers:
            for topic_filter, granted in each.session.subscriptions.items():
                if granted.qos:
                    tree.add(topic_filter, (each.connection, granted))
        by_connection = {each.connection: each for each in takers}
        async with aclosing(follow(self._client, streams.bus(origin), start)) as lists:
            async for entries in lists:
                for entry in entries:
                    if is_followed and entry.sequence > self._delivery.places[origin].sequence:
                        break
                    self._give(origin, entry, tree, by_connection)
                # Not a moment later: from here on the same messages come live.
                if self._pass_over(origin, takers) or entries[-1].sequence >= end.sequence:
                    return
                await asyncio.sleep(0)

    def _pass_over(self, origin: str, takers: Sequence[Returning]) -> bool:
        """Let who is level with a stream have it live; True if nobody is left to read it for."""
        left = [each for each in takers if each in self._returning and not each.is_full]
        place = self._delivery.places.get(origin)
        if place is None:
            return not left
        behind = [each for each in left if each.after[origin] < place.sequence]
        for each in left:
            if each.after[origin] >= place.sequence:
                each.connection.behind.discard(origin)
        return not behind

    def _give(
        self,
        origin: str,
        entry: Entry,
        tree: TopicTree[Subscriber],
        by_connection: dict[Connection, Returning],
    ) -> None:
        """Give one batch to everybody who has not had it."""
        waiting = [
            each
            for each in by_connection.values()
            if each.after[origin] < entry.sequence and not each.is_full and each in self._returning
        ]
        batch = _decoded(entry.payload) if waiting else None
        stopped: set[Returning] = set()
        now = now_ms()
        for at, message in enumerate(batch.messages if batch else ()):
            if not message.qos:
                continue
            assert batch is not None
            publisher = batch.sources[message.source].client
            for connection, granted in receivers(tree, message.topic, publisher).items():
                each = by_connection[connection]
                if each not in waiting or each in stopped or at < each.passed.get(origin, 0):
                    continue
                if each.is_full:
                    stopped.add(each)
                    each.passed[origin] = at
                    each.places[origin] = Place(entry.sequence, entry.id, through=False)
                    continue
                owed = Owed(origin, entry.sequence, entry.id, at)
                said = each.session.deliver(copy_of(message, granted), message.at_ms, now, owed)
                connection.perform(said)
        for each in waiting:
            if each not in stopped:
                each.after[origin] = entry.sequence
                each.places[origin] = Place(entry.sequence, entry.id)
                each.passed.pop(origin, None)


def _decoded(payload: bytes) -> Batch | None:
    try:
        return batches.decode(payload)
    except InputError:
        # Delivery has said so when it came.
        return None
