"""Conflicts as items: what each says of two writes that did not know of each other.

A join that discards something lists it, in every region the same (``core.item.conflicts`` finds it,
``core.update.Merge`` writes it first). Nothing takes a conflict away again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from isthmus.core.item import Conflict, Item
from isthmus.core.lattice import Dot, Fields, GrowSet, Register, canonical
from isthmus.core.stamp import Stamp
from isthmus.core.table import Path
from isthmus.core.undecodable import UNDECODABLE

CONFLICT = "conflict"
_FIELD = "conflict"
#: Digits of milliseconds since 1970: names sort by time until the year 5138.
_MS_DIGITS = 14
_MS_MAX: int = 10**_MS_DIGITS - 1
_BETWEEN = ":"


class Side(NamedTuple):
    """One of the two writes."""

    value: Any
    dot: Dot
    #: None where a release wrote it that did not keep it.
    stamp: Stamp | None

    @property
    def region(self) -> str:
        """Where it was written."""
        return self.dot.partition(".")[0]


class ListedConflict(NamedTuple):
    """Which item and which path of it, what is there now, and what gave way."""

    id: str
    kind: str
    key: str
    path: str
    #: None where the other side deleted the item.
    kept: Side | None
    discarded: Side

    @property
    def at_ms(self) -> int:
        """When the later of both was written, as far as they say; else 0."""
        stamps = [side.stamp for side in (self.kept, self.discarded) if side and side.stamp]
        latest = max((stamp.ms for stamp in stamps), default=0)
        # A clock may have said anything: whoever sorts by it has so many digits.
        return max(0, min(latest, _MS_MAX))


def item(conflict: Conflict) -> Item:
    """The item that lists a conflict: the same bytes in every region."""
    value = {
        "path": conflict.path,
        "sides": [_said(conflict.kept), _said(conflict.discarded)],
        "of": [conflict.kind, conflict.key],
    }
    fields = Fields({_FIELD: GrowSet(frozenset({canonical(value).decode()}))})
    return Item(CONFLICT, conflict.id, {}, fields)


def _said(side: Register | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {"dot": side.dot, "stamp": list(side.stamp), "value": side.value}


def read(listing: Item) -> ListedConflict | None:
    """What an item lists; None where it says nothing that this release can read."""
    found = listing.fields.get(_FIELD)
    members = found.members if isinstance(found, GrowSet) else frozenset()
    # Regions of two releases may each have said it; who says more is believed.
    said = [each for text in sorted(members) if (each := _read(listing.key, text)) is not None]
    return max(said, key=lambda each: each.at_ms, default=None)


class _Side(msgspec.Struct):
    dot: str
    value: Any
    stamp: Stamp | None = None

    def read(self) -> Side:
        return Side(self.value, self.dot, self.stamp)


class _Listed(msgspec.Struct):
    """What an item says, as ``item`` writes it."""

    of: tuple[str, str]
    path: str
    #: What is kept, and what gave way.
    sides: tuple[_Side | None, _Side]


_LISTED = msgspec.json.Decoder(_Listed)


def _read(conflict_id: str, text: str) -> ListedConflict | None:
    try:
        said = _LISTED.decode(text)
    except UNDECODABLE:
        return None
    kept, discarded = said.sides
    stood = None if kept is None else kept.read()
    return ListedConflict(conflict_id, *said.of, said.path, stood, discarded.read())


def listed(listing: Item) -> Iterator[tuple[Path, str]]:
    """Where a conflict is listed, in the order of time."""
    found = read(listing)
    if found is not None:
        yield (CONFLICT,), f"{found.at_ms:0{_MS_DIGITS}}{_BETWEEN}{found.id}"


def key(name: str) -> str:
    """The key of what is listed under a name."""
    return name.rpartition(_BETWEEN)[2]
