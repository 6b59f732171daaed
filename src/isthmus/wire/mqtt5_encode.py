"""Writes MQTT 5 packets, a client's and a server's, each in its shortest form.

What is written is well formed if the values are valid: topics and filters are checked where they
come in (``topics``), not here on the way out.
"""

from __future__ import annotations

import struct

from isthmus.errors import MalformedPacket
from isthmus.wire import packets
from isthmus.wire.fields import WORD, binary, frame, header, text
from isthmus.wire.packets import LEVEL_5
from isthmus.wire.properties import (
    AckProperties,
    ConnackProperties,
    DisconnectProperties,
    Properties,
    PublishProperties,
    SubscribeProperties,
    UnsubscribeProperties,
    write_properties,
)

PROTOCOL_LEVEL = LEVEL_5

_PUBACK = 0x40
_SHORT = struct.Struct(">BBH")
_NO_PROPERTIES = b"\x00"


def encode_publish(
    topic: str,
    payload: bytes,
    *,
    qos: int = 0,
    retain: bool = False,
    dup: bool = False,
    packet_id: int = 0,
    properties: PublishProperties | None = None,
    topic_alias: int = 0,
) -> bytes:
    """Write a PUBLISH; that the topic is valid is the caller's word.

    With ``topic_alias`` the topic may be empty, if the alias stands for it on this connection.
    """
    raw = topic.encode()
    first = 0x30 | dup << 3 | qos << 1 | retain
    if len(raw) > 0xFFFF:
        raise MalformedPacket(f"a topic of {len(raw)} bytes; MQTT has room for 65535")
    written = _NO_PROPERTIES
    if properties is not None or topic_alias:
        written = write_properties(properties, topic_alias=topic_alias)
    number = WORD.pack(packet_id) if qos else b""
    length = 2 + len(raw) + len(number) + len(written) + len(payload)
    parts = (header(first, length), WORD.pack(len(raw)), raw, number, written, payload)
    return b"".join(parts)


def encode_puback(packet_id: int, code: int = 0, properties: AckProperties | None = None) -> bytes:
    """Write a PUBACK."""
    if not code and properties is None:
        return _SHORT.pack(_PUBACK, 2, packet_id)
    return _acknowledge(_PUBACK, packet_id, code, properties)


def encode_connack(
    session_present: bool, return_code: int, properties: ConnackProperties | None = None
) -> bytes:
    """Write a CONNACK."""
    return frame(0x20, bytes((session_present, return_code)) + write_properties(properties))


def encode_suback(
    packet_id: int, codes: tuple[int, ...], properties: AckProperties | None = None
) -> bytes:
    """Write a SUBACK."""
    return frame(0x90, WORD.pack(packet_id) + write_properties(properties) + bytes(codes))


def encode_unsuback(
    packet_id: int, codes: tuple[int, ...], properties: AckProperties | None = None
) -> bytes:
    """Write an UNSUBACK."""
    return frame(0xB0, WORD.pack(packet_id) + write_properties(properties) + bytes(codes))


def encode_connect(packet: packets.Connect) -> bytes:
    """Write a CONNECT of MQTT 5, whatever level the value says."""
    will = packet.will
    flags = packet.clean_session << 1
    parts = [text(packet.client_id)]
    if will:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        parts.append(write_properties(will.properties, will_delay_s=will.delay_s))
        parts += [text(will.topic), binary(will.payload)]
    if packet.username is not None:
        flags |= 0x80
        parts.append(text(packet.username))
    if packet.password is not None:
        flags |= 0x40
        parts.append(binary(packet.password))
    head = text("MQTT") + bytes((PROTOCOL_LEVEL, flags)) + WORD.pack(packet.keep_alive_s)
    return frame(0x10, head + write_properties(packet.properties) + b"".join(parts))


def encode_subscribe(
    packet_id: int,
    filters: tuple[packets.Filter, ...],
    properties: SubscribeProperties | None = None,
) -> bytes:
    """Write a SUBSCRIBE."""
    wanted = b"".join(text(each.topic_filter) + bytes((_options(each),)) for each in filters)
    return frame(0x82, WORD.pack(packet_id) + write_properties(properties) + wanted)


def encode_unsubscribe(
    packet_id: int, filters: tuple[str, ...], properties: UnsubscribeProperties | None = None
) -> bytes:
    """Write an UNSUBSCRIBE."""
    unwanted = b"".join(map(text, filters))
    return frame(0xA2, WORD.pack(packet_id) + write_properties(properties) + unwanted)


def encode_disconnect(code: int = 0, properties: DisconnectProperties | None = None) -> bytes:
    """Write a DISCONNECT."""
    return frame(0xE0, _reason(code, properties))


def encode(packet: packets.Packet) -> bytes:
    """Write any packet."""
    match packet:
        case packets.Publish(topic, payload, qos, retain, dup, packet_id, properties):
            return encode_publish(
                topic,
                payload,
                qos=qos,
                retain=retain,
                dup=dup,
                packet_id=packet_id,
                properties=properties,
            )
        case packets.Puback():
            return encode_puback(packet.packet_id, packet.code, packet.properties)
        case packets.Connect():
            return encode_connect(packet)
        case packets.Connack():
            return encode_connack(packet.session_present, packet.return_code, packet.properties)
        case packets.Subscribe():
            return encode_subscribe(packet.packet_id, packet.filters, packet.properties)
        case packets.Suback():
            return encode_suback(packet.packet_id, packet.codes, packet.properties)
        case packets.Unsubscribe():
            return encode_unsubscribe(packet.packet_id, packet.filters, packet.properties)
        case packets.Unsuback():
            return encode_unsuback(packet.packet_id, packet.codes, packet.properties)
        case packets.Pubrec():
            return _acknowledge(0x50, packet.packet_id, packet.code, packet.properties)
        case packets.Pubrel():
            return _acknowledge(0x62, packet.packet_id, packet.code, packet.properties)
        case packets.Pubcomp():
            return _acknowledge(0x70, packet.packet_id, packet.code, packet.properties)
        case packets.Pingreq():
            return b"\xc0\x00"
        case packets.Pingresp():
            return b"\xd0\x00"
        case packets.Disconnect():
            return encode_disconnect(packet.code, packet.properties)
        case packets.Auth():
            return _auth(packet)


def _options(wanted: packets.Filter) -> int:
    flags = wanted.no_local << 2 | wanted.retain_as_published << 3
    return wanted.qos | flags | wanted.retain_handling << 4


def _acknowledge(first: int, packet_id: int, code: int, properties: AckProperties | None) -> bytes:
    return frame(first, WORD.pack(packet_id) + _reason(code, properties))


def _reason(code: int, properties: Properties | None) -> bytes:
    """What may be left out from the end, sections 3.4.2.1 and 3.14.2.1."""
    written = write_properties(properties)
    if written != _NO_PROPERTIES:
        return bytes((code,)) + written
    return bytes((code,)) if code else b""


def _auth(packet: packets.Auth) -> bytes:
    """AUTH leaves out both or nothing, section 3.15.2.1."""
    written = write_properties(packet.properties)
    short = not packet.code and written == _NO_PROPERTIES
    return frame(0xF0, b"" if short else bytes((packet.code,)) + written)
