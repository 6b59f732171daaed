"""Group commit of one durability: what gateway/lane.py does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from isthmus.core import batch as batches
from isthmus.core.batch import Batch, Source, batch_id
from isthmus.core.confirm import Durability
from isthmus.core.session import Store, Ticket
from isthmus.core.writer import Writer
from isthmus.sim.store import Refused, bus

if TYPE_CHECKING:
    from isthmus.sim.connection import Connection
    from isthmus.sim.gateway import Gateway


@dataclass(frozen=True, slots=True)
class Carrying:
    """What follows when the promise of an item is kept, or its writer is given up."""

    item: bytes
    kept: Callable[[], None]
    failed: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Saying:
    """The region's own word, which is stored again until the stream has it: gateway/events.py."""

    topic: str
    payload: bytes
    identity: str


Waiting = tuple["Connection", Ticket] | Carrying | Saying
#: Of whom the region's own words are said to be.
OWN = Source("own", "", "")
SAY_AGAIN_S = 1.0


class Lane:
    """Feeds one writer, and answers whose promise is kept; the writer decides."""

    def __init__(self, gateway: Gateway, durability: Durability) -> None:
        self._gateway = gateway
        self._system = gateway.system
        self._nats = gateway.nats
        self._process = gateway.process
        self._durability = durability
        self._is_alone = False
        self._is_flushing = False
        self._begin()

    def _begin(self) -> None:
        name = self._gateway.next_writer()
        self._writer: Writer[Waiting] = Writer(self._gateway.region.name, name, self._durability)
        if self._writer.set_alone(self._is_alone):
            self._record()

    # In

    def add(self, connection: Connection, action: Store) -> None:
        """Take a publish; it is stored within a few milliseconds."""
        publish = action.publish
        assert connection.source is not None
        self._writer.add(
            connection.source,
            publish.topic,
            publish.payload,
            qos=publish.qos,
            dup=publish.dup,
            at_ms=self._process.now_ms(),
            token=None if action.ticket is None else (connection, action.ticket),
            identity=self._system.identity_of(publish.payload),
            retain=publish.retain,
        )
        self._flush_soon()

    def say(self, saying: Saying) -> None:
        """Take a word of the region's own."""
        self._writer.add(
            OWN,
            saying.topic,
            saying.payload,
            qos=1,
            dup=False,
            at_ms=self._process.now_ms(),
            token=saying,
            identity=saying.identity,
            retain=False,
        )
        self._flush_soon()

    def carry(self, item: bytes, carrying: Carrying | None = None) -> None:
        """Take an item that goes with the messages."""
        self._writer.carry(item, carrying)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._process.after(self._gateway.timing.gather_s, self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        writer = self._writer
        batch = writer.flush(self._process.now_s())
        if batch is None:
            return
        self._nats.append(
            self._process,
            bus(self._gateway.region.name),
            writer.id,
            batches.encode(batch),
            partial(self._acked, writer, batch),
            identity=batch_id(writer.id, batch.number),
        )
        # A stream may answer before the next one is asked, and a writer must bear both orders.
        self._release(writer)

    def _acked(self, writer: Writer[Waiting], batch: Batch, result: int | Refused) -> None:
        if writer is not self._writer:
            return
        if isinstance(result, Refused):
            self.fail(f"the stream did not take a batch: {result.reason}")
        elif not writer.stored(batch.number):
            self.fail(f"batch {batch.number} was stored out of order")
        else:
            self._gateway.take_items(batch.items)
            self._release(writer)

    # Out

    def _release(self, writer: Writer[Waiting]) -> None:
        by_connection: dict[Connection, list[Ticket]] = {}
        carried: list[Carrying] = []
        for waiting in writer.release():
            if isinstance(waiting, Carrying):
                carried.append(waiting)
            elif not isinstance(waiting, Saying):
                by_connection.setdefault(waiting[0], []).append(waiting[1])
        alone = writer.newly_alone()
        if alone:
            self._system.world.reached["acknowledged-alone"] += alone
        for connection, tickets in by_connection.items():
            for ticket in tickets:
                client = connection.session.client_id if connection.session else ""
                self._system.watch.kept(self._gateway, writer, client, ticket.packet_id)
            connection.kept(tickets)
        for each in carried:
            self._system.watch.kept_item(self._gateway, writer, each.item)
            each.kept()

    def confirmed(self, writers: dict[str, int]) -> None:
        """A peer says what it holds."""
        writer = self._writer
        if writer.confirmed(writers.get(writer.id, 0)):
            self._release(writer)

    def overdue(self, now_s: float, timeout_s: float) -> bool:
        """Whether a promise has been outstanding for longer than it may be."""
        return self._writer.overdue(now_s, timeout_s)

    def fail(self, reason: str) -> None:
        """Close everybody who waits, and begin anew as another writer."""
        waiting = self._writer.abandon()
        gateway = self._gateway
        gateway.world.say(gateway.who, f"gives a writer up: {reason}", "writer-given-up")
        self._begin()
        said = f"the promise could not be kept: {reason}"
        connections = [each[0] for each in waiting if isinstance(each, tuple)]
        for connection in dict.fromkeys(connections):
            connection.close(said, at_once=True)
        for each in waiting:
            if isinstance(each, Carrying):
                each.failed(said)
            elif isinstance(each, Saying):
                self._process.after(SAY_AGAIN_S, self.say, each)

    # Alone

    def set_alone(self, is_alone: bool) -> None:
        """The region's state, which is durable by the time it is said."""
        self._is_alone = is_alone
        if self._writer.set_alone(is_alone):
            self._record()

    def _record(self) -> None:
        writer = self._writer
        ranges = [(each.first, each.last, each.messages) for each in writer.ranges()]
        done = partial(self._recorded, writer, self._is_alone)
        self._nats.put(self._process, f"alone-range {writer.id}", ranges, done)

    def _recorded(self, writer: Writer[Waiting], was_alone: bool, result: int | Refused) -> None:
        if writer is not self._writer or was_alone != self._is_alone:
            return
        if isinstance(result, Refused):
            self._process.after(self._gateway.timing.retry_s, self._record_again, writer)
            return
        writer.recorded()
        self._release(writer)

    def _record_again(self, writer: Writer[Waiting]) -> None:
        if writer is self._writer:
            self._record()
