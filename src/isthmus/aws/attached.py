"""Which principals a thing has, and which things a principal, from behind one in the list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from isthmus.aws.context import Context
from isthmus.core import attachments
from isthmus.core.attachments import BY_PRINCIPAL, BY_TARGET, ThingPrincipalType
from isthmus.core.item import Item
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, THING


class Attached(NamedTuple):
    """The other end of an attachment."""

    key: str
    how: ThingPrincipalType


def principals(context: Context, thing: Item, after: str | None = None) -> Iterator[Attached]:
    """The certificates that are attached to a thing."""
    for key in _other_ends(context, BY_TARGET, thing, CERTIFICATE, after):
        how = _how(context, thing, context.get(CERTIFICATE, key))
        if how is not None:
            yield Attached(key, how)


def things(context: Context, principal: Item, after: str | None = None) -> Iterator[Attached]:
    """The things that a certificate is attached to."""
    for key in _other_ends(context, BY_PRINCIPAL, principal, THING, after):
        how = _how(context, context.get(THING, key), principal)
        if how is not None:
            yield Attached(key, how)


def _other_ends(
    context: Context, path: str, end: Item, kind: str, after: str | None
) -> Iterator[str]:
    prefix = attachments.names(end.kind, end.key, kind)
    behind = None if after is None else f"{prefix}{after}"
    for name in context.beginning(path, prefix=prefix, after=behind):
        yield name.removeprefix(prefix)


def _how(context: Context, thing: Item, principal: Item) -> ThingPrincipalType | None:
    """How the two are attached; exclusively only where no other thing has the principal."""
    how = _said(context, thing, principal)
    if how is not ThingPrincipalType.EXCLUSIVE_THING or not _others(context, thing, principal):
        return how
    return ThingPrincipalType.NON_EXCLUSIVE_THING


def _said(context: Context, thing: Item, principal: Item) -> ThingPrincipalType | None:
    item = context.get(ATTACHMENT, attachments.key(thing.key, principal.key))
    return attachments.attached(item, thing, principal)


def _others(context: Context, thing: Item, principal: Item) -> bool:
    """Whether a principal is attached to any other thing."""
    ends = _other_ends(context, BY_PRINCIPAL, principal, THING, None)
    return any(
        key != thing.key and _said(context, context.get(THING, key), principal) for key in ends
    )
