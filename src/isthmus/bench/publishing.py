"""Closed loop: every client publishes at QoS 1 as fast as it is answered.

A client's publishes are encoded once, as two chunks of half a window each, and are sent over and
over: a chunk leaves when everything that it was sent for before is acknowledged. So nothing is
done per message, and the packet ids of what is unanswered are different at any time.
"""

from __future__ import annotations

import random

from isthmus.bench.client import Dialler, Faults
from isthmus.bench.plan import Client, LoadPlan, Outcome, Publishing
from isthmus.bench.publisher import Publisher, settle
from isthmus.bench.watch import Watch
from isthmus.wire.mqtt3_encode import encode_publish


class Pusher(Publisher):
    """One client with two chunks."""

    def __init__(self, client: Client, faults: Faults, load: Publishing, seed: int) -> None:
        self._half = load.window // 2
        super().__init__(client, faults, ids=2 * self._half)
        rng = random.Random(seed)
        self._chunks = [self._chunk(first, load, rng) for first in (1, 1 + self._half)]
        self._next = 0

    def _chunk(self, first: int, load: Publishing, rng: random.Random) -> bytes:
        return b"".join(
            encode_publish(
                self.client.topic, rng.randbytes(load.payload_bytes), qos=1, packet_id=first + each
            )
            for each in range(self._half)
        )

    def push(self) -> None:
        """Send what may be sent."""
        while self.running and self.acks.owed <= self._half:
            self.acks.sent += self._half
            self.write(self._chunks[self._next])
            self._next = 1 - self._next

    def acknowledged(self, count: int) -> None:
        self.push()


async def publish(plan: LoadPlan, load: Publishing, watch: Watch) -> Outcome:
    """Connect everybody, warm up, measure, and wait for what is owed."""
    faults = Faults()
    clients = [*plan.clients, *plan.crowd(load.crowd)]
    pushers = [Pusher(each, faults, load, seed) for seed, each in enumerate(clients)]
    await Dialler(plan).connect_all(pushers)

    def acked() -> int:
        return sum(each.acks.acked for each in pushers)

    for each in pushers:
        each.push()
    await faults.during(plan.warm_up_s)
    watch.begin()
    before = acked()
    await faults.during(plan.seconds)
    count = acked() - before
    watch.end()
    acknowledged = await settle(pushers, faults)
    for each in pushers:
        each.leave()
    return Outcome(count=count, acknowledged=acknowledged, **watch.figures())
