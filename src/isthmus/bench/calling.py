"""Closed loop: every connection makes a thing, describes it, lists a page and deletes it.

What is counted is answers, and every one of them is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from isthmus.bench import closed_loop
from isthmus.bench.api_client import ApiClient, Server
from isthmus.bench.plan import Calling, LoadPlan, Outcome
from isthmus.bench.watch import Watch
from isthmus.errors import BrokenInvariant


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

    loops = (again_and_again(each) for each in range(load.connections))
    return await closed_loop.count(plan, watch, loops, lambda: answered)


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
