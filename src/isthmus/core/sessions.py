"""Sessions that outlive their connection, as items: whose they are, and what they subscribe to.

One item per client id. Every CONNECT that matters to others takes a greater *epoch* than all that
it knows of: it makes the stamp of what its connection writes, so the newest connection's word holds
whatever the clocks say, and an older one that does not know of it yet changes nothing. Regions that
do not hear of each other go by the time (docs/correctness.md, section 8).

    owner    the newest connection: its gateway, and the will that it leaves
    begun    the epoch in which the session began: what older epochs subscribed to is void
    filters  a value for each filter: how it is subscribed to, or None
    left     of the owner's epoch: when it ended, and what the client had by then

What a client was given is told by *places* in the bus streams: a sequence, which holds in the
region that wrote it, and the id of the batch there, by which another one finds its own sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Latest, Lattice
from isthmus.core.place import Owed, Place, Places
from isthmus.core.session import Granted
from isthmus.core.stamp import Stamp
from isthmus.wire.packets import Will
from isthmus.wire.topics import Dialect, is_shared

T = TypeVar("T")

SESSION = "session"
#: How far a gateway process has delivered, for the sessions that nobody left in order.
PROGRESS = "session-progress"


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The newest connection of a client."""

    region: str
    #: Of the gateway process, and how many times it had told its progress by then.
    gateway: str
    turn: int
    #: The certificate that it showed.
    principal: str = ""
    #: MQTT's protocol level: a session of one version is not continued in the other.
    level: int
    #: Of its listener, by which its filters match.
    dialect: Dialect = "aws"
    #: How long the session outlives the connection; 0 ends it with the connection.
    expiry_s: int
    #: What the client had been given when it connected.
    places: Places
    owed: tuple[Owed, ...] = ()
    #: What others must publish if its gateway cannot.
    will: Will | None = None


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection ended, and what the client had been given by then."""

    at_ms: int
    expiry_s: int
    places: Places
    owed: tuple[Owed, ...] = ()
    #: When the will is to be published, which is not done yet; None if it never is.
    will_at_ms: int | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What all sessions of a gateway process were given and have acknowledged."""

    turn: int
    places: Places


class State(NamedTuple):
    """A session's item, read."""

    epoch: int = 0
    owner: Owner | None = None
    #: None while the owner is connected, or died without a word.
    left: Left | None = None
    filters: Mapping[str, Granted] = {}

    def is_over(self, now_ms: int) -> bool:
        """Whether there is nothing that a client could continue."""
        if self.owner is None:
            return True
        if self.left is None:
            return not self.owner.expiry_s
        # Whatever the clock of whoever saw it leave said.
        ends_ms = self.left.at_ms + self.left.expiry_s * 1000
        return not self.left.expiry_s or now_ms >= ends_ms

    def given(self, progress: Progress | None) -> tuple[Places, tuple[Owed, ...]]:
        """What the client has been given, as far as is known; ``progress`` is its gateway's."""
        if self.owner is None:
            return {}, ()
        if self.left is not None:
            return self.left.places, self.left.owed
        if progress is not None and progress.turn > self.owner.turn:
            return progress.places, ()
        return self.owner.places, self.owner.owed


class Hold:
    """The newest connection's right to write, until somebody takes a greater epoch."""

    def __init__(self, client_id: str, epoch: int, region: str, connection: str) -> None:
        self.epoch = epoch
        self.connection = connection
        self._client_id = client_id
        self._by = (region, connection)
        self._count = 0

    def claim(self, owner: Owner, *, begins: bool) -> Item:
        """Take the session over, or begin a new one in its place."""
        fields: dict[str, Lattice] = {"owner": self._latest(owner)}
        if begins:
            fields["begun"] = self._latest(None)
        return self._item(fields)

    def change(self, filters: Mapping[str, Granted | None]) -> Item:
        """Subscribe to filters, and leave those that are None."""
        self._count += 1
        changed = {name: self._latest(granted) for name, granted in filters.items()}
        return self._item({"filters": Fields(changed)})

    def leave(self, left: Left) -> Item:
        """End the connection."""
        self._count += 1
        return self._item({"left": self._latest(left)})

    def is_held(self, item: Item) -> bool:
        """Whether nobody has taken the session over."""
        owner = item.fields.get("owner")
        return isinstance(owner, Latest) and _maker(owner.stamp) == (self.epoch, *self._by)

    def _latest(self, value: object) -> Latest:
        stamp = Stamp(self.epoch, self._count, *self._by)
        return Latest(stamp, msgspec.to_builtins(value))

    def _item(self, fields: Mapping[str, Lattice]) -> Item:
        return Item(SESSION, self._client_id, {}, Fields(fields))


def end(item: Item, left: Left) -> Item:
    """Say how a connection ended in place of its owner, which cannot any more."""
    owner, before = item.fields.get("owner"), item.fields.get("left")
    assert isinstance(owner, Latest)
    count = 0
    if isinstance(before, Latest) and _maker(before.stamp) == _maker(owner.stamp):
        count = before.stamp.counter
    stamp = owner.stamp._replace(counter=count + 1)
    value = Latest(stamp, msgspec.to_builtins(left))
    return Item(SESSION, item.key, {}, Fields({"left": value}))


def _maker(stamp: Stamp) -> tuple[int, str, str]:
    """Which connection made a stamp of a session: its epoch, its region and itself."""
    return stamp.ms, stamp.region, stamp.incarnation


def read(item: Item | None) -> State:
    """What an item says; what cannot be read of it says nothing."""
    fields = item.fields.values if item is not None else {}
    owner, left, begun = (fields.get(name) for name in ("owner", "left", "begun"))
    if not isinstance(owner, Latest):
        return State()
    is_left = isinstance(left, Latest) and _maker(left.stamp) == _maker(owner.stamp)
    since = begun.stamp.ms if isinstance(begun, Latest) else 0
    filters = {
        name: granted
        for name, value in _entries(fields.get("filters"))
        if value.stamp.ms >= since and (granted := _convert(value, Granted)) is not None
    }
    found = _convert(left, Left) if is_left and isinstance(left, Latest) else None
    return State(owner.stamp.ms, _convert(owner, Owner), found, filters)


def has_shares(item: Item) -> bool:
    """Whether a session has, or had, shared subscriptions."""
    filters = item.fields.values.get("filters")
    return isinstance(filters, Fields) and any(map(is_shared, filters.values))


def _entries(held: Lattice | None) -> list[tuple[str, Latest]]:
    entries = held.values.items() if isinstance(held, Fields) else ()
    return [(name, value) for name, value in entries if isinstance(value, Latest)]


def _convert(found: Latest, kind: type[T]) -> T | None:
    try:
        return None if found.value is None else msgspec.convert(found.value, kind)
    except msgspec.ValidationError:
        return None


def tell_progress(region: str, gateway: str, progress: Progress) -> Item:
    """The item of a gateway process: its sessions have all of this."""
    stamp = Stamp(progress.turn, 0, region, gateway)
    value = Latest(stamp, msgspec.to_builtins(progress))
    return Item(PROGRESS, gateway, {}, Fields({"progress": value}))


def read_progress(item: Item | None) -> Progress | None:
    """How far a gateway process has come, or None where it has not told."""
    found = item.fields.get("progress") if item is not None else None
    return _convert(found, Progress) if isinstance(found, Latest) else None


def floor(found: list[tuple[Places, Sequence[Owed]]]) -> Places:
    """The places up to which all of several sessions have acknowledged everything."""
    origins = {origin for places, _ in found for origin in places}
    origins |= {each.origin for _, owed in found for each in owed}
    lowest = {origin: min(places.get(origin, Place()) for places, _ in found) for origin in origins}
    for _, owed in found:
        for each in owed:
            before = Place(each.sequence, each.id, given=0)
            lowest[each.origin] = min(before, lowest.get(each.origin, before))
    return lowest
