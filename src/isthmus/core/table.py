"""Where a view keeps its items, and the names that they are listed under.

Nothing in a table is needed: all of it comes from the region's log and can be read there again. So
a table may lose what it took last, if only its position goes back with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from sortedcontainers import SortedSet

from isthmus.core.item import Item

#: What is listed together: the first part says of what and how, the others of which.
Path = tuple[str, ...]


class Row(NamedTuple):
    """An item as a table has it."""

    item: Item
    #: The log's revision of it, 0 where the log has none yet.
    revision: int


class Table(Protocol):
    """Items by kind and key, each with its revision; sorted names by path; and the log's position.

    Names are in the order of their characters' numbers. Whoever reads a list may change the table
    meanwhile; what he is given then is what is there when he asks for it.
    """

    #: Everything in the log up to here has been put.
    position: int

    def __len__(self) -> int: ...

    def get(self, kind: str, key: str) -> Row | None: ...

    def put(self, item: Item, revision: int) -> None: ...

    def of_kind(self, kind: str) -> Iterator[Item]:
        """Every item of a kind, by key."""
        ...

    def enlist(self, names: Iterable[tuple[Path, str]]) -> None: ...

    def strike(self, names: Iterable[tuple[Path, str]]) -> None: ...

    def names(self, path: Path, start: str | None, *, inclusive: bool) -> Iterator[str]:
        """The names under a path from a name on, or behind it; all of them for None."""
        ...

    def names_down(self, path: Path, start: str | None) -> Iterator[str]:
        """The names under a path before a name, the last one first; all of them for None."""
        ...

    def count(self, path: Path) -> int: ...

    def hashes(self) -> Iterator[tuple[str, str, int]]:
        """Kind, key and ``item_hash`` of every item, by kind and key."""
        ...

    @property
    def digest(self) -> int:
        """The exclusive or of all hashes."""
        ...

    def save(self) -> None:
        """All that was put may be kept now, with the position: it belongs together."""
        ...

    def close(self) -> None:
        """Save, and use it no more."""
        ...


def item_hash(encoded: bytes) -> int:
    """128 bits of an encoded item."""
    return int.from_bytes(hashlib.sha256(encoded).digest()[:16], "big")


class MemoryTable:
    """A table that ends with its process."""

    def __init__(self) -> None:
        self.position = 0
        self._rows: dict[tuple[str, str], Row] = {}
        self._hashes: dict[tuple[str, str], int] = {}
        self._digest = 0
        #: What has no hash yet, or an older version's: they are made when they are asked for.
        self._unhashed: set[tuple[str, str]] = set()
        self._names: dict[Path, SortedSet[str]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, kind: str, key: str) -> Row | None:
        return self._rows.get((kind, key))

    def put(self, item: Item, revision: int) -> None:
        at = (item.kind, item.key)
        self._rows[at] = Row(item, revision)
        self._unhashed.add(at)

    def of_kind(self, kind: str) -> Iterator[Item]:
        return (self._rows[at].item for at in sorted(self._rows) if at[0] == kind)

    def enlist(self, names: Iterable[tuple[Path, str]]) -> None:
        for path, name in names:
            held = self._names.get(path)
            if held is None:
                # Not setdefault: to make a sorted set takes longer than to add to one.
                held = self._names[path] = SortedSet()
            held.add(name)

    def strike(self, names: Iterable[tuple[Path, str]]) -> None:
        for path, name in names:
            held = self._names.get(path)
            if held is not None:
                held.discard(name)
                if not held:
                    del self._names[path]

    def names(self, path: Path, start: str | None, *, inclusive: bool) -> Iterator[str]:
        while (held := self._names.get(path)) is not None:
            at = 0
            if start is not None:
                at = held.bisect_left(start) if inclusive else held.bisect_right(start)
            if at >= len(held):
                return
            start, inclusive = held[at], False
            yield start

    def names_down(self, path: Path, start: str | None) -> Iterator[str]:
        while (held := self._names.get(path)) is not None:
            at = len(held) if start is None else held.bisect_left(start)
            if not at:
                return
            start = held[at - 1]
            yield start

    def count(self, path: Path) -> int:
        return len(self._names.get(path, ()))

    def hashes(self) -> Iterator[tuple[str, str, int]]:
        self._hash()
        return ((kind, key, each) for (kind, key), each in sorted(self._hashes.items()))

    @property
    def digest(self) -> int:
        self._hash()
        return self._digest

    def _hash(self) -> None:
        for at in self._unhashed:
            new = item_hash(self._rows[at].item.encode())
            self._digest ^= self._hashes.get(at, 0) ^ new
            self._hashes[at] = new
        self._unhashed.clear()

    def save(self) -> None:
        """There is nothing that could outlive the process."""

    def close(self) -> None:
        """There is nothing to be let go."""
