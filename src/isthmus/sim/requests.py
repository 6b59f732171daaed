"""Asks the region what devices ask on reserved topics: what gateway/requests.py does.

Here of shadows alone, each asked for itself.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from isthmus.core import shadow_topics
from isthmus.core.session import Ask
from isthmus.sim.shadows import Reply
from isthmus.sim.store import WAKE_S

if TYPE_CHECKING:
    from isthmus.sim.connection import Connection
    from isthmus.sim.gateway import Gateway


class Requests:
    """Those of one gateway process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._process = gateway.process
        self._waiting: dict[Connection, deque[Ask]] = {}
        #: By number, those that are asked.
        self._open: dict[int, Connection] = {}
        self._asked = 0

    def ask(self, connection: Connection, ask: Ask) -> None:
        """Take a request; its turn comes when those before it were answered."""
        waiting = self._waiting.setdefault(connection, deque())
        if shadow_topics.is_beyond(ask.publish.topic, [each.publish.topic for each in waiting]):
            refused = shadow_topics.too_many(ask.publish.topic, ask.publish.payload)
            self._give(connection, ask, Reply(refused, []))
            return
        waiting.append(ask)
        if len(waiting) == 1:
            self._ask(connection, ask)

    def closed(self, connection: Connection) -> None:
        """Nobody waits for its answers any more."""
        self._waiting.pop(connection, None)

    def _ask(self, connection: Connection, ask: Ask) -> None:
        gateway = self._gateway
        services = gateway.system.services(gateway.region.name)
        if services is None:
            connection.fail("a request is not answered: nobody is there")
            return
        self._asked += 1
        number = self._asked
        self._open[number] = connection
        topic, payload = ask.publish.topic, ask.publish.payload
        replied = partial(self._replied, number)
        services.process.after(WAKE_S, services.shadows.ask, topic, payload, replied)
        timing = gateway.timing
        limit_s = timing.promise_timeout_s + timing.handling_s
        self._process.after(limit_s, self._expire, number)

    def _expire(self, number: int) -> None:
        connection = self._open.pop(number, None)
        if connection is not None:
            connection.fail("a request is not answered in time")

    def _replied(self, number: int, reply: Reply) -> None:
        """In the services' process."""
        if self._gateway.nats.process.is_running:
            self._process.after(WAKE_S, self._take, number, reply)

    def _take(self, number: int, reply: Reply) -> None:
        connection = self._open.pop(number, None)
        if connection is None:
            return
        for topic, payload in reply.events:
            self._gateway.say(topic, payload)
        waiting = self._waiting.get(connection)
        if not waiting:
            return
        if reply.failed:
            connection.fail(f"a request was not carried out: {reply.failed}")
            return
        self._give(connection, waiting.popleft(), reply)
        if waiting:
            self._ask(connection, waiting[0])

    def _give(self, connection: Connection, ask: Ask, reply: Reply) -> None:
        for topic, payload in reply.answers:
            if connection.session is not None:
                connection.perform(connection.session.answer(topic, payload))
        if ask.ticket is not None:
            connection.kept([ask.ticket])
