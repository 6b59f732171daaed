"""A change log in memory: a real implementation of the port, for worlds without a disk.

It does at once what the real one does durably, and nothing by chance, so that a simulation that
runs twice sees the same revisions. Items go in and come out as bytes, as they would on a disk:
nobody can change what is stored through an item that is still in their hands.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.errors import StaleRevision


@dataclass(frozen=True, slots=True)
class Stored:
    """An item as the log has it; revision 0 where it has none."""

    item: Item
    revision: int


class MemoryChangeLog:
    """Implements ports.ChangeLog."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._head = 0

    async def get(self, kind: str, key: str) -> Stored:
        """The present version, or an empty item with revision 0."""
        raw, revision = self._newest.get((kind, key), (b"", 0))
        return Stored(items.decode(raw) if revision else Item(kind, key), revision)

    async def put(self, item: Item, revision: int) -> int:
        """Write the next version; raises StaleRevision if ``revision`` is not the present one."""
        at = (item.kind, item.key)
        _, present = self._newest.get(at, (b"", 0))
        if revision != present:
            raise StaleRevision(f"{item.kind} {item.key!r}")
        self._head += 1
        self._newest[at] = (item.encode(), self._head)
        return self._head

    async def head(self) -> int:
        """The position of the newest write."""
        return self._head
