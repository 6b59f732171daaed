"""Every client does a full handshake, CONNECT and CONNACK, leaves, and begins again."""

from __future__ import annotations

from isthmus.bench import closed_loop
from isthmus.bench.client import Dialler, Faults, MqttClient
from isthmus.bench.plan import Client, Connecting, LoadPlan, Outcome
from isthmus.bench.watch import Watch


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

    loops = (again_and_again(each) for each in plan.clients[: load.at_once])
    return await closed_loop.count(plan, watch, loops, lambda: accepted, faults.during)
