"""MQTT 5: bytes in, packets out, and back; no I/O. This module is the codec's whole interface.

How a stream is cut into packets stands in ``framing``. Names in brackets are the normative
statements of the OASIS standard of 7 March 2019. A refusal carries the reason code to answer with.

Rules that need to know who sent a packet, or what came before it, are not the codec's: a server's
packet from a client, a subscription identifier in a client's PUBLISH, a session expiry in a
server's DISCONNECT, limits that were said in CONNECT and CONNACK. The exception is the topic
alias, which is a matter of how topics are written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

from isthmus.errors import MalformedPacket
from isthmus.wire.fields import Fields, packet_id
from isthmus.wire.framing import MAX_PACKET_BYTES, Readers, read_connect_flags, read_protocol
from isthmus.wire.framing import Decoder as _Decoder
from isthmus.wire.malformed import (
    PacketTooLarge,
    ProtocolError,
    TopicAliasInvalid,
    UnsupportedProtocol,
)
from isthmus.wire.mqtt5_encode import (
    PROTOCOL_LEVEL,
    encode,
    encode_connack,
    encode_connect,
    encode_disconnect,
    encode_puback,
    encode_publish,
    encode_suback,
    encode_subscribe,
    encode_unsuback,
    encode_unsubscribe,
)
from isthmus.wire.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Filter,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from isthmus.wire.properties import (
    AckProperties,
    AuthProperties,
    ConnackProperties,
    ConnectProperties,
    DisconnectProperties,
    P,
    PublishProperties,
    SubscribeProperties,
    UnsubscribeProperties,
    read_properties,
    read_publish_properties,
    read_will_properties,
)
from isthmus.wire.reason_codes import (
    AUTH_CODES,
    CONNACK_CODES,
    DISCONNECT_CODES,
    PUBACK_CODES,
    PUBCOMP_CODES,
    PUBREC_CODES,
    PUBREL_CODES,
    SUBACK_CODES,
    UNSUBACK_CODES,
    Allowed,
    ReasonCode,
)

__all__ = [
    "MAX_PACKET_BYTES",
    "PROTOCOL_LEVEL",
    "AckProperties",
    "Auth",
    "AuthProperties",
    "Connack",
    "ConnackProperties",
    "Connect",
    "ConnectProperties",
    "Decoder",
    "Disconnect",
    "DisconnectProperties",
    "Filter",
    "Packet",
    "PacketTooLarge",
    "Pingreq",
    "Pingresp",
    "ProtocolError",
    "Puback",
    "Pubcomp",
    "Publish",
    "PublishProperties",
    "Pubrec",
    "Pubrel",
    "ReasonCode",
    "Suback",
    "Subscribe",
    "SubscribeProperties",
    "TopicAliasInvalid",
    "Unsuback",
    "Unsubscribe",
    "UnsubscribeProperties",
    "UnsupportedProtocol",
    "Will",
    "encode",
    "encode_connack",
    "encode_connect",
    "encode_disconnect",
    "encode_puback",
    "encode_publish",
    "encode_suback",
    "encode_subscribe",
    "encode_unsuback",
    "encode_unsubscribe",
]

T = TypeVar("T")
_SUCCESS = ReasonCode.SUCCESS
_new_tuple = tuple.__new__


def _code(fields: Fields, allowed: Allowed) -> ReasonCode:
    number = fields.byte()
    code = allowed.get(number)
    if code is None:
        raise MalformedPacket(f"0x{number:02x} is no reason code of this packet, section 2.4")
    return code


def _codes(fields: Fields, allowed: Allowed) -> tuple[ReasonCode, ...]:
    why = "an acknowledgement has no reason codes [MQTT-3.9.3-1] [MQTT-3.11.3-1]"
    return _to_the_end(fields, lambda rest: _code(rest, allowed), why)


def _to_the_end(fields: Fields, read: Callable[[Fields], T], none: str) -> tuple[T, ...]:
    """Read what the rest of a packet consists of; it must not be nothing."""
    found: list[T] = []
    while fields.more:
        found.append(read(fields))
    if not found:
        raise ProtocolError(none)
    return tuple(found)


def _reason(fields: Fields, allowed: Allowed, kind: type[P]) -> tuple[ReasonCode, P | None]:
    """Read a code and properties, each of which may be left out from the end."""
    code = _code(fields, allowed) if fields.more else _SUCCESS
    return code, read_properties(kind, fields) if fields.more else None


def _read_connect(fields: Fields) -> Connect:
    read_protocol(fields, PROTOCOL_LEVEL)
    flags, keep_alive_s = read_connect_flags(fields), fields.word()
    properties = read_properties(ConnectProperties, fields)
    if properties and properties.authentication_data is not None:
        _check_method(properties.authentication_method)
    return Connect(
        client_id=fields.text(),
        clean_session=flags & 0x02 != 0,
        keep_alive_s=keep_alive_s,
        will=_read_will(fields, flags) if flags & 0x04 else None,
        username=fields.text() if flags & 0x80 else None,
        password=fields.binary() if flags & 0x40 else None,
        level=PROTOCOL_LEVEL,
        properties=properties,
    )


def _read_will(fields: Fields, flags: int) -> Will:
    properties, delay_s = read_will_properties(fields)
    qos, retain = flags >> 3 & 3, flags & 0x20 != 0
    return Will(fields.topic(), fields.binary(), qos, retain, delay_s, properties)


def _check_method(method: str | None) -> None:
    if method is None:
        raise ProtocolError("no authentication method, sections 3.1.2.11.10 and 3.15.2.2.2")


def _read_connack(fields: Fields) -> Connack:
    flags, code = fields.byte(), _code(fields, CONNACK_CODES)
    if flags > 1:
        raise MalformedPacket("CONNACK has reserved flags [MQTT-3.2.2-1]")
    if flags and code:
        raise ProtocolError("CONNACK refuses and has a session present [MQTT-3.2.2-6]")
    return Connack(flags == 1, code, read_properties(ConnackProperties, fields))


def _read_subscribe(fields: Fields) -> Subscribe:
    number = fields.packet_id()
    properties = read_properties(SubscribeProperties, fields)
    filters = _to_the_end(fields, _read_filter, "SUBSCRIBE has no filter [MQTT-3.8.3-2]")
    return Subscribe(number, filters, properties)


def _read_filter(fields: Fields) -> Filter:
    topic_filter = _filter(fields)
    options = fields.byte()
    if options & 0xC0:
        raise MalformedPacket("subscription options have reserved bits [MQTT-3.8.3-5]")
    qos, handling, no_local = options & 3, options >> 4, options & 0x04 != 0
    if qos == 3 or handling == 3:
        raise ProtocolError("a QoS or retain handling of 3, section 3.8.3.1")
    if no_local and topic_filter.startswith("$share/"):
        raise ProtocolError("no local on a shared subscription [MQTT-3.8.3-4]")
    return Filter(topic_filter, qos, no_local, options & 0x08 != 0, handling)


def _filter(fields: Fields) -> str:
    topic_filter = fields.filter()
    if topic_filter.startswith("$share/"):
        _, name, *rest = topic_filter.split("/", 2)
        if not name or "+" in name or "#" in name or not rest or not rest[0]:
            shown = repr(topic_filter[:80])
            raise MalformedPacket(f"filter {shown} shares nothing [MQTT-4.8.2-1] [MQTT-4.8.2-2]")
    return topic_filter


def _read_suback(fields: Fields) -> Suback:
    number = fields.packet_id()
    properties = read_properties(AckProperties, fields)
    return Suback(number, _codes(fields, SUBACK_CODES), properties)


def _read_unsubscribe(fields: Fields) -> Unsubscribe:
    number = fields.packet_id()
    properties = read_properties(UnsubscribeProperties, fields)
    filters = _to_the_end(fields, _filter, "UNSUBSCRIBE has no filter [MQTT-3.10.3-2]")
    return Unsubscribe(number, filters, properties)


def _read_unsuback(fields: Fields) -> Unsuback:
    number = fields.packet_id()
    properties = read_properties(AckProperties, fields)
    return Unsuback(number, _codes(fields, UNSUBACK_CODES), properties)


def _read_auth(fields: Fields) -> Auth:
    if not fields.more:
        return Auth(_SUCCESS)
    code = _code(fields, AUTH_CODES)
    properties = read_properties(AuthProperties, fields)
    _check_method(properties.authentication_method if properties else None)
    return Auth(code, properties)


class Decoder(_Decoder):
    """Reads one connection's bytes of MQTT 5.

    ``topic_alias_max`` is what the receiver said in its CONNECT or CONNACK; a PUBLISH with an
    alias comes out with its topic. An alias above it, or one that stands for nothing, is refused.
    """

    __slots__ = ("_aliases", "_topic_alias_max")

    _shortest_lengths = True
    _readers: ClassVar[Readers] = {
        0x10: _read_connect,
        0x20: _read_connack,
        0x40: lambda fields: Puback(
            fields.packet_id(), *_reason(fields, PUBACK_CODES, AckProperties)
        ),
        0x50: lambda fields: Pubrec(
            fields.packet_id(), *_reason(fields, PUBREC_CODES, AckProperties)
        ),
        0x62: lambda fields: Pubrel(
            fields.packet_id(), *_reason(fields, PUBREL_CODES, AckProperties)
        ),
        0x70: lambda fields: Pubcomp(
            fields.packet_id(), *_reason(fields, PUBCOMP_CODES, AckProperties)
        ),
        0x82: _read_subscribe,
        0x90: _read_suback,
        0xA2: _read_unsubscribe,
        0xB0: _read_unsuback,
        0xC0: lambda fields: Pingreq(),
        0xD0: lambda fields: Pingresp(),
        0xE0: lambda fields: Disconnect(*_reason(fields, DISCONNECT_CODES, DisconnectProperties)),
        0xF0: _read_auth,
    }

    def __init__(
        self, max_packet_bytes: int = MAX_PACKET_BYTES, *, topic_alias_max: int = 0
    ) -> None:
        super().__init__(max_packet_bytes)
        self._topic_alias_max = topic_alias_max
        self._aliases: dict[int, str] = {}

    def _publish(self, flags: tuple[int, bool, bool], data: bytes, start: int, end: int) -> Publish:
        qos, retain, dup = flags
        if end - start < 2:
            raise MalformedPacket("PUBLISH ends within its topic's length")
        topic_end = start + 2 + (data[start] << 8 | data[start + 1])
        payload_start = topic_end + 2 if qos else topic_end
        if payload_start >= end:
            raise MalformedPacket("PUBLISH ends within its header")
        raw = data[start + 2 : topic_end]
        number = packet_id(data, topic_end) if qos else 0
        properties, alias = None, 0
        if data[payload_start]:
            fields = Fields(data, payload_start, end)
            properties, alias = read_publish_properties(fields)
            payload_start = fields.position
        else:
            payload_start += 1
        if alias:
            topic = self._aliased(alias, raw)
        else:
            if raw != self._raw_topic or not raw:
                self._check_topic(raw)
            topic = self._topic
        values = (topic, data[payload_start:end], qos, retain, dup, number, properties)
        return _new_tuple(Publish, values)

    def _aliased(self, alias: int, raw: bytes) -> str:
        if alias > self._topic_alias_max:
            raise TopicAliasInvalid(
                f"topic alias {alias}; the maximum is {self._topic_alias_max} [MQTT-3.3.2-9]"
            )
        if raw:
            self._check_topic(raw)
            self._aliases[alias] = self._topic
        topic = self._aliases.get(alias)
        if topic is None:
            raise ProtocolError(f"topic alias {alias} stands for nothing, section 3.3.2.3.4")
        return topic

    def _check_topic(self, raw: bytes) -> None:
        if not raw:
            raise ProtocolError("PUBLISH has neither a topic nor an alias, section 3.3.2.1")
        super()._check_topic(raw)
