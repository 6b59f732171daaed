"""Which life of an item counts where only one can, and how other items name it.

An item has more than one life where regions created it at once. The earliest that has not ended
decides what there is only one of: an id, a creation date, a group's parent. What refers to an item
names the lives that its writer knew, and is void for every other: what is created again inherits
nothing.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from isthmus.core.item import Item
from isthmus.core.lattice import Dot, Live
from isthmus.core.stamp import Stamp


class Life(NamedTuple):
    """One creation; compared by when it was."""

    stamp: Stamp
    dot: Dot


def first(item: Item) -> Life | None:
    """The earliest life that has not ended; None for a tombstone."""
    held = item.fields.get("life")
    if not isinstance(held, Live) or not held.entries:
        return None
    return min(Life(Stamp(*stamp), dot) for dot, stamp in held.entries.items())


def resource_id(item: Item) -> str:
    """What AWS's clients know an item by: the same in every region, another one for each life."""
    life = first(item)
    return id_of(item.kind, item.key, life.dot if life else "")


def id_of(*named: str) -> str:
    """An id of the form that AWS gives, the same wherever the same is named."""
    text = hashlib.sha256("\0".join(named).encode()).hexdigest()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))


def created_ms(item: Item) -> int:
    """When the item was created; 0 for a tombstone."""
    life = first(item)
    return life.stamp.ms if life else 0


class Reference(NamedTuple):
    """What an item says of another one."""

    name: str
    lives: frozenset[Dot]

    def holds_for(self, target: Item) -> bool:
        """Whether this is the one that was meant, and it still lives a life that was."""
        # Writes are counted for each item: the dots of two items may well be the same.
        return self.name == target.key and bool(self.lives & target.lives)


def refer(target: Item) -> list[Any]:
    """The form of a reference in an item."""
    return [target.key, sorted(target.lives)]


def read(value: Any) -> Reference | None:
    """A reference from its form; None where there is none, or none that this release can read."""
    match value:
        case [str(name), list(lives)]:
            return Reference(name, frozenset(lives))
    return None
