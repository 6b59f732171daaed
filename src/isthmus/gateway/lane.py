"""Group commit: what arrived together is stored together, and answered when its promise is kept.

One lane per durability, each a writer of its own with its own numbers, so that a topic for which
one region is enough never waits for the other region. A lane whose stream refuses or loses a batch
never goes on under the same writer: its clients are closed without an answer, and a new writer
begins at 1 (docs/correctness.md, section 2).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from isthmus import protocol
from isthmus.adapters.nats import streams
from isthmus.adapters.nats.publisher import Publisher
from isthmus.core import batch as batches
from isthmus.core.batch import Batch, Message, Source, batch_id
from isthmus.core.confirm import Durability, Window
from isthmus.core.session import Ticket
from isthmus.errors import Unavailable
from isthmus.region.state import StateStore, alone_range_name
from isthmus.wire.mqtt3 import Publish

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

_log = logging.getLogger(__name__)

#: How long a publish may wait for company while another batch is on its way.
GATHER_S = 0.002
BATCH_MESSAGES_MAX = 2_000
BATCH_BYTES_MAX = 1024 * 1024
#: Between two attempts to record a range: its clients wait meanwhile, unanswered.
RECORD_AGAIN_S = 0.2

#: Who waits for a batch.
Waiting = list[tuple["Connection", Ticket]]
#: Called with a batch that this region's stream has.
Stored = Callable[[Batch], None]


class Lane:
    """One writer and its unacknowledged batches."""

    def __init__(
        self,
        publisher: Publisher,
        state: StateStore,
        region: str,
        durability: Durability,
        stored: Stored,
    ) -> None:
        self._publisher = publisher
        self._state = state
        self._region = region
        self._durability = durability
        self._stored = stored
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._outbox: asyncio.Queue[Batch] = asyncio.Queue()
        self._acks: set[asyncio.Future[int]] = set()
        self._alone = False
        self._recording: asyncio.Future[None] = self._loop.create_future()
        #: Messages acknowledged, and of those the ones that no second region had.
        self.acknowledged = 0
        self.acknowledged_alone = 0
        self._begin()

    def _begin(self) -> None:
        """Become a new writer."""
        self.writer = secrets.token_hex(16)
        self._number = 0
        self._window: Window[Waiting] = Window(self._durability)
        self._counted_alone = 0
        self._sources: dict[Source, int] = {}
        self._messages: list[Message] = []
        self._bytes = 0
        self._waiting: Waiting = []

    # In

    def add(
        self, connection: Connection, publish: Publish, ticket: Ticket | None, at_ms: int
    ) -> None:
        """Take a publish; it is stored within a few milliseconds."""
        source = connection.source
        assert source is not None
        index = self._sources.setdefault(source, len(self._sources))
        message = Message(index, publish.topic, publish.payload, publish.qos, publish.dup, at_ms)
        self._messages.append(message)
        self._bytes += len(publish.payload)
        if ticket is not None:
            self._waiting.append((connection, ticket))
        if len(self._messages) >= BATCH_MESSAGES_MAX or self._bytes >= BATCH_BYTES_MAX:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """Hand what was gathered to the stream."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._messages:
            return
        self._number += 1
        batch = Batch(
            self._region, self.writer, self._number, tuple(self._sources), tuple(self._messages)
        )
        self._window.sent(self._number, self._waiting, self._loop.time(), len(self._waiting))
        self._sources, self._messages, self._bytes, self._waiting = {}, [], 0, []
        self._outbox.put_nowait(batch)

    async def run(self) -> None:
        """Hand batches to the stream, in the order of their numbers, until cancelled."""
        while True:
            batch = await self._outbox.get()
            if batch.writer != self.writer:
                continue
            try:
                ack = await self._publisher.send(
                    streams.bus_subject(self._region, batch.writer),
                    batches.encode(batch),
                    {"Nats-Msg-Id": batch_id(batch.writer, batch.number)},
                )
            except Unavailable as error:
                self.fail(f"the stream cannot be reached: {error}")
                continue
            self._acks.add(ack)
            ack.add_done_callback(partial(self._acked, batch))

    def _acked(self, batch: Batch, ack: asyncio.Future[int]) -> None:
        self._acks.discard(ack)
        if ack.cancelled():
            return
        failure = ack.exception()
        if batch.writer != self.writer:
            return
        if failure is not None:
            self.fail(f"the stream did not take a batch: {failure}")
        elif batch.number != self._window.stored + 1:
            self.fail(f"batch {batch.number} was stored after {self._window.stored}")
        else:
            self._window.stored = batch.number
            self._stored(batch)
            self._release()

    # Out

    def confirmed(self, writers: Mapping[str, int]) -> None:
        """A peer says what it holds."""
        number = writers.get(self.writer, 0)
        if number > self._window.confirmed:
            self._window.confirmed = number
            self._release()

    def set_alone(self, alone: bool) -> None:
        """The region's state, which is durable by the time it is said."""
        if alone == self._alone or self._durability is Durability.REGION:
            return
        self._alone = alone
        self._window.alone = False
        self._record()

    def _record(self) -> None:
        self._recording.cancel()
        self._recording = self._loop.create_task(self._record_until_done(self.writer))

    async def _record_until_done(self, writer: str) -> None:
        """Write down what was, or will be, acknowledged alone; only then may it be."""
        while writer == self.writer:
            ranges = [
                protocol.AloneRange(each.first, each.last, each.messages)
                for each in self._window.ranges
            ]
            if self._alone:
                # The range is on disk before the first acknowledgement in it; 0 says: no end.
                ranges.append(protocol.AloneRange(self._window.confirmed + 1, 0, 0))
            try:
                await self._state.put(alone_range_name(writer), ranges)
                break
            except Unavailable as error:
                extra = {"action": "alone-range", "reason": str(error)}
                _log.warning("a range acknowledged alone is not recorded yet", extra=extra)
                await asyncio.sleep(RECORD_AGAIN_S)
        if writer == self.writer and self._alone:
            self._window.alone = True
            self._release()

    def _release(self) -> None:
        by_connection: dict[Connection, list[Ticket]] = {}
        for waiting in self._window.release():
            self.acknowledged += len(waiting)
            for connection, ticket in waiting:
                by_connection.setdefault(connection, []).append(ticket)
        self.acknowledged_alone += self._new_alone()
        for connection, tickets in by_connection.items():
            connection.kept(tickets)

    def _new_alone(self) -> int:
        total = sum(each.messages for each in self._window.ranges)
        new, self._counted_alone = total - self._counted_alone, total
        return new

    def overdue(self, timeout_s: float) -> bool:
        """Whether a promise has been outstanding for longer than it may be."""
        return self._window.overdue(self._loop.time(), timeout_s)

    def fail(self, reason: str) -> None:
        """Close everybody who waits, and begin anew as another writer."""
        waiting = [each for batch in self._window.abandon() for each in batch] + self._waiting
        extra = {"action": "lane-failed", "writer": self.writer, "waiting": len(waiting)}
        _log.warning("a writer is given up", extra={**extra, "reason": reason})
        for ack in list(self._acks):
            ack.cancel()
        self._begin()
        if self._alone:
            self._record()
        for connection in {connection for connection, _ in waiting}:
            connection.close(f"the promise could not be kept: {reason}", at_once=True)
