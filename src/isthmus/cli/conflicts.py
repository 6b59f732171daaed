"""`isthmus conflicts`: what two regions wrote at once, and which of it gave way."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.operator_calls import Json, Region, State, ask

if TYPE_CHECKING:
    from isthmus.local.operator import Operator

#: Characters of a name or a value that are shown to people.
SHOWN_MAX = 60


def conflicts(
    state: State,
    kind: Annotated[
        str, typer.Option(help="Only those of items of this kind, such as shadow or thing.")
    ] = "",
    key: Annotated[str, typer.Option(help="Only those of the items of this key.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 100,
    region: Region = "",
    as_json: Json = False,
) -> None:
    """List what two regions wrote at once while neither knew of the other's write.

    Both were accepted, the later one stands, and here is what gave way to it: in which item and
    path, both values, and when and where each was written. The newest are first, and every region
    lists the same. A shadow has the key of its thing, and `THING~NAME` if it is a named one.
    """

    async def some(operator: Operator, at: str) -> tuple[list[dict[str, Any]], bool]:
        found: list[dict[str, Any]] = []
        async for each in operator.conflicts(at, kind, key):
            if len(found) == limit:
                return found, True
            found.append(each)
        return found, False

    found, has_more = ask(state, region, some)
    if as_json:
        sys.stdout.write(f"{json.dumps({'conflicts': found, 'has_more': has_more})}\n")
    else:
        _show(found, has_more=has_more)


def _show(found: list[dict[str, Any]], *, has_more: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("item", "path", "stands", "gave way"):
        shown.add_column(column, overflow="fold")
    for each in found:
        texts = (f"{each['kind']} {_plain(each['key'])}", _plain(each["path"]))
        sides = (each["kept"], each["discarded"])
        # As texts: what devices wrote is not markup.
        shown.add_row(*map(Text, texts), *(Text(_side(side)) for side in sides))
    console.print(shown if found else "there is no such conflict")
    if has_more:
        console.print(f"[dim]and more than these {len(found)}: --limit shows them[/]")


def _plain(name: str) -> str:
    """A name on one line, and none of what would move a terminal: a device has chosen it."""
    return _shortened("".join(each if each.isprintable() else "\ufffd" for each in name))


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def _side(side: dict[str, Any] | None) -> str:
    if side is None:
        return "the deletion of the item"
    value = "deleted" if side["value"] is None else _shortened(json.dumps(side["value"]))
    return f"{value}\n{side['region']} {_time(side['at_ms'])}".rstrip()


def _time(at_ms: int | None) -> str:
    """To the millisecond: that is what it was decided by."""
    if at_ms is None:
        return ""
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        # By a clock that was far off.
        return f"at {at_ms} ms"
    return f"{at:%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03} UTC"
