"""Every client does a full handshake, CONNECT and CONNACK, leaves, and begins again."""

from __future__ import annotations

import asyncio

from isthmus.bench.client import Dialler, Faults, MqttClient
from isthmus.bench.plan import Client, Connecting, LoadPlan, Outcome
from isthmus.bench.watch import Watch
from isthmus.tasks import end


async def connect(plan: LoadPlan, load: Connecting, watch: Watch) -> Outcome:
    """Count the connections that were accepted in the measured time."""
    dialler, faults = Dialler(plan), Faults()
    accepted = 0

    async def again_and_again(client: Client) -> None:
        nonlocal accepted
        while True:
            connection = await dialler.connect(MqttClient(client, faults))
            accepted += 1
            connection.leave()

    async def measure() -> int:
        await faults.during(plan.warm_up_s)
        watch.begin()
        before = accepted
        await faults.during(plan.seconds)
        count = accepted - before
        watch.end()
        return count

    tasks = [asyncio.create_task(again_and_again(each)) for each in plan.clients[: load.at_once]]
    measuring = asyncio.create_task(measure())
    try:
        # A client never ends by itself: whoever does has failed.
        done, _waiting = await asyncio.wait(
            {*tasks, measuring}, return_when=asyncio.FIRST_COMPLETED
        )
        for each in done:
            each.result()
        count = measuring.result()
    finally:
        await end([*tasks, measuring])
    return Outcome(count=count, **watch.figures())
