"""Closed loop: every client publishes at QoS 1 as fast as it is answered.

A client's publishes are encoded once, as two chunks of half a window each, and are sent over and
over: a chunk leaves when everything that it was sent for before is acknowledged. So nothing is
done per message, and the packet ids of what is unanswered are different at any time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from isthmus.bench.acks import AckReader
from isthmus.bench.client import Dialler, Faults, MqttClient
from isthmus.bench.plan import Client, LoadPlan, Outcome, Publishing
from isthmus.bench.watch import Watch
from isthmus.errors import Unavailable
from isthmus.wire.mqtt3_encode import encode_publish

#: Until everything that was sent must be answered, once nothing more is sent.
SETTLE_S = 15.0


class Publisher(MqttClient):
    """One client with two chunks."""

    def __init__(
        self, client: Client, faults: Faults, load: Publishing, rng: random.Random
    ) -> None:
        super().__init__(client, faults)
        self._half = load.window // 2
        self._chunks = [self._chunk(first, load, rng) for first in (1, 1 + self._half)]
        self._next = 0
        self.acks = AckReader(2 * self._half)
        self._running = False
        #: Everything that was sent is acknowledged, and no more will be.
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def _chunk(self, first: int, load: Publishing, rng: random.Random) -> bytes:
        return b"".join(
            encode_publish(
                self.client.topic, rng.randbytes(load.payload_bytes), qos=1, packet_id=first + each
            )
            for each in range(self._half)
        )

    def start(self) -> None:
        self._running = True
        self._send()
        self._send()

    def stop(self) -> None:
        self._running = False
        self._check_settled()

    def received(self, data: bytes) -> None:
        self.acks.feed(data)
        if self._running:
            while self.acks.owed <= self._half:
                self._send()
        else:
            self._check_settled()

    def _check_settled(self) -> None:
        if not self.acks.owed and not self.settled.done():
            self.settled.set_result(None)

    def _send(self) -> None:
        self.acks.sent += self._half
        self.write(self._chunks[self._next])
        self._next = 1 - self._next


async def publish(plan: LoadPlan, load: Publishing, watch: Watch) -> Outcome:
    """Connect everybody, warm up, measure, and wait for what is owed."""
    faults, rng = Faults(), random.Random(0)
    publishers = [Publisher(each, faults, load, rng) for each in plan.clients]
    await Dialler(plan).connect_all(publishers)

    def acked() -> int:
        return sum(each.acks.acked for each in publishers)

    for each in publishers:
        each.start()
    await faults.during(plan.warm_up_s)
    watch.begin()
    before = acked()
    await faults.during(plan.seconds)
    count = acked() - before
    watch.end()
    await settle(publishers, faults)
    for each in publishers:
        each.leave()
    return Outcome(
        count=count,
        seconds=watch.seconds,
        acknowledged=acked(),
        generator_cpu=watch.generator_cpu,
        server_cpu=watch.server_cpu,
        other_cpu=watch.other_cpu,
    )


async def settle(publishers: Sequence[Publisher], faults: Faults) -> None:
    """Send nothing more, and wait until nothing is owed; raises Unavailable if it stays owed."""
    for each in publishers:
        each.stop()
    if not await faults.until([each.settled for each in publishers], SETTLE_S):
        owed = sum(each.acks.owed for each in publishers)
        raise Unavailable(f"{owed} publishes were not acknowledged within {SETTLE_S:.0f} s")
