"""One client publishes, and many subscribers get every message."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from isthmus.bench.client import Dialler, Faults, MqttClient
from isthmus.bench.offering import Sender
from isthmus.bench.plan import Client, FanningOut, LoadPlan, Outcome
from isthmus.bench.publisher import settle
from isthmus.bench.watch import Watch
from isthmus.errors import BrokenInvariant, Unavailable
from isthmus.wire import mqtt3_encode
from isthmus.wire.packets import Filter, Subscribe

PACKET_ID = 1
SUBACK = mqtt3_encode.encode_suback(PACKET_ID, (0,))
SUBACK_TIMEOUT_S = 30.0
#: For every subscriber to have everything, once nothing more is sent.
ARRIVE_S = 15.0


class Fan:
    """Who still lacks which message; a message leaves when one is complete."""

    def __init__(
        self,
        subscribers: int,
        window: int,
        publish: Callable[[], None],
        settled: asyncio.Future[None],
    ) -> None:
        self._subscribers = subscribers
        self._publish = publish
        #: Of each message that is on its way: how many subscribers lack it.
        self._lacking = [0] * window
        self._is_running = True
        self.sent = 0
        self.delivered = 0
        self._complete = 0
        #: Done once nothing more is sent and everybody has everything.
        self.settled = settled

    def start(self) -> None:
        for _ in self._lacking:
            self._send()

    def _send(self) -> None:
        self._lacking[self.sent % len(self._lacking)] = self._subscribers
        self.sent += 1
        self._publish()

    def took(self, number: int) -> None:
        """One more subscriber has this message, counted from 0."""
        self.delivered += 1
        place = number % len(self._lacking)
        self._lacking[place] -= 1
        if self._lacking[place] == 0:
            self._complete += 1
            if self._is_running:
                self._send()
            else:
                self._check_settled()

    def stop(self) -> None:
        self._is_running = False
        self._check_settled()

    def _check_settled(self) -> None:
        if self._complete == self.sent and not self.settled.done():
            self.settled.set_result(None)


class Subscriber(MqttClient):
    """Gets the same message again and again, and nothing else."""

    def __init__(self, client: Client, faults: Faults, copy: bytes, window: int, fan: Fan) -> None:
        super().__init__(client, faults)
        self._copy_bytes = len(copy)
        #: One more than can be on their way.
        self._expected = copy * (window + 1)
        self._received = 0
        self._fan = fan
        self._suback = b""
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def subscribe(self, topic: str) -> None:
        self.write(mqtt3_encode.encode(Subscribe(PACKET_ID, (Filter(topic, 0),))))

    def received(self, data: bytes) -> None:
        if not self.subscribed.done():
            self._suback += data
            if len(self._suback) < len(SUBACK):
                return
            if self._suback[: len(SUBACK)] != SUBACK:
                raise BrokenInvariant(f"SUBSCRIBE was answered {self._suback[:8].hex(' ')}")
            data = self._suback[len(SUBACK) :]
            self.subscribed.set_result(None)
        at = self._received % self._copy_bytes
        if data != self._expected[at : at + len(data)]:
            raise BrokenInvariant(f"not a copy of what was published: {data[:16].hex(' ')}")
        before = self._received // self._copy_bytes
        self._received += len(data)
        for number in range(before, self._received // self._copy_bytes):
            if number >= self._fan.sent:
                raise BrokenInvariant(f"{number + 1} copies of {self._fan.sent} messages")
            self._fan.took(number)


async def fan_out(plan: LoadPlan, load: FanningOut, watch: Watch) -> Outcome:
    """Subscribe everybody, publish, and count the copies that arrive in the measured time."""
    faults, payload = Faults(), random.Random(0).randbytes(load.payload_bytes)
    publisher = plan.clients[0]
    sender = Sender(publisher, faults, payload)
    settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    fan = Fan(load.subscribers, load.window, sender.publish, settled)
    copy = mqtt3_encode.encode_publish(publisher.topic, payload)
    subscribers = [
        Subscriber(each, faults, copy, load.window, fan) for each in plan.crowd(load.subscribers)
    ]
    await Dialler(plan).connect_all([sender, *subscribers])
    for each in subscribers:
        each.subscribe(publisher.topic)
    if not await faults.until([each.subscribed for each in subscribers], SUBACK_TIMEOUT_S):
        raise Unavailable(f"not every SUBSCRIBE was answered within {SUBACK_TIMEOUT_S:.0f} s")
    fan.start()
    await faults.during(plan.warm_up_s)
    watch.begin()
    before = fan.delivered
    await faults.during(plan.seconds)
    count = fan.delivered - before
    watch.end()
    fan.stop()
    if not await faults.until([fan.settled], ARRIVE_S):
        lacking = fan.sent * load.subscribers - fan.delivered
        raise Unavailable(f"{lacking} copies did not arrive within {ARRIVE_S:.0f} s")
    acknowledged = await settle([sender], faults)
    for client in (sender, *subscribers):
        client.leave()
    return Outcome(count=count, acknowledged=acknowledged, **watch.figures())
