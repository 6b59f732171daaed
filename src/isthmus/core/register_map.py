"""Texts by name, each name written for itself: attributes and tags.

Two regions that write different names at once keep both; of one name, the later write stands. What
is not written is not a write: an update that leaves a name as it is gives way to one that does not.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.core.item import Item, Write
from isthmus.core.lattice import Fields, Register


def values(item: Item, field: str) -> dict[str, str]:
    """What stands under each name in the item's present life, by name."""
    held = item.fields.get(field)
    if not isinstance(held, Fields):
        return {}
    return {
        name: register.value
        for name, register in sorted(held.values.items())
        if isinstance(register, Register)
        and item.in_this_life(register)
        and register.value is not None
    }


def put(write: Write, item: Item, field: str, changes: Mapping[str, str | None]) -> Write:
    """Have a write set some names; None removes one."""
    held = item.fields.get(field)
    changed = dict(held.values) if isinstance(held, Fields) else {}
    for name, value in changes.items():
        changed[name] = Register(write.stamp, write.dot, value)
    return write.put(field, Fields(changed))


def changes(held: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str | None]:
    """What must be written so that exactly this stands."""
    removed: dict[str, str | None] = {name: None for name in held if name not in wanted}
    return removed | {name: value for name, value in wanted.items() if held.get(name) != value}


def updated(held: Mapping[str, str], given: Mapping[str, str], *, merge: bool) -> dict[str, str]:
    """What is to stand after an update in AWS's form: an empty value removes."""
    return {name: value for name, value in ({**held, **given} if merge else given).items() if value}
