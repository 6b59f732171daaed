"""Group commit: what arrived together is stored together, and answered when its promise is kept.

One lane per promise, each a writer of its own with its own numbers, so that a topic for which
one region is enough never waits for the other region. A lane whose stream refuses or loses a batch
never goes on under the same writer: its clients are closed without an answer, and a new writer
begins at 1 (docs/correctness.md, section 2).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.publisher import Publisher
from isthmus.core import batch as batches
from isthmus.core.batch import Batch, Share, Source, batch_id
from isthmus.core.confirm import Durability, Load
from isthmus.core.message_properties import identity_of
from isthmus.core.promises import Promise
from isthmus.core.session import Ticket
from isthmus.core.writer import Writer
from isthmus.errors import Unavailable
from isthmus.region.state import StateStore, alone_range_name
from isthmus.wire.packets import Publish

_log = logging.getLogger(__name__)

#: How long a publish may wait for company, and by how many batches on their way that is stretched
#: once more. Each batch is one write to every disk: where disks or the peer are slow, fewer and
#: larger ones must go, or those that wait grow without end.
GATHER_S = 0.004
STRETCHED_BY = 12
GATHER_MAX_S = 0.1
_DURABILITY = {
    Promise.REGION: Durability.REGION,
    Promise.TWO_REGIONS: Durability.TWO_REGIONS,
    Promise.NEVER_ALONE: Durability.TWO_REGIONS,
}
#: Between two attempts to record a range: its clients wait meanwhile, unanswered.
RECORD_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Carrying:
    """What follows when the promise of an item is kept, or its writer is given up."""

    kept: Callable[[], None]
    failed: Callable[[str], None]


class Client(Protocol):
    """Whose publish it is, and who hears of it."""

    @property
    def source(self) -> Source | None: ...
    def kept(self, tickets: list[Ticket]) -> None: ...
    def fail(self, reason: str) -> None: ...


#: Who waits for a publish, or for an item.
Waiting = tuple[Client, Ticket] | Carrying


class Watcher(Protocol):
    """Who wants to know what becomes of batches."""

    def sent(self, batch: Batch) -> None: ...
    def stored(self, batch: Batch) -> None: ...
    def forget(self, writer: str) -> None: ...
    def loaded(self) -> None: ...


class Lane:
    """Feeds one writer, and answers whose promise is kept; the writer decides."""

    def __init__(
        self,
        publisher: Publisher,
        state: StateStore,
        region: str,
        promise: Promise,
        watcher: Watcher,
    ) -> None:
        self._publisher = publisher
        self._state = state
        self._region = region
        self._durability = _DURABILITY[promise]
        self._goes_on_alone = promise is not Promise.NEVER_ALONE
        self._watcher = watcher
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._outbox: asyncio.Queue[Batch] = asyncio.Queue()
        self._acks: set[asyncio.Future[int]] = set()
        self._alone = False
        self._recording: asyncio.Future[None] = self._loop.create_future()
        self._writer = self._new_writer()
        #: Messages acknowledged, and of those the ones that no second region had.
        self.acknowledged = 0
        self.acknowledged_alone = 0

    def _new_writer(self) -> Writer[Waiting]:
        return Writer(self._region, secrets.token_hex(16), self._durability)

    # In

    def add(
        self,
        client: Client,
        publish: Publish,
        ticket: Ticket | None,
        at_ms: int,
        shares: tuple[Share, ...] = (),
        *,
        is_handed_over: bool = False,
    ) -> None:
        """Take a publish; it is stored within a few milliseconds."""
        source = client.source
        assert source is not None
        is_full = self._writer.add(
            source,
            publish.topic,
            publish.payload,
            qos=publish.qos,
            dup=publish.dup,
            at_ms=at_ms,
            token=None if ticket is None else (client, ticket),
            identity=identity_of(publish.properties) if publish.properties else "",
            properties=publish.properties,
            retain=publish.retain,
            shares=shares,
            is_handed_over=is_handed_over,
        )
        self._gather(is_full)

    def put(
        self,
        client: Client,
        publish: Publish,
        at_ms: int,
        shares: tuple[Share, ...],
        identity: str,
    ) -> None:
        """Take a publish that came by no connection, under an identity."""
        source = client.source
        assert source is not None
        is_full = self._writer.add(
            source,
            publish.topic,
            publish.payload,
            qos=publish.qos,
            dup=False,
            at_ms=at_ms,
            token=(client, Ticket(0)),
            identity=identity,
            properties=publish.properties,
            retain=publish.retain,
            shares=shares,
        )
        self._gather(is_full)

    def carry(self, item: bytes, carrying: Carrying | None = None) -> None:
        """Take an item that goes with the messages."""
        self._gather(self._writer.carry(item, carrying))

    def _gather(self, is_full: bool) -> None:
        if is_full:
            self.flush()
        elif self._timer is None:
            stretched_s = GATHER_S * self._writer.outstanding / STRETCHED_BY
            delay_s = min(max(GATHER_S, stretched_s), GATHER_MAX_S)
            self._timer = self._loop.call_later(delay_s, self.flush)

    def hurry(self) -> None:
        """No more company is expected: what was gathered goes now, unless others are on their way.

        Then it waits for company after all, as more would go than disks and peers can take.
        """
        if self._timer is not None and not self._writer.outstanding:
            self.flush()

    def flush(self) -> None:
        """Hand what was gathered to the stream."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch = self._writer.flush(self._loop.time())
        if batch is not None:
            self._watcher.sent(batch)
            self._outbox.put_nowait(batch)
            self._watcher.loaded()

    async def run(self) -> None:
        """Hand batches to the stream, in the order of their numbers, until cancelled."""
        while True:
            batch = await self._outbox.get()
            if batch.writer != self._writer.id:
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
        if batch.writer != self._writer.id:
            return
        if failure is not None:
            self.fail(f"the stream did not take a batch: {failure}")
        elif not self._writer.stored(batch.number):
            self.fail(f"batch {batch.number} was stored out of order")
        else:
            self._watcher.stored(batch)
            self._release()

    # Out

    def confirmed(self, writers: Mapping[str, int]) -> None:
        """A peer says what it holds."""
        if self._writer.confirmed(writers.get(self._writer.id, 0)):
            self._release()

    def set_alone(self, alone: bool) -> None:
        """The region's state, which is durable by the time it is said."""
        self._alone = alone and self._goes_on_alone
        if self._writer.set_alone(self._alone):
            self._record()

    def _record(self) -> None:
        self._recording.cancel()
        self._recording = self._loop.create_task(self._record_until_done(self._writer))

    async def _record_until_done(self, writer: Writer[Waiting]) -> None:
        """Write down what was, or will be, acknowledged alone; only then may it be."""
        while writer is self._writer:
            try:
                await self._state.put(alone_range_name(writer.id), writer.ranges())
                break
            except Unavailable as error:
                extra = {"action": "alone-range", "reason": str(error)}
                _log.warning("a range acknowledged alone is not recorded yet", extra=extra)
                await asyncio.sleep(RECORD_AGAIN_S)
        if writer is self._writer:
            writer.recorded()
            self._release()

    def _release(self) -> None:
        by_client: dict[Client, list[Ticket]] = {}
        carried: list[Carrying] = []
        for waiting in self._writer.release():
            if isinstance(waiting, Carrying):
                carried.append(waiting)
                continue
            client, ticket = waiting
            tickets = by_client.get(client)
            if tickets is None:
                by_client[client] = [ticket]
            else:
                tickets.append(ticket)
        self.acknowledged_alone += self._writer.newly_alone()
        for client, tickets in by_client.items():
            self.acknowledged += len(tickets)
            client.kept(tickets)
        for each in carried:
            each.kept()
        self._watcher.loaded()

    @property
    def load(self) -> Load:
        """What waits for the stream, or for a peer."""
        return self._writer.load()

    def overdue(self, timeout_s: float) -> bool:
        """Whether a promise has been outstanding for longer than it may be."""
        return self._writer.overdue(self._loop.time(), timeout_s)

    def fail(self, reason: str) -> None:
        """Close everybody who waits, and begin anew as another writer."""
        waiting = self._writer.abandon()
        extra = {"action": "lane-failed", "writer": self._writer.id, "waiting": len(waiting)}
        _log.warning("a writer is given up", extra={**extra, "reason": reason})
        for ack in list(self._acks):
            ack.cancel()
        self._watcher.forget(self._writer.id)
        self._writer = self._new_writer()
        if self._writer.set_alone(self._alone):
            self._record()
        said = f"the promise could not be kept: {reason}"
        for client in {each[0] for each in waiting if isinstance(each, tuple)}:
            client.fail(said)
        for each in waiting:
            if isinstance(each, Carrying):
                each.failed(said)
        self._watcher.loaded()
