"""Answers in pages of what is listed by when it was created."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from isthmus.aws import paging
from isthmus.aws.context import Context
from isthmus.aws.paging import Entry
from isthmus.core import lists
from isthmus.core.table import Path


def page(context: Context, path: Path, show: Callable[[str], Any]) -> dict[str, Any]:
    """The page of a path that a call asks for, the newest first unless it asks otherwise.

    ``show`` makes of an item's key what is answered; None leaves it out.
    """
    descending = not context.call.parameters.get("ascendingOrder", False)

    def after(name: str | None) -> Iterator[Entry]:
        for each in context.listed(*path, after=name, descending=descending):
            shown = show(lists.key_of(each))
            if shown is not None:
                yield Entry(each, shown)

    return paging.page(context.call, after)
