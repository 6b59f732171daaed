"""Asks the region's API what devices ask on reserved topics, and gives them its answers.

A gateway writes no items, so whatever a request needs written is another process's. The requests
of one connection are asked one after another, so that they take effect in their order; then come
the answers, and behind them the PUBACK. Where no answer comes in time the connection is closed:
nothing was promised, and the device asks again.

The device does not wait until the events that follow are stored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.clock import monotonic_s
from isthmus.core.limits import Buckets
from isthmus.core.session import Ask
from isthmus.errors import InputError
from isthmus.protocol import DeviceReply, DeviceRequest
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
#: Requests that are asked at once.
AT_ONCE = 64
#: Of one principal in a second, and at once where there were none for a while: a claim that a fleet
#: shares may see all of it start, each with two requests.
ASKED_PER_S = 50.0
ASKED_AT_ONCE = 2_000


class Requests:
    """Those of one gateway process."""

    def __init__(
        self,
        client: Client,
        thing_of: Callable[[str, str], str | None],
        say: Callable[[str, bytes], None],
        promise_timeout_s: float,
    ) -> None:
        """``thing_of`` tells which thing a principal is, as a client of this id."""
        self._client = client
        self._thing_of = thing_of
        self._say = say
        self._timeout_s = promise_timeout_s + HANDLING_S
        self._waiting: dict[Connection, deque[Ask]] = {}
        self._bytes = 0
        self._lately = Buckets(ASKED_PER_S, ASKED_AT_ONCE)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, connection: Connection, ask: Ask) -> None:
        """Take a request; its turn comes when those before it were answered."""
        assert connection.source is not None
        if not self._lately.take(connection.source.principal, monotonic_s()):
            connection.fail("its principal asks too often")
            return
        waiting = self._waiting.get(connection)
        is_full = waiting is not None and len(waiting) > WAITING_MAX
        if is_full or self._bytes + _size(ask) > WAITING_MAX_BYTES:
            connection.fail("too many requests wait for their answers")
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

    async def _serve(self, connection: Connection, waiting: deque[Ask]) -> None:
        """Ask what waits, until nothing does, or nobody for it."""
        try:
            while waiting and connection.is_open:
                async with self._at_once:
                    await self._ask(connection, waiting[0])
                self._bytes -= _size(waiting.popleft())
        finally:
            del self._waiting[connection]
            self._bytes -= sum(map(_size, waiting))

    async def _ask(self, connection: Connection, ask: Ask) -> None:
        source = connection.source
        assert source is not None
        request = DeviceRequest(
            source.principal,
            source.client,
            self._thing_of(source.principal, source.client) or "",
            connection.address,
            ask.publish.topic,
            ask.publish.payload,
        )
        try:
            message = await self._client.request(
                "region.device-request", protocol.encode(request), timeout=self._timeout_s
            )
            reply = protocol.decode(message.data, DeviceReply)
        except (NatsError, TimeoutError, InputError) as error:
            connection.fail(f"a request is not answered: {error!r}")
            return
        for event in reply.events:
            self._say(event.topic, event.payload)
        if reply.failed:
            connection.fail(f"a request was not carried out: {reply.failed}")
            return
        for topic, payload in reply.answers:
            if connection.session is not None:
                connection.perform(connection.session.answer(topic, payload))
        if ask.ticket is not None:
            connection.kept([ask.ticket])


def _size(ask: Ask) -> int:
    return len(ask.publish.payload) + OVERHEAD_BYTES
