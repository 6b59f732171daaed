"""Open loop: publishes leave at a rate, however late their answers are.

The time of an answer counts from when its publish was due, not from when it could be sent. So a
server that stalls is charged for everybody whom it kept waiting, and a generator that is late
itself makes the figure worse, never better.
"""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from isthmus.bench.client import Dialler, Faults, MqttClient
from isthmus.bench.crowd import Idler, Losses, keep_alive
from isthmus.bench.percentiles import percentiles
from isthmus.bench.plan import Client, LoadPlan, Offering, Outcome
from isthmus.bench.publisher import Publisher, settle
from isthmus.bench.watch import Watch
from isthmus.clock import monotonic_s
from isthmus.tasks import end
from isthmus.wire.mqtt3_encode import encode_publish

#: What is due is sent this often.
TICK_S = 0.001
#: Packet ids of one client; no more publishes may be owed to it.
IDS = 10_000


class Schedule(NamedTuple):
    """When each publish is due; clients take turns."""

    start_s: float
    per_s: float
    clients: int

    def due_s(self, number: int) -> float:
        """When a publish is due, of all that there are."""
        return self.start_s + number / self.per_s

    def due_of_s(self, client: int, number: int) -> float:
        """When a publish is due, of those of one client."""
        return self.due_s(number * self.clients + client)


class Sender(Publisher):
    """One client, and when it was answered."""

    def __init__(self, client: Client, faults: Faults, payload: bytes) -> None:
        super().__init__(client, faults, IDS)
        self._payload = payload
        #: When each of its publishes was acknowledged, in their order.
        self.answered_s = array("d")

    def publish(self) -> None:
        if self.acks.owed >= IDS:
            self.faults.tell(f"{self.client.client_id}: {IDS} publishes are not acknowledged")
            return
        packet_id = self.acks.sent % IDS + 1
        self.acks.sent += 1
        self.write(encode_publish(self.client.topic, self._payload, qos=1, packet_id=packet_id))

    def acknowledged(self, count: int) -> None:
        now_s = monotonic_s()
        self.answered_s.extend(now_s for _ in range(count))


async def offer(plan: LoadPlan, load: Offering, watch: Watch) -> Outcome:
    """Connect everybody, publish at the rate, and time what was due in the measured seconds."""
    faults, payload = Faults(), random.Random(0).randbytes(load.payload_bytes)
    senders = [Sender(each, faults, payload) for each in plan.clients]
    losses = Losses()
    idlers = [Idler(each, losses) for each in plan.crowd(load.crowd)]
    await Dialler(plan).connect_all([*idlers, *senders])
    schedule = Schedule(monotonic_s(), load.per_s, len(senders))
    late_s = array("d")
    pacing = asyncio.create_task(_pace(schedule, senders, late_s))
    keeping = asyncio.create_task(keep_alive(idlers))
    try:
        await faults.during(plan.warm_up_s)
        watch.begin()
        from_s, first_late = monotonic_s(), len(late_s)
        await faults.during(plan.seconds)
        to_s = monotonic_s()
        watch.end()
    finally:
        await end([pacing, keeping])
    acknowledged = await settle(senders, faults)
    clients: list[MqttClient] = [*senders, *idlers]
    for each in clients:
        each.leave()
    latencies_s = [
        answered_s - due_s
        for client, sender in enumerate(senders)
        for number, answered_s in enumerate(sender.answered_s)
        if from_s <= (due_s := schedule.due_of_s(client, number)) < to_s
    ]
    return Outcome(
        count=len(latencies_s),
        acknowledged=acknowledged,
        dropped=losses.count,
        latency_ms=_ms(latencies_s),
        late_ms=_ms(late_s[first_late:]),
        **watch.figures(),
    )


async def _pace(schedule: Schedule, senders: Sequence[Sender], late_s: array[float]) -> None:
    """Send everything that is due, for ever."""
    number = 0
    while True:
        now_s = monotonic_s()
        while (due_s := schedule.due_s(number)) <= now_s:
            senders[number % len(senders)].publish()
            late_s.append(now_s - due_s)
            number += 1
        await asyncio.sleep(TICK_S)


def _ms(values_s: Sequence[float]) -> dict[str, float]:
    return {name: value * 1000 for name, value in percentiles(values_s).items()}
