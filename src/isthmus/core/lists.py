"""Names under which items stand in a list that is ordered by a time, mostly of their creation."""

from __future__ import annotations

from isthmus.core import lives
from isthmus.core.item import Item

#: Milliseconds of the year 9999 have as many.
_DIGITS = 15


def by_creation(item: Item) -> str:
    """Sorts by creation, and by key within one millisecond."""
    return f"{at(lives.created_ms(item))} {item.key}"


def at(ms: int) -> str:
    """How such a name begins; it sorts before all names of its millisecond."""
    return f"{ms:0{_DIGITS}d}"


def key_of(name: str) -> str:
    """The key of the item that stands under such a name."""
    return name[_DIGITS + 1 :]
