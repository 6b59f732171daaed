"""In which static groups a thing is: one item for each thing.

An entry names the lives of both ends and is void for any other. Who adds and who removes at once
both have their way: what was added stays, as the other had not seen it. All groups of a thing are
in one item, so that whatever bounds them is checked where they are written, and a thing that moves
is never in both groups or in none; and it is not the thing's own item, as membership is no part of
the thing's version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from isthmus.core.item import Item
from isthmus.core.lattice import Dot, Fields, Live
from isthmus.core.lives import Reference
from isthmus.core.registry import Writer
from isthmus.core.table import Path

#: The key is the thing's.
MEMBERSHIPS = "memberships"
_GROUPS = "groups"
#: AWS's.
GROUPS_MAX = 10

#: Followed by a group's name and life, the path that its things are listed under.
LISTED_BY_GROUP = "thing-by-group"


def changed(
    item: Item,
    writer: Writer,
    thing: Item,
    add: Iterable[Item] = (),
    remove: Iterable[str] = (),
) -> Item:
    """Take a thing out of groups, and then into others; the same item where all is so already."""
    present = {each.name: each for each in groups(item, thing)}
    gone = [name for name in remove if name in _entries(item)]
    new = [
        group
        for group in add
        if group.key in gone or group.key not in present or not present[group.key].holds_for(group)
    ]
    if not gone and not new:
        return item
    write = writer.write(item, thing, *new)
    held = dict(_held(item).values)
    for name in gone:
        held[name] = _live(held[name]).kill()
    for group in new:
        entry = [sorted(thing.lives), sorted(group.lives)]
        held[group.key] = _live(held.get(group.key)).kill().add(write.dot, entry)
    return write.put(_GROUPS, Fields(held)).touch().done(tightens=not new)


def left(item: Item, writer: Writer, thing: Item) -> Item:
    """Remove what is of an earlier life of the thing, so that no list has to pass over it."""
    stays = {each.name for each in groups(item, thing)}
    return changed(item, writer, thing, remove=[n for n in _entries(item) if n not in stays])


def groups(item: Item, thing: Item) -> list[Reference]:
    """The groups of a thing in its present life, by name; void for another life of theirs."""
    found = []
    for name, entries in sorted(_entries(item).items()):
        lives = [frozenset(group) for of, group in entries if not thing.lives.isdisjoint(of)]
        if lives:
            found.append(Reference(name, frozenset().union(*lives)))
    return found


def names(item: Item) -> Iterable[str]:
    """Every group that a thing may be in, whichever lives are meant."""
    return _entries(item)


def ends(item: Item) -> dict[str, tuple[frozenset[Dot], frozenset[Dot]]]:
    """Of each group, the lives of the thing and those of the group that its entries name."""
    found = {}
    for name, entries in _entries(item).items():
        of, groups = zip(*entries, strict=True)
        found[name] = (frozenset[Dot]().union(*of), frozenset[Dot]().union(*groups))
    return found


def _held(item: Item) -> Fields:
    found = item.fields.get(_GROUPS)
    return found if isinstance(found, Fields) else Fields()


def _live(value: Any) -> Live:
    return value if isinstance(value, Live) else Live()


def _entries(item: Item) -> dict[str, list[Any]]:
    """The entries of each group that has any."""
    found = {
        name: list(_live(value).entries.values()) for name, value in _held(item).values.items()
    }
    return {name: entries for name, entries in found.items() if entries}


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a thing is listed as one of a group's, be it so still or not."""
    for name, entries in _entries(item).items():
        for _, group_lives in entries:
            for life in group_lives:
                yield (LISTED_BY_GROUP, name, life), item.key
