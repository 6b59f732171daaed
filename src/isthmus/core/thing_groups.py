"""Static thing groups: what is written of one, and which group it is in.

A group has its parent from its creation. Two regions may create one group at once under different
parents: each life has its own then, and the earliest life decides. A life is later than those of
the parent that it names, and a group's deciding life is its earliest, so the way up leads through
ever earlier lives and can never come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from isthmus.core import lives, register_map, resource
from isthmus.core.item import Item
from isthmus.core.lattice import Live
from isthmus.core.lives import Reference
from isthmus.core.registry import Writer
from isthmus.core.resource import ATTRIBUTES
from isthmus.core.table import Path
from isthmus.errors import InputError

THING_GROUP = "thing-group"
#: A register, by the name that AWS's clients give it.
DESCRIPTION = "thingGroupDescription"
#: A reference to the parent, under the dot of the life that it is of.
_PARENTS = "parents"
#: AWS's.
ATTRIBUTES_MAX = 50
DEPTH_MAX = 7
CHILDREN_MAX = 100

#: Paths that groups are listed under: all of them, those that were created without a parent, and,
#: followed by a parent's name and life, its children.
LISTED = "thing-group"
LISTED_ROOTS = "thing-group-root"
LISTED_BY_PARENT = "thing-group-by-parent"


def create(
    item: Item,
    writer: Writer,
    registers: Mapping[str, Any],
    maps: Mapping[str, Mapping[str, str]],
    parent: Item | None,
) -> Item:
    """Create a group where none is."""
    check(maps.get(ATTRIBUTES, {}))
    write = writer.write(item, *([parent] if parent else [])).create()
    if parent:
        write.add(_PARENTS, lives.refer(parent))
    return resource.fill(write, item, registers, maps).done()


def update(
    item: Item,
    writer: Writer,
    registers: Mapping[str, Any],
    attributes: Mapping[str, str] | None,
) -> Item:
    """Have a group say this; what is not given stays."""
    check(attributes or {})
    return resource.put(
        item, writer, registers, {} if attributes is None else {ATTRIBUTES: attributes}
    )


def check(attributes: Mapping[str, str]) -> None:
    if len(attributes) > ATTRIBUTES_MAX:
        raise InputError(f"{len(attributes)} attributes are more than {ATTRIBUTES_MAX}")


def delete(item: Item, writer: Writer) -> Item:
    return writer.write(item).kill(_PARENTS).delete().touch().done(tightens=True)


def attributes(item: Item) -> dict[str, str]:
    return register_map.values(item, ATTRIBUTES)


def parent(item: Item) -> Reference | None:
    """What a group says of its parent, be it void or not."""
    life, held = lives.first(item), item.fields.get(_PARENTS)
    if life is None or not isinstance(held, Live):
        return None
    return lives.read(held.entries.get(life.dot))


def above(item: Item, get: Callable[[str], Item]) -> list[Item]:
    """The groups that a group is in, from the root to its parent."""
    found: list[Item] = []
    # Items of another make might say anything.
    passed = {item.key}
    while (named := parent(item)) is not None and named.name not in passed:
        item = get(named.name)
        if not named.holds_for(item):
            break
        passed.add(item.key)
        found.append(item)
    return found[::-1]


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a group is listed."""
    if not item.lives:
        return
    yield (LISTED,), item.key
    named = parent(item)
    if named is None:
        yield (LISTED_ROOTS,), item.key
    else:
        for life in named.lives:
            yield (LISTED_BY_PARENT, named.name, life), item.key
