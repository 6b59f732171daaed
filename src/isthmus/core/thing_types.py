"""Thing types: what is written of one, and until when it may not be deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from isthmus.core import resource
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.resource import TAGS
from isthmus.core.table import Path

THING_TYPE = "thing-type"
#: Registers, by the names that AWS's clients give them.
PROPERTIES = ("thingTypeDescription", "searchableAttributes", "mqtt5Configuration")
#: AWS's.
SEARCHABLE_MAX = 3
PROPAGATING_MAX = 20
DELETED_AFTER_MS = 5 * 60 * 1000
_DEPRECATED = "deprecated_ms"


def put(
    item: Item,
    writer: Writer,
    given: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
) -> Item:
    """Create a type, or have it be so; what is not given stays."""
    return resource.put(item, writer, given, {} if tags is None else {TAGS: tags})


def deprecate(item: Item, writer: Writer) -> Item:
    """From now on no thing may take it."""
    if deprecated_ms(item) is not None:
        return item
    write = writer.write(item)
    return write.set(_DEPRECATED, write.stamp.ms).done()


def undeprecate(item: Item, writer: Writer) -> Item:
    return resource.put(item, writer, {_DEPRECATED: None}, {})


def deprecated_ms(item: Item) -> int | None:
    """When it was deprecated; None where it is not."""
    found = item.register(_DEPRECATED)
    return found if isinstance(found, int) else None


def properties(item: Item) -> dict[str, Any]:
    """What it was given, by the names that AWS's clients give it."""
    found = {name: item.register(name) for name in PROPERTIES}
    return {name: value for name, value in found.items() if value is not None}


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a type is listed."""
    if item.lives:
        yield (THING_TYPE,), item.key
