"""Clients that do something again and again, and how often it was done in the measured time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from isthmus.bench.plan import LoadPlan, Outcome
from isthmus.bench.watch import Watch
from isthmus.tasks import end

#: Waits for so many seconds; raises where something fails meanwhile.
During = Callable[[float], Awaitable[None]]


async def count(
    plan: LoadPlan,
    watch: Watch,
    loops: Iterable[Coroutine[Any, Any, None]],
    done: Callable[[], int],
    during: During = asyncio.sleep,
) -> Outcome:
    """Run loops that never end; ``done`` says how often they have done what is counted."""

    async def measure() -> int:
        await during(plan.warm_up_s)
        watch.begin()
        before = done()
        await during(plan.seconds)
        counted = done() - before
        watch.end()
        return counted

    tasks = [asyncio.create_task(each) for each in loops]
    measuring = asyncio.create_task(measure())
    try:
        # A loop never ends by itself: whichever does has failed.
        ended, _ = await asyncio.wait({*tasks, measuring}, return_when=asyncio.FIRST_COMPLETED)
        for each in ended:
            each.result()
        counted = measuring.result()
    finally:
        await end([*tasks, measuring])
    return Outcome(count=counted, **watch.figures())
