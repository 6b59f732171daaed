"""Devices: our device client, which knows every region, and plain clients, which know one name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from isthmus.core.outbox import PACKET_ID_MAX, Message, Outbox
from isthmus.core.reconnect import Decision, Ending, Endpoint, Reconnect
from isthmus.sim.connection import Connection
from isthmus.sim.network import Channel
from isthmus.sim.world import Machine, Process
from isthmus.wire import mqtt3
from isthmus.wire.mqtt3 import Connack, Connect, Packet, Puback, Publish

if TYPE_CHECKING:
    from isthmus.sim.system import System

CONNECT_TIMEOUT_S = 1.5
ACK_TIMEOUT_S = 2.5
CHECK_S = 0.6
PING_S = 2.0
DNS_TIMEOUT_S = 0.5
DNS_POLL_S = 8.0
KEEP_ALIVE_S = 4.0
#: As paho: the first wait, which doubles, and the longest.
RECONNECT_S = (1.0, 4.0)
OUTBOX_MAX = 1_000
#: What is published to these topics is retained.
RETAINED_PREFIX = "state/"


class Client:
    """What both kinds have in common: one connection at a time, and an outbox."""

    kind = ""

    def __init__(self, system: System, name: str, principal: str) -> None:
        self.system = system
        self.name = name
        self.principal = principal
        self.world = system.world
        self.process = Process(Machine(system.world, name), name)
        self.outbox: Outbox[None] = Outbox(OUTBOX_MAX)
        self.region = ""
        self.is_connected = False
        self._chance = system.world.chance(f"client {name}")
        self._channel: Channel | None = None
        #: The gateway's end of it: the watch asks.
        self.connection: Connection | None = None
        self._attempt = 0
        self._decoder = mqtt3.Decoder()
        self._heard_s = 0.0
        self._sent = 0

    @property
    def waits_for(self) -> int:
        """How many answers are owed to it."""
        return len(self.outbox)

    # The application

    def publish(self, payload: bytes | None = None, topic: str = "") -> None:
        """Publish at QoS 1, now or when a region can be reached."""
        self._sent += 1
        if payload is None:
            payload = f"{self.kind} {self.name} {self._sent}".encode()
        topic = topic or f"fleet/{self.name}"
        if len(self.outbox) < OUTBOX_MAX:
            self.outbox.add(Message(topic, payload, None))
            self._pump()

    # One connection

    def connect(self, region: str) -> None:
        self._attempt += 1
        self.region = region
        attempt = self._attempt
        self.system.net.send(self.name, region, self._arrive, attempt, region)
        self.process.after(CONNECT_TIMEOUT_S, self._expire, attempt)

    def _arrive(self, attempt: int, region: str) -> None:
        """At the region: the kernel gives the connection to one of its gateways."""
        machine = self.system.regions[region].machine
        if not machine.is_up or attempt != self._attempt:
            return
        gateways = [g for g in self.system.regions[region].gateways if g.process.is_running]
        if not gateways:
            self.system.net.send(region, self.name, self._refused, attempt)
            return
        gateway = self._chance.choice(gateways)
        connection = Connection(gateway, self.principal)
        channel = Channel(self.system.net, self.world, self, connection)
        connection.channel = self._channel = channel
        self.connection = connection
        gateway.accept(connection)
        self._decoder = mqtt3.Decoder()
        channel.send(self, self.hello())

    def _refused(self, attempt: int) -> None:
        self.process.after(0.0, self._end, attempt, "closed")

    def _expire(self, attempt: int) -> None:
        if attempt == self._attempt and not self.is_connected:
            self._end(attempt, "silent")

    def received(self, channel: Channel, data: bytes) -> None:
        """Bytes from the gateway."""
        if channel is not self._channel:
            return
        self._heard_s = self.process.now_s()
        for packet in self._decoder.feed(data):
            self.take(packet)
            match packet:
                case Connack(_, 0):
                    self._accepted()
                case Connack():
                    self._end(self._attempt, "closed")
                case Puback(packet_id):
                    self._acknowledged(packet_id)
                case _:
                    pass

    def closed(self, channel: Channel) -> None:
        if channel is self._channel:
            self._end(self._attempt, "closed")

    def _end(self, attempt: int, how: Ending) -> None:
        if attempt != self._attempt:
            return
        self._attempt += 1
        if self._channel is not None:
            self._channel.close(self, at_once=how != "moved")
            self._channel = None
        if self.is_connected:
            self.world.say(self.name, f"loses {self.region}: {how}")
        self.is_connected = False
        self.ended(how)

    def _accepted(self) -> None:
        self.is_connected = True
        self.world.say(self.name, f"is connected to {self.region}", "connected")
        self.system.watch.connected(self)
        now_s = self.process.now_s()
        for message in self.outbox.in_flight:
            message.sent_at_s = now_s
            self.world.reached["sent-again"] += 1
            self._send(message, dup=True)
        self.accepted()
        self._pump()

    def _pump(self) -> None:
        if self.is_connected:
            for message in self.outbox.take(self.process.now_s()):
                self._send(message, dup=False)

    def _send(self, message: Message[None], *, dup: bool) -> None:
        assert self._channel is not None
        retain = message.topic.startswith(RETAINED_PREFIX)
        packet = Publish(message.topic, message.payload, 1, retain, dup, message.packet_id)
        self.system.watch.sent(self, message)
        self._channel.send(self, packet)

    def _acknowledged(self, packet_id: int) -> None:
        message = self.outbox.acknowledge(packet_id)
        if message is not None:
            self.world.say(self.name, f'"{message.payload.decode()}" is acknowledged')
            self.system.watch.acknowledged_by(self, packet_id, message)
            self._pump()

    # DNS

    def resolve(self, then: partial[None]) -> None:
        """Ask one nameserver after another; None if none of them says anything."""
        sites = list(self.system.sites)
        self._chance.shuffle(sites)
        self._ask_nameserver(sites, then)

    def _ask_nameserver(self, sites: list[str], then: partial[None]) -> None:
        if not sites:
            then(None)
            return
        site = sites[0]
        machine = self.system.sites[site].machine.name
        is_open = [True]

        def answered(region: str | None) -> None:
            if not is_open[0]:
                return
            is_open[0] = False
            if region is None:
                self._ask_nameserver(sites[1:], then)
            else:
                then(region)

        def reply(region: str | None) -> None:
            self.system.net.send(machine, self.name, back, region)

        def back(region: str | None) -> None:
            self.process.hand(answered, region)

        self.system.net.send(self.name, machine, self._ask_site, site, reply)
        self.process.after(DNS_TIMEOUT_S, answered, None)

    def _ask_site(self, site: str, reply: object) -> None:
        found = self.system.sites[site]
        found.process.hand(found.answer_dns, reply)

    # Of each kind

    def hello(self) -> Connect:
        """How it connects."""
        return Connect(self.name, keep_alive_s=30)

    def take(self, packet: Packet) -> None:
        """A packet that only some kinds are sent, or heed."""

    def start(self) -> None:
        raise NotImplementedError

    def accepted(self) -> None:
        raise NotImplementedError

    def ended(self, how: Ending) -> None:
        raise NotImplementedError


class DeviceClient(Client):
    """Our own: it goes on to the next region by itself, and gives its messages an identity."""

    kind = "id"

    def __init__(self, system: System, name: str, principal: str) -> None:
        super().__init__(system, name, principal)
        endpoints = [Endpoint(region, region, 8883) for region in system.regions_named]
        self._reconnect = Reconnect(endpoints, self._chance, backoff_cap_s=1.5)
        self._pinged_s: float | None = None

    def start(self) -> None:
        self.resolve(partial(self._start))

    def _start(self, answer: str | None) -> None:
        self._follow(self._reconnect.start(answer))

    def _follow(self, decision: Decision) -> None:
        self.process.after(decision.delay_s, self.connect, decision.endpoint.region)

    def accepted(self) -> None:
        self._reconnect.connected(self.region, self.process.now_s())
        self._pinged_s = None
        self._check(self._attempt)
        self._poll_later(self._attempt)

    def _poll_later(self, attempt: int) -> None:
        self.process.after(DNS_POLL_S * self._chance.uniform(0.5, 1.5), self._poll, attempt)

    def _poll(self, attempt: int) -> None:
        if attempt == self._attempt:
            self.resolve(partial(self._polled, attempt))

    def _polled(self, attempt: int, answer: str | None) -> None:
        if attempt != self._attempt:
            return
        if self._reconnect.on_answer(answer):
            self._end(attempt, "moved")
        else:
            self._poll_later(attempt)

    def _check(self, attempt: int) -> None:
        """Whoever owes us an answer and sends nothing at all is silent."""
        if attempt != self._attempt:
            return
        now_s = self.process.now_s()
        if self._pinged_s is not None and self._heard_s >= self._pinged_s:
            self._pinged_s = None
        owed = [each for each in (self.outbox.oldest_sent_at_s(), self._pinged_s) if each]
        if owed and now_s - max(min(owed), self._heard_s) >= ACK_TIMEOUT_S:
            self._end(attempt, "silent")
            return
        if not owed and now_s - self._heard_s >= PING_S and self._channel is not None:
            self._pinged_s = now_s
            self._channel.send(self, mqtt3.Pingreq())
        self.process.after(CHECK_S, self._check, attempt)

    def ended(self, how: Ending) -> None:
        if how == "moved":
            self._decide(how, self.region, None)
        else:
            self.resolve(partial(self._decide, how, self.region))

    def _decide(self, how: Ending, region: str, answer: str | None) -> None:
        decision = self._reconnect.ended(how, region, answer, self.process.now_s())
        self.world.say(self.name, decision.reason)
        self._follow(decision)


class PlainClient(Client):
    """Anybody else's: it knows the stable name, and notices silence by its keep-alive."""

    kind = "plain"

    def __init__(self, system: System, name: str, principal: str) -> None:
        super().__init__(system, name, principal)
        self._wait_s = RECONNECT_S[0]

    def start(self) -> None:
        self.resolve(partial(self._resolved))

    def _resolved(self, answer: str | None) -> None:
        if answer is None:
            self._try_later()
        else:
            self.connect(answer)

    def _try_later(self) -> None:
        self.process.after(self._wait_s, self.start)
        self._wait_s = min(2 * self._wait_s, RECONNECT_S[1])

    def accepted(self) -> None:
        self._wait_s = RECONNECT_S[0]
        self.process.after(KEEP_ALIVE_S, self._ping, self._attempt)

    def _ping(self, attempt: int) -> None:
        if attempt != self._attempt or self._channel is None:
            return
        if self.process.now_s() - self._heard_s > 2 * KEEP_ALIVE_S:
            self._end(attempt, "silent")
            return
        self._channel.send(self, mqtt3.Pingreq())
        self.process.after(KEEP_ALIVE_S, self._ping, attempt)

    def ended(self, how: Ending) -> None:
        self._try_later()


class AskingClient(PlainClient):
    """It does more than publish; the ids of such packets are beyond those of its publishes."""

    def __init__(self, system: System, name: str, principal: str) -> None:
        super().__init__(system, name, principal)
        self._packet_id = PACKET_ID_MAX

    def _next_id(self) -> int:
        self._packet_id = max(PACKET_ID_MAX, self._packet_id % 0xFFFF) + 1
        return self._packet_id

    def _say(self, packet: Packet) -> None:
        assert self._channel is not None
        self._channel.send(self, packet)
