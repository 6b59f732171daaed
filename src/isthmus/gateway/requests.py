"""Asks the region's API what devices ask on reserved topics, and gives them its answers.

A gateway writes no items, so whatever a request needs written is another process's. The requests
of one connection are asked one after another, so that they take effect in their order; then come
the answers, and behind them the PUBACK. Where no answer comes in time the connection is closed:
nothing was promised, and the device asks again. What nobody but the region is waited for, is asked
for many connections together, with all that one of them has asked of the same thing meanwhile.

The device does not wait until the events that follow are stored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.clock import monotonic_s
from isthmus.core import shadow_topics
from isthmus.core.device_topics import SHADOW, about, question
from isthmus.core.limits import Buckets
from isthmus.core.session import Ask, Ticket
from isthmus.core.shadow_topics import GET, IN_FLIGHT_MAX, Messages
from isthmus.errors import InputError, Unavailable
from isthmus.gateway.together import Together
from isthmus.protocol import DeviceReply, DeviceReplyBatch, DeviceRequest, DeviceRequestBatch
from isthmus.tasks import end

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

#: Seconds that an answer may take beside its promise: a hook of the user's may take 5.
HANDLING_S = 10.0
#: Requests of one connection that wait behind the one that is asked: as many as it may send
#: without an answer.
WAITING_MAX = 100
#: Bytes of those of all connections, and what one takes beside its payload, about.
WAITING_MAX_BYTES = 16 * 1024**2
OVERHEAD_BYTES = 1024
#: Requests that are asked at once, each in a message of its own.
AT_ONCE = 64
#: Of one principal in a second, and at once where there were none for a while: a claim that a fleet
#: shares may see all of it start, each with two requests.
ASKED_PER_S = 50.0
ASKED_AT_ONCE = 2_000
#: And of those that nobody but the region is waited for: one principal may serve many devices.
QUICK_PER_S = 200.0
QUICK_AT_ONCE = 4_000


#: What a request may end in that nobody has answered.
NOT_ANSWERED = (NatsError, TimeoutError, InputError, Unavailable)


class Requests:
    """Those of one gateway process."""

    def __init__(
        self,
        client: Client,
        thing_of: Callable[[str, str], str | None],
        say: Callable[[str, bytes], None],
        all_is_said: Callable[[], None],
        promise_timeout_s: float,
    ) -> None:
        """``thing_of`` tells which thing a principal is, as a client of this id.

        ``all_is_said`` is called when the events are said of all that was answered together.
        """
        self._client = client
        self._thing_of = thing_of
        self._say = say
        self._timeout_s = promise_timeout_s + HANDLING_S
        self._waiting: dict[Connection, deque[Ask]] = {}
        self._bytes = 0
        self._lately = Buckets(ASKED_PER_S, ASKED_AT_ONCE)
        self._quick_lately = Buckets(QUICK_PER_S, QUICK_AT_ONCE)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._together = Together(lambda requests: self._replies(requests), all_is_said)

    def ask(self, connection: Connection, ask: Ask) -> None:
        """Take a request; its turn comes when those before it were answered."""
        assert connection.source is not None
        asked = question(ask.publish.topic)
        lately = self._quick_lately if asked and asked.is_quick else self._lately
        if not lately.take(connection.source.principal, monotonic_s()):
            connection.fail("its principal asks too often")
            return
        waiting = self._waiting.get(connection)
        is_full = waiting is not None and len(waiting) > WAITING_MAX
        if is_full or self._bytes + _size(ask) > WAITING_MAX_BYTES:
            connection.fail("too many requests wait for their answers")
            return
        if waiting is not None and (refused := _too_many(waiting, ask)):
            for topic, payload in refused:
                self._say(topic, payload)
            if ask.ticket is not None:
                connection.kept([ask.ticket])
            return
        self._bytes += _size(ask)
        if waiting is not None:
            waiting.append(ask)
            return
        self._waiting[connection] = waiting = deque([ask])
        task = asyncio.create_task(self._serve(connection, waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Ask nothing more."""
        await end(self._tasks)
        await self._together.stop()

    async def _serve(self, connection: Connection, waiting: deque[Ask]) -> None:
        """Ask what waits, until nothing does, or nobody for it."""
        try:
            while waiting and connection.is_open:
                asks = list(_next(waiting))
                replies = await self._ask(connection, asks)
                # Before the answers: by them the connection may ask for more.
                for ask in asks:
                    self._bytes -= _size(ask)
                    waiting.popleft()
                if replies is not None:
                    _answer(connection, asks, replies)
        finally:
            del self._waiting[connection]
            self._bytes -= sum(map(_size, waiting))

    async def _ask(self, connection: Connection, asks: list[Ask]) -> list[DeviceReply] | None:
        """Ask what is asked together, and say what follows; None where that is not answered."""
        source = connection.source
        assert source is not None
        asked = question(asks[0].publish.topic)
        is_quick = asked is not None and asked.is_quick
        thing = None if is_quick else self._thing_of(source.principal, source.client)
        requests = [
            DeviceRequest(
                source.principal,
                source.client,
                thing or "",
                connection.address,
                ask.publish.topic,
                ask.publish.payload,
            )
            for ask in asks
        ]
        try:
            if is_quick:
                replies = await self._together.replies(requests)
                self._say_events(replies)
                if replies[-1].is_left:
                    replies[-1:] = await self._replies(requests[-1:])
                    self._say_events(replies[-1:])
            else:
                async with self._at_once:
                    replies = await self._replies(requests)
                self._say_events(replies)
        except NOT_ANSWERED as error:
            connection.fail(f"a request is not answered: {error!r}")
            return None
        return replies

    def _say_events(self, replies: Iterable[DeviceReply]) -> None:
        """What is kept is said, whatever becomes of who asked for it."""
        for reply in replies:
            for event in reply.events:
                self._say(event.topic, event.payload)

    async def _replies(self, requests: list[DeviceRequest]) -> list[DeviceReply]:
        if not self._client.is_connected:
            # nats-py would keep it, and have it done when nobody waits for it any more.
            raise Unavailable("not connected to NATS")
        message = await self._client.request(
            "region.device-request",
            protocol.encode(DeviceRequestBatch(requests)),
            timeout=self._timeout_s,
        )
        replies = protocol.decode(message.data, DeviceReplyBatch).replies
        if len(replies) != len(requests):
            raise InputError(f"there are {len(replies)} replies to {len(requests)} requests")
        return replies


def _answer(connection: Connection, asks: list[Ask], replies: list[DeviceReply]) -> None:
    """Give a connection all that is its own in one write."""
    kept: list[Ticket] = []
    connection.gather()
    try:
        for ask, reply in zip(asks, replies, strict=True):
            if reply.failed:
                connection.fail(f"a request was not carried out: {reply.failed}")
                return
            for topic, payload in reply.answers:
                if connection.session is not None:
                    connection.perform(connection.session.answer(topic, payload))
            if ask.ticket is not None:
                kept.append(ask.ticket)
        if kept:
            connection.kept(kept)
    finally:
        connection.scatter()


def _next(waiting: Iterable[Ask]) -> Iterator[Ask]:
    """What of one connection is asked together: the next one, and what follows about the same.

    No more than a shadow may have under way, so that a message has room for many connections, and
    nothing behind a look at it: that may have to be asked for once more, by itself.
    """
    first: str | None = None
    for ask in islice(waiting, IN_FLIGHT_MAX):
        topic = ask.publish.topic
        if first is not None and about(topic) != first:
            return
        yield ask
        asked = question(topic)
        if asked is None or not asked.is_quick or shadow_topics.request(topic).what == GET:
            return
        first = about(topic)


def _size(ask: Ask) -> int:
    return len(ask.publish.payload) + OVERHEAD_BYTES


def _too_many(waiting: Collection[Ask], ask: Ask) -> Messages:
    """What is told of a request to a shadow that exceeds AWS's quota; nothing of any other."""
    topic = ask.publish.topic
    if len(waiting) < IN_FLIGHT_MAX or question(topic) is not SHADOW:
        return []
    under_way = [each.publish.topic for each in waiting]
    is_beyond = shadow_topics.is_beyond(
        topic, [each for each in under_way if question(each) is SHADOW]
    )
    return shadow_topics.too_many(topic, ask.publish.payload) if is_beyond else []
