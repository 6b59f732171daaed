"""Executions of commands that were kept long enough; any region ends them, alone or not.

Two that do so at once write the same, and nobody may say anything of them any more.
"""

from __future__ import annotations

from itertools import islice, takewhile

from isthmus.aws.context import Context
from isthmus.core import command_executions, lists
from isthmus.core.command_executions import COMMAND_EXECUTION, LISTED_ENDING
from isthmus.core.item import Item
from isthmus.core.registry import Writer

#: Executions that are ended in one go.
DUE_MAX = 100


def due(context: Context, *, is_alone: bool) -> list[str]:
    """The next executions to be ended: those first whose time was over first."""
    until = lists.at(context.now_ms)
    names = takewhile(lambda name: name < until, context.listed(LISTED_ENDING, after=None))
    return [lists.key_of(name) for name in islice(names, DUE_MAX)]


async def end(context: Context, key: str, *, is_alone: bool) -> bool:
    """Delete an execution whose time is over; whether it was."""

    def ended(item: Item, writer: Writer) -> Item:
        execution = command_executions.read(item)
        if execution is None or execution.kept_until_ms > context.now_ms:
            return item
        return command_executions.delete(item, writer)

    return not (await context.write(COMMAND_EXECUTION, key, ended)).lives
