"""Things: what is written of one, and what it says of its type and its billing group.

Type and billing group are registers beside the attributes, each a reference (``core.lives``): void
once what it names has been deleted, whatever is created under that name later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.core import lives, register_map, registry
from isthmus.core.catalogue import Path
from isthmus.core.item import Item
from isthmus.core.lives import Reference
from isthmus.core.registry import Writer
from isthmus.errors import InputError

THING = registry.THING
#: Registers that refer to another item.
TYPE, BILLING_GROUP = "type", "billing_group"
#: AWS's.
ATTRIBUTES_MAX = 50
ATTRIBUTES_WITHOUT_TYPE_MAX = 3
ATTRIBUTES_MAX_BYTES = 47 * 1024

#: Paths that things are listed under: all of them, those with an attribute, and, each followed by
#: name and life, those of a type and of a billing group.
LISTED = "thing"
LISTED_BY_ATTRIBUTE = "thing-by-attribute"
LISTED_BY = {TYPE: "thing-by-type", BILLING_GROUP: "thing-by-billing-group"}
#: Ends a value in a list by attribute; neither values nor names of things have it.
END = "\0"


def put(
    item: Item,
    writer: Writer,
    attributes: Mapping[str, str] | None = None,
    refers_to: Mapping[str, Item | None] | None = None,
) -> Item:
    """Create a thing, or have it be so: exactly these attributes, these references, None for none.

    What is not given stays. The same item where all is so already. Raises InputError where there
    would be more attributes than may be; what was stored some other way may shrink.
    """
    held = registry.attributes(item)
    wanted = held if attributes is None else dict(attributes)
    references = {
        field: target
        for field, target in (refers_to or {}).items()
        if not _is_so(reference(item, field), target)
    }
    changes = register_map.changes(held, wanted)
    if item.lives and not changes and not references:
        return item
    had_type = item.register(TYPE) is not None
    has_type = bool(references[TYPE]) if TYPE in references else had_type
    if has_type < had_type or len(wanted) > len(held) or _size(wanted) > _size(held):
        _check(wanted, ATTRIBUTES_MAX if has_type else ATTRIBUTES_WITHOUT_TYPE_MAX)
    write = writer.write(item, *(each for each in references.values() if each)).create()
    register_map.put(write, item, "attributes", changes)
    for field, target in references.items():
        write.set(field, lives.refer(target) if target else None)
    return write.done()


def _is_so(held: Reference | None, target: Item | None) -> bool:
    return held is None if target is None else held is not None and held.holds_for(target)


def _size(attributes: Mapping[str, str]) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in attributes.items())


def _check(attributes: Mapping[str, str], most: int) -> None:
    if len(attributes) > most:
        hint = "" if most == ATTRIBUTES_MAX else ", as a thing without a type may have"
        raise InputError(f"{len(attributes)} attributes are more than {most}{hint}")
    if _size(attributes) > ATTRIBUTES_MAX_BYTES:
        raise InputError(f"The attributes have more than {ATTRIBUTES_MAX_BYTES} bytes")


def reference(item: Item, field: str) -> Reference | None:
    """What a thing says of its type or billing group, be it void or not."""
    return lives.read(item.register(field))


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a thing is listed."""
    if not item.lives:
        return
    yield (LISTED,), item.key
    for name, value in registry.attributes(item).items():
        yield (LISTED_BY_ATTRIBUTE, name), f"{value}{END}{item.key}"
    for field, head in LISTED_BY.items():
        named = reference(item, field)
        if named is not None:
            for life in named.lives:
                yield (head, named.name, life), item.key
