"""Closed loop: every connection makes a thing, describes it, lists a page and deletes it.

What is counted is answers, and every one of them is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from isthmus.bench.api_client import ApiClient, Server
from isthmus.bench.plan import Calling, LoadPlan, Outcome
from isthmus.bench.watch import Watch
from isthmus.errors import BrokenInvariant
from isthmus.tasks import end


async def call(plan: LoadPlan, load: Calling, watch: Watch) -> Outcome:
    """Count the answers of the measured time."""
    server = Server.of(plan)
    await make(server, (f"standing-{number}" for number in range(load.standing)), load.connections)
    answered = 0

    async def again_and_again(connection: int) -> None:
        nonlocal answered
        number = 0
        async with ApiClient(server) as client:
            while True:
                name = f"bench-{connection}-{number}"
                await client.create(name)
                answered += 1
                await client.describe(name)
                answered += 1
                names, _ = await client.list_page(load.page)
                if len(set(names)) != load.page:
                    raise BrokenInvariant(f"a page of {load.page} has {len(names)} things")
                answered += 1
                await client.delete(name)
                answered += 1
                number += 1

    async def measure() -> int:
        await asyncio.sleep(plan.warm_up_s)
        watch.begin()
        before = answered
        await asyncio.sleep(plan.seconds)
        count = answered - before
        watch.end()
        return count

    tasks = [asyncio.create_task(again_and_again(each)) for each in range(load.connections)]
    measuring = asyncio.create_task(measure())
    try:
        # A connection never ends by itself: whoever does has failed.
        done, _ = await asyncio.wait({*tasks, measuring}, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
        count = measuring.result()
    finally:
        await end([*tasks, measuring])
    return Outcome(count=count, **watch.figures())


async def make(server: Server, names: Iterable[str], connections: int) -> None:
    """Make things by so many connections at once."""
    waiting = iter(names)

    async def work() -> None:
        async with ApiClient(server) as client:
            for name in waiting:
                await client.create(name)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(work())
