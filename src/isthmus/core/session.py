"""The MQTT state machine of one connection, of both versions: packets in, actions out.

It knows no socket and no clock. The shell performs what it returns, in order. Two orders are its
own to keep: PUBACKs leave in the order of the PUBLISHes of the connection, whichever promise is
kept first, and nothing is done for a client before CONNECT was accepted (``core.connecting``).

Where the versions differ, MQTT 5 is told why: by a code in its answers, and by a DISCONNECT before
the connection is closed. MQTT 3.1.1 has no word for either.

QoS 2 is refused where a client asks for it, and never accepted as if it were.

Names in brackets are normative statements of the OASIS standard of MQTT 5, 7 March 2019.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from isthmus.core.commanding import Commanded, Has
from isthmus.core.device_topics import question
from isthmus.core.dialect import AWS, Dialect
from isthmus.core.message_properties import clamped, has_expired, refuse_properties, remaining
from isthmus.core.place import Owed
from isthmus.core.policy_context import Asked
from isthmus.wire import packets
from isthmus.wire.mqtt import CODECS, Codec
from isthmus.wire.properties import size_of
from isthmus.wire.reason_codes import ReasonCode
from isthmus.wire.topics import TOPIC_BYTES_MAX, is_shared, matches, shared_filter

PAYLOAD_MAX_BYTES = 128 * 1024
#: QoS 1 messages of a client that it may have sent without an answer: MQTT 5's Receive Maximum.
RECEIVE_MAX = 100
#: QoS 1 messages to a client that it has not acknowledged, and those that wait behind them.
OUTGOING_IN_FLIGHT_MAX = 100
OUTGOING_QUEUED_MAX = 1_000
OUTGOING_QUEUED_MAX_BYTES = 1024 * 1024
TOPICS_REMEMBERED_MAX = 32


class Permissions(Protocol):
    """What the connection's principal may do now."""

    def allows(self, action: str, resource_suffix: str) -> tuple[bool, str]: ...


class Granted(NamedTuple):
    """How a filter is subscribed to."""

    qos: int
    #: Nothing that this client itself published.
    no_local: bool = False
    #: Copies keep the RETAIN flag of their publish.
    retain_as_published: bool = False


class Send(NamedTuple):
    """Write these bytes."""

    data: bytes


class Store(NamedTuple):
    """Store this publish, and say ``stored`` with its ticket when its promise is kept."""

    publish: packets.Publish
    #: None where nobody waits for an answer.
    ticket: Ticket | None


class Ask(NamedTuple):
    """Ask the region what this publish asks (``core.device_topics``), and give what it answers.

    That is in the place of storing it; ``stored`` with its ticket is said behind the answers.
    """

    publish: packets.Publish
    ticket: Ticket | None


class Join(NamedTuple):
    """Deliver messages for this filter from now on."""

    topic_filter: str
    granted: Granted


class Leave(NamedTuple):
    """Deliver nothing more for this filter."""

    topic_filter: str
    granted: Granted


class Recall(NamedTuple):
    """Deliver the retained messages of a filter that was just subscribed to."""

    topic_filter: str
    granted: Granted


class Remember(NamedTuple):
    """Store that these filters are subscribed to, or None; when that promise is kept, go on."""

    filters: Mapping[str, Granted | None]
    then: list[Action]


class Close(NamedTuple):
    """Close the connection, after what was to be sent."""

    reason: str
    code: ReasonCode


Action = Send | Store | Ask | Join | Leave | Recall | Remember | Has | Close


@dataclass(slots=True, eq=False)
class Ticket:
    """A PUBACK that is owed."""

    packet_id: int
    kept: bool = False


class _Refused(NamedTuple):
    """Why a publish ends the connection."""

    code: ReasonCode
    reason: str


#: In the place of a refusal: a publish is a request. So messages are not looked at for it.
_IS_REQUEST = _Refused(ReasonCode.SUCCESS, "")


class _Waiting(NamedTuple):
    """A message that waits for the client's acknowledgements, and when it was published."""

    message: packets.Publish
    at_ms: int
    owed: Owed | Commanded | None

    @property
    def size(self) -> int:
        return len(self.message.payload) + size_of(self.message.properties)


@dataclass(slots=True)
class Session:
    """One connection after CONNECT was accepted."""

    client_id: str
    permissions: Permissions
    keep_alive_s: float
    will: packets.Will | None = None
    level: int = packets.LEVEL_3
    #: What the client takes: QoS 1 messages in flight, and bytes of a packet.
    receive_max: int = OUTGOING_IN_FLIGHT_MAX
    max_packet_bytes: int | None = None
    #: How long the session outlives the connection; 0 is not at all.
    expiry_s: int = 0
    #: The most that is granted of what a client asks for in DISCONNECT.
    expiry_max_s: int = 0
    dialect: Dialect = AWS
    subscriptions: dict[str, Granted] = field(default_factory=dict)
    _owed: deque[Ticket] = field(default_factory=deque)
    #: By packet id: where each stands in the bus, or None where that is nobody's business.
    _in_flight: dict[int, Owed | Commanded | None] = field(default_factory=dict)
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _waiting_bytes: int = 0
    _next_id: int = 0
    #: QoS 1 messages sent and acknowledged: changes when what the client has does.
    moves: int = 0
    #: What its CONNECT asked for.
    asked: Asked | None = None
    #: Topics to which it has published and may, and the rights by which that was found.
    published_to: set[str] = field(default_factory=set)
    _asked_of: Permissions | None = None

    @property
    def codec(self) -> Codec:
        """How this client is written to."""
        return CODECS[self.level]

    # From the client

    def handle(self, packet: packets.Packet, now_ms: int = 0) -> list[Action]:
        """Take one packet; ``now_ms`` is what messages that wait here are aged by."""
        kind = type(packet)
        if kind is packets.Publish:
            return self._publish(packet)  # type: ignore[arg-type]
        match packet:
            case packets.Puback(packet_id):
                return self._acknowledged(packet_id, now_ms)
            case packets.Subscribe():
                return self._subscribe(packet)
            case packets.Unsubscribe():
                return self._unsubscribe(packet)
            case packets.Pingreq():
                return [Send(self.codec.encode(packets.Pingresp()))]
            case packets.Disconnect():
                return self._disconnected(packet)
            case packets.Pubrec() | packets.Pubrel() | packets.Pubcomp():
                return self.end(ReasonCode.PROTOCOL_ERROR, "QoS 2 is not supported")
        name = kind.__name__
        return self.end(ReasonCode.PROTOCOL_ERROR, f"a client must not send {name} here")

    def _disconnected(self, packet: packets.Disconnect) -> list[Action]:
        expiry_s = packet.properties.session_expiry_s if packet.properties else None
        if expiry_s and not self.expiry_s:
            # Section 3.14.2.2.2: then it is no DISCONNECT, and the will is published.
            reason = "a session expiry in DISCONNECT where CONNECT had none"
            return self.end(ReasonCode.PROTOCOL_ERROR, reason)
        if expiry_s is not None:
            self.expiry_s = min(expiry_s, self.expiry_max_s)
        if packet.code == ReasonCode.NORMAL_DISCONNECTION:
            # [MQTT-3.14.4-3]: in good order, the will is discarded; with any other code it is not.
            self.will = None
        return [Close("the client disconnected", ReasonCode.NORMAL_DISCONNECTION)]

    def farewell(self, code: ReasonCode) -> bytes:
        """What is to be said before the connection is closed; MQTT 3.1.1 has no word for it."""
        if self.level == packets.LEVEL_3:
            return b""
        return self.codec.encode(packets.Disconnect(code))

    def end(self, code: ReasonCode, reason: str) -> list[Action]:
        """Say why, where that can be said, and close."""
        last = self.farewell(code)
        close = Close(reason, code)
        return [Send(last), close] if last else [close]

    def _publish(self, packet: packets.Publish) -> list[Action]:
        refused = self._refuse_publish(packet)
        action: type[Store | Ask] = Store
        if refused:
            if refused is not _IS_REQUEST:
                return self.end(*refused)
            action = Ask
        if packet.properties is not None:
            packet = packet._replace(properties=clamped(packet.properties))
        if not packet.qos:
            return [action(packet, None)]
        if len(self._owed) >= RECEIVE_MAX and self.level == packets.LEVEL_5:
            # Section 3.3.4. MQTT 3.1.1 knows no such limit; its clients are not read from.
            reason = f"more than {RECEIVE_MAX} publishes without an answer"
            return self.end(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, reason)
        ticket = Ticket(packet.packet_id)
        self._owed.append(ticket)
        return [action(packet, ticket)]

    def _refuse_publish(self, packet: packets.Publish) -> _Refused | None:
        if packet.qos > 1:
            return _Refused(ReasonCode.QOS_NOT_SUPPORTED, "QoS 2 is not supported")
        if len(packet.payload) > PAYLOAD_MAX_BYTES:
            reason = f"a payload of {len(packet.payload)} bytes is above {PAYLOAD_MAX_BYTES}"
            return _Refused(ReasonCode.PACKET_TOO_LARGE, reason)
        if packet.properties is not None and (found := refuse_properties(packet.properties)):
            return _Refused(*found)
        # A device publishes to few topics: what was asked of one under the present rights holds.
        if self._asked_of is not self.permissions:
            self._asked_of = self.permissions
            self.published_to.clear()
        if packet.topic in self.published_to and not packet.retain:
            return None
        return self._refuse_topic(packet)

    def _refuse_topic(self, packet: packets.Publish) -> _Refused | None:
        if not self.dialect.takes_topic(packet.topic):
            reason = "the topic is too long or too deep"
            return _Refused(ReasonCode.TOPIC_NAME_INVALID, reason)
        is_request = packet.topic[0] == "$" and question(packet.topic) is not None
        if not is_request and self.dialect.is_reserved(packet.topic):
            reason = f"{packet.topic[:80]!r} is reserved"
            return _Refused(ReasonCode.TOPIC_NAME_INVALID, reason)
        allowed, reason = may_publish(self.permissions, packet.topic, retain=packet.retain)
        if not allowed:
            return _Refused(ReasonCode.NOT_AUTHORIZED, reason)
        if is_request:
            return _IS_REQUEST
        if len(self.published_to) < TOPICS_REMEMBERED_MAX:
            self.published_to.add(packet.topic)
        return None

    def _subscribe(self, packet: packets.Subscribe) -> list[Action]:
        if packet.properties is not None and packet.properties.subscription_id is not None:
            # Section 3.2.2.3.12: CONNACK has said so, and it is the whole packet's.
            code = ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
            return self.end(code, "subscription identifiers are not supported")
        actions: list[Action] = []
        codes: list[int] = []
        changed: dict[str, Granted | None] = {}
        recalls: list[Action] = []
        for number, wanted in enumerate(packet.filters):
            refused = self._refuse_filter(number, wanted.topic_filter)
            if refused:
                codes.append(refused)
                continue
            granted = Granted(min(wanted.qos, 1), wanted.no_local, wanted.retain_as_published)
            codes.append(granted.qos)
            is_new = wanted.topic_filter not in self.subscriptions
            recalls_now = wanted.retain_handling == 0 or (wanted.retain_handling == 1 and is_new)
            # Section 4.8.2: what is retained is not for those who share.
            if recalls_now and not is_shared(wanted.topic_filter):
                recalls.append(Recall(wanted.topic_filter, granted))
            # [MQTT-3.8.4-3]: a filter that is subscribed again replaces the old subscription.
            actions += self._leave(wanted.topic_filter)
            actions.append(Join(wanted.topic_filter, granted))
            self.subscriptions[wanted.topic_filter] = changed[wanted.topic_filter] = granted
        answer = packets.Suback(packet.packet_id, tuple(codes))
        then = [*self._fitting(self.codec.encode(answer)), *recalls]
        return [*actions, *self._remembered(changed, then)]

    def _remembered(
        self, changed: Mapping[str, Granted | None], then: list[Action]
    ) -> list[Action]:
        """SUBACK and UNSUBACK are promises too, where others must know what is subscribed to.

        That is of a session that outlives its connection, and of what is shared.
        """
        matters = self.expiry_s or any(map(is_shared, changed))
        return [Remember(changed, then)] if changed and matters else then

    def _refuse_filter(self, number: int, topic_filter: str) -> int:
        """Why a filter is not granted, or 0; MQTT 3.1.1 has one code for all of it."""
        is_new = topic_filter not in self.subscriptions
        if number >= self.dialect.filters_per_subscribe_max:
            return ReasonCode.QUOTA_EXCEEDED
        if is_new and len(self.subscriptions) >= self.dialect.subscriptions_max:
            return ReasonCode.QUOTA_EXCEEDED
        wanted = shared_filter(topic_filter) if is_shared(topic_filter) else topic_filter
        if not wanted or not self.dialect.is_for_subscribers(wanted):
            return ReasonCode.TOPIC_FILTER_INVALID
        if not self.dialect.takes_topic(topic_filter):
            return ReasonCode.TOPIC_FILTER_INVALID
        allowed, _ = self.permissions.allows("iot:Subscribe", f"topicfilter/{topic_filter}")
        return 0 if allowed else ReasonCode.NOT_AUTHORIZED

    def _unsubscribe(self, packet: packets.Unsubscribe) -> list[Action]:
        gone: list[Action] = []
        changed: dict[str, Granted | None] = {}
        codes = []
        for topic_filter in packet.filters:
            left = self._leave(topic_filter)
            gone += left
            changed |= dict.fromkeys((each.topic_filter for each in left), None)
            codes.append(ReasonCode.SUCCESS if left else ReasonCode.NO_SUBSCRIPTION_EXISTED)
        answer = packets.Unsuback(packet.packet_id, tuple(codes))
        return [*gone, *self._remembered(changed, self._fitting(self.codec.encode(answer)))]

    def _leave(self, topic_filter: str) -> list[Leave]:
        granted = self.subscriptions.pop(topic_filter, None)
        return [] if granted is None else [Leave(topic_filter, granted)]

    # From the region

    @property
    def owed(self) -> int:
        """PUBACKs that the client waits for."""
        return len(self._owed)

    def answers(self) -> bytes:
        """The PUBACKs that may leave now, in the order of their PUBLISHes."""
        owed, encode = self._owed, self.codec.encode_puback
        ready = []
        while owed and owed[0].kept:
            ready.append(encode(owed.popleft().packet_id))
        return b"".join(ready)

    def deliver(
        self,
        message: packets.Publish,
        at_ms: int = 0,
        now_ms: int = 0,
        owed: Owed | Commanded | None = None,
    ) -> list[Action]:
        """A message for one of the client's subscriptions, at the lesser of both QoS.

        It was published at ``at_ms``; what its expiry leaves of it by ``now_ms`` is forwarded.
        ``owed`` says where a QoS 1 message stands, if another connection may have to send it; one
        that was sent already under a packet id is sent under it again.
        """
        if not self.permissions.allows("iot:Receive", f"topic/{message.topic}")[0]:
            return []
        if message.qos and not self.may_send:
            return self._queue(_Waiting(message, at_ms, owed))
        return self._send(message, at_ms, now_ms, owed)

    def answer(self, topic: str, payload: bytes) -> list[Action]:
        """The answer to what this connection has asked, if it subscribes to it and may have it."""
        granted = self.granted(topic)
        # Behind the name of its question it may be longer than a topic can be.
        if granted is None or len(topic.encode()) > TOPIC_BYTES_MAX:
            return []
        return self.deliver(packets.Publish(topic, payload, granted.qos))

    def granted(self, topic: str) -> Granted | None:
        """How the client subscribes to a topic, at the highest QoS of its filters."""
        dialect = self.dialect.name
        subscribed = (
            granted
            for topic_filter, granted in self.subscriptions.items()
            if matches(topic_filter, topic, dialect=dialect)
        )
        return max(subscribed, default=None)

    @property
    def may_send(self) -> bool:
        """Whether a QoS 1 message would be sent at once."""
        return len(self._in_flight) < min(self.receive_max, OUTGOING_IN_FLIGHT_MAX)

    @property
    def backlog(self) -> int:
        """QoS 1 messages that wait behind those that are not acknowledged."""
        return len(self._waiting)

    def unacknowledged(self) -> tuple[Owed, ...]:
        """What the client may not have, in the order in which it is to be sent again."""
        sent = [
            owed._replace(packet_id=number)
            for number, owed in self._in_flight.items()
            if isinstance(owed, Owed)
        ]
        return (*sent, *(each.owed for each in self._waiting if isinstance(each.owed, Owed)))

    def _queue(self, waiting: _Waiting) -> list[Action]:
        self._waiting_bytes += waiting.size
        too_many = len(self._waiting) >= OUTGOING_QUEUED_MAX
        if too_many or self._waiting_bytes > OUTGOING_QUEUED_MAX_BYTES:
            return self.end(ReasonCode.QUOTA_EXCEEDED, "the client acknowledges too slowly")
        self._waiting.append(waiting)
        return []

    def _fitting(self, data: bytes) -> list[Action]:
        """[MQTT-3.1.2-25]: what is larger than the client takes is as if it had been sent."""
        if self.max_packet_bytes is not None and len(data) > self.max_packet_bytes:
            return []
        return [Send(data)]

    def _send(
        self, message: packets.Publish, at_ms: int, now_ms: int, owed: Owed | Commanded | None
    ) -> list[Action]:
        properties = remaining(message.properties, (now_ms - at_ms) // 1000)
        if has_expired(properties):
            return []
        packet_id = before = 0
        if message.qos:
            before = 0 if owed is None or owed.packet_id in self._in_flight else owed.packet_id
            packet_id = before or self._free_id()
        data = self.codec.encode_publish(
            message.topic,
            message.payload,
            qos=message.qos,
            retain=message.retain,
            # [MQTT-3.3.1-1]: sent before, on another connection.
            dup=bool(before),
            packet_id=packet_id,
            properties=properties,
        )
        actions = self._fitting(data)
        if actions and packet_id:
            self._in_flight[packet_id] = owed
            self.moves += 1
        return actions

    def _free_id(self) -> int:
        while True:
            self._next_id = self._next_id % 0xFFFF + 1
            if self._next_id not in self._in_flight:
                return self._next_id

    def _acknowledged(self, packet_id: int, now_ms: int) -> list[Action]:
        if packet_id not in self._in_flight:
            return []
        acknowledged = self._in_flight.pop(packet_id)
        self.moves += 1
        actions: list[Action] = []
        while self._waiting and not actions:
            waiting = self._waiting.popleft()
            self._waiting_bytes -= waiting.size
            actions = self._send(waiting.message, waiting.at_ms, now_ms, waiting.owed)
        if type(acknowledged) is Commanded:
            return [Has(acknowledged.execution), *actions]
        return actions


def may_publish(permissions: Permissions, topic: str, *, retain: bool) -> tuple[bool, str]:
    """Whether a message may be published, which to be retained needs a right of its own."""
    allowed, reason = permissions.allows("iot:Publish", f"topic/{topic}")
    if allowed and retain:
        return permissions.allows("iot:RetainPublish", f"topic/{topic}")
    return allowed, reason
