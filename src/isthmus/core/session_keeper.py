"""The sessions that one gateway process holds: begun, remembered, left, and taken over.

It decides and writes nothing: what it answers is to be carried by a batch (``core.carried``), and
the shell says when that is safe. ``C`` is a connection, which nobody here looks at.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from isthmus.core import sessions
from isthmus.core.item import Item
from isthmus.core.log_view import LogView
from isthmus.core.place import Owed, Places
from isthmus.core.returning import Returning
from isthmus.core.session import Granted, Session
from isthmus.core.sessions import PROGRESS, SESSION, Hold, Left, Owner, Progress
from isthmus.wire.packets import Connect

#: How often places are told that moved while nothing was given to anybody.
IDLE_MS = 60_000

C = TypeVar("C", bound=Hashable)
#: What a client has been given, and what of that it has not acknowledged.
Given = tuple[Places, tuple[Owed, ...]]


@dataclass(slots=True, eq=False)
class Held(Generic[C]):
    """A session and the connection that it is held for."""

    connection: C
    session: Session
    hold: Hold
    #: Until the client has what it missed.
    returning: Returning | None = None
    #: How it returned, for as long as it stays.
    returned: Returning | None = None

    def given(self, places: Places) -> Given:
        """What the client has, where what is delivered live has come to ``places``."""
        owed = self.session.unacknowledged()
        if self.returned is None:
            return places, owed
        return self.returned.given(places), (*owed, *self.returned.owed)


class Beginning(NamedTuple):
    """How a session begins."""

    #: It is an older one that goes on, and CONNACK says so.
    is_present: bool = False
    #: To be carried; None where nobody else needs to know of the session.
    item: Item | None = None
    #: CONNACK is a promise: it waits until the item is safe.
    is_promise: bool = False


@dataclass(slots=True, eq=False)
class Leaving:
    """A connection that ended; ``given`` is not known to others before the item is safe."""

    item: Item
    given: Given
    #: Until its will is to be published, if nobody has come back by then; 0 is at once.
    will_wait_s: int = 0


class SessionKeeper(Generic[C]):
    """Those of one gateway process, by client id."""

    def __init__(self, region: str, gateway: str, view: LogView, origins: Sequence[str]) -> None:
        self._region = region
        self._origins = tuple(origins)
        self._gateway = gateway
        self._view = view
        self._held: dict[str, Held[C]] = {}
        self._leaving: set[Leaving] = set()
        self._turn = 0
        self._told: Places = {}
        self._told_moves = -1
        self._told_ms = 0

    def held(self, client_id: str, connection: C) -> Held[C] | None:
        """What is held for a connection, if it is the client's newest one."""
        held = self._held.get(client_id)
        return held if held is not None and held.connection == connection else None

    def begin(
        self,
        connection: C,
        name: str,
        connect: Connect,
        session: Session,
        places: Places,
        now_ms: int,
        principal: str = "",
    ) -> Beginning:
        """Begin or continue a session; ``name`` is the connection's, ``places`` where all are now.

        A session that goes on has its subscriptions again, and what it missed is to be given to it.
        To another principal it does so only if that one may subscribe to all of them.
        """
        client = session.client_id
        state = sessions.read(self._view.view.get(SESSION, client))
        is_over = state.is_over(now_ms)
        if is_over and not session.expiry_s and session.will is None:
            return Beginning()
        goes_on = not is_over and not connect.clean_session
        is_present = (
            goes_on
            and state.owner is not None
            and state.owner.level == connect.level
            and (state.owner.principal == principal or _may_have(session, state.filters))
        )
        owed: tuple[Owed, ...] = ()
        if is_present:
            gateway = state.owner.gateway if state.owner else ""
            progress = sessions.read_progress(self._view.view.get(PROGRESS, gateway))
            places, owed = state.given(progress)
        # After all that is known here, and where two regions do not hear of each other, by when
        # it was: a region to which the client came more often knows no better for that.
        epoch = max(state.epoch + 1, now_ms)
        held = Held(connection, session, Hold(client, epoch, self._region, name))
        if is_present:
            session.subscriptions.update(state.filters)
            returning = Returning(session, dict(places), list(owed), set(self._origins))
            held.returning = held.returned = returning
        item = self._claimed(held, principal, places, owed, begins=not is_present)
        # What was promised of an older session is safe. New is who speaks for the client, and what
        # others must publish if he cannot.
        is_new = bool(session.expiry_s) and not is_present
        return Beginning(is_present, item, is_promise=is_new or session.will is not None)

    def begin_to_share(
        self,
        connection: C,
        name: str,
        session: Session,
        places: Places,
        now_ms: int,
        principal: str = "",
    ) -> Item | None:
        """Let others know of a session that nobody needed to; None where they do already."""
        client = session.client_id
        if client in self._held:
            return None
        epoch = max(sessions.read(self._view.get(SESSION, client)).epoch + 1, now_ms)
        held = Held(connection, session, Hold(client, epoch, self._region, name))
        return self._claimed(held, principal, places, (), begins=True)

    def _claimed(
        self,
        held: Held[C],
        principal: str,
        places: Places,
        owed: tuple[Owed, ...],
        *,
        begins: bool,
    ) -> Item:
        session = held.session
        self._held[session.client_id] = held
        owner = Owner(
            region=self._region,
            gateway=self._gateway,
            turn=self._turn,
            principal=principal,
            level=session.level,
            dialect=session.dialect.name,
            expiry_s=session.expiry_s,
            places=places,
            owed=owed,
            will=session.will,
        )
        return self._joined(held.hold.claim(owner, begins=begins))

    def change(
        self, client_id: str, connection: C, filters: Mapping[str, Granted | None]
    ) -> Item | None:
        """Subscribe to filters, and leave those that are None."""
        held = self.held(client_id, connection)
        return None if held is None else self._joined(held.hold.change(filters))

    def leave(
        self,
        client_id: str,
        connection: C,
        places: Places,
        now_ms: int,
        *,
        publishes: bool = True,
    ) -> Leaving | None:
        """The connection has ended; None where somebody else speaks for the client, or nobody.

        Where this process does not publish the will, or not yet, the item says that it is due.
        """
        held = self.held(client_id, connection)
        if held is None:
            return None
        del self._held[client_id]
        if not held.hold.is_held(self._view.get(SESSION, client_id)):
            return None
        given, will = held.given(places), held.session.will
        wait_s = min(will.delay_s, held.session.expiry_s) if will else 0
        left = Left(
            at_ms=now_ms,
            expiry_s=held.session.expiry_s,
            places=given[0],
            owed=given[1],
            will_at_ms=now_ms + wait_s * 1000 if will and (wait_s or not publishes) else None,
        )
        leaving = Leaving(self._joined(held.hold.leave(left)), given, wait_s)
        self._leaving.add(leaving)
        return leaving

    def is_safe(self, leaving: Leaving) -> None:
        """What a connection left is stored as promised."""
        self._leaving.discard(leaving)

    def is_ours(self, client_id: str, connection: C) -> bool:
        """Whether nobody has taken the client over from a connection, as far as is known here."""
        held = self._held.get(client_id)
        if held is None:
            return True
        item = self._view.get(SESSION, client_id)
        return held.connection == connection and held.hold.is_held(item)

    def reclaim(self, item: Item) -> Item | None:
        """Say again whose client it is, where others took this process for dead."""
        held = self._held.get(item.key)
        state = sessions.read(item)
        if held is None or state.owner is None or state.left is None:
            return None
        if not held.hold.is_held(item):
            return None
        held.hold = Hold(item.key, state.epoch + 1, self._region, held.hold.connection)
        return self._joined(held.hold.claim(state.owner, begins=False))

    def news(self, item: Item) -> tuple[C, dict[str, Granted]] | None:
        """Filters of a session that goes on here, which this region has only now heard of."""
        held = self._held.get(item.key)
        if held is None or held.returned is None or not held.hold.is_held(item):
            return None
        known = held.session.subscriptions
        filters = sessions.read(item).filters
        found = {name: each for name, each in filters.items() if name not in known}
        known.update(found)
        return held.connection, found

    def taken_over(self, item: Item) -> C | None:
        """Whose client has connected elsewhere, by a version of its session's item."""
        held = self._held.get(item.key)
        return None if held is None or held.hold.is_held(item) else held.connection

    def progress(self, places: Places, now_ms: int) -> Item | None:
        """What others are to be told of how far all sessions here are; None if that is no news.

        Nobody is passed over: not who returns, nor who has left and is not safe yet. While nothing
        was given to anybody there is little to tell: who goes on from an older place is read a
        little more for, and given nothing twice.
        """
        lasting = [held for held in self._held.values() if held.session.expiry_s]
        if not all(held.returning is None or held.returning.is_located for held in lasting):
            return None
        given = [held.given(places) for held in lasting]
        given += [each.given for each in self._leaving]
        moves = sum(held.session.moves for held in lasting)
        is_idle = moves == self._told_moves and now_ms - self._told_ms < IDLE_MS
        if not given or is_idle:
            return None
        lowest = sessions.floor([*given, (places, ())])
        if lowest == self._told:
            return None
        self._turn += 1
        self._told, self._told_moves, self._told_ms = lowest, moves, now_ms
        progress = Progress(turn=self._turn, places=lowest)
        return sessions.tell_progress(self._region, self._gateway, progress)

    def _joined(self, item: Item) -> Item:
        # Who connects again a moment later must find what was said last.
        self._view.join(item)
        return item


def _may_have(session: Session, topic_filters: Iterable[str]) -> bool:
    """Whether a client may subscribe to all of these."""
    allows = session.permissions.allows
    return all(allows("iot:Subscribe", f"topicfilter/{each}")[0] for each in topic_filters)
