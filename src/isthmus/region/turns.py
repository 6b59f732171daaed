"""One after another, where what one does must be seen by the next.

An item is written by compare-and-set, so two that change it at once need nothing more. What is
counted over several items, as they are listed, is not in any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from isthmus.core.table import Path


class Turns:
    """Turns by path, of one process; a path that nobody waits for takes no memory."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, *path: str) -> AsyncIterator[None]:
        """Wait for everybody who came before under this path; others wait until this ends."""
        async with self._locks.setdefault(path, asyncio.Lock()):
            yield
