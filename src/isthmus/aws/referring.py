"""What a thing refers to, by name."""

from __future__ import annotations

from isthmus.aws.context import Context
from isthmus.core import things
from isthmus.core.billing_groups import BILLING_GROUP
from isthmus.core.item import Item
from isthmus.core.thing_types import THING_TYPE

#: The kind of what is in a register.
_KINDS = {things.TYPE: THING_TYPE, things.BILLING_GROUP: BILLING_GROUP}


def refers_to(context: Context, thing: Item, field: str) -> str | None:
    """The name of what a thing refers to; None where that is nothing, or nothing that lives."""
    held = things.reference(thing, field)
    is_there = held is not None and held.holds_for(context.get(_KINDS[field], held.name))
    return held.name if held is not None and is_there else None
