"""A region's items in the memory of one process, fed by the region's own change log."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.core import item as items
from isthmus.core.carried import CARRIED
from isthmus.core.catalogue import Catalogue
from isthmus.core.item import Item
from isthmus.core.view import View
from isthmus.errors import InputError


class LogView:
    """The view, the revision of each item in it, and the log's position that it has reached."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.view = View()
        #: For whoever answers lists.
        self.catalogue = catalogue or Catalogue({})
        #: Everything in the log up to here is applied.
        self.position = 0
        self._revisions: dict[tuple[str, str], int] = {}
        self._watchers: dict[str, Callable[[Item], None]] = {}

    def watch(self, kind: str, changed: Callable[[Item], None]) -> None:
        """Have ``changed`` called with every new version of an item of a kind."""
        self._watchers[kind] = changed

    def get(self, kind: str, key: str) -> Item:
        """The present version, or an empty item."""
        return self.view.get(kind, key) or Item(kind, key)

    def revision(self, kind: str, key: str) -> int:
        """The log's revision of an item, 0 where it has none."""
        return self._revisions.get((kind, key), 0)

    def take(self, sequence: int, kind: str, key: str, payload: bytes) -> frozenset[str]:
        """Take the log's next entry; return the principals whose rights may change.

        Raises InputError where it is not the item that its place says. The position has moved on
        nevertheless: it would be the same for everybody, and nobody must wait for it.
        """
        self.position = sequence
        if sequence <= self.revision(kind, key):
            return frozenset()
        item = items.decode(payload)
        if (item.kind, item.key) != (kind, key):
            raise InputError(f"it is {item.kind} {item.key[:80]!r}")
        if kind in CARRIED:
            # A batch may have brought a newer version than the log has come to.
            item = items.join(self.get(kind, key), item)
        return self.apply(item, sequence)

    def join(self, item: Item) -> None:
        """Take in what a batch carries, before the log has it."""
        self._apply(items.join(self.get(item.kind, item.key), item))

    def apply(self, item: Item, revision: int) -> frozenset[str]:
        """Take one newer version in."""
        self._revisions[item.kind, item.key] = revision
        return self._apply(item)

    def _apply(self, item: Item) -> frozenset[str]:
        self.catalogue.note(self.view.get(item.kind, item.key), item)
        principals = self.view.apply(item)
        watcher = self._watchers.get(item.kind)
        if watcher is not None:
            watcher(item)
        return principals
