"""What the watch knows of sessions: who was promised what, who was connected where, who got what.

A session, a subscription and a retained message go with batches, and whether somebody must know
of one is told by the disks that had the batch, and by who reached whom since.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from isthmus.core.batch import Batch, batch_id
from isthmus.core.place import Place
from isthmus.core.session import Granted
from isthmus.sim.reach import LAG_S, LOCAL_LAG_S
from isthmus.sim.store import bus
from isthmus.sim.violation import fail
from isthmus.wire.packets import Connect, Publish

if TYPE_CHECKING:
    from isthmus.sim.connection import Connection
    from isthmus.sim.gateway import Gateway
    from isthmus.sim.region import Region
    from isthmus.sim.subscriber import Subscriber
    from isthmus.sim.system import System


class Copy(NamedTuple):
    """One message as a batch has it."""

    batch: str
    origin: str
    writer: str
    #: Of its publisher, and where it stands among what that connection published.
    connection: str
    place: tuple[int, int]


@dataclass(slots=True)
class Stay:
    """One connection of a client at a region, in true time."""

    region: str
    connection: Connection
    begun_s: float
    ended_s: float = math.inf


class Retaining(NamedTuple):
    """One retained message, as a gateway made its item, and what that gateway had to know of."""

    item: bytes
    topic: str
    payload: bytes
    gateway: Gateway
    replaces: frozenset[bytes]


@dataclass(slots=True)
class Known:
    """What is held against the system for one client."""

    #: The item of the session that it was told of; none where it has none.
    session: bytes | None = None
    #: By filter: the item of the subscription that it was told of, and when it was told.
    filters: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    #: Those that a region had not heard of when the client came to it: it is to have them again,
    #: and what it missed by then is not owed.
    unheard: dict[str, bytes] = field(default_factory=dict)
    stays: list[Stay] = field(default_factory=list)
    #: By origin: the batches at which its connections went on, as told and as they were found.
    went_on: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: What it has acknowledged, and what it was given on its newest connection.
    got: set[bytes] = field(default_factory=set)
    in_hand: tuple[Connection | None, set[bytes]] = (None, set())

    def forget(self) -> None:
        """The session is over, with all that it subscribed to."""
        self.session = None
        self.filters.clear()
        self.unheard.clear()


class SessionWatch:
    """Follows the sessions of one run; what can be said only at the end is in the verdict."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._world = system.world
        self.known: defaultdict[str, Known] = defaultdict(Known)
        self.copies: defaultdict[bytes, list[Copy]] = defaultdict(list)
        #: By batch: since when each disk has it, and every time that one took it.
        self._on_disk: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._arrived: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
        self._batches: defaultdict[bytes, list[str]] = defaultdict(list)
        #: By region and origin: the order of batches on its disk, and on those that it had before.
        self._orders: defaultdict[tuple[str, str], list[dict[str, int]]]
        self._orders = defaultdict(lambda: [{}])
        #: By connection: the item that its session began or went on with.
        self._begun: dict[Connection, tuple[bytes, bool]] = {}
        self._changed: dict[tuple[Connection, str], bytes] = {}
        self._last: dict[tuple[Connection, str, str], tuple[int, int]] = {}
        self._unplaced: set[tuple[Connection, str]] = set()
        #: By payload: its topic and when it was first sent, and when it was first acknowledged.
        self.sent_first: dict[bytes, tuple[str, float]] = {}
        self.acknowledged_s: dict[bytes, float] = {}
        self.retained: list[Retaining] = []
        #: Regions whose bus was put together again from others' copies.
        self._rebuilt: set[str] = set()
        #: When something last happened that gateways tell of.
        self.moved_s = 0.0

    # Disks

    def stored(self, region: str, batch: Batch) -> None:
        """A batch has reached a disk."""
        name = batch_id(batch.writer, batch.number)
        if name not in self._arrived:
            for raw in batch.items:
                self._batches[raw].append(name)
            for at, message in enumerate(batch.messages):
                source = batch.sources[message.source].connection
                copy = Copy(name, batch.origin, batch.writer, source, (batch.number, at))
                self.copies[message.payload].append(copy)
        order = self._orders[region, batch.origin][-1]
        order[name] = len(order)
        self._arrived[name].append((region, self._world.now_s))
        self._on_disk[name][region] = self._world.now_s

    def destroyed(self, region: Region) -> None:
        """A disk was replaced by an older one, or an empty one."""
        self._rebuilt.add(region.name)
        kept: set[str] = set()
        for origin in self._system.regions_named:
            entries = region.store.stream(bus(origin)).after(0, limit=10**9)
            order = {entry.id: at for at, entry in enumerate(entries)}
            self._orders[region.name, origin].append(order)
            kept |= order.keys()
        for name, held in self._on_disk.items():
            if name not in kept:
                held.pop(region.name, None)
            else:
                held.setdefault(region.name, self._world.now_s)

    def is_stored(self, batch: str) -> bool:
        """Whether any disk has a batch now."""
        return bool(self._on_disk[batch])

    def is_item_stored(self, item: bytes) -> bool:
        return any(self.is_stored(batch) for batch in self._batches[item])

    def batches_of(self, item: bytes) -> list[str]:
        return self._batches[item]

    def must_know(self, gateway: Gateway, item: bytes) -> bool:
        """Whether a gateway has had the time, and the way, to learn of an item."""
        return any(self._must_know(gateway, batch) for batch in self._batches[item])

    def _must_know(self, gateway: Gateway, batch: str) -> bool:
        now_s, own = self._world.now_s, gateway.region.name
        reach = self._system.watch.reach
        opened_s = gateway.opened_after_s
        for region, since_s in self._on_disk[batch].items():
            if region == own:
                well_s = max(reach.well_since(own, now_s), reach.serving_since(own))
                if now_s - max(since_s, opened_s, well_s) > LOCAL_LAG_S:
                    return True
                continue
            both_s = max(reach.serving_since(region), reach.serving_since(own))
            if now_s - max(since_s, opened_s, both_s, reach.link_s(own, region)) > LAG_S:
                return True
        return False

    # What gateways do

    def began(
        self, connection: Connection, connect: Connect, item: bytes, *, is_present: bool
    ) -> None:
        """``no-session-lost`` and ``no-subscription-lost``, of who connects again."""
        client, gateway = connect.client_id, connection.gateway
        known = self.known[client]
        self._begun[connection] = (item, is_present)
        self.moved_s = self._world.now_s
        for stay in known.stays[-1:]:
            stay.ended_s = min(stay.ended_s, self._world.now_s)
        known.stays.append(Stay(gateway.region.name, connection, self._world.now_s))
        if connect.clean_session:
            return
        if not is_present and known.session is not None:
            if self.must_know(gateway, known.session):
                fail("no-session-lost", f"{gateway.who} begins a new one for {client}")
            self._world.say("watch", f"{client}'s session is unknown here", "session-unknown")
            known.forget()
        for topic_filter in self.lacking(client, connection):
            self._world.reached["subscription-unknown"] += 1
            if topic_filter in known.filters:
                known.unheard[topic_filter], _ = known.filters.pop(topic_filter)

    def lacking(self, client: str, live: Connection) -> list[str]:
        """``no-subscription-lost``: filters that a connection has not, and need not have yet."""
        known, gateway = self.known[client], live.gateway
        items = {name: item for name, (item, _) in known.filters.items()} | known.unheard
        assert live.session is not None
        missing = sorted(items.keys() - live.session.subscriptions)
        for topic_filter in missing:
            if self.must_know(gateway, items[topic_filter]):
                text = f"{client} is at {gateway.who} without {topic_filter}"
                fail("no-subscription-lost", text)
        return missing

    def located(self, connection: Connection, origin: str, told: Place, found: Place) -> None:
        """A client is to be given what it missed of a stream, from a place as this region has it.

        From one that its region does not have it goes on earlier, and is given some once more.
        """
        self.known[connection.client_id].went_on[origin] |= {told.id, found.id} - {""}
        if told.id != found.id:
            self._world.reached["place-unknown"] += 1
            self._unplaced.add((connection, origin))

    def changed(
        self, connection: Connection, filters: Mapping[str, Granted | None], item: bytes
    ) -> None:
        """A gateway stores what a client subscribes to."""
        self.moved_s = self._world.now_s
        self._changed |= {(connection, topic_filter): item for topic_filter in filters}

    def ended(self, connection: Connection) -> None:
        """A gateway's end of a connection is closed, or the gateway is gone."""
        if connection.session is None:
            return
        for stay in self.known[connection.session.client_id].stays[-2:]:
            if stay.connection is connection:
                self.moved_s = self._world.now_s
                stay.ended_s = min(stay.ended_s, self._world.now_s)

    def retains(self, gateway: Gateway, topic: str, payload: bytes, item: bytes) -> None:
        """A gateway makes the item of a retained message."""
        replaces = [
            each.item
            for each in self.retained
            if each.topic == topic
            and (each.gateway is gateway or self.must_know(gateway, each.item))
        ]
        made = Retaining(item, topic, payload, gateway, frozenset(replaces))
        self.retained.append(made)

    # What clients see

    def sent(self, topic: str, payload: bytes) -> None:
        self.sent_first.setdefault(payload, (topic, self._world.now_s))

    def acknowledged(self, payload: bytes) -> None:
        self.acknowledged_s.setdefault(payload, self._world.now_s)

    def cleans(self, client: Subscriber) -> None:
        """The client asks to begin anew: whatever it was promised is over."""
        self.known[client.name].forget()

    def accepted(self, client: Subscriber, connection: Connection, *, is_present: bool) -> None:
        """The client was told that it has a session."""
        item, _ = self._begun[connection]
        if not is_present:
            self.known[client.name].session = item

    def subscribed(self, client: Subscriber, connection: Connection, topic_filter: str) -> None:
        """The client was told that it is subscribed."""
        item = self._changed[connection, topic_filter]
        known = self.known[client.name]
        known.unheard.pop(topic_filter, None)
        known.filters.setdefault(topic_filter, (item, self._world.now_s))

    def unsubscribes(self, client: Subscriber, topic_filter: str) -> None:
        """The client wants no more: nothing is owed from here on."""
        self.known[client.name].filters.pop(topic_filter, None)
        self.known[client.name].unheard.pop(topic_filter, None)

    def delivered(self, client: Subscriber, connection: Connection, message: Publish) -> None:
        """``in-order-per-connection``: as its publisher's connection sent it."""
        self.moved_s = self._world.now_s
        payload = message.payload
        if payload not in self.sent_first:
            fail("in-order-per-connection", f"{client.name} is given {payload!r}: nobody sent it")
        known = self.known[client.name]
        if known.in_hand[0] is not connection:
            # A client may forget what it did not acknowledge.
            known.in_hand = (connection, set())
        known.in_hand[1].add(payload)
        copies = self.copies[payload]
        # Which of several copies this one is, nobody can tell.
        if len(copies) != 1 or message.retain:
            return
        (copy,) = copies
        if (connection, copy.origin) in self._unplaced:
            return
        at = (connection, copy.writer, copy.connection)
        is_earlier = self._last.get(at, (0, 0)) >= copy.place
        if is_earlier and not self.is_between(client.name, copy):
            text = f"{client.name} is given {payload.decode()} after what was published later"
            fail("in-order-per-connection", text)
        self._last[at] = copy.place

    def answers(self, client: Subscriber, payload: bytes) -> None:
        """The client acknowledges a message."""
        self.moved_s = self._world.now_s
        self.known[client.name].got.add(payload)

    # At the end

    def was_passed(self, client: str, copy: Copy) -> bool:
        """Whether a copy from elsewhere came to where the client was connected by then."""
        stays = self.known[client].stays
        return any(region != copy.origin for region in self._met(stays, copy))

    def is_between(self, client: str, copy: Copy) -> bool:
        """Whether a place at which the client went on has a copy before it here and after it there.

        That is so where a bus was put back from others' copies, and nowhere else.
        """
        if copy.origin not in self._rebuilt:
            return False
        places = self.known[client].went_on[copy.origin]
        return any(self._is_moved(copy.origin, each, copy.batch) for each in places)

    def _is_moved(self, origin: str, place: str, batch: str) -> bool:
        is_before = is_after = False
        for region in self._system.regions_named:
            for order in self._orders[region, origin]:
                if place in order:
                    at = order.get(batch, math.inf)
                    is_before |= at < order[place]
                    is_after |= at > order[place]
        return is_before and is_after

    def _met(self, stays: list[Stay], copy: Copy) -> list[str]:
        """Where a copy came to a disk while the client was connected there."""
        return [
            region
            for region, at_s in self._arrived[copy.batch]
            for stay in stays
            if stay.region == region and stay.begun_s <= at_s <= stay.ended_s
        ]
