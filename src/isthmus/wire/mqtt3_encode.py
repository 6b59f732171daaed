"""Writes MQTT 3.1.1 packets, a client's and a server's.

What is written is well formed if the values are valid: topics and filters are checked where they
come in (``topics``), not here on the way out.
"""

from __future__ import annotations

import struct

from isthmus.errors import MalformedPacket
from isthmus.wire.mqtt3_packets import (
    Connack,
    Connect,
    Disconnect,
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
)

PROTOCOL_LEVEL = 4
#: The largest remaining length that four bytes can say, section 2.2.3.
REMAINING_LENGTH_MAX = 268_435_455

_PUBACK = 0x40
_WORD = struct.Struct(">H")
_SHORT = struct.Struct(">BBH")


def encode_publish(
    topic: str,
    payload: bytes,
    *,
    qos: int = 0,
    retain: bool = False,
    dup: bool = False,
    packet_id: int = 0,
) -> bytes:
    """Write a PUBLISH; that the topic is valid is the caller's word."""
    raw = topic.encode()
    first = 0x30 | dup << 3 | qos << 1 | retain
    if len(raw) > 0xFFFF:
        raise MalformedPacket(f"a topic of {len(raw)} bytes; MQTT has room for 65535")
    if qos:
        length = len(raw) + len(payload) + 4
        parts = (_header(first, length), _WORD.pack(len(raw)), raw, _WORD.pack(packet_id), payload)
        return b"".join(parts)
    length = len(raw) + len(payload) + 2
    return b"".join((_header(first, length), _WORD.pack(len(raw)), raw, payload))


def encode_puback(packet_id: int) -> bytes:
    """Write a PUBACK; equal identifiers give equal bytes, which a caller may keep."""
    return _SHORT.pack(_PUBACK, 2, packet_id)


def encode_connack(session_present: bool, return_code: int) -> bytes:
    """Write a CONNACK."""
    return bytes((0x20, 2, session_present, return_code))


def encode_suback(packet_id: int, codes: tuple[int, ...]) -> bytes:
    """Write a SUBACK."""
    return _frame(0x90, _WORD.pack(packet_id) + bytes(codes))


def encode_unsuback(packet_id: int) -> bytes:
    """Write an UNSUBACK."""
    return _SHORT.pack(0xB0, 2, packet_id)


def encode_connect(packet: Connect) -> bytes:
    """Write a CONNECT."""
    if packet.password is not None and packet.username is None:
        raise MalformedPacket("CONNECT has a password and no user name [MQTT-3.1.2-22]")
    will = packet.will
    flags = packet.clean_session << 1
    parts = [_text(packet.client_id)]
    if will:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        parts += [_text(will.topic), _binary(will.payload)]
    if packet.username is not None:
        flags |= 0x80
        parts.append(_text(packet.username))
    if packet.password is not None:
        flags |= 0x40
        parts.append(_binary(packet.password))
    head = _text("MQTT") + bytes((PROTOCOL_LEVEL, flags)) + _WORD.pack(packet.keep_alive_s)
    return _frame(0x10, head + b"".join(parts))


def encode_subscribe(packet_id: int, filters: tuple[tuple[str, int], ...]) -> bytes:
    """Write a SUBSCRIBE."""
    wanted = b"".join(_text(topic_filter) + bytes((qos,)) for topic_filter, qos in filters)
    return _frame(0x82, _WORD.pack(packet_id) + wanted)


def encode_unsubscribe(packet_id: int, filters: tuple[str, ...]) -> bytes:
    """Write an UNSUBSCRIBE."""
    return _frame(0xA2, _WORD.pack(packet_id) + b"".join(map(_text, filters)))


def encode(packet: Packet) -> bytes:
    """Write any packet."""
    match packet:
        case Publish(topic, payload, qos, retain, dup, packet_id):
            return encode_publish(
                topic, payload, qos=qos, retain=retain, dup=dup, packet_id=packet_id
            )
        case Puback():
            return encode_puback(packet.packet_id)
        case Connect():
            return encode_connect(packet)
        case Connack():
            return encode_connack(packet.session_present, packet.return_code)
        case Subscribe():
            return encode_subscribe(packet.packet_id, packet.filters)
        case Suback():
            return encode_suback(packet.packet_id, packet.codes)
        case Unsubscribe():
            return encode_unsubscribe(packet.packet_id, packet.filters)
        case Unsuback():
            return encode_unsuback(packet.packet_id)
        case Pubrec():
            return _SHORT.pack(0x50, 2, packet.packet_id)
        case Pubrel():
            return _SHORT.pack(0x62, 2, packet.packet_id)
        case Pubcomp():
            return _SHORT.pack(0x70, 2, packet.packet_id)
        case Pingreq():
            return b"\xc0\x00"
        case Pingresp():
            return b"\xd0\x00"
        case Disconnect():
            return b"\xe0\x00"


def _frame(first: int, body: bytes) -> bytes:
    return _header(first, len(body)) + body


def _header(first: int, length: int) -> bytes:
    if length < 0x80:
        return bytes((first, length))
    if length < 0x4000:
        return bytes((first, length & 0x7F | 0x80, length >> 7))
    if length > REMAINING_LENGTH_MAX:
        raise MalformedPacket(f"{length} bytes; MQTT has room for {REMAINING_LENGTH_MAX}")
    header = bytearray((first,))
    while length > 0x7F:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header)


def _text(value: str) -> bytes:
    return _binary(value.encode())


def _binary(value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise MalformedPacket(f"a field of {len(value)} bytes; MQTT has room for 65535")
    return _WORD.pack(len(value)) + value
