"""One MQTT session of the device client, from CONNECT to its end.

Invariants: what is in flight is repeated, in order, before anything newer is sent; and whoever
owes us an answer and sends nothing at all for ``ack_timeout_s`` is silent, whatever TCP thinks.
Everything happens in callbacks of the transport and of one timer: no task, nothing to block on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

from isthmus.core.outbox import PACKET_ID_MAX, Message, Outbox
from isthmus.core.reconnect import Ending
from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt3

#: A gateway closes what it cannot promise within 10 s; one that answers pings and never that
#: publish would else keep it for ever.
ANSWER_LIMIT_S = 30.0
#: How long a server may take to finish an orderly close.
CLOSE_TIMEOUT_S = 1.0

_REFUSALS = {
    1: "it does not speak MQTT 3.1.1",
    2: "it rejects the client id",
    3: "it is not available",
    4: "bad user name or password",
    5: "not authorised",
}


class Ended(NamedTuple):
    """How a session, or an attempt at one, ended."""

    how: Ending
    detail: str


@dataclass(slots=True)
class Subscription:
    """A filter that every session of the client subscribes to."""

    topic_filter: str
    callback: Callable[[str, bytes], None]
    granted: asyncio.Future[None]
    #: When the SUBSCRIBE that is not answered yet was sent on this connection.
    asked_at_s: float = 0.0


class Sent(NamedTuple):
    """Whoever waits for a publish, and what the application called it."""

    done: asyncio.Future[None]
    token: object


class Owner(Protocol):
    """Whom a connection tells what came; none of these may raise."""

    def acknowledged(self, sent: Sent) -> None: ...

    def received(self, publish: mqtt3.Publish) -> None: ...

    def answered(self, subscription: Subscription, *, granted: bool) -> None: ...


class Connection(asyncio.Protocol):
    """Speaks MQTT over one transport, which TLS has authenticated both ways."""

    def __init__(
        self,
        connect: mqtt3.Connect,
        outbox: Outbox[Sent],
        subscriptions: dict[str, Subscription],
        owner: Owner,
        ack_timeout_s: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect = connect
        self._outbox = outbox
        self._subscriptions = subscriptions
        self._owner = owner
        self._ack_timeout_s = ack_timeout_s
        self._decoder = mqtt3.Decoder()
        self._ping_after_s = connect.keep_alive_s / 2
        self._check_every_s = min(ack_timeout_s, self._ping_after_s) / 4
        self._received_at_s = self._sent_at_s = self._check_due_s = self._loop.time()
        self._pinged_at_s: float | None = None
        self._asked: dict[int, Subscription] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._pump_due = False
        self._writable = True
        self._drained: asyncio.Future[None] | None = None
        #: Whether CONNACK accepted us; False as well when the connection ended before it came.
        self.accepted: asyncio.Future[bool] = self._loop.create_future()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        # Not asserted: uvloop's transports do what asyncio's do without being of their class.
        self._transport = cast(asyncio.Transport, transport)
        self._write(mqtt3.encode_connect(self._connect))

    def data_received(self, data: bytes) -> None:
        """Take what the server sent."""
        self._received_at_s = self._loop.time()
        if self.ended.done():
            return
        try:
            for packet in self._decoder.feed(data):
                self._take(packet)
        except MalformedPacket as error:
            self.end("closed", f"it does not speak MQTT: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Notice that the connection is gone, by whomever."""
        self.end("closed", str(exc or "the other side closed it"))
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        """Keep further publishes in the outbox: the peer does not read fast enough."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        self.pump_soon()

    # What the client calls.

    def pump_soon(self) -> None:
        """Send what waits, once for all that is added in this turn of the loop."""
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    def subscribe(self, subscription: Subscription) -> None:
        """Ask for one filter, unless the session is yet to begin and will ask for all."""
        if self._is_open():
            self._write(self._subscribe_packet(subscription))

    async def drain(self) -> None:
        """Send nothing new, and wait a little for what is in flight: less to send twice."""
        self._drained = self._loop.create_future()
        if self._outbox.oldest_sent_at_s() is not None:
            # The end of the session ends the draining too.
            await asyncio.wait((self._drained,), timeout=self._ack_timeout_s)

    def end(self, how: Ending, detail: str) -> None:
        """End the session; the first ending counts. Never waits for the other side."""
        if self.ended.done():
            return
        self.ended.set_result(Ended(how, detail))
        if not self.accepted.done():
            self.accepted.set_result(False)
        if self._drained and not self._drained.done():
            self._drained.set_result(None)
        if self._timer:
            self._timer.cancel()
        if not self._transport:
            return
        if how == "moved":
            self._transport.write(mqtt3.encode(mqtt3.Disconnect()))
            self._transport.close()
        else:
            self._transport.abort()

    async def gone(self) -> None:
        """Wait until the transport is closed, for CLOSE_TIMEOUT_S at most."""
        if self._transport:
            await asyncio.wait((self._gone,), timeout=CLOSE_TIMEOUT_S)
            self._transport.abort()
            await asyncio.wait((self._gone,), timeout=CLOSE_TIMEOUT_S)

    # What came.

    def _take(self, packet: mqtt3.Packet) -> None:
        match packet:
            case mqtt3.Connack() if not self.accepted.done():
                self._connack(packet.return_code)
            case _ if not self._is_open():
                raise MalformedPacket(f"{type(packet).__name__.upper()} out of turn")
            case mqtt3.Puback():
                self._puback(packet.packet_id)
            case mqtt3.Publish():
                self._owner.received(packet)
                if packet.qos:
                    self._write(mqtt3.encode_puback(packet.packet_id))
            case mqtt3.Suback():
                self._suback(packet)
            case mqtt3.Pingresp():
                self._pinged_at_s = None
            case _:
                raise MalformedPacket(f"a server does not send {type(packet).__name__.upper()}")

    def _connack(self, return_code: int) -> None:
        if return_code:
            reason = _REFUSALS.get(return_code, f"return code {return_code}")
            self.end("closed", f"it refused the session: {reason}")
            return
        self.accepted.set_result(True)
        now_s = self._loop.time()
        packets = [self._subscribe_packet(each) for each in self._subscriptions.values()]
        for message in self._outbox.in_flight:
            message.sent_at_s = now_s
            packets.append(_publish_packet(message, dup=True))
        if packets:
            self._write(b"".join(packets))
        self.pump_soon()
        self._check_later()

    def _puback(self, packet_id: int) -> None:
        message = self._outbox.acknowledge(packet_id)
        if message is None:
            return
        self._owner.acknowledged(message.token)
        self.pump_soon()
        if self._drained and not self._drained.done() and self._unanswered_since_s() is None:
            self._drained.set_result(None)

    def _suback(self, packet: mqtt3.Suback) -> None:
        subscription = self._asked.pop(packet.packet_id, None)
        if subscription:
            granted = packet.codes[0] != mqtt3.SUBSCRIPTION_REFUSED
            self._owner.answered(subscription, granted=granted)

    # What goes out.

    def _is_open(self) -> bool:
        accepted = self.accepted.done() and self.accepted.result()
        return accepted and not self.ended.done()

    def _pump(self) -> None:
        self._pump_due = False
        if not self._writable or self._drained or not self._is_open():
            return
        taken = self._outbox.take(self._loop.time())
        if taken:
            self._write(b"".join([_publish_packet(each, dup=False) for each in taken]))

    def _subscribe_packet(self, subscription: Subscription) -> bytes:
        # One filter a packet: each is answered by itself, and none is refused for another.
        packet_id = PACKET_ID_MAX + 1
        while packet_id in self._asked:
            packet_id += 1
        self._asked[packet_id] = subscription
        subscription.asked_at_s = self._loop.time()
        return mqtt3.encode_subscribe(packet_id, (mqtt3.Filter(subscription.topic_filter, 1),))

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._sent_at_s = self._loop.time()
            self._transport.write(data)

    # Silence.

    def _check_later(self) -> None:
        self._check_due_s = self._loop.time() + self._check_every_s
        self._timer = self._loop.call_at(self._check_due_s, self._check)

    def _check(self) -> None:
        now_s = self._loop.time()
        since_s = self._unanswered_since_s()
        # If this very check is late, it was we who stood still, and answers may wait unread.
        on_time = now_s - self._check_due_s < self._check_every_s
        if since_s is not None and on_time:
            quiet_s = now_s - max(since_s, self._received_at_s)
            if quiet_s >= self._ack_timeout_s or now_s - since_s >= ANSWER_LIMIT_S:
                self.end("silent", f"no answer for {now_s - since_s:.1f} s")
                return
        if self._pinged_at_s is None and now_s - self._sent_at_s >= self._ping_after_s:
            self._pinged_at_s = now_s
            self._write(mqtt3.encode(mqtt3.Pingreq()))
        self._check_later()

    def _unanswered_since_s(self) -> float | None:
        """Since when the server owes us an answer."""
        asked = next(iter(self._asked.values()), None)
        times = (
            self._outbox.oldest_sent_at_s(),
            asked.asked_at_s if asked else None,
            self._pinged_at_s,
        )
        return min((each for each in times if each is not None), default=None)


def _publish_packet(message: Message[Sent], *, dup: bool) -> bytes:
    return mqtt3.encode_publish(
        message.topic, message.payload, qos=1, dup=dup, packet_id=message.packet_id
    )
