"""Shared subscriptions of one gateway process: who takes what, and what is left over.

What a member of a group was sent and has not acknowledged is handed over to another one when its
session ends with its connection, and so is what was chosen for it before others knew that it had
gone. A session that lasts keeps what is its own until it ends. A member whose gateway process was
killed, and whose session ended with that, takes with it what it was sent last.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus.adapters.nats.bus_places import fetch
from isthmus.clock import now_ms
from isthmus.core import batch as batches
from isthmus.core import sessions
from isthmus.core.batch import Message, Share, Source
from isthmus.core.item import Item
from isthmus.core.place import Owed, Place
from isthmus.core.session import Granted, Ticket
from isthmus.core.shares import Groups
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

_log = logging.getLogger(__name__)

#: How long messages may still come that were chosen for a member before others knew that it left.
GONE_S = 30.0
AGAIN_S = 1.0


class Leftover:
    """A message that its member did not take; stored again, in the end, for another one."""

    def __init__(
        self,
        source: Source,
        message: Message,
        share: Share,
        again: Callable[[Leftover], None],
    ) -> None:
        self.source = source
        self.message = message
        self.share = share
        self._again = again

    def kept(self, tickets: list[Ticket]) -> None: ...

    def fail(self, reason: str) -> None:
        asyncio.get_running_loop().call_later(AGAIN_S, self._again, self)


class HandOver(Protocol):
    """Store a message for one member of a group and nobody else."""

    def __call__(self, leftover: Leftover, to: Share) -> None: ...


class Sharing:
    """The members of groups that are connected here, and those that were a moment ago."""

    def __init__(
        self,
        client: Client,
        region: str,
        is_everywhere: Callable[[str], bool],
        hand_over: HandOver,
    ) -> None:
        self._client = client
        self._is_everywhere = is_everywhere
        self._hand_over = hand_over
        self._groups = Groups(region)
        self._here: dict[Share, tuple[Connection, Granted]] = {}
        #: Each with the departure that it is remembered for.
        self._gone: dict[Share, object] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._random = random.Random()

    def __bool__(self) -> bool:
        """Whether any message may be somebody's here."""
        return bool(self._here or self._gone)

    def note(self, item: Item) -> None:
        """A session's item has changed."""
        if self._groups.knows(item.key) or sessions.has_shares(item):
            self._groups.note(item.key, sessions.read(item))

    def choose(self, topic: str) -> tuple[Share, ...]:
        """Whose a message is that this process takes in."""
        if not self._groups:
            return ()
        return self._groups.choose(
            topic,
            is_everywhere=self._is_everywhere(topic),
            now_ms=now_ms(),
            pick=self._random.randrange,
        )

    # Who is here

    def join(self, connection: Connection, topic_filter: str, granted: Granted) -> None:
        """A client of ours is a member of a group."""
        share = _share_of(connection, topic_filter)
        self._here[share] = (connection, granted)
        self._gone.pop(share, None)

    def leave(self, connection: Connection, topic_filter: str) -> None:
        """A client has left a group, or its connection has ended."""
        share, session = _share_of(connection, topic_filter), connection.session
        if self._here.pop(share, None) is None or session is None:
            return
        if session.expiry_s and topic_filter in session.subscriptions:
            # Only its connection has ended: what is its own waits for it.
            return
        departure = self._gone[share] = object()

        def forget() -> None:
            if self._gone.get(share) is departure:
                del self._gone[share]

        asyncio.get_running_loop().call_later(GONE_S, forget)

    def taker(self, share: Share) -> tuple[Connection, Granted] | None:
        """The client of ours that a message was chosen for."""
        return self._here.get(share)

    # What is left over

    def closed(self, connection: Connection) -> None:
        """A connection has ended; where its session ends too, others take what it did not."""
        session = connection.session
        if session is None or session.expiry_s:
            return
        owed = [each for each in session.unacknowledged() if each.share]
        if owed:
            task = asyncio.create_task(self._hand_over_all(session.client_id, owed))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def pass_on(self, source: Source, message: Message) -> None:
        """Hand over what was chosen for somebody who is gone."""
        for share in message.shares:
            if message.qos and share in self._gone:
                self._again(Leftover(source, message, share, self._again))

    def _again(self, leftover: Leftover) -> None:
        to = self._groups.choose_again(
            leftover.share,
            is_everywhere=self._is_everywhere(leftover.message.topic),
            now_ms=now_ms(),
            pick=self._random.randrange,
        )
        if to is not None:
            self._hand_over(leftover, to)

    async def _hand_over_all(self, client_id: str, owed: list[Owed]) -> None:
        for each in owed:
            leftover = await self._find(client_id, each)
            if leftover is not None:
                self._again(leftover)

    async def _find(self, client_id: str, owed: Owed) -> Leftover | None:
        """Read a message again: who is connected is sent it, and nobody keeps it."""
        while True:
            try:
                entry = await fetch(self._client, owed.origin, Place(owed.sequence, owed.id))
                batch = batches.decode(entry.payload) if entry is not None else None
            except (NatsError, TimeoutError) as error:
                extra = {"action": "hand-over", "client": client_id, "reason": repr(error)}
                _log.warning("a message of a group is not handed over yet", extra=extra)
                await asyncio.sleep(AGAIN_S)
                continue
            except InputError:
                return None
            if batch is None or owed.at >= len(batch.messages):
                return None
            message = batch.messages[owed.at]
            share = Share(client_id, owed.share)
            return Leftover(batch.sources[message.source], message, share, self._again)


def _share_of(connection: Connection, topic_filter: str) -> Share:
    session = connection.session
    assert session is not None
    return Share(session.client_id, topic_filter)
