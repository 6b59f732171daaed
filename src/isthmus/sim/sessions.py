"""Sessions that outlive their connection, on one gateway: what gateway/sessions.py does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from isthmus.core.item import Item
from isthmus.core.session import Remember
from isthmus.core.session_keeper import Held, SessionKeeper
from isthmus.core.sessions import SESSION
from isthmus.sim.lane import Carrying
from isthmus.sim.replay import Replay
from isthmus.wire.packets import Connect

if TYPE_CHECKING:
    from isthmus.sim.connection import Connection
    from isthmus.sim.gateway import Gateway

AGAIN_S = 1.0
#: Called once a session has begun, with whether it is an older one that goes on.
Begun = Callable[[bool], None]


class Sessions:
    """Those of one gateway process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._process = gateway.process
        self._watch = gateway.system.watch.sessions
        self._delivery = gateway.delivery
        self._keeper: SessionKeeper[Connection] = SessionKeeper(
            gateway.region.name, gateway.id, gateway.log, self._delivery.origins
        )
        self._replay = Replay(gateway, self._is_level)
        gateway.log.watch(SESSION, self._changed)

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
            connection.admitted,
            connect,
            session,
            self._delivery.now(),
            self._process.now_ms(),
            connection.principal,
        )
        begins = partial(begun, beginning.is_present)
        if beginning.item is not None:
            item = beginning.item.encode()
            self._watch.began(connection, connect, item, is_present=beginning.is_present)
            if beginning.is_promise:
                self._promise(connection, item, begins)
                return
            self._carry(item)
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
        item = self._keeper.change(session.client_id, connection, action.filters)
        answer = partial(connection.perform, action.then)
        if item is None:
            answer()
            return
        raw = item.encode()
        self._watch.changed(connection, action.filters, raw)
        self._promise(connection, raw, answer)

    def _promise(self, connection: Connection, item: bytes, kept: Callable[[], None]) -> None:
        """Store what a client waits for; if that fails it hears nothing, and connects again."""

        def failed(reason: str) -> None:
            connection.fail(reason)
            # It is in this process's view already, and must not be there alone.
            self._carry(item)

        self._gateway.usual.carry(item, Carrying(item, kept, failed))

    def has_room(self, connection: Connection) -> None:
        """A client has acknowledged something."""
        self._replay.has_room(connection)

    def left(self, connection: Connection) -> None:
        """The connection has ended."""
        session = connection.session
        assert session is not None
        self._watch.ended(connection)
        self._replay.drop(connection)
        now_ms = self._process.now_ms()
        leaving = self._keeper.leave(session.client_id, connection, self._delivery.now(), now_ms)
        if leaving is not None:
            self._carry(leaving.item.encode(), partial(self._keeper.is_safe, leaving))

    # What others do

    def _changed(self, item: Item) -> None:
        connection = self._keeper.taken_over(item)
        if connection is not None:
            self._gateway.world.reached["session-taken-over"] += 1
            connection.close("the client has connected elsewhere")
            return
        self._join_late(item)
        again = self._keeper.reclaim(item)
        if again is not None:
            self._gateway.world.reached["reclaimed"] += 1
            self._carry(again.encode())

    def _join_late(self, item: Item) -> None:
        """A session may go on before this region has heard of all that it subscribed to."""
        found = self._keeper.news(item)
        if found is not None:
            connection, filters = found
            for topic_filter, granted in filters.items():
                self._gateway.world.reached["joined-late"] += 1
                self._delivery.join(connection, topic_filter, granted)

    # What clients have, and what others are told of it

    def _is_level(self, connection: Connection) -> None:
        held = self._held(connection)
        if held is not None:
            held.returning = None

    def _carry(self, item: bytes, kept: Callable[[], None] = lambda: None) -> None:
        """Store what no client waits for, in the end."""

        def again(_reason: str) -> None:
            self._process.after(AGAIN_S, self._carry, item, kept)

        self._gateway.usual.carry(item, Carrying(item, kept, again))

    def tell(self) -> None:
        """Once a second: how far all sessions here have come."""
        item = self._keeper.progress(self._delivery.now(), self._process.now_ms())
        if item is not None:
            # One that is lost is followed by the next.
            self._gateway.usual.carry(item.encode())
