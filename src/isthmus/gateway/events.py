"""Stores what a gateway process says as its region's own word: nobody else may publish there.

An event is stored again until the stream has it, under the same identity, so it is there once.
Whoever it is about does not wait for that, and a process that dies meanwhile takes it along.
"""

from __future__ import annotations

import asyncio
import secrets
from itertools import count
from typing import Protocol

from isthmus.core import presence_events
from isthmus.core.batch import Source
from isthmus.core.session import Ticket
from isthmus.wire.packets import Publish

#: Events that are not stored yet. More are not said: the stream takes nothing, and whoever they
#: are about is closed as soon as that is known.
WAITING_MAX = 10_000
WAITING_MAX_BYTES = 64 * 1024**2
AGAIN_S = 1.0


class Event:
    """One event on its way to the stream."""

    def __init__(self, owner: Events, publish: Publish) -> None:
        self._owner = owner
        self.publish = publish
        self.identity = owner.next_identity()

    @property
    def source(self) -> Source:
        return self._owner.source

    def kept(self, tickets: list[Ticket]) -> None:
        self._owner.waiting -= 1
        self._owner.waiting_bytes -= len(self.publish.payload)

    def fail(self, reason: str) -> None:
        asyncio.get_running_loop().call_later(AGAIN_S, self._owner.store, self)


class Put(Protocol):
    """Stores a message under an identity."""

    def __call__(self, client: Event, publish: Publish, identity: str) -> object: ...


class Events:
    """Those of one gateway process."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self.source = Source(secrets.token_hex(8), presence_events.CLIENT, "")
        self.waiting = self.waiting_bytes = 0
        #: Of this process, and its next event's: no two of them are alike.
        self._name = secrets.token_hex(8)
        self._numbers = count(1)

    def next_identity(self) -> str:
        """What an event is known by, however often it is stored."""
        return f"{self._name}.{next(self._numbers)}"

    def say(self, topic: str, payload: bytes) -> None:
        """Have an event stored, unless too many wait for that."""
        if self.waiting < WAITING_MAX and self.waiting_bytes < WAITING_MAX_BYTES:
            self.waiting += 1
            self.waiting_bytes += len(payload)
            self.store(Event(self, Publish(topic, payload, 1)))

    def store(self, event: Event) -> None:
        self._put(event, event.publish, event.identity)
