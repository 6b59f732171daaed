"""The MQTT 3.1.1 state machine of one connection: packets in, actions out.

It knows no socket and no clock. The shell performs what it returns, in order. Two orders are its
own to keep: PUBACKs leave in the order of the PUBLISHes of the connection, whichever promise is
kept first, and nothing is done for a client before CONNECT was accepted.

What is not here yet is refused where a client asks for it, and never accepted as if it were:
persistent sessions, retained messages, QoS 2.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt3, packets, topics

KEEP_ALIVE_MIN_S = 30
KEEP_ALIVE_MAX_S = 1200
CLIENT_ID_MAX_BYTES = 128
SUBSCRIPTIONS_MAX = 50
FILTERS_PER_SUBSCRIBE_MAX = 8
PAYLOAD_MAX_BYTES = 128 * 1024
#: QoS 1 messages to a client that it has not acknowledged, and those that wait behind them.
OUTGOING_IN_FLIGHT_MAX = 100
OUTGOING_QUEUED_MAX = 1_000
OUTGOING_QUEUED_MAX_BYTES = 1024 * 1024

RC_IDENTIFIER_REJECTED = 2
RC_UNAVAILABLE = 3
RC_NOT_AUTHORIZED = 5


class Permissions(Protocol):
    """What the connection's principal may do now."""

    def allows(self, action: str, resource_suffix: str) -> tuple[bool, str]: ...


class Send(NamedTuple):
    """Write these bytes."""

    data: bytes


class Store(NamedTuple):
    """Store this publish, and say ``stored`` with its ticket when its promise is kept."""

    publish: packets.Publish
    #: None where nobody waits for an answer.
    ticket: Ticket | None


class Join(NamedTuple):
    """Deliver messages for this filter from now on."""

    topic_filter: str
    qos: int


class Leave(NamedTuple):
    """Deliver nothing more for this filter."""

    topic_filter: str
    qos: int


class Close(NamedTuple):
    """Close the connection, after what was to be sent."""

    reason: str


Action = Send | Store | Join | Leave | Close


@dataclass(slots=True, eq=False)
class Ticket:
    """A PUBACK that is owed."""

    packet_id: int
    kept: bool = False


@dataclass(slots=True)
class Session:
    """One connection after CONNECT was accepted."""

    client_id: str
    permissions: Permissions
    keep_alive_s: float
    will: packets.Will | None = None
    subscriptions: dict[str, int] = field(default_factory=dict)
    _owed: deque[Ticket] = field(default_factory=deque)
    _in_flight: set[int] = field(default_factory=set)
    _waiting: deque[tuple[str, bytes]] = field(default_factory=deque)
    _waiting_bytes: int = 0
    _next_id: int = 0

    # From the client

    def handle(self, packet: packets.Packet) -> list[Action]:
        """Take one packet."""
        kind = type(packet)
        if kind is packets.Publish:
            return self._publish(packet)  # type: ignore[arg-type]
        match packet:
            case packets.Puback(packet_id):
                return self._acknowledged(packet_id)
            case packets.Subscribe():
                return self._subscribe(packet)
            case packets.Unsubscribe():
                return self._unsubscribe(packet)
            case packets.Pingreq():
                return [Send(mqtt3.encode(packets.Pingresp()))]
            case packets.Disconnect():
                # [MQTT-3.14.4-3]: in good order, the will is discarded.
                self.will = None
                return [Close("the client disconnected")]
        return [Close(f"a client must not send {kind.__name__} here")]

    def _publish(self, packet: packets.Publish) -> list[Action]:
        refusal = self._refuse_publish(packet)
        if refusal:
            return [Close(refusal)]
        if not packet.qos:
            return [Store(packet, None)]
        ticket = Ticket(packet.packet_id)
        self._owed.append(ticket)
        return [Store(packet, ticket)]

    def _refuse_publish(self, packet: packets.Publish) -> str:
        if packet.qos > 1:
            return "QoS 2 is not supported"
        if packet.retain:
            return "retained messages are not supported yet"
        if len(packet.payload) > PAYLOAD_MAX_BYTES:
            return f"a payload of {len(packet.payload)} bytes is above {PAYLOAD_MAX_BYTES}"
        if not topics.within_aws_limits(packet.topic):
            return "the topic is too long or too deep"
        if packet.topic[0] == "$":
            return f"{packet.topic[:80]!r} is reserved"
        allowed, reason = self.permissions.allows("iot:Publish", f"topic/{packet.topic}")
        return "" if allowed else reason

    def _subscribe(self, packet: packets.Subscribe) -> list[Action]:
        actions: list[Action] = []
        codes = []
        for number, (topic_filter, qos, *_) in enumerate(packet.filters):
            if number >= FILTERS_PER_SUBSCRIBE_MAX or not self._may_subscribe(topic_filter):
                codes.append(packets.SUBSCRIPTION_REFUSED)
                continue
            granted = min(qos, 1)
            codes.append(granted)
            # [MQTT-3.8.4-3]: a filter that is subscribed again replaces the old subscription.
            actions += self._leave(topic_filter)
            actions.append(Join(topic_filter, granted))
            self.subscriptions[topic_filter] = granted
        return [*actions, Send(mqtt3.encode(packets.Suback(packet.packet_id, tuple(codes))))]

    def _may_subscribe(self, topic_filter: str) -> bool:
        if topic_filter not in self.subscriptions and len(self.subscriptions) >= SUBSCRIPTIONS_MAX:
            return False
        if topic_filter.startswith("$") or not topics.within_aws_limits(topic_filter):
            return False
        return self.permissions.allows("iot:Subscribe", f"topicfilter/{topic_filter}")[0]

    def _unsubscribe(self, packet: packets.Unsubscribe) -> list[Action]:
        gone = [leave for topic_filter in packet.filters for leave in self._leave(topic_filter)]
        return [*gone, Send(mqtt3.encode(packets.Unsuback(packet.packet_id)))]

    def _leave(self, topic_filter: str) -> list[Leave]:
        qos = self.subscriptions.pop(topic_filter, None)
        return [] if qos is None else [Leave(topic_filter, qos)]

    # From the region

    @property
    def owed(self) -> int:
        """PUBACKs that the client waits for."""
        return len(self._owed)

    def answers(self) -> bytes:
        """The PUBACKs that may leave now, in the order of their PUBLISHes."""
        owed = self._owed
        ready = []
        while owed and owed[0].kept:
            ready.append(mqtt3.encode_puback(owed.popleft().packet_id))
        return b"".join(ready)

    def deliver(self, topic: str, payload: bytes, qos: int) -> list[Action]:
        """A message for one of the client's subscriptions, at the lesser of both QoS."""
        if not self.permissions.allows("iot:Receive", f"topic/{topic}")[0]:
            return []
        if not qos:
            return [Send(mqtt3.encode_publish(topic, payload))]
        if len(self._in_flight) >= OUTGOING_IN_FLIGHT_MAX:
            self._waiting_bytes += len(payload)
            too_many = len(self._waiting) >= OUTGOING_QUEUED_MAX
            if too_many or self._waiting_bytes > OUTGOING_QUEUED_MAX_BYTES:
                return [Close("the client acknowledges too slowly")]
            self._waiting.append((topic, payload))
            return []
        return [self._send(topic, payload)]

    def _send(self, topic: str, payload: bytes) -> Send:
        while True:
            self._next_id = self._next_id % 0xFFFF + 1
            if self._next_id not in self._in_flight:
                break
        self._in_flight.add(self._next_id)
        return Send(mqtt3.encode_publish(topic, payload, qos=1, packet_id=self._next_id))

    def _acknowledged(self, packet_id: int) -> list[Action]:
        if packet_id not in self._in_flight:
            return []
        self._in_flight.discard(packet_id)
        if not self._waiting:
            return []
        topic, payload = self._waiting.popleft()
        self._waiting_bytes -= len(payload)
        return [self._send(topic, payload)]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a CONNECT is refused, and what the client is told."""

    return_code: int
    reason: str


def _may_be_published_to(topic: str) -> bool:
    return topic[0] != "$" and topics.within_aws_limits(topic)


def check_connect(packet: packets.Packet) -> packets.Connect | Refusal:
    """Check the first packet by itself; raises MalformedPacket if it is not a CONNECT."""
    if not isinstance(packet, packets.Connect):
        raise MalformedPacket(f"the first packet is {type(packet).__name__}, not Connect")
    client_id = packet.client_id
    if not client_id or len(client_id.encode()) > CLIENT_ID_MAX_BYTES or client_id[0] == "$":
        return Refusal(RC_IDENTIFIER_REJECTED, "a client id of 1 to 128 bytes, not beginning in $")
    if not packet.clean_session:
        return Refusal(RC_IDENTIFIER_REJECTED, "persistent sessions are not supported yet")
    if packet.will and (packet.will.retain or packet.will.qos > 1):
        return Refusal(RC_NOT_AUTHORIZED, "a will may not be retained or of QoS 2 yet")
    # It is published later without being looked at again.
    if packet.will and not _may_be_published_to(packet.will.topic):
        return Refusal(RC_NOT_AUTHORIZED, "the will's topic is reserved, too long or too deep")
    return packet


def authorize_connect(packet: packets.Connect, permissions: Permissions) -> Refusal | None:
    """Whether the principal may connect as this client, with this will."""
    allowed, reason = permissions.allows("iot:Connect", f"client/{packet.client_id}")
    if allowed and packet.will:
        allowed, reason = permissions.allows("iot:Publish", f"topic/{packet.will.topic}")
    return None if allowed else Refusal(RC_NOT_AUTHORIZED, reason)


def keep_alive_limit_s(asked_s: int) -> float:
    """Seconds of silence after which the connection is closed (AWS IoT's bounds, 1.5 times)."""
    bounded_s = KEEP_ALIVE_MAX_S if asked_s == 0 else max(asked_s, KEEP_ALIVE_MIN_S)
    return 1.5 * min(bounded_s, KEEP_ALIVE_MAX_S)
