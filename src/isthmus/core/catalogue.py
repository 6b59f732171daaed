"""Under what the items of a view are found, in the order in which they are listed.

An index of keys, for whoever answers lists in pages: a page costs what it has entries, wherever in
the list it stands. Each kind says under which paths an item is found: a thing under ``("thing",)``,
and under ``("thing-type", TYPE)`` if it has one. Items say of themselves what is in them and
nothing else, so what is listed of an attachment is for the reader to check against its ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile

from isthmus.core.item import Item
from isthmus.core.table import Path, Table

#: The paths that an item is found under, and the name by which it stands in the list there.
Listed = Callable[[Item], Iterable[tuple[Path, str]]]


class ByKey:
    """Of a kind whose keys say where an item is listed, as long as it is there.

    So who does not hold such items can list them.
    """

    def __init__(
        self, names: Callable[[str], Iterable[tuple[Path, str]]], is_there: Callable[[Item], bool]
    ) -> None:
        self.names = names
        self.is_there = is_there

    def __call__(self, item: Item) -> Iterable[tuple[Path, str]]:
        return self.names(item.key) if self.is_there(item) else ()


class Catalogue:
    """Names by path, sorted, in the table of the items that they are of."""

    def __init__(self, listed: Mapping[str, Listed], table: Table) -> None:
        self._listed = listed
        self._table = table

    def note(self, before: Item | None, after: Item) -> None:
        """An item has changed."""
        listed = self._listed.get(after.kind)
        if listed is None:
            return
        old = set(listed(before)) if before is not None else set()
        new = set(listed(after))
        self._table.strike(old - new)
        self._table.enlist(new - old)

    def pass_by(self, kind: str, key: str, read: Callable[[], Item]) -> None:
        """An item has changed that is not held; it is read only where it may be listed."""
        listed = self._listed.get(kind)
        if isinstance(listed, ByKey) and (names := list(listed.names(key))):
            change = self._table.enlist if listed.is_there(read()) else self._table.strike
            change(names)

    def count(self, *path: str) -> int:
        """How many are found under a path."""
        return self._table.count(path)

    def after(self, *path: str, name: str | None = None, descending: bool = False) -> Iterator[str]:
        """The names under a path that come behind this one, in order; all of them for None."""
        if descending:
            return self._table.names_down(path, name)
        return self._table.names(path, name, inclusive=False)

    def beginning(self, *path: str, prefix: str, name: str | None = None) -> Iterator[str]:
        """The names under a path that begin so and come behind this one, in order."""
        is_within = name is not None and name >= prefix
        found = self._table.names(path, name if is_within else prefix, inclusive=not is_within)
        return takewhile(lambda each: each.startswith(prefix), found)
