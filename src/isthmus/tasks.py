"""Ending asyncio tasks for certain.

Before Python 3.12 ``asyncio.wait_for`` loses a cancellation that comes together with what it waits
for, and libraries use it a lot. A task that is cancelled once may then go on for ever, and with it
whoever waits for its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_S = 0.1


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until each has ended; what they raise is nobody's any more."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()
