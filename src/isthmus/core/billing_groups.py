"""Billing groups: what is written of one. Which things are in it, the things say."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.core.item import Item
from isthmus.core.table import Path

BILLING_GROUP = "billing-group"
#: A register, by the name that AWS's clients give it.
DESCRIPTION = "billingGroupDescription"


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a billing group is listed."""
    if item.lives:
        yield (BILLING_GROUP,), item.key
