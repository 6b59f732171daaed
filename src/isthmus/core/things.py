"""Things: what is written of one, and what it says of its type and its billing group.

Type and billing group are registers beside the attributes, each a reference (``core.lives``): void
once what it names has been deleted, whatever is created under that name later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.core import lives, registry, resource
from isthmus.core.item import Item
from isthmus.core.lattice import Live
from isthmus.core.lives import Reference
from isthmus.core.registry import Writer
from isthmus.core.resource import ATTRIBUTES
from isthmus.core.table import Path
from isthmus.errors import InputError

THING = registry.THING
#: Registers that refer to another item.
TYPE, BILLING_GROUP = "type", "billing_group"
#: By life, the certificate that a provisioning template began it for.
BEGUN = "begun"
#: AWS's. So many of the longest have less than the 47 kilobytes that AWS allows besides.
ATTRIBUTES_MAX = 50
ATTRIBUTES_WITHOUT_TYPE_MAX = 3

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
    begun_for: str = "",
) -> Item:
    """Create a thing, or have it be so: exactly these attributes, these references, None for none.

    What is not given stays. The same item where all is so already. Raises InputError where there
    would be more attributes than may be; what was stored some other way may shrink. ``begun_for``
    is the id of the certificate that one that is new is for.
    """
    references = {
        field: lives.refer(target) if target else None
        for field, target in (refers_to or {}).items()
        if not _is_so(reference(item, field), target)
    }
    if attributes is not None or TYPE in references:
        _check(item, attributes, has_type=bool(references.get(TYPE, item.register(TYPE))))
    maps = {} if attributes is None else {ATTRIBUTES: attributes}
    targets = filter(None, (refers_to or {}).values())
    begins = {BEGUN: begun_for} if begun_for else {}
    return resource.put(item, writer, references, maps, targets, begins)


def _is_so(held: Reference | None, target: Item | None) -> bool:
    return held is None if target is None else held is not None and held.holds_for(target)


def _check(item: Item, attributes: Mapping[str, str] | None, *, has_type: bool) -> None:
    held = registry.attributes(item)
    wanted = held if attributes is None else attributes
    most = ATTRIBUTES_MAX if has_type else ATTRIBUTES_WITHOUT_TYPE_MAX
    loses_type = item.register(TYPE) is not None and not has_type
    if len(wanted) > most and (loses_type or len(wanted) > len(held)):
        hint = "" if has_type else ", as a thing without a type may have"
        raise InputError(f"{len(wanted)} attributes are more than {most}{hint}")


def reference(item: Item, field: str) -> Reference | None:
    """What a thing says of its type or billing group, be it void or not."""
    return lives.read(item.register(field))


def begun_for(item: Item) -> frozenset[str]:
    """The certificates that templates have begun a thing for, in the lives that it has.

    One at most, but where regions began it at once: then each of these certificates is one.
    """
    held = item.fields.get(BEGUN)
    entries = held.entries if isinstance(held, Live) else {}
    return frozenset(entries[life] for life in item.lives & entries.keys())


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
