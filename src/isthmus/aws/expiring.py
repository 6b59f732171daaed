"""Certificates that end by themselves: claims, and those that no device was provisioned with.

Any region ends them, whichever made them, so none is left where a region is gone. Two that do so at
once write the same, and their versions are joined.

A certificate that waits is not ended by a region that is alone: another one may have provisioned a
device with it, and a deletion is for good. A claim is ended in any case.
"""

from __future__ import annotations

from itertools import islice, takewhile

from isthmus.aws import attached_policies
from isthmus.aws.context import Context
from isthmus.core import certificates, lists, registry
from isthmus.core.certificates import LISTED_CLAIMS, LISTED_WAITING
from isthmus.core.item import Item
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, Writer

#: Certificates of either sort that are ended in one go.
DUE_MAX = 100


def due(context: Context, *, is_alone: bool) -> list[str]:
    """The next certificates to be ended: of each sort those first whose time was over first."""
    until = lists.at(context.now_ms)
    found: list[str] = []
    for path in (LISTED_CLAIMS,) if is_alone else (LISTED_CLAIMS, LISTED_WAITING):
        names = takewhile(lambda name: name < until, context.listed(path, after=None))
        found += map(lists.key_of, islice(names, DUE_MAX))
    return found


async def end(context: Context, key: str, *, is_alone: bool) -> bool:
    """Delete a certificate whose time is over, and detach its policies; whether it was."""

    def ended(item: Item, writer: Writer) -> Item:
        expiry = certificates.expiry(item)
        if expiry is None or expiry.at_ms > context.now_ms or (is_alone and not expiry.is_claim):
            return item
        return registry.delete(item, writer)

    held = context.get(CERTIFICATE, key)
    attached = [each.key for each in attached_policies.policies(context, held)]
    if (await context.write(CERTIFICATE, key, ended)).lives:
        return False
    for policy in attached:
        await context.write(ATTACHMENT, attached_policies.key(policy, held), registry.detach)
    return True
