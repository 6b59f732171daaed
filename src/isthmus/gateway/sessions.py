"""The sessions that outlive a connection: claimed, remembered and left through the bus.

What a client was not given while it was away is in the bus streams of every region, so no queue is
kept for it anywhere: when it comes back, the streams are read again from where it left, here or in
another region (docs/correctness.md, section 8). An online session costs no write; instead each
gateway process tells once a second how far all its sessions have come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus.clock import now_ms
from isthmus.core import sessions
from isthmus.core.item import Item
from isthmus.core.log_view import LogView
from isthmus.core.place import Owed, Places
from isthmus.core.session import Remember
from isthmus.core.sessions import PROGRESS, SESSION, Hold, Left, Owner, Progress, State
from isthmus.gateway.delivery import Delivery, end_of
from isthmus.gateway.lane import Carrying, Lane
from isthmus.gateway.replay import Replay, Returning
from isthmus.wire.packets import Connect
from isthmus.wire.reason_codes import ReasonCode

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

_log = logging.getLogger(__name__)

PROGRESS_S = 1.0
#: Between two attempts to store what no client waits for.
AGAIN_S = 1.0
#: Called once a session has begun, with whether it is an older one that goes on.
Begun = Callable[[bool], None]


@dataclass(slots=True, eq=False)
class Held:
    """A session that this process holds for a connection."""

    connection: Connection
    hold: Hold
    #: Until it is level with what is delivered live.
    returning: Returning | None = None


@dataclass(slots=True, eq=False)
class Leaving:
    """What the client of a connection that ended had."""

    places: Places
    owed: tuple[Owed, ...]


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
    ) -> None:
        self._client = client
        self._region = region
        self._gateway = gateway
        self._view = view
        self._lane = lane
        self._delivery = delivery
        self._loop = asyncio.get_running_loop()
        #: By client id.
        self._held: dict[str, Held] = {}
        self._replay = Replay(client, delivery, self._is_level)
        #: Of streams that are not followed here: about where they end.
        self._ends: Places = {}
        #: Until it is safe, nobody may be told that this process has come further.
        self._leaving: set[Leaving] = set()
        self._turn = 0
        self._told: Places = {}
        view.watch(SESSION, self._changed)

    async def run(self) -> None:
        """Replay and tell for ever."""
        await self._delivery.known()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._replay.run())
            group.create_task(self._tell_for_ever())

    def _of(self, connection: Connection) -> Held | None:
        session = connection.session
        held = self._held.get(session.client_id) if session else None
        return held if held is not None and held.connection is connection else None

    # What a client does

    def begin(self, connection: Connection, connect: Connect, begun: Begun) -> None:
        """Begin or continue a session; ``begun`` is called when CONNACK's promise is kept."""
        session, source = connection.session, connection.source
        assert session is not None
        assert source is not None
        state = sessions.read(self._view.view.get(SESSION, session.client_id))
        is_over = state.is_over(now_ms())
        if is_over and not session.expiry_s and session.will is None:
            # Nobody else ever needs to know of it.
            begun(False)
            return
        goes_on = not is_over and not connect.clean_session
        is_present = goes_on and state.owner is not None and state.owner.level == connect.level
        places, owed = self._given(state) if is_present else (self._now(), ())
        hold = Hold(session.client_id, state.epoch + 1, self._region, source.connection)
        held = self._held[session.client_id] = Held(connection, hold)
        if is_present:
            session.subscriptions.update(state.filters)
            held.returning = Returning(connection, session, dict(places), list(owed))
        owner = Owner(
            region=self._region,
            gateway=self._gateway,
            turn=self._turn,
            level=connect.level,
            expiry_s=session.expiry_s,
            places=places,
            owed=owed,
            will=sessions.will_of(session.will),
        )
        item = hold.claim(owner, begins=not is_present)
        self._view.join(item)
        if session.expiry_s and not is_present:
            self._lane.carry(item.encode(), Carrying(partial(begun, False), connection.fail))
            return
        # What was promised of an older session is safe: new is only who speaks for the client.
        self._carry(item)
        begun(is_present)

    def went_on(self, connection: Connection) -> None:
        """CONNACK was sent: now the client may be given what it missed."""
        held = self._of(connection)
        if held is None or held.returning is None:
            return
        self._replay.add(held.returning)
        for topic_filter, granted in held.returning.session.subscriptions.items():
            self._delivery.join(connection, topic_filter, granted)

    def remember(self, connection: Connection, action: Remember) -> None:
        """Store what is subscribed to, and answer when that is safe."""
        held = self._of(connection)
        if held is None:
            connection.perform(action.then)
            return
        item = held.hold.change(action.filters)
        self._view.join(item)
        kept = Carrying(partial(connection.perform, action.then), connection.fail)
        self._lane.carry(item.encode(), kept)

    def has_room(self, connection: Connection) -> None:
        """A client has acknowledged something."""
        held = self._of(connection)
        if held is not None and held.returning is not None:
            self._replay.wake()

    def left(self, connection: Connection) -> bool:
        """The connection has ended; False if somebody else speaks for the client by now."""
        session = connection.session
        assert session is not None
        held = self._of(connection)
        if held is None:
            return session.client_id not in self._held
        del self._held[session.client_id]
        if held.returning is not None:
            self._replay.drop(held.returning)
        if not held.hold.is_held(self._view.get(SESSION, session.client_id)):
            return False
        places, owed = self._has(held)
        left = Left(at_ms=now_ms(), expiry_s=session.expiry_s, places=places, owed=owed)
        item = held.hold.leave(left)
        self._view.join(item)
        leaving = Leaving(places, owed)
        self._leaving.add(leaving)
        self._carry(item, partial(self._leaving.discard, leaving))
        return True

    # What others do

    def _changed(self, item: Item) -> None:
        held = self._held.get(item.key)
        if held is not None and not held.hold.is_held(item):
            reason = "the client has connected elsewhere"
            held.connection.close(reason, code=ReasonCode.SESSION_TAKEN_OVER)

    # What clients have

    def _now(self) -> Places:
        return {**self._ends, **self._delivery.places}

    def _given(self, state: State) -> tuple[Places, tuple[Owed, ...]]:
        gateway = state.owner.gateway if state.owner else ""
        return state.given(sessions.read_progress(self._view.view.get(PROGRESS, gateway)))

    def _has(self, held: Held) -> tuple[Places, tuple[Owed, ...]]:
        session = held.connection.session
        owed = session.unacknowledged() if session else ()
        places = self._now()
        if held.returning is None:
            return places, owed
        behind = held.connection.behind
        missed = {name: at for name, at in held.returning.places.items() if name in behind}
        return {**places, **missed}, (*owed, *held.returning.owed)

    def _is_level(self, returning: Returning) -> None:
        """A client has what it missed, and is given what comes from here on."""
        held = self._of(returning.connection)
        if held is not None and held.returning is returning:
            held.returning = None

    # What others are told

    def _carry(self, item: Item, kept: Callable[[], None] = lambda: None) -> None:
        """Store what no client waits for, in the end."""

        def again(_reason: str) -> None:
            self._loop.call_later(AGAIN_S, self._carry, item, kept)

        self._lane.carry(item.encode(), Carrying(kept, again))

    async def _tell_for_ever(self) -> None:
        while True:
            for origin in self._delivery.origins:
                if origin not in self._delivery.followed:
                    with contextlib.suppress(NatsError, TimeoutError):
                        self._ends[origin] = await end_of(self._client, origin)
            self._tell()
            await asyncio.sleep(PROGRESS_S)

    def _tell(self) -> None:
        lasting = [
            self._has(held)
            for held in self._held.values()
            if held.connection.session and held.connection.session.expiry_s
        ]
        lasting += [(each.places, each.owed) for each in self._leaving]
        places = sessions.floor([*lasting, (self._now(), ())])
        if not lasting or places == self._told:
            return
        self._turn += 1
        self._told = places
        progress = Progress(turn=self._turn, places=places)
        item = sessions.tell_progress(self._region, self._gateway, progress)
        # One that is lost is followed by the next.
        self._lane.carry(item.encode())
