"""The accounts of shadows that two regions updated apart: what was accepted, stored, shown, listed.

Pure. Nothing here joins anything: of the last writes of a leaf on either side the one with the
greater stamp is to stand, and the other one has lost a race if it said anything else, as neither
side knew of the other's. ``drill/shadow_checks.py`` holds what stands to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from isthmus.core.item import Item
from isthmus.core.shadow_tree import NEVER, Node, ShadowTree
from isthmus.core.stamp import Stamp
from isthmus.drill.shadow_updates import Leaf, Update

#: Where an item has its document, as the paths of conflicts begin.
_DOCUMENT = "document"


class Accepted(NamedTuple):
    """An update that a region accepted, and the version that it told."""

    update: Update
    version: int


class Write(NamedTuple):
    """One write of one leaf, as a region's log has it."""

    value: Any
    stamp: Stamp
    #: The number of the write among its region's writes of the shadow.
    number: int

    @property
    def dot(self) -> str:
        return f"{self.stamp.region}.{self.stamp.incarnation}:{self.number}"


class Held(NamedTuple):
    """A shadow in one region's log."""

    vv: Mapping[str, int]
    writes: Mapping[Leaf, Write]

    @property
    def version(self) -> int:
        return sum(self.vv.values())


class Shown(NamedTuple):
    """A shadow as a region answers GetThingShadow."""

    version: int
    #: Sections and metadata.
    document: Mapping[str, Any]

    def leaves(self) -> dict[Leaf, Any]:
        """What is shown, by path; the delta follows from it."""
        state = self.document.get("state", {})
        return dict(_leaves({name: each for name, each in state.items() if name != "delta"}))


def _leaves(value: Any, path: Leaf = ()) -> Iterator[tuple[Leaf, Any]]:
    if type(value) is not dict:
        yield path, value
        return
    for name, each in value.items():
        yield from _leaves(each, (*path, name))


def held(item: Item) -> Held:
    """What a region's log says of a shadow: each leaf's last write, what takes away included."""
    tree = item.fields.get(_DOCUMENT)
    root = tree.root if isinstance(tree, ShadowTree) else Node()
    return Held(item.vv, dict(_writes(root, ())))


def _writes(node: Node, path: Leaf) -> Iterator[tuple[Leaf, Write]]:
    if node.cut != NEVER:
        yield path, Write(node.value, Stamp(*node.cut[:4]), node.cut[4])
    for name, each in node.nodes.items():
        yield from _writes(each, (*path, name))


class Race(NamedTuple):
    """Two writes of one leaf, neither of whose regions knew of the other."""

    key: str
    leaf: Leaf
    kept: Write
    gave_way: Write

    @property
    def is_lost(self) -> bool:
        """Whether anything gave way; who says the same loses nothing."""
        return bool(self.kept.value != self.gave_way.value)

    @property
    def conflict(self) -> tuple[Any, ...]:
        """As ``conflict`` reads what is listed of it."""
        path = "/".join(("", _DOCUMENT, *self.leaf))
        return (self.key, path, *_named(self.kept), *_named(self.gave_way))


def _named(write: Write) -> tuple[Any, ...]:
    return write.dot, write.value, write.stamp.ms, write.stamp.region


def conflict(listed: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the operators' API lists, to be compared."""
    sides = (listed["kept"] or {}, listed["discarded"])
    names = ("write", "value", "at_ms", "region")
    return (
        listed["key"],
        listed["path"],
        *(side.get(name) for side in sides for name in names),
    )


@dataclass
class SplitAccount:
    """Everything that was found, by region and key."""

    #: Their keys.
    shadows: Sequence[str]
    leaves: Sequence[Leaf]
    first: Any
    accepted: dict[str, list[Accepted]]
    held: dict[str, dict[str, Held]] = field(default_factory=dict)
    shown: dict[str, dict[str, Shown]] = field(default_factory=dict)
    #: As the operators' API lists them.
    conflicts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    apart_s: float = 0.0
    #: From healing until both regions had everything.
    level_s: float | None = None

    def races(self) -> list[Race]:
        """The leaves that both regions updated."""
        one, other = (self._last_writes(region) for region in self.accepted)
        found = []
        for at in one.keys() & other.keys():
            gave_way, kept = sorted((one[at], other[at]), key=lambda write: write.stamp)
            found.append(Race(*at, kept, gave_way))
        return sorted(found)

    def _last_writes(self, region: str) -> dict[tuple[str, Leaf], Write]:
        """Of the leaves that a region updated, as its own log had them."""
        held = self.held.get(region, {})
        return {
            (key, leaf): write
            for key, leaf in self.last_accepted(region)
            if key in held and (write := held[key].writes.get(leaf)) is not None
        }

    def last_accepted(self, region: str) -> dict[tuple[str, Leaf], tuple[Any, int]]:
        """What clients were told last of each leaf: its value, and the version of the shadow."""
        in_order = sorted(self.accepted[region], key=lambda each: each.version)
        return {
            (each.update.key, leaf): (value, each.version)
            for each in in_order
            for leaf, value in each.update.leaves.items()
        }
