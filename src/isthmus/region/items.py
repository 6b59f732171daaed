"""The one way to write a region's items, and to merge a peer's into them.

Writers read their own writes: what ``update`` returns is in the view.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import NamedTuple

from isthmus.core.catalogue import Listed
from isthmus.core.item import Item
from isthmus.core.lately import Lately
from isthmus.core.log_view import LogView
from isthmus.core.table import Table
from isthmus.core.update import Change, Merge, Update
from isthmus.core.written import Name
from isthmus.errors import StaleRevision
from isthmus.ports import ChangeLog

_log = logging.getLogger(__name__)

#: Characters of a path in the log: a device may have chosen it.
PATH_SHOWN_MAX = 256


class Merged(NamedTuple):
    """Our version before and after a peer's was joined into it; the same where it said nothing."""

    before: Item
    after: Item
    #: Of the version after, in our log.
    revision: int


class ItemStore(LogView):
    """The view of a region's log, and writes to it."""

    def __init__(
        self,
        log: ChangeLog,
        table: Table | None = None,
        listed: Mapping[str, Listed] | None = None,
        without: Collection[str] = (),
    ) -> None:
        """Items of the kinds ``without`` are not held: the log is asked for them."""
        super().__init__(table, listed, without)
        self.log = log
        self._lately = Lately()

    async def read(self, kind: str, key: str) -> Item:
        """The newest version, held or not; an empty item where there is none."""
        if kind not in self._without:
            return self.get(kind, key)
        if (kind, key) in self._lately:
            return self._lately.get(kind, key)
        stored = await self.log.get(kind, key)
        self._lately.apply(stored.item, stored.revision)
        return stored.item

    async def newest(self, names: Collection[Name]) -> dict[Name, int]:
        """Which revisions of these items are the log's newest, as far as is known here."""
        found = {}
        for kind, key in names:
            if kind not in self._without:
                found[kind, key] = self.revision(kind, key)
            elif (kind, key) in self._lately:
                found[kind, key] = self._lately.revision(kind, key)
            else:
                found[kind, key] = (await self.log.get(kind, key)).revision
        return found

    async def update(self, kind: str, key: str, change: Change) -> tuple[Item, int]:
        """Write ``change(present)``, again from the newest version if somebody else wrote first.

        Returns the item and its revision. Where ``change`` returns None or the present bytes,
        nothing is written.
        """
        if kind not in self._without:
            return await self._perform(Update(self, kind, key, change))
        update = Update(self._lately, kind, key, change)
        if (kind, key) not in self._lately:
            stored = await self.log.get(kind, key)
            update.stale(stored.item, stored.revision)
        return await self._perform(update)

    def _pass_by(self, sequence: int, kind: str, key: str, payload: bytes) -> None:
        self._lately.note(kind, key, payload, sequence)
        super()._pass_by(sequence, kind, key, payload)

    async def _perform(self, update: Update) -> tuple[Item, int]:
        while (wanted := update.proposal()) is not None:
            for each in update.first():
                await self._perform(each)
            try:
                written = await self.log.put(wanted, update.revision)
            except StaleRevision:
                stored = await self.log.get(wanted.kind, wanted.key)
                update.stale(stored.item, stored.revision)
            else:
                update.written(wanted, written)
        return update.item, update.revision

    async def merge(self, theirs: Item) -> Merged:
        """Join a peer's version into ours."""
        merge = Merge(self, theirs)
        after, revision = await self._perform(merge)
        for each in merge.conflicts:
            path = each.path[:PATH_SHOWN_MAX]
            extra = {"action": "conflict", "item": f"{each.kind}/{each.key}{path}"}
            _log.warning("two regions wrote the same field at once", extra=extra)
        return Merged(merge.mine, after, revision)
