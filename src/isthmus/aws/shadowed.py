"""Shadows as requests change and read them, by MQTT and by HTTPS alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from isthmus.aws.context import Context
from isthmus.core import shadows
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_call import Change
from isthmus.core.shadows import SHADOW, Deleted, Updated
from isthmus.core.written import Written

T = TypeVar("T")
M = TypeVar("M", bound=Updated | Deleted)

#: What one request makes of an item, which is the same one where it changes nothing, and what is
#: said of that. What it raises is raised, and nothing is written then.
Step = Callable[[Item, Writer], tuple[Item, T]]


async def write(context: Context, key: str, change: Change[M]) -> M:
    """What is made of the newest version, once its item is written; raises ShadowRefused."""

    def step(item: Item, writer: Writer) -> tuple[Item, None]:
        return change(item, writer), None

    await in_turn(context, key, [step])
    return change.made


async def get(context: Context, key: str) -> bytes:
    """The document; raises ShadowRefused where there is none."""
    return shadows.get(await context.read(SHADOW, key), context.now_ms)


async def in_turn(context: Context, key: str, steps: Sequence[Step[T]]) -> list[T]:
    """Carry requests out, each with what those before it have left, and write that at once.

    Each update among them has its own version, and what is between the first and the last of them
    is in no log, as it is nowhere else: nobody has heard of it before all of it is kept.
    """
    said: list[T] = []
    is_changed = False

    def change(item: Item, writer: Writer) -> Item:
        nonlocal said, is_changed
        said, after = [], item
        for step in steps:
            after, each = step(after, writer)
            said.append(each)
        is_changed = after is not item
        return after

    known = context.written
    context.written = Written()
    # One after another: all but one of those at once would lose, and try again.
    async with context.turn(SHADOW, key):
        await context.write(SHADOW, key, change)
    # What is read or refused promises nothing, so nobody waits for another region.
    if is_changed:
        known.add(context.written)
    context.written = known
    return said
