"""The newest entries of a log, for who does not hold all items of their kinds.

There may be many such items, of which a request needs one. What was written lately is here, as the
entry that it came with until somebody asks for it; for what is not, the log is asked. Everything is
here that has come since the newest entry that was dropped: so what the log said before that, and
was overtaken perhaps, is not taken in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from isthmus.core import item as items
from isthmus.core.item import Item

#: What is kept at most: items, and bytes.
ITEMS_MAX = 4_096
BYTES_MAX = 64 * 1024**2
#: Bytes of an item that is decoded, for each byte of its entry: measured, for shadows.
DECODED = 8


class _Kept:
    """An item, or the entry that it is in."""

    __slots__ = ("item", "revision", "size")

    def __init__(self, item: Item | bytes, revision: int, size: int) -> None:
        self.item = item
        self.revision = revision
        self.size = size


class Lately:
    """Items by kind and key, each with its revision."""

    def __init__(
        self,
        decode: Callable[[bytes], Item] = items.decode,
        items_max: int = ITEMS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._decode = decode
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._bytes = 0
        #: Whatever was written or read last is the last one.
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        #: The greatest revision of what was dropped.
        self._dropped = 0

    def __contains__(self, name: tuple[str, str]) -> bool:
        return name in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, kind: str, key: str) -> Item:
        """The newest version, or an empty item where it is not here; raises InputError."""
        kept = self._kept.get((kind, key))
        if kept is None:
            return Item(kind, key)
        item = kept.item
        if isinstance(item, bytes):
            item = self._decode(item)
            self._keep((kind, key), _Kept(item, kept.revision, DECODED * kept.size))
        else:
            self._kept.move_to_end((kind, key))
        return item

    def revision(self, kind: str, key: str) -> int:
        """The log's revision of it, 0 where it is not here."""
        kept = self._kept.get((kind, key))
        return kept.revision if kept else 0

    def note(self, kind: str, key: str, payload: bytes, revision: int) -> None:
        """The log's next entry has come."""
        if revision > self.revision(kind, key):
            self._keep((kind, key), _Kept(payload, revision, len(payload)))

    def apply(self, item: Item, revision: int) -> None:
        """The log has said, of whatever it was asked, that it has this version."""
        is_newest = revision > self._dropped
        if is_newest and revision >= self.revision(item.kind, item.key):
            size = DECODED * len(item.encode())
            self._keep((item.kind, item.key), _Kept(item, revision, size))

    def _keep(self, name: tuple[str, str], kept: _Kept) -> None:
        before = self._kept.pop(name, None)
        self._kept[name] = kept
        self._bytes += kept.size - (before.size if before else 0)
        while len(self._kept) > self._items_max or self._bytes > self._bytes_max:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.size
            self._dropped = max(self._dropped, dropped.revision)
