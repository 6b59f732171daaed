"""Tells the region's services who is connected to this gateway process.

The services say it to everybody else (``core.presence``). What is told may be lost: with it goes a
digest of all who are there, and when theirs is another one they ask for a census.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.clock import monotonic_s, now_ms
from isthmus.core import dismissals
from isthmus.core.dismissals import DISMISSAL
from isthmus.core.item import Item
from isthmus.core.log_view import LogView
from isthmus.core.presence import Came, Ended, Present, mark, part_of
from isthmus.errors import InputError
from isthmus.protocol import PresenceTold

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

#: Between two words to the services, while nothing happens, and while much does: what happens first
#: is told at once.
TELL_S = 1.0
GATHER_S = 0.1
#: Clients in one message of a census, about: some hundred kilobytes.
PART_CLIENTS = 2_000


class Presence:
    """Those of one gateway process."""

    def __init__(self, client: Client, gateway: str, hidden_prefix: str, view: LogView) -> None:
        self._client = client
        self._gateway = gateway
        #: Of clients that nobody is to hear of: observers look every quarter of a second.
        self._hidden_prefix = hidden_prefix
        self._there: dict[str, tuple[Present, Connection]] = {}
        self._view = view
        self._digest = 0
        self._changes: list[Came | Ended] = []
        self._is_asked = False
        self._told_s = 0.0
        view.watch(DISMISSAL, self._dismissed)

    async def start(self) -> None:
        """Listen to the services."""
        await self._client.subscribe("region.census", cb=self._on_census)
        await self._client.subscribe("region.superseded", cb=self._on_superseded)
        await self._client.subscribe("region.subscribed", cb=self._on_subscribed)

    def came(self, connection: Connection, keep_alive_s: int) -> None:
        """A client has its CONNACK; ``keep_alive_s`` is what it asked for."""
        source, session = connection.source, connection.session
        assert source is not None
        assert session is not None
        if source.client.startswith(self._hidden_prefix):
            return
        present = Present(
            source.connection,
            connection.admitted[0],
            source.principal,
            *connection.ends,
            keep_alive_s,
            session.expiry_s,
            self._view.view.exclusive_thing(source.principal) or "",
        )
        self._there[source.client] = present, connection
        self._digest ^= mark(source.client, present.session)
        self._changes.append(Came(source.client, present))

    def went(self, connection: Connection) -> None:
        """A connection has ended."""
        source = connection.source
        present, known = self._there.get(source.client if source else "", (None, None))
        if source is None or present is None or known is not connection:
            return
        del self._there[source.client]
        self._digest ^= mark(source.client, present.session)
        self._changes.append(
            Ended(source.client, present.session, now_ms(), connection.ended_by.value)
        )

    async def tell(self) -> None:
        """Tell what there is to tell, if the services can hear it."""
        has_news = self._changes or self._is_asked
        waited_s = monotonic_s() - self._told_s
        if not self._client.is_connected or waited_s < (GATHER_S if has_news else TELL_S):
            return
        self._told_s = monotonic_s()
        told = [*([self._said(self._taken())]), *self._census()]
        for each in told:
            await self._client.publish("region.presence", protocol.encode(each))

    def _taken(self) -> list[Came | Ended]:
        changes, self._changes = self._changes, []
        return changes

    def _said(self, changes: list[Came | Ended], part: int = 0, parts: int = 0) -> PresenceTold:
        return PresenceTold(self._gateway, changes, f"{self._digest:x}", part, parts)

    def _census(self) -> list[PresenceTold]:
        """All who are there, if somebody asked."""
        if not self._is_asked:
            return []
        self._is_asked = False
        parts = len(self._there) // PART_CLIENTS + 1
        found: dict[int, list[Came | Ended]] = defaultdict(list)
        for client, (present, _) in self._there.items():
            found[part_of(client, parts)].append(Came(client, present))
        return [self._said(found[part], part, parts) for part in range(parts)]

    def _dismissed(self, item: Item) -> None:
        """A connection is to end; where it is another one's by now, it has ended."""
        dismissal = dismissals.read(item)
        present, connection = self._there.get(item.key, (None, None))
        if connection and present and dismissal and present.session == dismissal.session:
            connection.dismissed(dismissal)

    async def _on_census(self, message: Msg) -> None:
        with contextlib.suppress(InputError):
            request = protocol.decode(message.data, protocol.CensusRequest)
            self._is_asked = self._is_asked or request.gateway == self._gateway

    async def _on_superseded(self, message: Msg) -> None:
        with contextlib.suppress(InputError):
            told = protocol.decode(message.data, protocol.Superseded)
            for client, session in told.connections if told.gateway == self._gateway else ():
                present, connection = self._there.get(client, (None, None))
                if connection is not None and present and present.session == session:
                    connection.taken_over("the client has connected elsewhere")

    async def _on_subscribed(self, message: Msg) -> None:
        with contextlib.suppress(InputError, NatsError):
            asked = protocol.decode(message.data, protocol.SubscriptionsRequest)
            present, connection = self._there.get(asked.client, (None, None))
            session = connection.session if connection else None
            is_ours = (
                asked.gateway == self._gateway and present and present.session == asked.session
            )
            if session is not None and is_ours:
                filters = {name: granted.qos for name, granted in session.subscriptions.items()}
                await message.respond(protocol.encode(protocol.SubscriptionsReply(filters)))
