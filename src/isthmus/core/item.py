"""The replicated item and its join.

An item is named by kind and key and is a product of lattices, beside a version vector that counts
the writes of each actor. ``join`` makes no stamp and no dot of its own, so regions that have seen
the same writes hold the same bytes, and after a full exchange nobody writes.

An item lives while its field ``life`` has an entry: creating adds one, deleting kills those seen.
Two regions that create the same item at once keep both lives, so neither locks the other out; a
later creation is another life, and inherits nothing that names an earlier one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any

import msgspec

from isthmus.core import lattice
from isthmus.core.lattice import Dot, Fields, Latest, Lattice, Live, Register
from isthmus.core.stamp import ZERO, Stamp, StampClock
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import InputError

#: No item may be larger, encoded: a stream message must hold it with room to spare.
MAX_ITEM_BYTES = 512 * 1024
#: Conflicts that are listed of one merge: each is an item for good, and a device's update may have
#: more leaves than a person would look at.
CONFLICTS_MAX = 64


@dataclass(frozen=True, slots=True)
class Item:
    """One version of one replicated thing of ours."""

    kind: str
    key: str
    vv: Mapping[str, int] = field(default_factory=dict)
    fields: Fields = field(default_factory=Fields)
    #: Once that was asked for: who writes an item measures, compares, sends and keeps it so.
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def version(self) -> int:
        """What AWS clients see as the version: never goes down, equal where content is equal."""
        return sum(self.vv.values())

    def saw(self, dot: Dot) -> bool:
        """Whether this version includes the write that the dot names."""
        actor, _, count = dot.rpartition(":")
        return self.vv.get(actor, 0) >= int(count)

    @property
    def lives(self) -> frozenset[Dot]:
        """The creation dots under which the item is alive; empty for a tombstone."""
        life = self.fields.get("life")
        return frozenset(life.entries) if isinstance(life, Live) else frozenset()

    def register(self, name: str) -> Any:
        """The value of a register of the present life, or None."""
        found = self.fields.get(name)
        if not isinstance(found, Register) or not self.in_this_life(found):
            return None
        return found.value

    def in_this_life(self, register: Register) -> bool:
        """Whether a register was written since the earliest creation that is still alive."""
        life = self.fields.get("life")
        if not isinstance(life, Live) or not life.entries:
            return False
        return list(register.stamp) >= min(list(entry) for entry in life.entries.values())

    @property
    def modified_ms(self) -> int:
        """When it was written last, as far as its writes say so."""
        return max(self.stamps(), default=ZERO).ms

    def stamps(self) -> Iterable[Stamp]:
        """Every stamp in the item, for a writer whose own must be greater."""
        yield from lattice.stamps(self.fields)
        life = self.fields.get("life")
        if isinstance(life, Live):
            for entry in life.entries.values():
                yield Stamp(*entry)

    def encode(self) -> bytes:
        """Canonical bytes: equal items have equal bytes."""
        encoded = self._encoded
        if encoded is None:
            members = {"kind": self.kind, "key": self.key}
            content = {"vv": dict(self.vv), "fields": self.fields.encode()}
            encoded = lattice.canonical(members | content)
            # Nothing that it is made of changes any more.
            object.__setattr__(self, "_encoded", encoded)
        return encoded


class _Encoded(msgspec.Struct):
    """The outer form of an encoded item."""

    kind: str
    key: str
    vv: dict[str, Annotated[int, msgspec.Meta(gt=0)]]
    fields: dict[str, Any]


_ITEMS = msgspec.json.Decoder(_Encoded)


def decode(raw: bytes) -> Item:
    """Read an encoded item; raises InputError for anything else."""
    try:
        read = _ITEMS.decode(raw)
        fields = lattice.decode({"map": read.fields})
        assert isinstance(fields, Fields)
        life = fields.get("life")
        if isinstance(life, Live):
            for entry in life.entries.values():
                lattice.decode_stamp(entry)
    except (*UNDECODABLE, TypeError, ValueError) as error:
        raise InputError(f"not an item: {error!r}") from None
    return Item(read.kind, read.key, read.vv, fields)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two writes, neither of which had seen the other, of which one value had to give way.

    ``kept`` is None where the other side deleted the item.
    """

    kind: str
    key: str
    path: str
    kept: Register | None
    discarded: Register

    @property
    def id(self) -> str:
        """The same in every region: of key, path and both dots."""
        dots = sorted((self.kept.dot if self.kept else "", self.discarded.dot))
        text = "\0".join((self.kind, self.key, self.path, *dots))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def join(a: Item, b: Item) -> Item:
    """Merge two versions of one item."""
    if a is b:
        return a
    actors = a.vv.keys() | b.vv.keys()
    vv = {actor: max(a.vv.get(actor, 0), b.vv.get(actor, 0)) for actor in actors}
    return Item(a.kind, a.key, vv, a.fields.join(b.fields))


def conflicts(a: Item, b: Item) -> list[Conflict]:
    """What the join of two versions has to discard though its writer knew no better."""
    if a is b:
        return []
    if (a.lives or b.lives) and not join(a, b).lives:
        alive, tombstone = (a, b) if a.lives else (b, a)
        return [
            Conflict(a.kind, a.key, path, None, register)
            for path, register in lattice.registers(alive.fields)
            if not tombstone.saw(register.dot)
        ]
    found = []
    for path, mine, other in lattice.contests(a.fields, b.fields):
        if mine.dot != other.dot and not b.saw(mine.dot) and not a.saw(other.dot):
            kept = mine.join(other)
            found.append(Conflict(a.kind, a.key, path, kept, other if kept is mine else mine))
    # The same of them in every region.
    return sorted(found, key=lambda each: each.path)[:CONFLICTS_MAX]


class Write:
    """One write of one item: a new dot and stamp, and the fields it changes.

    Collect changes, then ``done()`` gives the new version. The base is never changed.
    """

    def __init__(
        self,
        base: Item,
        clock: StampClock,
        now_ms: int,
        refers_to: Iterable[Item] = (),
    ) -> None:
        self.stamp = clock.stamp(
            now_ms, chain(base.stamps(), *(each.stamps() for each in refers_to))
        )
        count = base.vv.get(clock.actor, 0) + 1
        self.dot: Dot = f"{clock.actor}:{count}"
        self._base = base
        self._vv = {**base.vv, clock.actor: count}
        self._fields = base.fields

    def put(self, name: str, value: Lattice) -> Write:
        """Set a field to a value that is not below what is there."""
        self._fields = self._fields.put(name, value)
        return self

    def set(self, name: str, value: Any) -> Write:
        """Set a register."""
        return self.put(name, Register(self.stamp, self.dot, value))

    def touch(self) -> Write:
        """Say when this was written, where no field that is set does."""
        return self.put("modified", Latest(self.stamp, None))

    def live(self, name: str) -> Live:
        """The present entries of a field of that kind."""
        found = self._fields.get(name)
        return found if isinstance(found, Live) else Live()

    def add(self, name: str, value: Any) -> Write:
        """Add an entry, beside those that are there."""
        return self.put(name, self.live(name).add(self.dot, value))

    def kill(self, name: str) -> Write:
        """Remove the entries that are there."""
        return self.put(name, self.live(name).kill())

    def create(self) -> Write:
        """Start a life, if the item has none."""
        if not self.live("life").entries:
            self.add("life", list(self.stamp))
        return self

    def begin(self) -> Write:
        """Start a life in place of those that are known: whoever ends these does not end it."""
        return self.kill("life").add("life", list(self.stamp))

    def delete(self) -> Write:
        """End every life that is known here: what remains is a tombstone."""
        return self.kill("life")

    def done(self, *, tightens: bool = False) -> Item:
        """The new version; raises InputError if it is too large to replicate.

        What takes rights away is never refused for its size.
        """
        item = Item(self._base.kind, self._base.key, self._vv, self._fields)
        if not tightens and len(item.encode()) > MAX_ITEM_BYTES:
            raise InputError(f"{item.kind} {item.key!r} would pass {MAX_ITEM_BYTES} bytes")
        return item
