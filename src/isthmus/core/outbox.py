"""Publishes that were not acknowledged, in order.

Invariant: a message leaves only by its acknowledgement, and what was ever sent comes before what
was not. Whoever reconnects first repeats ``in_flight`` with the same packet identifiers, then
goes on with ``take``; so every region sees one device's messages in the order they were made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from isthmus.errors import Unavailable

#: AWS IoT Core allows this many unacknowledged publishes on one connection.
IN_FLIGHT_MAX = 100
#: Publishes use packet identifiers up to here, subscribing those above: they never meet.
PACKET_ID_MAX = 0xEFFF


T = TypeVar("T")


class OutboxFull(Unavailable):
    """Too many publishes wait for an acknowledgement."""


class Message(Generic[T]):
    """One publish; ``token`` is what the shell needs to answer whoever waits for it."""

    __slots__ = ("packet_id", "payload", "sent_at_s", "token", "topic")

    def __init__(self, topic: str, payload: bytes, token: T) -> None:
        self.topic = topic
        self.payload = payload
        self.token = token
        self.packet_id = 0
        self.sent_at_s = 0.0


class Outbox(Generic[T]):
    """What waits and what is in flight, at most ``limit`` messages together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Message[T]] = deque()
        # In the order of first sending, which a dict keeps.
        self._in_flight: dict[int, Message[T]] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    @property
    def in_flight(self) -> Iterable[Message[T]]:
        """What was sent and not acknowledged, oldest first."""
        return self._in_flight.values()

    def add(self, message: Message[T]) -> None:
        """Append a message; raises OutboxFull, and the message was not taken."""
        if len(self) >= self._limit:
            raise OutboxFull(
                f"{self._limit} publishes wait for an acknowledgement",
                hint="publish more slowly, or raise outbox_limit",
            )
        self._waiting.append(message)

    def take(self, now_s: float) -> list[Message[T]]:
        """Put as many waiting messages in flight as may be; answers these."""
        count = min(len(self._waiting), IN_FLIGHT_MAX - len(self._in_flight))
        taken = [self._waiting.popleft() for _ in range(count)]
        for message in taken:
            message.packet_id = self._free_id()
            message.sent_at_s = now_s
            self._in_flight[message.packet_id] = message
        return taken

    def acknowledge(self, packet_id: int) -> Message[T] | None:
        """Let a message go; None if it is not in flight, as after a repeated acknowledgement."""
        return self._in_flight.pop(packet_id, None)

    def oldest_sent_at_s(self) -> float | None:
        """When the longest unacknowledged message was sent on this connection."""
        for message in self._in_flight.values():
            return message.sent_at_s
        return None

    def clear(self) -> list[Message[T]]:
        """Take everything out, in order; the one way out without an acknowledgement."""
        messages = [*self._in_flight.values(), *self._waiting]
        self._in_flight.clear()
        self._waiting.clear()
        return messages

    def _free_id(self) -> int:
        """The next identifier that is not in flight; there are far more than may be."""
        while True:
            self._last_id = self._last_id % PACKET_ID_MAX + 1
            if self._last_id not in self._in_flight:
                return self._last_id
