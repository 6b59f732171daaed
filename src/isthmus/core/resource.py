"""Resources: registers and maps of them, of which only what changes is written.

A request that finds everything as it wants it is answered from what is there: sent again after a
failover it makes no version, and discards nothing that was written elsewhere meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.core import register_map
from isthmus.core.item import Item, Write
from isthmus.core.registry import Writer

#: Maps that resources have.
ATTRIBUTES, TAGS = "attributes", "tags"
#: AWS's.
TAGS_MAX = 50


def put(
    item: Item,
    writer: Writer,
    registers: Mapping[str, Any],
    maps: Mapping[str, Mapping[str, str]],
    refers_to: Iterable[Item] = (),
    begins: Mapping[str, str] | None = None,
) -> Item:
    """Create a resource, or have it be so: these registers, and in each map exactly these names.

    What is not given stays. The same item where all is so already. ``begins`` is what only a life
    that begins here says, each in a field of entries, under that life's dot.
    """
    values = {name: value for name, value in registers.items() if item.register(name) != value}
    changes = {
        field: register_map.changes(register_map.values(item, field), wanted)
        for field, wanted in maps.items()
    }
    if item.lives and not values and not any(changes.values()):
        return item
    write = writer.write(item, *refers_to).create()
    if not item.lives:
        for name, entry in (begins or {}).items():
            write.kill(name).add(name, entry)
    return fill(write, item, values, changes).done()


def fill(
    write: Write,
    item: Item,
    registers: Mapping[str, Any],
    maps: Mapping[str, Mapping[str, str | None]],
) -> Write:
    """Have a write set these, whatever is there."""
    for name, value in registers.items():
        write.set(name, value)
    for field, changes in maps.items():
        if changes:
            register_map.put(write, item, field, changes)
    return write


def says(item: Item, registers: Mapping[str, Any], maps: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a resource is just so, where these are all the registers and maps it may have."""
    return all(item.register(name) == value for name, value in registers.items()) and all(
        register_map.values(item, field) == wanted for field, wanted in maps.items()
    )
