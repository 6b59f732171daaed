"""Gives returning clients what they missed: what gateway/replay.py does, a step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from isthmus.core.batch import Batch
from isthmus.core.place import Place
from isthmus.core.returning import Returning
from isthmus.core.session import Granted
from isthmus.sim.delivery import copy_of, end_of, fetch, locate
from isthmus.sim.store import WAKE_S, Entry, bus

if TYPE_CHECKING:
    from isthmus.sim.connection import Connection
    from isthmus.sim.gateway import Gateway

#: What is read of a stream before anybody else may act.
READ_MAX = 8

#: What waits in between, as ``await`` does: seconds.
Steps = Iterator[float]


class Replay:
    """The clients that return, and one task that reads for them."""

    def __init__(self, gateway: Gateway, is_level: Callable[[Connection], None]) -> None:
        self._gateway = gateway
        self._process = gateway.process
        self._system = gateway.system
        self._nats = gateway.nats
        self._delivery = gateway.delivery
        self._is_level = is_level
        self._returning: dict[Connection, Returning] = {}
        self._has_news = False
        self._task: Steps | None = None

    def add(self, connection: Connection, returning: Returning) -> None:
        """Begin to give a client what it missed."""
        connection.behind = returning.behind
        self._returning[connection] = returning
        self._wake()

    def drop(self, connection: Connection) -> None:
        """The client has gone again, or has everything."""
        self._returning.pop(connection, None)

    def has_room(self, connection: Connection) -> None:
        """A client has acknowledged something."""
        if connection in self._returning:
            self._wake()

    def _wake(self) -> None:
        self._has_news = True
        if self._task is None:
            self._task = self._run()
            self._process.after(WAKE_S, self._step)

    def _step(self) -> None:
        assert self._task is not None
        delay_s = next(self._task, None)
        if delay_s is None:
            self._task = None
        else:
            self._process.after(delay_s, self._step)

    def _run(self) -> Steps:
        """Read for whoever returns, until there is nobody."""
        while self._has_news:
            self._has_news = False
            takers = [
                connection
                for connection, returning in self._returning.items()
                if not returning.session.backlog
            ]
            if takers:
                yield from self._read_all(takers)

    def _still(self, takers: Sequence[Connection]) -> dict[Connection, Returning]:
        """Those who are there and have room."""
        return {
            each: returning
            for each in takers
            if (returning := self._returning.get(each)) is not None and not returning.is_full
        }

    def _read_all(self, takers: Sequence[Connection]) -> Steps:
        for connection, returning in self._still(takers).items():
            yield from self._send_again(connection, returning)
        # Our own stream last: it is where most of what they wait for comes from.
        for origin in reversed(self._delivery.origins):
            yield from self._read(origin, takers)
        for connection, returning in self._still(takers).items():
            if returning.is_level:
                self._system.world.reached["replayed"] += 1
                self.drop(connection)
                self._is_level(connection)
            elif not returning.session.backlog:
                self._has_news = True

    def _send_again(self, connection: Connection, returning: Returning) -> Steps:
        """What the client was sent on another connection, under the same packet ids."""
        entry: Entry | None = None
        batch: Batch | None = None
        while returning.owed and connection in self._still([connection]):
            owed = returning.owed[0]
            if entry is None or owed.id != entry.id:
                yield WAKE_S
                entry = fetch(self._nats, owed.origin, Place(owed.sequence, owed.id))
                batch = self._system.batch(entry.payload) if entry is not None else None
            if connection not in self._returning:
                return
            returning.owed.pop(0)
            if entry is not None:
                # As this region's copy has it: another one's sequences mean nothing here.
                owed = owed._replace(sequence=entry.sequence)
            if batch is not None and owed.at < len(batch.messages):
                message = batch.messages[owed.at]
                copy = copy_of(message, Granted(1))
                now_ms = self._process.now_ms()
                self._system.world.reached["given-again"] += 1
                connection.perform(returning.session.deliver(copy, message.at_ms, now_ms, owed))

    def _read(self, origin: str, takers: Sequence[Connection]) -> Steps:
        """Read one stream for everybody who has room, up to where it is delivered live."""
        for connection, returning in self._still(takers).items():
            if origin in returning.behind and origin not in returning.after:
                place = returning.places.get(origin, Place())
                yield WAKE_S
                found = locate(self._nats, origin, place)
                self._system.watch.sessions.located(connection, origin, place, found)
                returning.locate(origin, found)
        yield WAKE_S
        # What is not followed here is read up to its present end.
        end = end_of(self._nats, origin)
        reading = {
            connection: returning
            for connection, returning in self._still(takers).items()
            if returning.begin_reading(origin)
        }
        if self._is_reached(origin, end, reading):
            return
        after = min(returning.after[origin] for returning in reading.values())
        while True:
            yield WAKE_S
            for entry in self._nats.stream(bus(origin)).after(after, limit=READ_MAX):
                if entry.sequence > self._delivery.places.get(origin, end).sequence:
                    break
                after = entry.sequence
                self._give(origin, entry, reading)
            # Not a moment later: from here on the same messages come live.
            if self._is_reached(origin, end, reading):
                return

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
        batch = self._system.batch(entry.payload) if wanting else None
        now_ms = self._process.now_ms()
        for at, message in enumerate(batch.messages if batch else ()):
            if not message.qos or batch is None:
                continue
            publisher = batch.sources[message.source].client
            # By the subscriptions of this moment: they may change while a client is read for.
            for connection, granted in self._delivery.receivers(message.topic, publisher).items():
                returning = wanting.get(connection) if granted.qos else None
                owed = returning and returning.take(origin, entry.sequence, entry.id, at)
                if returning and owed:
                    self._system.world.reached["given-later"] += 1
                    copy = copy_of(message, granted)
                    said = returning.session.deliver(copy, message.at_ms, now_ms, owed)
                    connection.perform(said)
        for returning in wanting.values():
            returning.end_batch(origin, entry.sequence, entry.id)
