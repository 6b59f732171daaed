"""Updates of shadows: each client updates one of its own, and hears that it was accepted.

An update counts when its ``accepted`` is there, not by its PUBACK. A connection's updates are
carried out in their order, so the time of an answer is that of the oldest update without one. At
the end the version of each shadow says how often it was updated, and must be as often as that was
accepted.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Sequence

import msgspec

from isthmus.bench.client import Dialler, Faults, MqttClient
from isthmus.bench.offering import TICK_S, Schedule
from isthmus.bench.percentiles import percentiles
from isthmus.bench.plan import Client, LoadPlan, Outcome, Updating
from isthmus.bench.watch import Watch
from isthmus.clock import monotonic_s
from isthmus.core import shadow_topics, shadows
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import BrokenInvariant, Unavailable
from isthmus.tasks import end
from isthmus.wire import mqtt3
from isthmus.wire.mqtt3_encode import encode, encode_publish
from isthmus.wire.packets import Filter, Publish, Suback, Subscribe

#: Until everything that was sent must be accepted, once nothing more is sent.
SETTLE_S = 15.0
#: Updates that a client of an open loop may have without an answer.
OWED_MAX = 1_000


class _Accepted(msgspec.Struct):
    version: int


class Updater(MqttClient):
    """One client and its shadow."""

    def __init__(self, client: Client, faults: Faults, window: int) -> None:
        super().__init__(client, faults)
        loop = asyncio.get_running_loop()
        self.subscribed: asyncio.Future[None] = loop.create_future()
        #: All that was sent is accepted, and nothing more will be sent.
        self.settled: asyncio.Future[None] = loop.create_future()
        self.running = True
        #: 0: whoever has this client updates when that is due.
        self._window = window
        self._decoder = mqtt3.Decoder()
        key = shadows.key(client.client_id)
        self._answer = shadow_topics.told(key, shadow_topics.UPDATE, shadow_topics.ACCEPTED)
        self._topic = self._answer.rpartition("/")[0]
        #: When each update without an answer was due.
        self._due_s: deque[float] = deque()
        self.sent = self.accepted_count = self.version = 0
        #: For each that was accepted: when it was due, and when that was known.
        self.due_s, self.answered_s = array("d"), array("d")

    def subscribe(self) -> None:
        self.write(encode(Subscribe(1, (Filter(self._answer, 0),))))

    def update(self, due_s: float) -> None:
        """Send the next update."""
        if len(self._due_s) >= OWED_MAX:
            self.faults.tell(f"{self.client.client_id}: {OWED_MAX} updates are not answered")
            return
        self.sent += 1
        self._due_s.append(due_s)
        payload = (
            b'{"state":{"reported":{"temperature":%d,"humidity":41,"fan":"auto","door":'
            b'{"is_open":false,"opened":%d}}},"clientToken":"%d"}'
        ) % (self.sent % 60, self.sent, self.sent)
        packet_id = self.sent % 0xFFFF + 1
        self.write(encode_publish(self._topic, payload, qos=1, packet_id=packet_id))

    def push(self) -> None:
        """Send what may be sent."""
        while self.running and len(self._due_s) < self._window:
            self.update(monotonic_s())

    def stop(self) -> None:
        """Send nothing more."""
        self.running = False
        self._check_settled()

    def received(self, data: bytes) -> None:
        for packet in self._decoder.feed(data):
            if isinstance(packet, Publish):
                self._heard(packet.payload)
            elif isinstance(packet, Suback):
                self.subscribed.set_result(None)
        self.push()
        self._check_settled()

    def _heard(self, payload: bytes) -> None:
        try:
            self.version = msgspec.json.decode(payload, type=_Accepted).version
        except UNDECODABLE:
            raise BrokenInvariant(f"{payload[:80]!r} accepts nothing") from None
        if not self._due_s:
            raise BrokenInvariant("an update that was not sent is accepted")
        self.accepted_count += 1
        self.due_s.append(self._due_s.popleft())
        self.answered_s.append(monotonic_s())

    def _check_settled(self) -> None:
        if not self.running and not self._due_s and not self.settled.done():
            self.settled.set_result(None)


async def update(plan: LoadPlan, load: Updating, watch: Watch) -> Outcome:
    """Connect everybody, warm up, measure, and wait for what is owed."""
    faults = Faults()
    window = 0 if load.per_s else load.window
    updaters = [Updater(each, faults, window) for each in plan.crowd(load.clients)]
    await Dialler(plan).connect_all(updaters)
    for each in updaters:
        each.subscribe()
    if not await faults.until([each.subscribed for each in updaters], SETTLE_S):
        raise Unavailable("not everybody could subscribe")
    pacing = asyncio.create_task(_pace(load, updaters))
    try:
        await faults.during(plan.warm_up_s)
        watch.begin()
        from_s = monotonic_s()
        await faults.during(plan.seconds)
        to_s = monotonic_s()
        watch.end()
    finally:
        await end([pacing])
    await settle(updaters, faults)
    for each in updaters:
        each.leave()
    count, latencies_s = 0, []
    for each in updaters:
        for due_s, answered_s in zip(each.due_s, each.answered_s, strict=True):
            count += from_s <= answered_s < to_s
            if from_s <= due_s < to_s:
                latencies_s.append(answered_s - due_s)
    found = percentiles(latencies_s).items()
    return Outcome(
        count=count,
        acknowledged=sum(each.accepted_count for each in updaters),
        latency_ms={name: 1000 * value for name, value in found},
        **watch.figures(),
    )


async def _pace(load: Updating, updaters: Sequence[Updater]) -> None:
    """Send for ever: all that is due, or as much as is answered."""
    if not load.per_s:
        for each in updaters:
            each.push()
        return
    schedule, number = Schedule(monotonic_s(), load.per_s, len(updaters)), 0
    while True:
        now_s = monotonic_s()
        while (due_s := schedule.due_s(number)) <= now_s:
            updaters[number % len(updaters)].update(due_s)
            number += 1
        await asyncio.sleep(TICK_S)


async def settle(updaters: Sequence[Updater], faults: Faults) -> None:
    """Stop everybody, and hold the shadows to what was accepted once all is."""
    for each in updaters:
        each.stop()
    if not await faults.until([each.settled for each in updaters], SETTLE_S):
        owed = sum(each.sent - each.accepted_count for each in updaters)
        raise Unavailable(f"{owed} updates were not answered within {SETTLE_S:.0f} s")
    for each in updaters:
        if each.version != each.accepted_count:
            reason = f"{each.accepted_count} updates accepted, and the version is {each.version}"
            raise BrokenInvariant(f"{each.client.client_id}: {reason}")
