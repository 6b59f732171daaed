"""The one way to write a region's items, and to merge a peer's into them.

Writers read their own writes: what ``update`` returns is in the view. Each write is compare-and-set
on its key, so several processes may write the same region's log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from isthmus.core import item as items
from isthmus.core import registry
from isthmus.core.item import Item
from isthmus.errors import StaleRevision, Unavailable
from isthmus.ports import ChangeLog
from isthmus.region.log_view import LogView

_log = logging.getLogger(__name__)

#: A write that loses its compare-and-set this often meets something that is not contention.
ATTEMPTS_MAX = 50
Change = Callable[[Item], Item | None]


class ItemStore(LogView):
    """The view of a region's log, and writes to it."""

    def __init__(self, log: ChangeLog) -> None:
        super().__init__()
        self.log = log

    async def update(self, kind: str, key: str, change: Change) -> tuple[Item, int]:
        """Write ``change(present)``, again from the newest version if somebody else wrote first.

        Returns the item and its revision. Where ``change`` returns None or the present bytes,
        nothing is written.
        """
        item, revision = self.get(kind, key), self.revision(kind, key)
        for _ in range(ATTEMPTS_MAX):
            wanted = change(item)
            if wanted is None or (revision and wanted.encode() == item.encode()):
                return item, revision
            try:
                written = await self.log.put(wanted, revision)
            except StaleRevision:
                stored = await self.log.get(kind, key)
                item, revision = stored.item, stored.revision
                continue
            if written > self.revision(kind, key):
                self.apply(wanted, written)
            return wanted, written
        raise Unavailable(f"{kind} {key!r} changed {ATTEMPTS_MAX} times while it was being written")

    async def merge(self, theirs: Item) -> bool:
        """Join a peer's version into ours; True if that changed anything."""
        before = self.get(theirs.kind, theirs.key)
        lost: list[items.Conflict] = []

        def change(mine: Item) -> Item:
            lost[:] = items.conflicts(mine, theirs)
            return items.join(mine, theirs)

        after, _ = await self.update(theirs.kind, theirs.key, change)
        for conflict in lost:
            await self._list(conflict)
        return after is not before

    async def _list(self, conflict: items.Conflict) -> None:
        listed = registry.conflict_item(conflict)
        await self.update(listed.kind, listed.key, lambda mine: items.join(mine, listed))
        extra = {"action": "conflict", "item": f"{conflict.kind}/{conflict.key}{conflict.path}"}
        _log.warning("two regions wrote the same field at once", extra=extra)
