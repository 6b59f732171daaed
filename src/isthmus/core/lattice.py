"""The small semilattices that items are made of.

Each has a ``join`` that is commutative, associative and idempotent, so a product of them has one
too. The encoded form is self-describing, ``{"<tag>": value}``, and canonical: equal values have
equal bytes. A release that meets a tag it does not know keeps the greater of two such values by
their canonical bytes, which is a join as well: regions upgrade one at a time, and after a full
exchange nobody writes (docs/correctness.md, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import msgspec

from isthmus.core import shadow_tree
from isthmus.core.shadow_tree import Said, ShadowTree
from isthmus.core.stamp import Stamp
from isthmus.errors import InputError

T = TypeVar("T")

#: Identifies one write of one item: ``<actor>:<n>``, n counted by the item's version vector.
Dot = str


def canonical(value: Any) -> bytes:
    """Encode plain JSON values so that equal values have equal bytes."""
    return msgspec.json.encode(value, order="sorted")


class Lattice(Protocol):
    """A value with a join."""

    @property
    def tag(self) -> str: ...
    def join(self, other: Self, /) -> Self: ...
    def encode(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Flag:
    """Once true, always true."""

    set: bool = False
    tag = "flag"

    def join(self, other: Flag) -> Flag:
        return self if self.set else other

    def encode(self) -> bool:
        return self.set


@dataclass(frozen=True, slots=True)
class GrowSet:
    """A set that only grows."""

    members: frozenset[str] = frozenset()
    tag = "grow"

    def join(self, other: GrowSet) -> GrowSet:
        return GrowSet(self.members | other.members)

    def encode(self) -> list[str]:
        return sorted(self.members)


@dataclass(frozen=True, slots=True)
class Register:
    """The value with the greatest stamp."""

    stamp: Stamp
    dot: Dot
    value: Any
    tag = "reg"

    def _rank(self) -> tuple[Stamp, Dot, bytes]:
        return (self.stamp, self.dot, canonical(self.value))

    def join(self, other: Register) -> Register:
        return max(self, other, key=Register._rank)

    def encode(self) -> list[Any]:
        return [list(self.stamp), self.dot, self.value]


@dataclass(frozen=True, slots=True)
class Latest:
    """The value with the greatest stamp, where that is the whole meaning: no conflict is listed.

    For what follows from messages, of which every region has the same ones.
    """

    stamp: Stamp
    value: Any
    tag = "last"

    def _rank(self) -> tuple[Stamp, bytes]:
        return (self.stamp, canonical(self.value))

    def join(self, other: Latest) -> Latest:
        return max(self, other, key=Latest._rank)

    def encode(self) -> list[Any]:
        return [list(self.stamp), self.value]


@dataclass(frozen=True, slots=True)
class Live:
    """Entries added under their dot and killed by naming it: what was not seen is not killed.

    Two regions that add at once keep both entries; who removes, removes what it saw.
    """

    entries: Mapping[Dot, Any] = field(default_factory=dict)
    dead: frozenset[Dot] = frozenset()
    tag = "live"

    def join(self, other: Live) -> Live:
        dead = self.dead | other.dead
        # A dot names one write, so two entries under it are equal; should a bug make them differ,
        # the greater bytes win everywhere alike. By bytes, as to Python 1, 1.0 and True are equal.
        entries = dict(self.entries)
        for dot, value in other.entries.items():
            mine = entries.setdefault(dot, value)
            if mine is not value:
                entries[dot] = max(mine, value, key=canonical)
        return Live({dot: value for dot, value in entries.items() if dot not in dead}, dead)

    def add(self, dot: Dot, value: Any) -> Live:
        return Live({**self.entries, dot: value}, self.dead)

    def kill(self) -> Live:
        """Remove every entry that is alive here."""
        return Live({}, self.dead | set(self.entries))

    def encode(self) -> dict[str, Any]:
        return {"dead": sorted(self.dead), "entries": dict(self.entries)}


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value of a kind that a later release introduced."""

    tag: str
    value: Any

    def join(self, other: Opaque) -> Opaque:
        return max(self, other, key=lambda each: canonical(each.value))

    def encode(self) -> Any:
        return self.value


@dataclass(frozen=True, slots=True)
class Fields:
    """A product of lattices by name; an absent name is the least value."""

    values: Mapping[str, Lattice] = field(default_factory=dict)
    tag = "map"

    def join(self, other: Fields) -> Fields:
        values = dict(self.values)
        for name, theirs in other.values.items():
            mine = values.get(name)
            values[name] = theirs if mine is None else join(mine, theirs)
        return Fields(values)

    def get(self, name: str) -> Lattice | None:
        return self.values.get(name)

    def put(self, name: str, value: Lattice) -> Fields:
        return Fields({**self.values, name: value})

    def encode(self) -> dict[str, Any]:
        return {name: encode(value) for name, value in self.values.items()}


def join(a: Lattice, b: Lattice) -> Lattice:
    """Join two values; of two kinds (a release changed a field's), the greater tag wins."""
    if a.tag == b.tag:
        return a.join(b)
    return max(a, b, key=lambda each: each.tag)


def registers(value: Lattice, path: str = "") -> Iterator[tuple[str, Register]]:
    """Every register inside a value, with its path."""
    if isinstance(value, Register):
        yield path, value
    elif isinstance(value, Fields):
        for name, each in value.values.items():
            yield from registers(each, f"{path}/{name}")


def _register_of(said: Said) -> Register:
    return Register(said.stamp, said.dot, said.value)


def contests(a: Lattice, b: Lattice, path: str = "") -> Iterator[tuple[str, Register, Register]]:
    """Pairs of registers inside two values, of which one must give way to the other.

    The path is that of what gives way.
    """
    if isinstance(a, Register) and isinstance(b, Register):
        if a.value != b.value:
            yield path, a, b
    elif isinstance(a, Fields) and isinstance(b, Fields):
        for name, each in a.values.items():
            if name in b.values:
                yield from contests(each, b.values[name], f"{path}/{name}")
    elif isinstance(a, ShadowTree) and isinstance(b, ShadowTree):
        for one, other in a.contests(b, path):
            loser = min(one, other, key=lambda each: each.mark)
            yield loser.path, _register_of(one), _register_of(other)


def stamps(value: Lattice) -> Iterator[Stamp]:
    """Of every register, latest value and shadow inside a value, its stamp or its newest one."""
    if isinstance(value, Register | Latest):
        yield value.stamp
    elif isinstance(value, ShadowTree):
        # Every write says something of the root.
        yield Stamp(*value.root.newest[:4])
    elif isinstance(value, Fields):
        for each in value.values.values():
            yield from stamps(each)


def encode(value: Lattice) -> dict[str, Any]:
    """The self-describing form."""
    return {value.tag: value.encode()}


# What is read here is joined and compared later, where a wrong type would stop a whole region:
# so every type is checked before anything is made of it.


def _is(kind: type[T], raw: Any) -> T:
    # Not isinstance: to Python, true is an int.
    if type(raw) is not kind:
        raise TypeError(f"{str(raw)[:40]!r} is not a {kind.__name__}")
    return raw


def _texts(raw: Any) -> frozenset[str]:
    return frozenset(_is(str, each) for each in _is(list, raw))


def decode_stamp(raw: Any) -> Stamp:
    """Read a stamp; raises TypeError or ValueError for anything else."""
    ms, counter, region, incarnation = _is(list, raw)
    return Stamp(_is(int, ms), _is(int, counter), _is(str, region), _is(str, incarnation))


def _dot(raw: Any) -> Dot:
    dot = _is(str, raw)
    actor, _, count = dot.rpartition(":")
    if not actor or not count.isascii() or not count.isdigit():
        raise ValueError(f"{dot[:40]!r} is not a dot")
    return dot


def _register(raw: Any) -> Register:
    stamp, dot, value = _is(list, raw)
    return Register(decode_stamp(stamp), _dot(dot), value)


def _latest(raw: Any) -> Latest:
    stamp, value = _is(list, raw)
    return Latest(decode_stamp(stamp), value)


def _live(raw: Any) -> Live:
    entries = _is(dict, _is(dict, raw)["entries"])
    dead = frozenset(_dot(each) for each in _is(list, raw["dead"]))
    return Live({_dot(dot): each for dot, each in entries.items() if dot not in dead}, dead)


_DECODERS: dict[str, Callable[[Any], Lattice]] = {
    "flag": lambda raw: Flag(_is(bool, raw)),
    "grow": lambda raw: GrowSet(_texts(raw)),
    "reg": _register,
    "last": _latest,
    "live": _live,
    "shadow": shadow_tree.read,
    "map": lambda raw: Fields({name: decode(each) for name, each in _is(dict, raw).items()}),
}


def decode(raw: Any) -> Lattice:
    """Read the self-describing form; raises InputError for anything else."""
    if not isinstance(raw, dict) or len(raw) != 1:
        raise InputError(f"not an encoded lattice value: {str(raw)[:80]}")
    ((tag, value),) = raw.items()
    try:
        decoder = _DECODERS.get(tag)
        return Opaque(tag, value) if decoder is None else decoder(value)
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise InputError(f"malformed {tag!r} value: {error}") from None
