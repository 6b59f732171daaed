"""Feeds subscribers from this region's bus streams: in their order, after the commit, gap-free.

Every gateway process follows the stream of its own region, so it does not matter which of them took
a message in, and a gateway that loses its NATS for a while goes on where it was. The streams of
other regions are followed only where some topics are delivered everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.entries import Entry
from isthmus.adapters.nats.follow import follow
from isthmus.clock import now_ms
from isthmus.core import batch as batches
from isthmus.core.batch import Batch, Message, batch_id
from isthmus.core.dialect import DIALECTS
from isthmus.core.place import Owed, Place, Places
from isthmus.core.session import Granted
from isthmus.errors import InputError, Unavailable
from isthmus.gateway.sharing import Sharing
from isthmus.wire.packets import Publish
from isthmus.wire.topics import Dialect, TopicTree, is_shared

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

_log = logging.getLogger(__name__)

RETRY_S = 0.1
#: Between two looks at where the streams end that are not followed.
ENDS_S = 1.0

#: Batches that are kept decoded until the stream shows them; more are decoded again.
OWN_MAX = 64

#: How a client gets a message, and the shared subscription by which it does, if it is by one.
Receiver = tuple[Granted, str]
#: A client's subscription, as a tree holds it.
Subscriber = tuple["Connection", Receiver]


class Subscribers:
    """Who subscribes to what, each in the dialect of its session."""

    def __init__(self) -> None:
        self._trees: dict[Dialect, TopicTree[Subscriber]] = {
            name: TopicTree(dialect=name) for name in DIALECTS
        }

    def add(self, topic_filter: str, connection: Connection, granted: Granted) -> None:
        self._tree(connection).add(topic_filter, (connection, (granted, "")))

    def remove(self, topic_filter: str, connection: Connection, granted: Granted) -> None:
        self._tree(connection).remove(topic_filter, (connection, (granted, "")))

    def _tree(self, connection: Connection) -> TopicTree[Subscriber]:
        return self._trees[connection.dialect.name]

    def __bool__(self) -> bool:
        return any(self._trees.values())

    def of(self, topic: str, publisher: str) -> dict[Connection, Receiver]:
        """Who gets a message, and how.

        A client whose filters overlap gets one copy, at the highest QoS it asked for.
        """
        found: dict[Connection, Receiver] = {}
        for tree in self._trees.values():
            for connection, receiver in tree.match(topic) if tree else ():
                session = connection.session
                # [MQTT-3.8.3-3]: a client is told apart by its id, on whichever connection it was.
                is_own = session is not None and session.client_id == publisher
                if not (receiver[0].no_local and is_own):
                    found[connection] = max(receiver, found.get(connection, receiver))
        return found


class Delivery:
    """The subscribers of one process, and how far each stream has been delivered to them."""

    def __init__(
        self,
        client: Client,
        region: str,
        peers: Sequence[str],
        take_items: Callable[[tuple[bytes, ...]], None],
        sharing: Sharing,
        joined: Callable[[Connection, str], None],
        *,
        follows_all: bool,
        is_everywhere: Callable[[str], bool],
    ) -> None:
        self._client = client
        self._region = region
        self._is_everywhere = is_everywhere
        self._take_items = take_items
        self._sharing = sharing
        self._joined = joined
        self._subscribers = Subscribers()
        #: Followed, and up to where everything was delivered.
        self.places: Places = {}
        self.origins = (region, *peers)
        self.followed = self.origins if follows_all else (region,)
        self._ends: Places = {}
        #: Batches of this process that the stream has not shown yet: they need no decoding.
        self._own: dict[str, Batch] = {}
        self._known = asyncio.Event()

    def join(self, connection: Connection, topic_filter: str, granted: Granted) -> None:
        if is_shared(topic_filter):
            self._sharing.join(connection, topic_filter, granted)
        else:
            self._subscribers.add(topic_filter, connection, granted)
            self._joined(connection, topic_filter)

    def leave(self, connection: Connection, topic_filter: str, granted: Granted) -> None:
        if is_shared(topic_filter):
            self._sharing.leave(connection, topic_filter)
        else:
            self._subscribers.remove(topic_filter, connection, granted)

    def receivers(self, message: Message, publisher: str) -> dict[Connection, Receiver]:
        """Whose a message is, whether or not he is given it live."""
        found: dict[Connection, Receiver] = {}
        if not message.is_handed_over:
            found = self._subscribers.of(message.topic, publisher)
        for share in message.shares:
            taker = self._sharing.taker(share)
            if taker is not None:
                connection, granted = taker
                granted = max(granted, found.get(connection, (granted, ""))[0])
                found[connection] = (granted, share.topic_filter)
        return found

    def sent(self, batch: Batch) -> None:
        """A batch of ours is on its way to the stream."""
        if len(self._own) < OWN_MAX:
            self._own[batch_id(batch.writer, batch.number)] = batch

    def forget(self, writer: str) -> None:
        """A writer was given up: what became of its batches nobody knows."""
        self._own = {name: each for name, each in self._own.items() if each.writer != writer}

    async def known(self) -> None:
        """Wait until it is known where the streams stood when this process began."""
        await self._known.wait()

    def now(self) -> Places:
        """Up to where everything was delivered, and about where the other streams end."""
        return {**self._ends, **self.places}

    async def run(self) -> None:
        """Deliver for ever, from what is stored after now."""
        while True:
            await self._look_for_ends()
            if len(self._ends) == len(self.origins):
                break
            await asyncio.sleep(RETRY_S)
        self.places = {origin: self._ends[origin] for origin in self.followed}
        self._known.set()
        async with asyncio.TaskGroup() as group:
            for origin in self.followed:
                group.create_task(self._follow_for_ever(origin))
            while True:
                await asyncio.sleep(ENDS_S)
                await self._look_for_ends()

    async def _look_for_ends(self) -> None:
        for origin in self.origins:
            if origin not in self.places:
                with contextlib.suppress(NatsError, TimeoutError):
                    self._ends[origin] = await end_of(self._client, origin)

    async def _follow_for_ever(self, origin: str) -> None:
        # A stream that was wiped or restored ends this process: it begins again with what is there.
        while True:
            stream, after = streams.bus(origin), self.places[origin].sequence
            try:
                async for entries in follow(self._client, stream, after):
                    for entry in entries:
                        if self._take(origin, entry):
                            # Who publishes and who is let in wait behind a large fan-out.
                            await asyncio.sleep(0)
            except Unavailable as error:
                _log.info("bus", extra={"action": "follow-again", "reason": str(error)})
                await asyncio.sleep(RETRY_S)

    def _take(self, origin: str, entry: Entry) -> bool:
        """Deliver one batch; True if that may have taken time."""
        batch = self._own.pop(entry.id, None)
        is_delivered = False
        try:
            if batch is None:
                # What nobody here listens to is not decoded.
                self._take_items(batches.carried_by(entry.payload).items)
                batch = batches.decode(entry.payload) if self._has_takers else None
            if batch is not None and self._has_takers:
                self._deliver(origin, entry, batch)
                is_delivered = True
        except InputError as error:
            extra = {"action": "bad-batch", "origin": origin, "reason": str(error)}
            _log.error("a message of the bus cannot be read", extra=extra)
        self.places[origin] = Place(entry.sequence, entry.id)
        return is_delivered

    def _deliver(self, origin: str, entry: Entry, batch: Batch) -> None:
        """Give everybody what is his of a batch, in one write each."""
        given: set[Connection] = set()
        try:
            self._give(origin, entry, batch, given)
        finally:
            for connection in given:
                connection.scatter()

    def _give(self, origin: str, entry: Entry, batch: Batch, given: set[Connection]) -> None:
        now = now_ms()
        is_remote = origin != self._region
        for at, message in enumerate(batch.messages):
            if is_remote and not self._is_everywhere(message.topic):
                continue
            source = batch.sources[message.source]
            if message.shares:
                self._sharing.pass_on(source, message)
            receivers = self.receivers(message, source.client)
            for connection, (granted, share) in receivers.items():
                session = connection.session
                # Who is behind is given this later, after what it missed.
                if session is not None and origin not in connection.behind:
                    qos = min(message.qos, granted.qos)
                    if not qos and connection.drops:
                        connection.drop()
                        continue
                    owed = Owed(origin, entry.sequence, entry.id, at, 0, share) if qos else None
                    if connection not in given:
                        given.add(connection)
                        connection.gather()
                    copy = copy_of(message, granted)
                    connection.perform(session.deliver(copy, message.at_ms, now, owed))

    @property
    def _has_takers(self) -> bool:
        return bool(self._subscribers) or bool(self._sharing)


def copy_of(message: Message, granted: Granted) -> Publish:
    """What a subscriber gets of a message, at the lesser of both QoS."""
    return Publish(
        message.topic,
        message.payload,
        min(message.qos, granted.qos),
        message.retain and granted.retain_as_published,
        properties=message.properties,
    )


async def end_of(client: Client, origin: str) -> Place:
    """The last batch that this region's copy of a stream has; raises NatsError, TimeoutError."""
    js, stream = client.jetstream(), streams.bus(origin)
    last = (await js.stream_info(stream)).state.last_seq
    if not last:
        return Place()
    found = await js.get_msg(stream, last, direct=True)
    return Place(last, (found.headers or {}).get("Nats-Msg-Id", ""))
