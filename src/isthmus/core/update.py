"""One write of one item: proposed from the newest version, and again if somebody else was first.

The log takes a version only over the revision that its writer saw, so several processes may write
one region's log. ``Merge`` is the same for a peer's version, and lists what its join discards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from isthmus.core import conflicts
from isthmus.core import item as items
from isthmus.core.item import Conflict, Item
from isthmus.errors import Unavailable

#: A write that loses its compare-and-set this often meets something that is not contention.
ATTEMPTS_MAX = 50
Change = Callable[[Item], Item | None]


class Versions(Protocol):
    """The newest versions that a writer knows of."""

    def get(self, kind: str, key: str) -> Item: ...
    def revision(self, kind: str, key: str) -> int: ...
    def apply(self, item: Item, revision: int) -> None: ...


class Update:
    """Until ``proposal`` answers None: write ``first``, put what it answers, and tell."""

    def __init__(self, log: Versions, kind: str, key: str, change: Change) -> None:
        self.item = log.get(kind, key)
        #: Of ``item``; 0 where there is none yet.
        self.revision = log.revision(kind, key)
        self._log = log
        self._change = change
        self._attempts = 0
        #: Whether anything was written at all.
        self.is_written = False

    def proposal(self) -> Item | None:
        """The version to write, or None where the item is as it should be.

        Raises Unavailable when this was answered too often.
        """
        if self.is_written:
            return None
        wanted = self._change(self.item)
        if wanted is None or (self.revision and _equal(wanted, self.item)):
            return None
        self._attempts += 1
        if self._attempts > ATTEMPTS_MAX:
            name = f"{wanted.kind} {wanted.key!r}"
            raise Unavailable(f"{name} changed {ATTEMPTS_MAX} times while it was being written")
        return wanted

    def first(self) -> Sequence[Update]:
        """What must be written before the proposal, so that no crash can lose it."""
        return ()

    def stale(self, item: Item, revision: int) -> None:
        """Somebody wrote first: this is what the log has now."""
        self._seen(item, revision)

    def written(self, item: Item, revision: int) -> None:
        """The proposal is in the log."""
        self._seen(item, revision)
        self.is_written = True

    def _seen(self, item: Item, revision: int) -> None:
        # Who writes reads what he built on, and his own writes: the view has them too.
        if revision > self._log.revision(item.kind, item.key):
            self._log.apply(item, revision)
        self.item, self.revision = item, revision


def _equal(a: Item, b: Item) -> bool:
    return a is b or a.encode() == b.encode()


class Merge(Update):
    """Joins a peer's version into ours."""

    def __init__(self, log: Versions, theirs: Item) -> None:
        super().__init__(log, theirs.kind, theirs.key, self._join)
        self._theirs = theirs
        #: What theirs was joined with last.
        self.mine = self.item
        #: What the join had to discard though its writer knew no better.
        self.conflicts: list[Conflict] = []

    def _join(self, mine: Item) -> Item:
        self.mine = mine
        self.conflicts = items.conflicts(mine, self._theirs)
        return items.join(mine, self._theirs)

    def first(self) -> list[Update]:
        """The writes that list the conflicts: the same items in every region.

        Once the join is written nobody finds the conflict again.
        """
        return [Merge(self._log, conflicts.item(each)) for each in self.conflicts]
