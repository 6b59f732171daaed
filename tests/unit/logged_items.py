"""A region's items and its log, for tests of what is made of them."""

from __future__ import annotations

from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock


class LoggedItems:
    """Writes items, and remembers every version in the order of its log."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self.log: list[Item] = []
        self.writer = Writer(StampClock("eu", "i"), 1)
        self.elsewhere = Writer(StampClock("us", "i"), 1)

    def get(self, kind: str, key: str) -> Item:
        return self.items.get((kind, key)) or Item(kind, key)

    def put(self, item: Item) -> None:
        self.items[item.kind, item.key] = item
        self.log.append(item)
