"""Commands: what may be sent to devices, and which of them may not be sent any more.

A command's payload is written once. What may change, its texts and whether it is deprecated, are
registers: two regions that change different ones keep both changes, of one the later write stands.
Deleting one that was in use lately marks it first, and by that mark it is gone once every execution
of it has timed out: nobody has to come and remove it. Created again it begins another life.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from isthmus.core import lists, registry, resource
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.resource import TAGS
from isthmus.core.table import Path

COMMAND = "command"
#: AWS's: the longest that an execution may take, and so the time after which a deprecated command
#: has none that still runs.
TIMEOUT_MAX_S = 12 * 3600
#: AWS's.
PAYLOAD_MAX_BYTES = 32 * 1024
#: What is not said is this.
CONTENT_TYPE = "application/octet-stream"

#: Registers: what a command is, and what may be changed of it.
PAYLOAD, NAMESPACE = "payload", "namespace"
DISPLAY_NAME, DESCRIPTION = "displayName", "description"
#: Since when, in milliseconds since 1970; nothing while it is not.
DEPRECATED, DELETING = "deprecatedMs", "deletingMs"


def create(
    item: Item, writer: Writer, registers: Mapping[str, Any], tags: Mapping[str, str]
) -> Item:
    """Begin a command in the place of nothing, or of one that is gone."""
    write = writer.write(item).begin()
    return resource.fill(write, item, registers, {TAGS: tags}).done()


def deprecate(item: Item, writer: Writer, *, is_deprecated: bool) -> dict[str, Any]:
    """The register that says so; none where it is so already, as its moment counts."""
    if is_deprecated == (item.register(DEPRECATED) is not None):
        return {}
    return {DEPRECATED: writer.now_ms if is_deprecated else None}


def delete(item: Item, writer: Writer) -> Item:
    """Delete at once what nothing runs of any more; else mark it, if that was not done yet."""
    if _is_over(item.register(DEPRECATED), writer.now_ms):
        return registry.delete(item, writer)
    if is_being_deleted(item):
        return item
    return writer.write(item).set(DELETING, writer.now_ms).done(tightens=True)


def is_there(item: Item, now_ms: int) -> bool:
    """Whether there is such a command, be it one that is being deleted."""
    return bool(item.lives) and not _is_over(item.register(DELETING), now_ms)


def is_being_deleted(item: Item) -> bool:
    return item.register(DELETING) is not None


def _is_over(since_ms: int | None, now_ms: int) -> bool:
    return since_ms is not None and now_ms - since_ms >= 1000 * TIMEOUT_MAX_S


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a command is listed, until it is being deleted."""
    if item.lives and not is_being_deleted(item):
        yield (COMMAND,), lists.by_creation(item)
