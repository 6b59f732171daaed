"""Tells the devices of this region what another region has made of a shadow.

The region in which a shadow is updated tells its own devices (``aws.devices.shadows``); here, by
messages in the bus, those hear of it who are connected where it arrives by the log.

*What has come is told, if this process lives or not, and nobody waits for that.* How far all is
told is written down; what is behind that place is told again when contact begins anew, though
nothing may have changed by it: without what was before, which nobody knows any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from isthmus.core import shadow_topics, shadows
from isthmus.core.batch import Message
from isthmus.core.cursor import Cursor
from isthmus.core.shadow_topics import Messages
from isthmus.core.shadows import SHADOW
from isthmus.errors import Unavailable
from isthmus.region.items import Merged
from isthmus.region.own_messages import OwnMessages

_log = logging.getLogger(__name__)

#: Bytes of messages that are stored together: what many shadows have to tell is more than NATS
#: takes at once.
STORE_MAX_BYTES = 1024**2
#: Bytes that wait to be stored. What comes beyond is dropped, and said so in the log: devices that
#: ask for their shadow have it.
WAITING_MAX_BYTES = 64 * 1024**2
RETRY_S = 0.5


class FirstFill(msgspec.Struct, frozen=True):
    """What a region was given before it knew anything of a peer: nobody is told of that."""

    incarnation: str = ""
    #: Of that log.
    silent_until: int = 0


class _Waiting(NamedTuple):
    """What is to be told of some entries, and the place that is reached then."""

    messages: list[Message]
    cursor: Cursor


class ShadowTeller:
    """What is to be told of one peer's log."""

    def __init__(self, own: OwnMessages, told: Callable[[Cursor], None]) -> None:
        """``told`` hears up to where everything is told."""
        self._own = own
        self._told = told
        self._noted: list[Message] = []
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._silent_until = 0
        #: Behind the first and up to the second, what is known already may not have been told.
        self._again = 0, 0

    def begin(self, told: Cursor, incarnation: str, head: int, first: FirstFill) -> None:
        """The log is read anew: all up to ``told`` is told, and it ends at ``head`` now."""
        is_same = first.incarnation == incarnation
        self._silent_until = first.silent_until if is_same else 0
        self._again = (told.sequence, head) if told.incarnation == incarnation else (0, 0)

    def merged(self, sequence: int, merged: Merged) -> None:
        """Note what is to be told of an item that has come."""
        if merged.after.kind != SHADOW or sequence <= self._silent_until:
            return
        told: Messages = []
        after, until = self._again
        changed = shadows.changed(merged.before, merged.after)
        if changed is not None:
            told = shadow_topics.of_change(changed)
        elif after < sequence <= until:
            told = shadow_topics.again(merged.after)
        at_ms = merged.after.modified_ms
        self._noted += (Message(0, topic, payload, 1, False, at_ms) for topic, payload in told)

    def reached(self, cursor: Cursor) -> None:
        """All entries up to here have been noted: they are told from now on."""
        noted, self._noted = self._noted, []
        size = _size(noted)
        if self._bytes + size > WAITING_MAX_BYTES:
            extra = {"action": "tell-shadows", "messages": len(noted)}
            _log.error("too much waits to be told: some devices are not", extra=extra)
            noted, size = [], 0
        self._bytes += size
        self._waiting.append(_Waiting(noted, cursor))
        self._changed.set()

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            self._changed.clear()
            while self._waiting:
                messages, cursor = self._waiting[0]
                for part in _parts(messages):
                    await self._store(part)
                self._waiting.popleft()
                self._bytes -= _size(messages)
                self._told(cursor)
            await self._changed.wait()

    async def _store(self, messages: list[Message]) -> None:
        """Return when it is stored."""
        reason = ""
        while True:
            try:
                await self._own.store(messages)
                return
            except Unavailable as error:
                # Once per reason: a bus may be full for long.
                if reason != (reason := str(error)):
                    extra = {"action": "tell-shadows", "reason": reason}
                    _log.warning("what a peer has changed is not told yet", extra=extra)
                await asyncio.sleep(RETRY_S)


def _size(messages: list[Message]) -> int:
    return sum(len(each.topic) + len(each.payload) for each in messages)


def _parts(messages: list[Message]) -> list[list[Message]]:
    """In their order, each with as many bytes as are stored together; or with one message."""
    parts: list[list[Message]] = []
    size = 0
    for each in messages:
        if not parts or size + _size([each]) > STORE_MAX_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(each)
        size += _size([each])
    return parts
