"""Connections that do nothing, and what a server's memory grows by for each."""

from __future__ import annotations

from isthmus.bench.client import Dialler, Faults, MqttClient
from isthmus.bench.plan import Holding, LoadPlan, Outcome
from isthmus.bench.watch import Watch


async def hold(plan: LoadPlan, load: Holding, watch: Watch) -> Outcome:
    """Read the servers' memory with few connections, and with many."""
    faults, dialler = Faults(), Dialler(plan)
    clients = [MqttClient(each, faults) for each in plan.crowd(load.last)]
    # The first ones pay for what is needed once.
    await dialler.connect_all(clients[: load.first])
    before = watch.memory()
    watch.begin()
    await dialler.connect_all(clients[load.first :])
    watch.end()
    after = watch.memory()
    faults.check()
    for each in clients:
        each.leave()
    return Outcome(
        count=load.last - load.first,
        memory_growth={name: after[name] - before[name] for name in after},
        **watch.figures(),
    )
