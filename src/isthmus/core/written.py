"""What somebody has written and waits for: versions of items, by their revisions in the log.

A peer has applied a revision once it has read the log beyond it, *if the log still had it then*. It
has the newest version of each item and no other, so what was overtaken before the peer came there
was never read by it. Whoever asks finds it in the newest version, as writers build on what is
there: then that is what is waited for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

#: Kind and key.
Name = tuple[str, str]


class Written:
    """Revisions by item."""

    def __init__(self, revisions: Mapping[Name, int] | None = None) -> None:
        self._revisions = dict(revisions or {})

    def __bool__(self) -> bool:
        return bool(self._revisions)

    def __len__(self) -> int:
        return len(self._revisions)

    def note(self, kind: str, key: str, revision: int) -> None:
        """A version is in the log that somebody wants to be kept; 0 where there is none."""
        if revision:
            self._revisions[kind, key] = max(revision, self._revisions.get((kind, key), 0))

    def copy(self) -> Written:
        return Written(self._revisions)

    def add(self, other: Written) -> None:
        """Wait for what somebody else waits for, too."""
        for (kind, key), revision in other._revisions.items():
            self.note(kind, key, revision)

    @property
    def names(self) -> Collection[Name]:
        return self._revisions.keys()

    @property
    def newest(self) -> int:
        """Up to where the log must be applied; 0 where nothing was written."""
        return max(self._revisions.values(), default=0)

    def is_overtaken(self, newest: Mapping[Name, int]) -> bool:
        """Whether the log has newer versions than were waited for, which are waited for now.

        ``newest`` is of a moment after a peer had applied what was.
        """
        overtaken = {
            name: newest[name]
            for name, revision in self._revisions.items()
            if newest.get(name, 0) > revision
        }
        self._revisions |= overtaken
        return bool(overtaken)
