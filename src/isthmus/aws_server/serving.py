"""Takes what gateways ask over NATS, while this process may answer, and not more than it can.

Of the processes of a region one gets each request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from isthmus.adapters.nats.connection import leave
from isthmus.tasks import end

#: Between two looks at whether this process may answer.
TICK_S = 0.1
#: Requests that are carried out at once, and those that wait; beyond that gateways hear nothing,
#: and devices ask again.
AT_ONCE = 32
WAITING_MAX = 256


class Serving:
    """Those of one subject."""

    def __init__(
        self,
        client: Client,
        subject: str,
        is_open: Callable[[], bool],
        answer: Callable[[Msg], Coroutine[Any, Any, None]],
    ) -> None:
        """``is_open``: whether the region has caught up. ``answer`` raises nothing."""
        self._client = client
        self._subject = subject
        self._is_open = is_open
        self._answer = answer
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer whenever this process may, until cancelled: others are asked meanwhile."""
        taking: Subscription | None = None
        try:
            while True:
                if self._is_open() and taking is None:
                    taking = await self._client.subscribe(
                        self._subject,
                        "api",
                        cb=self._on_request,
                        pending_msgs_limit=WAITING_MAX,
                    )
                elif not self._is_open() and taking is not None:
                    # What is there already is answered. That waits for NATS, which may be silent.
                    leaving = asyncio.create_task(leave(taking))
                    self._tasks.add(leaving)
                    leaving.add_done_callback(self._tasks.discard)
                    taking = None
                await asyncio.sleep(TICK_S)
        finally:
            await end(self._tasks)

    async def _on_request(self, message: Msg) -> None:
        # The next one is not taken before there is room for it.
        await self._at_once.acquire()
        task = asyncio.create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._at_once.release()
