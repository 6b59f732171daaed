"""A region's items as one process has them, fed by the region's own change log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from isthmus.core import item as items
from isthmus.core.carried import CARRIED
from isthmus.core.catalogue import Listed
from isthmus.core.item import Item
from isthmus.core.table import Table
from isthmus.core.view import Change, View
from isthmus.errors import InputError


class LogView:
    """The view, and the log's position that it has reached."""

    def __init__(
        self,
        table: Table | None = None,
        listed: Mapping[str, Listed] | None = None,
        without: Collection[str] = (),
        decode: Callable[[bytes], Item] | None = None,
    ) -> None:
        """Items of the kinds ``without`` are not held; where its key says so, one is listed."""
        self._without = without
        self.view = View(table, listed)
        self.catalogue = self.view.catalogue
        self._table = self.view.table
        #: Where several views are of one process, they may share what they have read.
        self._decode = decode or items.decode
        self._watchers: dict[str, Callable[[Item], None]] = {}

    @property
    def position(self) -> int:
        """Everything in the log up to here is applied."""
        return self._table.position

    def hear(self, kind: str, changed: Callable[[Item], None]) -> None:
        """Have ``changed`` called with every new version of an item of a kind."""
        self._watchers[kind] = changed

    def watch(self, kind: str, changed: Callable[[Item], None]) -> None:
        """The same, and first with every item of the kind that is known."""
        self.hear(kind, changed)
        for item in self.view.of_kind(kind):
            changed(item)

    def get(self, kind: str, key: str) -> Item:
        """The present version, or an empty item."""
        return self.view.get(kind, key) or Item(kind, key)

    def revision(self, kind: str, key: str) -> int:
        """The log's revision of an item, 0 where it has none."""
        row = self._table.get(kind, key)
        return row.revision if row else 0

    def take(self, sequence: int, kind: str, key: str, payload: bytes) -> Change | None:
        """Take the log's next entry; return what it has changed, None where that was known.

        Raises InputError where it is not the item that its place says. The position has moved on
        nevertheless: it would be the same for everybody, and nobody must wait for it.
        """
        self._table.position = sequence
        if kind in self._without:
            self._pass_by(sequence, kind, key, payload)
            return None
        if sequence <= self.revision(kind, key):
            return None
        item = self._read(kind, key, payload)
        if kind in CARRIED:
            # A batch may have brought a newer version than the log has come to.
            item = items.join(self.get(kind, key), item)
        return self._apply(item, sequence)

    def _pass_by(self, sequence: int, kind: str, key: str, payload: bytes) -> None:
        """An entry has come of an item that is not held."""
        self.catalogue.pass_by(kind, key, lambda: self._read(kind, key, payload))

    def _read(self, kind: str, key: str, payload: bytes) -> Item:
        item = self._decode(payload)
        if (item.kind, item.key) != (kind, key):
            raise InputError(f"it is {item.kind} {item.key[:80]!r}")
        return item

    def join(self, item: Item) -> None:
        """Take in what a batch carries, before the log has it."""
        self._apply(items.join(self.get(item.kind, item.key), item), None)

    def apply(self, item: Item, revision: int) -> None:
        """Take one newer version in."""
        self._apply(item, revision)

    def save(self) -> None:
        """What was applied may be kept for the next start."""
        self._table.save()

    def _apply(self, item: Item, revision: int | None) -> Change:
        change = self.view.apply(item, revision)
        watcher = self._watchers.get(item.kind)
        if watcher is not None:
            watcher(item)
        return change
