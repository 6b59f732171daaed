"""Sessions that outlive their connection: what the keeper decides, stored and done.

What a client missed while it was away is in the bus streams of every region, so no queue is kept
for it anywhere: when it comes back, the streams are read again from where it left, here or in
another region (docs/correctness.md, section 8). An online session costs no write; instead each
gateway process tells once a second how far all its sessions have come.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from isthmus import protocol
from isthmus.clock import now_ms
from isthmus.core import sessions
from isthmus.core.batch import Source
from isthmus.core.item import Item
from isthmus.core.log_view import LogView
from isthmus.core.session import Remember, Session, Store, Ticket
from isthmus.core.session_keeper import Held, SessionKeeper
from isthmus.core.sessions import SESSION
from isthmus.errors import InputError
from isthmus.gateway.delivery import Delivery
from isthmus.gateway.lane import Carrying, Lane
from isthmus.gateway.replay import Replay
from isthmus.gateway.sharing import Sharing
from isthmus.wire.packets import Connect
from isthmus.wire.topics import is_shared

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

PROGRESS_S = 1.0
#: Between two attempts to store what no client waits for.
AGAIN_S = 1.0
#: Called once a session has begun, with whether it is an older one that goes on.
Begun = Callable[[bool], None]


class Departed:
    """A client that is not connected any more, and has something to say."""

    def __init__(self, client_id: str, principal: str) -> None:
        # A name that no connection has: nothing else of it can be a repeat.
        self.source = Source(secrets.token_hex(8), client_id, principal)
        self.read_ms = now_ms()

    def kept(self, tickets: list[Ticket]) -> None: ...

    def fail(self, reason: str) -> None: ...


class Sessions:
    """Those of one gateway process."""

    def __init__(
        self,
        client: Client,
        region: str,
        gateway: str,
        view: LogView,
        lane: Lane,
        delivery: Delivery,
        store: Callable[[Departed, Store], None],
        sharing: Sharing,
    ) -> None:
        self._client = client
        self._lane = lane
        self._delivery = delivery
        self._loop = asyncio.get_running_loop()
        self._view = view
        self._store = store
        self._sharing = sharing
        self._keeper: SessionKeeper[Connection] = SessionKeeper(
            region, gateway, view, delivery.origins
        )
        self._replay = Replay(client, delivery, self._is_level)
        view.watch(SESSION, self._changed)

    async def run(self) -> None:
        """Replay and tell for ever."""
        await self._delivery.known()
        await self._client.subscribe("region.will", queue="gateways", cb=self._on_will)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._replay.run())
            group.create_task(self._tell_for_ever())

    def _held(self, connection: Connection) -> Held[Connection] | None:
        session = connection.session
        return self._keeper.held(session.client_id, connection) if session else None

    # What a client does

    def begin(self, connection: Connection, connect: Connect, begun: Begun) -> None:
        """Begin or continue a session; ``begun`` is called when CONNACK's promise is kept."""
        session = connection.session
        assert session is not None
        beginning = self._keeper.begin(
            connection,
            _name_of(connection),
            connect,
            session,
            self._delivery.now(),
            now_ms(),
            connection.principal,
        )
        begins = partial(begun, beginning.is_present)
        if beginning.item is not None and beginning.is_promise:
            self._promise(connection, beginning.item, begins)
            return
        if beginning.item is not None:
            self._carry(beginning.item)
        begins()

    def went_on(self, connection: Connection) -> None:
        """CONNACK was sent: now the client may be given what it missed."""
        held = self._held(connection)
        if held is None or held.returning is None:
            return
        self._replay.add(connection, held.returning)
        for topic_filter, granted in held.session.subscriptions.items():
            self._delivery.join(connection, topic_filter, granted)

    def remember(self, connection: Connection, action: Remember) -> None:
        """Store what is subscribed to, and answer when that is safe."""
        session = connection.session
        assert session is not None
        if any(map(is_shared, action.filters)):
            self._begin_to_share(connection, session)
        item = self._keeper.change(session.client_id, connection, action.filters)
        answer = partial(connection.perform, action.then)
        if item is None:
            answer()
        else:
            self._promise(connection, item, answer)

    def _begin_to_share(self, connection: Connection, session: Session) -> None:
        """Who takes messages in must know of every member."""
        item = self._keeper.begin_to_share(
            connection,
            _name_of(connection),
            session,
            self._delivery.now(),
            now_ms(),
            connection.principal,
        )
        if item is not None:
            self._carry(item)

    def _promise(self, connection: Connection, item: Item, kept: Callable[[], None]) -> None:
        """Store what a client waits for; if that fails it hears nothing, and connects again."""

        def failed(reason: str) -> None:
            connection.fail(reason)
            # It is in this process's view already, and must not be there alone.
            self._carry(item)

        self._lane.carry(item.encode(), Carrying(kept, failed))

    def has_room(self, connection: Connection) -> None:
        """A client has acknowledged something."""
        self._replay.has_room(connection)

    def left(self, connection: Connection, *, publishes: bool) -> bool:
        """The connection has ended; True if its client's will is to be published now.

        A will that waits is published later, here or by whoever is left; and ``publishes`` says
        whether this process may publish anything.
        """
        session = connection.session
        assert session is not None
        client_id, will = session.client_id, session.will
        is_ours = self._keeper.is_ours(client_id, connection)
        self._replay.drop(connection)
        leaving = self._keeper.leave(
            client_id, connection, self._delivery.now(), now_ms(), publishes=publishes
        )
        if leaving is None:
            return is_ours and will is not None and publishes
        self._carry(leaving.item, partial(self._keeper.is_safe, leaving))
        if will is not None and leaving.will_wait_s and publishes:
            state = sessions.read(self._view.get(SESSION, client_id))
            wait_s = leaving.will_wait_s
            self._loop.call_later(wait_s, self.publish_will, client_id, state.epoch)
            return False
        return will is not None and publishes

    # Wills that waited

    def publish_will(self, client_id: str, epoch: int) -> None:
        """Publish the will of a client that did not come back, if that is not done yet."""
        item = self._view.get(SESSION, client_id)
        state = sessions.read(item)
        if state.epoch != epoch or state.left is None or state.left.will_at_ms is None:
            return
        owner = state.owner
        if owner is None or owner.will is None:
            return
        # In one batch: whoever knows that it was published has it.
        self._store(Departed(client_id, owner.principal), Store(owner.will.publish(), None))
        done = sessions.end(item, msgspec.structs.replace(state.left, will_at_ms=None))
        self._view.join(done)
        self._carry(done)

    async def _on_will(self, message: Msg) -> None:
        with contextlib.suppress(InputError):
            request = protocol.decode(message.data, protocol.WillRequest)
            self.publish_will(request.client, request.epoch)

    # What others do

    def _changed(self, item: Item) -> None:
        self._sharing.note(item)
        connection = self._keeper.taken_over(item)
        if connection is not None:
            connection.taken_over("the client has connected elsewhere")
            return
        self._join_late(item)
        again = self._keeper.reclaim(item)
        if again is not None:
            self._carry(again)

    def _join_late(self, item: Item) -> None:
        """A session may go on before this region has heard of all that it subscribed to."""
        found = self._keeper.news(item)
        if found is not None:
            connection, filters = found
            for topic_filter, granted in filters.items():
                self._delivery.join(connection, topic_filter, granted)

    # What clients have, and what others are told of it

    def _is_level(self, connection: Connection) -> None:
        held = self._held(connection)
        if held is not None:
            held.returning = None

    def _carry(self, item: Item, kept: Callable[[], None] = lambda: None) -> None:
        """Store what no client waits for, in the end."""

        def again(_reason: str) -> None:
            self._loop.call_later(AGAIN_S, self._carry, item, kept)

        self._lane.carry(item.encode(), Carrying(kept, again))

    async def _tell_for_ever(self) -> None:
        while True:
            item = self._keeper.progress(self._delivery.now(), now_ms())
            if item is not None:
                # One that is lost is followed by the next.
                self._lane.carry(item.encode())
            await asyncio.sleep(PROGRESS_S)


def _name_of(connection: Connection) -> str:
    """Where two processes take the same epoch, not knowing of each other, the later one holds."""
    at_ms, token = connection.admitted
    return f"{at_ms:012x}.{token}"
