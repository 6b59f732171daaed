"""MQTT 3.1.1: bytes in, packets out, and back; no I/O. This module is the codec's whole interface.

How a stream is cut into packets stands in ``framing``. Names in brackets are the normative
statements of the OASIS standard of 29 October 2014.
"""

from __future__ import annotations

from typing import ClassVar

from isthmus.errors import MalformedPacket
from isthmus.wire.fields import Fields, packet_id
from isthmus.wire.framing import MAX_PACKET_BYTES, Readers, read_connect_flags, read_protocol
from isthmus.wire.framing import Decoder as _Decoder
from isthmus.wire.malformed import PacketTooLarge, UnsupportedProtocol
from isthmus.wire.mqtt3_encode import (
    PROTOCOL_LEVEL,
    encode,
    encode_connack,
    encode_connect,
    encode_puback,
    encode_publish,
    encode_suback,
    encode_subscribe,
    encode_unsuback,
    encode_unsubscribe,
)
from isthmus.wire.packets import (
    SUBSCRIPTION_REFUSED,
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

__all__ = [
    "MAX_PACKET_BYTES",
    "PROTOCOL_LEVEL",
    "SUBSCRIPTION_REFUSED",
    "Connack",
    "Connect",
    "Decoder",
    "Disconnect",
    "Filter",
    "Packet",
    "PacketTooLarge",
    "Pingreq",
    "Pingresp",
    "Puback",
    "Pubcomp",
    "Publish",
    "Pubrec",
    "Pubrel",
    "Suback",
    "Subscribe",
    "Unsuback",
    "Unsubscribe",
    "UnsupportedProtocol",
    "Will",
    "encode",
    "encode_connack",
    "encode_connect",
    "encode_puback",
    "encode_publish",
    "encode_suback",
    "encode_subscribe",
    "encode_unsuback",
    "encode_unsubscribe",
]

_new_tuple = tuple.__new__


def _read_connect(fields: Fields) -> Connect:
    read_protocol(fields, PROTOCOL_LEVEL)
    flags, keep_alive_s = read_connect_flags(fields), fields.word()
    has_username, has_password = flags & 0x80, flags & 0x40
    if has_password and not has_username:
        raise MalformedPacket("CONNECT has a password and no user name [MQTT-3.1.2-22]")
    return Connect(
        client_id=fields.text(),
        clean_session=flags & 0x02 != 0,
        keep_alive_s=keep_alive_s,
        will=_read_will(fields, flags) if flags & 0x04 else None,
        username=fields.text() if has_username else None,
        password=fields.binary() if has_password else None,
    )


def _read_will(fields: Fields, flags: int) -> Will:
    return Will(fields.topic(), fields.binary(), flags >> 3 & 3, flags & 0x20 != 0)


def _read_connack(fields: Fields) -> Connack:
    flags, code = fields.byte(), fields.byte()
    if flags > 1 or code > 5:
        raise MalformedPacket(f"CONNACK has reserved flags or code: {flags}, {code}")
    if flags and code:
        raise MalformedPacket("CONNACK refuses and has a session present [MQTT-3.2.2-4]")
    return Connack(session_present=flags == 1, return_code=code)


def _read_subscribe(fields: Fields) -> Subscribe:
    packet_id = fields.packet_id()
    filters: list[Filter] = []
    while fields.more:
        topic_filter, qos = fields.filter(), fields.byte()
        if qos > 2:
            raise MalformedPacket("SUBSCRIBE asks for a reserved QoS [MQTT-3.8.3-4]")
        filters.append(Filter(topic_filter, qos))
    if not filters:
        raise MalformedPacket("SUBSCRIBE has no filter [MQTT-3.8.3-3]")
    return Subscribe(packet_id, tuple(filters))


def _read_suback(fields: Fields) -> Suback:
    packet_id = fields.packet_id()
    codes: list[int] = []
    while fields.more:
        codes.append(fields.byte())
    if not codes or any(code > 2 and code != SUBSCRIPTION_REFUSED for code in codes):
        raise MalformedPacket("SUBACK has no or reserved return codes [MQTT-3.9.3-2]")
    return Suback(packet_id, tuple(codes))


def _read_unsubscribe(fields: Fields) -> Unsubscribe:
    packet_id = fields.packet_id()
    filters: list[str] = []
    while fields.more:
        filters.append(fields.filter())
    if not filters:
        raise MalformedPacket("UNSUBSCRIBE has no filter [MQTT-3.10.3-2]")
    return Unsubscribe(packet_id, tuple(filters))


class Decoder(_Decoder):
    """Reads one connection's bytes of MQTT 3.1.1."""

    __slots__ = ()

    _readers: ClassVar[Readers] = {
        0x10: _read_connect,
        0x20: _read_connack,
        0x40: lambda fields: Puback(fields.packet_id()),
        0x50: lambda fields: Pubrec(fields.packet_id()),
        0x62: lambda fields: Pubrel(fields.packet_id()),
        0x70: lambda fields: Pubcomp(fields.packet_id()),
        0x82: _read_subscribe,
        0x90: _read_suback,
        0xA2: _read_unsubscribe,
        0xB0: lambda fields: Unsuback(fields.packet_id()),
        0xC0: lambda fields: Pingreq(),
        0xD0: lambda fields: Pingresp(),
        0xE0: lambda fields: Disconnect(),
    }

    def _publish(self, flags: tuple[int, bool, bool], data: bytes, start: int, end: int) -> Publish:
        qos, retain, dup = flags
        if end - start < 2:
            raise MalformedPacket("PUBLISH ends within its topic's length")
        topic_end = start + 2 + (data[start] << 8 | data[start + 1])
        payload_start = topic_end + 2 if qos else topic_end
        if payload_start > end:
            raise MalformedPacket("PUBLISH ends within its header")
        raw = data[start + 2 : topic_end]
        if raw != self._raw_topic or not raw:
            self._check_topic(raw)
        number = packet_id(data, topic_end) if qos else 0
        fields = (self._topic, data[payload_start:end], qos, retain, dup, number, None)
        return _new_tuple(Publish, fields)
