"""Which shadows of a peer's log the devices of this region are told of, and how far that is.

The region in which a shadow is updated tells its own devices (``core/shadow_call.py``); who is
connected where it arrives by the log hears of it by messages that this region stores in its bus.

*What has come is told, if this process lives or not.* How far all is told is written down, as a
revision of our own log: the peer may begin its log anew at any time. When contact begins anew, what
we have taken in behind that revision is told again, though nothing may have changed by it: without
what was before, which nobody knows any more.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from isthmus.core import shadow_topics, shadows
from isthmus.core.batch import Message
from isthmus.core.cursor import Cursor
from isthmus.core.item import Item
from isthmus.core.shadow_topics import Messages
from isthmus.core.shadows import SHADOW

#: Bytes of messages that are stored together: what many shadows have to tell is more than NATS
#: takes at once.
STORE_MAX_BYTES = 1024**2
#: Bytes that wait to be stored. What comes beyond is dropped: devices that ask for their shadow
#: have it.
WAITING_MAX_BYTES = 64 * 1024**2


class FirstFill(msgspec.Struct, frozen=True):
    """What a region was given before it knew anything of a peer: nobody is told of that."""

    incarnation: str = ""
    #: Of that log.
    silent_until: int = 0


def first_fill(known: FirstFill, told: Cursor, incarnation: str, head: int) -> FirstFill:
    """What is to be written down of it when contact begins; ``known`` where that is there already.

    ``head`` is the end of the peer's log.
    """
    if known.incarnation:
        return known
    return FirstFill(incarnation, head if told == Cursor() else 0)


class Told(NamedTuple):
    """Up to where all is told."""

    #: In the peer's log.
    cursor: Cursor = Cursor()
    #: In our own: what has come from this peer, up to here.
    revision: int = 0


class Step(NamedTuple):
    """What is to be done next."""

    #: To be stored together; perhaps none.
    messages: list[Message]
    #: What holds once they are on disk; None where there is more of the same entries.
    told: Told | None


class ShadowTelling:
    """What is to be told of one peer's log."""

    def __init__(self) -> None:
        self._noted: list[Message] = []
        self._steps: deque[Step] = deque()
        #: Of the messages that wait.
        self._bytes = 0
        self._silent_until = 0
        #: Of our log: the newest that was merged, that up to which all is noted, and the same as it
        #: was when this contact began.
        self._revision = self._noted_until = self._behind = 0
        #: Entries of the peer's log up to the first, and versions in ours up to the second, may be
        #: known here and not told.
        self._again_until = 0, 0

    def begin(
        self, told: Told, incarnation: str, head: int, own_head: int, first: FirstFill
    ) -> None:
        """The log is read anew: what was written down of it, and where it and ours end now."""
        is_same = first.incarnation == incarnation
        self._silent_until = first.silent_until if is_same else 0
        self._behind = min(max(self._noted_until, told.revision), own_head)
        self._again_until = head, own_head

    def merged(self, sequence: int, before: Item, after: Item, revision: int) -> None:
        """Note what is to be told of an entry: our version before and after it was joined.

        ``revision`` is that of our version.
        """
        self._revision = max(self._revision, revision)
        if after.kind != SHADOW or sequence <= self._silent_until:
            return
        told: Messages = []
        changed = shadows.changed(before, after)
        if changed is not None:
            told = shadow_topics.of_change(changed)
        elif revision > self._behind and self._may_be_untold(sequence, revision):
            told = shadow_topics.again(after)
        at_ms = after.modified_ms
        self._noted += (Message(0, topic, payload, 1, False, at_ms) for topic, payload in told)

    def _may_be_untold(self, sequence: int, revision: int) -> bool:
        # What is newer in both was written here since, and has come back: whoever wrote it told it.
        head, own_head = self._again_until
        return sequence <= head or revision <= own_head

    def reached(self, cursor: Cursor) -> int:
        """All entries up to here have been noted: they are told from now on.

        Answers how many messages are dropped, as too much waits.
        """
        noted, self._noted = self._noted, []
        # Of what is read once more the peer's order is not that of our revisions: what is behind
        # may have an older one than what was noted, until all has come that was there at first.
        is_level = cursor.sequence >= self._again_until[0]
        self._noted_until = self._revision if is_level else self._behind
        dropped, size = 0, _size(noted)
        if self._bytes + size > WAITING_MAX_BYTES:
            noted, dropped, size = [], len(noted), 0
        self._bytes += size
        *parts, last = _parts(noted)
        self._steps += (Step(part, None) for part in parts)
        self._steps.append(Step(last, Told(cursor, self._noted_until)))
        return dropped

    def next(self) -> Step | None:
        """What is to be done next, the same until that is done; None where there is nothing."""
        return self._steps[0] if self._steps else None

    def done(self) -> None:
        """What ``next`` answered is done."""
        self._bytes -= _size(self._steps.popleft().messages)


def _size(messages: list[Message]) -> int:
    return sum(len(each.topic) + len(each.payload) for each in messages)


def _parts(messages: list[Message]) -> list[list[Message]]:
    """In their order, each with as many bytes as are stored together, or with one message."""
    parts: list[list[Message]] = [[]]
    size = 0
    for each in messages:
        if parts[-1] and size + _size([each]) > STORE_MAX_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(each)
        size += _size([each])
    return parts
