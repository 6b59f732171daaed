"""Shadows as requests change and read them, by MQTT and by HTTPS alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from isthmus.aws.context import Context
from isthmus.core import shadows
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import UpdateRequest
from isthmus.core.shadows import SHADOW, Deleted, Updated

M = TypeVar("M", Updated, Deleted)


async def update(context: Context, key: str, request: UpdateRequest) -> Updated:
    """Carry an update out; raises ShadowRefused."""
    return await _write(context, key, partial(shadows.update, request=request))


async def delete(context: Context, key: str, client_token: str | None) -> Deleted:
    """Delete a shadow; raises ShadowRefused where there is none."""
    return await _write(context, key, partial(shadows.delete, client_token=client_token))


def get(context: Context, key: str, client_token: str | None) -> bytes:
    """The document; raises ShadowRefused where there is none."""
    return shadows.get(context.get(SHADOW, key), context.now_ms, client_token)


async def _write(context: Context, key: str, make: Callable[[Item, Writer], M]) -> M:
    """What is made of the newest version, once its item is written."""
    made: M

    def change(item: Item, writer: Writer) -> Item:
        nonlocal made
        made = make(item, writer)
        return made.item

    # One after another: all but one of those at once would lose, and try again.
    async with context.turn(SHADOW, key):
        await context.write(SHADOW, key, change)
    return made
