"""Asks what many connections wait for together, in as few messages as keep nobody waiting.

A message wakes every process on its way, which costs more than a request in it. So one is sent at
once where none is under way, and further ones only when they are worth it: once enough is there for
one, or its first request has waited long enough. Then a quiet gateway answers without delay, and a
busy one asks for as many at a time as come while it waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import NamedTuple

from isthmus.protocol import DeviceReply, DeviceRequest
from isthmus.tasks import end

#: Messages under way; what comes meanwhile goes into the next ones.
AT_ONCE = 8
#: Requests that are worth a message beside others.
WORTH = 64
#: Seconds after which any are, as answers may be slow: those that another region confirms.
PATIENCE_S = 0.05
#: Requests in a message, and bytes after which there is no further one.
MAX = 256
MAX_BYTES = 256 * 1024


class _Waiting(NamedTuple):
    """Requests of one connection that are asked in one message, and who waits for the replies."""

    requests: list[DeviceRequest]
    replies: asyncio.Future[list[DeviceReply]]


class Together:
    """What waits in one gateway process."""

    def __init__(
        self,
        ask: Callable[[list[DeviceRequest]], Awaitable[list[DeviceReply]]],
        all_is_said: Callable[[], None],
    ) -> None:
        """``ask`` sends one message, and returns a reply to each request in it.

        ``all_is_said`` is called behind those who hear of replies to one message, if there are
        events among these for them to say.
        """
        self._ask = ask
        self._all_is_said = all_is_said
        self._waiting: deque[_Waiting] = deque()
        #: Requests in it.
        self._count = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._patience: asyncio.TimerHandle | None = None
        self._is_called = self._is_late = self._is_stopped = False

    async def replies(self, requests: list[DeviceRequest]) -> list[DeviceReply]:
        """Ask, in their order; raises what ``ask`` raises."""
        replies: asyncio.Future[list[DeviceReply]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(requests, replies))
        self._count += len(requests)
        if not self._is_called:
            # Others ask in this turn of the loop, too.
            self._is_called = True
            asyncio.get_running_loop().call_soon(self._send)
        return await replies

    async def stop(self) -> None:
        """Ask nothing more."""
        self._is_stopped = True
        self._be_patient(False)
        await end(self._under_way)

    def _send(self) -> None:
        """Send what is worth a message."""
        self._is_called = False
        while self._waiting and len(self._under_way) < AT_ONCE and not self._is_stopped:
            if self._under_way and self._count < WORTH and not self._is_late:
                break
            self._is_late = False
            asked = list(self._next())
            if not asked:
                break
            task = asyncio.create_task(self._ask_for(asked))
            self._under_way.add(task)
            task.add_done_callback(self._answered)
        self._be_patient(bool(self._waiting) and not self._is_stopped)

    def _be_patient(self, is_anybody_waiting: bool) -> None:
        if not is_anybody_waiting and self._patience is not None:
            self._patience.cancel()
            self._patience = None
        elif is_anybody_waiting and self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(PATIENCE_S, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        self._is_late = True
        self._send()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._send()

    def _next(self) -> Iterator[_Waiting]:
        count = size = 0
        while self._waiting and count < MAX and size < MAX_BYTES:
            each = self._waiting.popleft()
            self._count -= len(each.requests)
            # Not what nobody waits for any more.
            if not each.replies.done():
                count += len(each.requests)
                size += sum(len(request.payload) for request in each.requests)
                yield each

    async def _ask_for(self, asked: list[_Waiting]) -> None:
        try:
            replies = await self._ask([each for requests, _ in asked for each in requests])
        except BaseException as error:
            for _, waiting in asked:
                if not waiting.done():
                    waiting.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        rest = iter(replies)
        for requests, waiting in asked:
            own = list(islice(rest, len(requests)))
            if not waiting.done():
                waiting.set_result(own)
        if any(reply.events for reply in replies):
            # Behind those who wait for what was just set, and then say it.
            asyncio.get_running_loop().call_soon(self._all_is_said)
