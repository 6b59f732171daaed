"""Principals of things: what an attachment says of both, and where it is listed.

How one is written and merged is in ``core.registry``, as policies are attached in the same way. Two
regions may attach one principal to two things at once, each of them exclusively: then both things
have it, and neither does alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from isthmus.core import registry
from isthmus.core.item import Item
from isthmus.core.table import Path

#: Paths that attachments are listed under, as ends that are joined by ``names``.
BY_TARGET = "attached-by-target"
BY_PRINCIPAL = "attached-by-principal"
#: Between the parts of a name; no part has it.
END = "\0"


class ThingPrincipalType(StrEnum):
    """As AWS IoT names them."""

    EXCLUSIVE_THING = "EXCLUSIVE_THING"
    NON_EXCLUSIVE_THING = "NON_EXCLUSIVE_THING"


def key(thing: str, principal: str) -> str:
    """The key of the attachment of a principal to a thing."""
    return registry.attachment_key(f"{registry.THING}:{thing}", principal)


def attached(item: Item, thing: Item, principal: Item) -> ThingPrincipalType | None:
    """How a principal is attached to a thing; None where it is not, or where that is contested."""
    holding = [
        each
        for each in registry.attaches(item)
        if not each.contested and each.holds_for(thing, principal)
    ]
    if not holding:
        return None
    if all(each.exclusive for each in holding):
        return ThingPrincipalType.EXCLUSIVE_THING
    return ThingPrincipalType.NON_EXCLUSIVE_THING


def names(*ends: str) -> str:
    """How a name begins in a list by one end: the kind and key of that, the kind of the other."""
    return "".join(f"{end}{END}" for end in ends)


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where an attachment is listed, be it void or not: by its target and by its principal."""
    for each in registry.attaches(item):
        target, principal = (
            (each.target_kind, each.target_key),
            (each.principal_kind, each.principal_key),
        )
        yield (BY_TARGET,), f"{names(*target, principal[0])}{principal[1]}"
        yield (BY_PRINCIPAL,), f"{names(*principal, target[0])}{target[1]}"
