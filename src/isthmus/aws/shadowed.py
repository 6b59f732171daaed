"""Shadows as requests change and read them, by MQTT and by HTTPS alike."""

from __future__ import annotations

from isthmus.aws.context import Context
from isthmus.core import shadows
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import UpdateRequest
from isthmus.core.shadows import SHADOW, Deleted, Updated


async def update(context: Context, key: str, request: UpdateRequest) -> Updated:
    """Carry an update out; raises ShadowRefused."""
    made: Updated

    def change(item: Item, writer: Writer) -> Item:
        nonlocal made
        made = shadows.update(item, writer, request)
        return made.item

    # One after another: all but one of those at once would lose, and try again.
    async with context.turn(SHADOW, key):
        await context.write(SHADOW, key, change)
    return made


async def delete(context: Context, key: str, client_token: str | None) -> Deleted:
    """Delete a shadow; raises ShadowRefused where there is none."""
    made: Deleted

    def change(item: Item, writer: Writer) -> Item:
        nonlocal made
        made = shadows.delete(item, writer, client_token)
        return made.item

    async with context.turn(SHADOW, key):
        await context.write(SHADOW, key, change)
    return made


def get(context: Context, key: str, client_token: str | None) -> bytes:
    """The document; raises ShadowRefused where there is none."""
    return shadows.get(context.get(SHADOW, key), context.now_ms, client_token)
