"""What can be said of sessions and retained messages only at the end, after healing."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from isthmus.core.lattice import Latest
from isthmus.core.retained import RETAINED
from isthmus.core.sessions import SESSION
from isthmus.sim.connection import Connection
from isthmus.sim.subscriber import Subscriber
from isthmus.sim.violation import fail

if TYPE_CHECKING:
    from isthmus.sim.session_watch import Copy
    from isthmus.sim.system import System

#: What was acknowledged later than this before the end may still be on its way.
ON_ITS_WAY_S = 1.5


def at_the_end(system: System) -> None:
    """Sessions have one owner and all that was promised. Raises Violation."""
    for client in system.clients.values():
        if isinstance(client, Subscriber):
            live = list(_live(system, client))
            _one_owner(client, live)
            if client.is_connected and live:
                _owner_is_known(system, client, live[0])
                system.watch.sessions.lacking(client.name, live[0])
                _nothing_missed(system, client)
    for topic in sorted({each.topic for each in system.watch.sessions.retained}):
        _retained_latest(system, topic)


def _live(system: System, client: Subscriber) -> Iterator[Connection]:
    for region in system.regions.values():
        for gateway in region.gateways:
            yield from gateway.connections_of(client.name)


def _one_owner(client: Subscriber, live: list[Connection]) -> None:
    """``one-owner``: nobody else serves a client that connected elsewhere."""
    if len(live) > 1:
        where = sorted(each.gateway.who for each in live)
        fail("one-owner", f"{client.name} is connected to {' and '.join(where)}")


def _owner_is_known(system: System, client: Subscriber, live: Connection) -> None:
    """``one-owner``: every region says who it is, and that the client has not left."""
    for region in system.regions_named:
        item = system.item(region, SESSION, client.name)
        fields = item.fields.values if item is not None else {}
        owner, left = fields.get("owner"), fields.get("left")
        if not isinstance(owner, Latest):
            fail("one-owner", f"{region} knows of no session of {client.name}")
        value: Any = owner.value
        if value["gateway"] != live.gateway.id:
            fail("one-owner", f"{region} says that {client.name} is not at {live.gateway.who}")
        # By the bare fields: the end of an older connection is none of this one.
        if isinstance(left, Latest) and left.stamp._replace(counter=0) == owner.stamp:
            fail("one-owner", f"{region} says that {client.name} has left")


def _nothing_missed(system: System, client: Subscriber) -> None:
    """``nothing-missed``: all that was acknowledged since a subscription was, at least once."""
    watch = system.watch.sessions
    known = watch.known[client.name]
    connection, in_hand = known.in_hand
    got = known.got | in_hand if connection is client.connection else known.got
    for topic_filter, (_, since_s) in known.filters.items():
        for payload, acknowledged_s in watch.acknowledged_s.items():
            topic, sent_s = watch.sent_first[payload]
            if sent_s < since_s or not _matches(topic_filter, topic):
                continue
            if acknowledged_s > system.world.now_s - ON_ITS_WAY_S or payload in got:
                continue
            if any(_is_owed(system, client, copy) for copy in watch.copies[payload]):
                fail("nothing-missed", f"{client.name} never had {payload.decode()}")


def _matches(topic_filter: str, topic: str) -> bool:
    """By hand: what matches is the core's to get wrong."""
    return topic_filter == topic or (topic_filter == "fleet/+" and topic.startswith("fleet/"))


def _is_owed(system: System, client: Subscriber, copy: Copy) -> bool:
    """It is still there, and no limit of sessions excuses that it was not given.

    Those are two: what comes from elsewhere to where a client is connected is not given to it; and
    where a bus was put back in another order, a place may pass some of it.
    """
    watch = system.watch.sessions
    if not watch.is_stored(copy.batch):
        return False
    if watch.was_passed(client.name, copy):
        system.world.reached["passed-over"] += 1
        return False
    if watch.is_between(client.name, copy):
        system.world.reached["passed-by-place"] += 1
        return False
    return True


def _retained_latest(system: System, topic: str) -> None:
    """``retained-latest``: nothing is retained that a region knew when it retained another one."""
    watch = system.watch.sessions
    made = [each for each in watch.retained if each.topic == topic]
    stored = [each for each in made if watch.is_item_stored(each.item)]
    for region in system.regions_named:
        payload = _retained(system, region, topic)
        if payload is None:
            if stored:
                fail("retained-latest", f"{region} retains nothing of {topic}")
            continue
        # What was sent again was retained again.
        items = {each.item for each in made if each.payload == payload}
        if not items:
            fail("retained-latest", f"{region} retains {payload!r} of {topic}: nobody sent it")
        ever = {item for item in items if watch.batches_of(item)}
        for each in stored:
            if each.payload != payload and ever <= each.replaces:
                text = f"{region} retains {payload.decode()}, replaced by {each.payload.decode()}"
                fail("retained-latest", text)


def _retained(system: System, region: str, topic: str) -> bytes | None:
    """By the bare field of the item."""
    item = system.item(region, RETAINED, topic)
    found = item.fields.get("message") if item is not None else None
    value: Any = found.value if isinstance(found, Latest) else None
    return None if value is None else base64.b64decode(value["payload"])
