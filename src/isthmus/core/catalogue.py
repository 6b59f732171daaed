"""Under what the items of a view are found, in the order in which they are listed.

An index of keys, for whoever answers lists in pages: a page costs what it has entries, wherever in
the list it stands. Each kind says under which paths an item is found: a thing under ``("thing",)``,
and under ``("thing-type", TYPE)`` if it has one. Items say of themselves what is in them and
nothing else, so what is listed of an attachment is for the reader to check against its ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile

from sortedcontainers import SortedSet

from isthmus.core.item import Item

Path = tuple[str, ...]
#: The paths that an item is found under, and the name by which it stands in the list there.
Listed = Callable[[Item], Iterable[tuple[Path, str]]]


class Catalogue:
    """Names by path, sorted."""

    def __init__(self, listed: Mapping[str, Listed]) -> None:
        self._listed = listed
        self._names: dict[Path, SortedSet[str]] = {}

    def note(self, before: Item | None, after: Item) -> None:
        """An item has changed."""
        listed = self._listed.get(after.kind)
        if listed is None:
            return
        old = set(listed(before)) if before is not None else set()
        new = set(listed(after))
        for path, name in old - new:
            names = self._names[path]
            names.discard(name)
            if not names:
                del self._names[path]
        for path, name in new - old:
            names = self._names.get(path)
            if names is None:
                # Not setdefault: to make a sorted set takes longer than to add to one.
                names = self._names[path] = SortedSet()
            names.add(name)

    def count(self, *path: str) -> int:
        """How many are found under a path."""
        return len(self._names.get(path, ()))

    def after(self, *path: str, name: str | None = None, descending: bool = False) -> Iterator[str]:
        """The names under a path that come behind this one, in order; all of them for None.

        What changes while it is read ends the reading: take what is needed first.
        """
        names = self._names.get(path, SortedSet())
        if descending:
            found = names.irange(maximum=name, inclusive=(True, name is None), reverse=True)
        else:
            found = names.irange(minimum=name, inclusive=(name is None, True))
        yield from found

    def beginning(self, *path: str, prefix: str, name: str | None = None) -> Iterator[str]:
        """The names under a path that begin so and come behind this one, in order."""
        names = self._names.get(path, SortedSet())
        is_within = name is not None and name >= prefix
        found = names.irange(minimum=name if is_within else prefix, inclusive=(not is_within, True))
        yield from takewhile(lambda each: each.startswith(prefix), found)
