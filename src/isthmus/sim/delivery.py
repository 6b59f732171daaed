"""Feeds subscribers from their region's own bus stream: what gateway/delivery.py does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.core.batch import Batch, Message
from isthmus.core.place import ALL, Owed, Place, Places
from isthmus.core.session import Granted
from isthmus.sim.store import WAKE_S, Entry, Store, bus
from isthmus.wire.packets import Publish
from isthmus.wire.topics import TopicTree

if TYPE_CHECKING:
    from isthmus.sim.connection import Connection
    from isthmus.sim.gateway import Gateway

#: A client's subscription, as the tree holds it.
Subscriber = tuple["Connection", Granted]


class Delivery:
    """The subscribers of one process, and how far each stream has been delivered to them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._own = gateway.region.name
        self._subscribers: TopicTree[Subscriber] = TopicTree()
        others = [name for name in gateway.system.regions_named if name != self._own]
        self.origins = (self._own, *others)
        #: Followed, and up to where everything was delivered.
        self.places: Places = {self._own: end_of(gateway.nats, self._own)}
        self._ends: Places = {}
        self._is_waiting = False
        self.look_for_ends()
        self._follow()

    def join(self, connection: Connection, topic_filter: str, granted: Granted) -> None:
        self._subscribers.add(topic_filter, (connection, granted))

    def leave(self, connection: Connection, topic_filter: str, granted: Granted) -> None:
        self._subscribers.remove(topic_filter, (connection, granted))

    def receivers(self, topic: str, publisher: str) -> dict[Connection, Granted]:
        """Who gets a message, whether or not live: one copy, at the highest QoS asked for."""
        found: dict[Connection, Granted] = {}
        for connection, granted in self._subscribers.match(topic):
            # [MQTT-3.8.3-3]: a client is told apart by its id, on whichever connection it was.
            if not (granted.no_local and connection.client_id == publisher):
                found[connection] = max(granted, found.get(connection, granted))
        return found

    def now(self) -> Places:
        """Up to where everything was delivered, and about where the other streams end."""
        return {**self._ends, **self.places}

    def look_for_ends(self) -> None:
        """Once a second: about where the streams end that are not followed."""
        for origin in self.origins[1:]:
            self._ends[origin] = end_of(self._gateway.nats, origin)

    def _follow(self) -> None:
        self._is_waiting = False
        nats, process = self._gateway.nats, self._gateway.process
        entries = nats.stream(bus(self._own)).after(self.places[self._own].sequence)
        for entry in entries:
            self._take(entry)
        if nats.stream(bus(self._own)).synced > self.places[self._own].sequence:
            process.after(WAKE_S, self._follow)
        else:
            self._is_waiting = True
            nats.when_news(process, bus(self._own), self._wake)

    def _wake(self) -> None:
        if self._is_waiting:
            self._follow()

    def store_restarted(self) -> None:
        """Whoever waited for news of the stream asks again."""
        self._wake()

    def _take(self, entry: Entry) -> None:
        batch = self._gateway.system.batch(entry.payload)
        self._gateway.take_items(batch.items)
        if batch.messages and self._subscribers:
            self._deliver(entry, batch)
        self.places[self._own] = Place(entry.sequence, entry.id)

    def _deliver(self, entry: Entry, batch: Batch) -> None:
        now_ms = self._gateway.process.now_ms()
        for at, message in enumerate(batch.messages):
            publisher = batch.sources[message.source].client
            for connection, granted in self.receivers(message.topic, publisher).items():
                session = connection.session
                # Who is behind is given this later, after what it missed.
                if session is not None and self._own not in connection.behind:
                    owed = Owed(self._own, entry.sequence, entry.id, at)
                    copy = copy_of(message, granted)
                    connection.perform(session.deliver(copy, message.at_ms, now_ms, owed))


def copy_of(message: Message, granted: Granted) -> Publish:
    """What a subscriber gets of a message, at the lesser of both QoS."""
    qos = min(message.qos, granted.qos)
    return Publish(
        message.topic, message.payload, qos, message.retain and granted.retain_as_published
    )


# In a region's copy of a stream, as adapters/nats/bus_places.py does


def end_of(store: Store, origin: str) -> Place:
    """The last batch that this region's copy of a stream has."""
    stream = store.stream(bus(origin))
    last = stream.at(stream.synced)
    return Place() if last is None else Place(last.sequence, last.id)


def locate(store: Store, origin: str, place: Place) -> Place:
    """A place as this region's copy of a stream has it."""
    found = _nearest(store, origin, place) if place.sequence else None
    if found is None:
        return Place()
    return Place(found.sequence, found.id, place.given if found.id == place.id else ALL)


def fetch(store: Store, origin: str, place: Place) -> Entry | None:
    """The batch at a place, or None where this region does not have it."""
    found = _nearest(store, origin, place)
    return found if found is not None and found.id == place.id else None


def _nearest(store: Store, origin: str, place: Place) -> Entry | None:
    """The batch of a place, or the last one before it of the same writer."""
    stream = store.stream(bus(origin))
    first = stream.at(place.sequence)
    if first is not None and first.id == place.id:
        return first
    writer, _, wanted = place.id.rpartition(":")
    best = None
    for entry in stream.after(0, limit=10**9, subject=writer):
        if int(entry.id.rpartition(":")[2]) > int(wanted):
            break
        best = entry
    return best
