"""Bulk registrations: how far each is, who carries it out, and how it ends.

A task is carried out in the region that was asked for it, as the file is there. That region alone
writes progress and end; any region may stop a task, which is a flag, so no merge forgets it. Of the
processes of the region one holds the task: whoever writes progress names itself, and a process that
has seen no sign of the holder for a lease, by its own clock, takes its place by compare-and-set.

Progress is written behind the lines that it counts, so the lines after it may be done twice: by the
next holder again, and by one that was frozen and does not know yet that it holds nothing any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from isthmus.core import lists
from isthmus.core.item import Item
from isthmus.core.lattice import Flag
from isthmus.core.registry import Writer
from isthmus.core.table import Path

REGISTRATION_TASK = "registration-task"
#: Paths, followed by a status, and by the region that has still to do something.
LISTED_BY_STATUS = "registration-task-by-status"
LISTED_OPEN = "registration-task-open"
#: Unfinished tasks of one region. AWS has one at a time; these wait for each other.
OPEN_MAX = 20

#: Registers that are written once: what was asked for, where it is done, and where the reports are.
TEMPLATE, BUCKET, KEY, ROLE = "templateBody", "inputFileBucket", "inputFileKey", "roleArn"
REGION, DIRECTORY = "region", "directory"
_PROGRESS, _HOLDER, _END, _STOP = "progress", "holder", "end", "stop"


class TaskStatus(StrEnum):
    """As AWS IoT names them."""

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    CANCELLING = "Cancelling"


class Progress(msgspec.Struct, frozen=True):
    """How far a task is: everything before ``offset`` is done, and reported."""

    #: Bytes of the input, and how many it has.
    offset: int = 0
    size: int = 0
    lines: int = 0
    succeeded: int = 0
    failed: int = 0
    #: Bytes of either report.
    results: int = 0
    errors: int = 0


class NewTask(NamedTuple):
    """A bulk registration that can begin."""

    #: By chance.
    id: str
    #: The URL of the directory that its reports will be in.
    directory: str


# Writing


def begin(item: Item, writer: Writer, said: Mapping[str, str]) -> Item:
    """Begin a task; its id is random and used once."""
    write = writer.write(item).create()
    for name, value in said.items():
        write.set(name, value)
    return write.done()


def stop(item: Item, writer: Writer) -> Item:
    """Have it stopped by whoever holds it; the same item where it has ended."""
    if item.register(_END) is not None or is_stopped(item):
        return item
    return writer.write(item).put(_STOP, Flag(True)).touch().done(tightens=True)


def claim(item: Item, writer: Writer, holder: str, instead_of: Any) -> Item:
    """Hold a task, unless its holder has shown itself meanwhile, or it has ended."""
    if item.register(_HOLDER) != instead_of or item.register(_END) is not None:
        return item
    return writer.write(item).set(_HOLDER, [holder, 0]).done()


def keep(item: Item, writer: Writer, holder: str, progress: Progress) -> Item:
    """Go on holding it, and say how far it is; the same item where somebody else holds it."""
    if not is_held_by(item, holder):
        return item
    _, beat = item.register(_HOLDER)
    write = writer.write(item).set(_HOLDER, [holder, beat + 1])
    return write.set(_PROGRESS, msgspec.to_builtins(progress)).done()


def end(
    item: Item, writer: Writer, holder: str, progress: Progress, status: TaskStatus, message: str
) -> Item:
    """End it; the same item where somebody else holds it."""
    if not is_held_by(item, holder):
        return item
    write = writer.write(item).set(_PROGRESS, msgspec.to_builtins(progress))
    return write.set(_END, [status.value, message]).done()


# Reading


def sign(item: Item) -> Any:
    """What changes with every sign of its holder; None where nobody has ever held it."""
    return item.register(_HOLDER)


def is_held_by(item: Item, holder: str) -> bool:
    held = item.register(_HOLDER)
    return item.register(_END) is None and held is not None and held[0] == holder


def is_stopped(item: Item) -> bool:
    """Whether somebody wants it to end."""
    return item.fields.get(_STOP) == Flag(True)


def progress(item: Item) -> Progress:
    return msgspec.convert(item.register(_PROGRESS) or {}, Progress)


def percentage(item: Item) -> int:
    """How much of its input is done."""
    if status(item) is TaskStatus.COMPLETED:
        return 100
    found = progress(item)
    return min(100, 100 * found.offset // found.size) if found.size else 0


def status(item: Item) -> TaskStatus:
    ended = item.register(_END)
    if ended is not None:
        return TaskStatus(ended[0])
    return TaskStatus.CANCELLING if is_stopped(item) else TaskStatus.IN_PROGRESS


def message(item: Item) -> str | None:
    """Why it failed; None where it did not."""
    ended = item.register(_END)
    return ended[1] or None if ended is not None else None


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a task is listed."""
    if not item.lives:
        return
    name = lists.by_creation(item)
    yield (REGISTRATION_TASK,), name
    yield (LISTED_BY_STATUS, status(item).value), name
    if item.register(_END) is None:
        yield (LISTED_OPEN, item.register(REGION)), name
