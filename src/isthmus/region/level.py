"""Makes a view as new as its region's log, for who must read what was answered anywhere else.

Whatever any process of the region has written and answered is in the log by then. So a reader asks
for the log's head after it was asked itself, and waits until its view is there. Readers that come
while one asks share the next question, so there is never more than one, however many they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from isthmus.core.log_view import LogView
from isthmus.errors import Unavailable

#: Usually it is a millisecond or two.
TIMEOUT_S = 5.0


class Level:
    """Waits for a view to be level with its log."""

    def __init__(self, log: LogView, head: Callable[[], Awaitable[int]]) -> None:
        self._log = log
        self._head = head
        #: The question that was sent last, and the one that is sent when that is answered.
        self._asked: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None
        self._changed = asyncio.Event()

    def applied(self) -> None:
        """The view has applied more of the log."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def reached(self) -> None:
        """Return once the view has everything that was in the log when this was called.

        Raises Unavailable where the log does not answer in time, or ends before the view: then it
        was restored, and the view has what is no more.
        """
        before = self._log.position
        try:
            async with asyncio.timeout(TIMEOUT_S):
                head = await self._ask()
                if head < before:
                    raise Unavailable(f"the log ends at {head}, before {before}")
                while self._log.position < head:
                    await self._changed.wait()
        except TimeoutError:
            raise Unavailable(f"the view is not level with the log within {TIMEOUT_S} s") from None

    async def _ask(self) -> int:
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asked))
        # Others wait for the same answer, and are not to be cancelled with one of us.
        return await asyncio.shield(self._next)

    async def _ask_after(self, asked: asyncio.Task[int] | None) -> int:
        if asked is not None:
            await asyncio.wait({asked})
        # The head may lack what is answered anywhere from here on: who comes now asks anew.
        self._asked, self._next = self._next, None
        return await self._head()
