"""Writes MQTT 3.1.1 packets, a client's and a server's.

This wire has no room for MQTT 5's properties and reasons: properties are left out, reasons become
the nearest return code, and what cannot be said at all is refused, never said as its opposite.

What is written is well formed if the values are valid: topics and filters are checked where they
come in (``topics``), not here on the way out.
"""

from __future__ import annotations

import struct

from isthmus.errors import MalformedPacket
from isthmus.wire import packets
from isthmus.wire.fields import WORD, binary, frame, header, text
from isthmus.wire.packets import LEVEL_3, SUBSCRIPTION_REFUSED
from isthmus.wire.properties import AckProperties, PublishProperties
from isthmus.wire.reason_codes import ReasonCode

PROTOCOL_LEVEL = LEVEL_3
#: From here on a reason code of MQTT 5 is a failure, section 2.4 of that standard.
FAILURE = 0x80
#: The CONNACK return codes of section 3.2.2.3 for reason codes of MQTT 5.
RETURN_CODES = {
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: 1,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: 2,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: 4,
    ReasonCode.BAD_AUTHENTICATION_METHOD: 4,
    ReasonCode.NOT_AUTHORIZED: 5,
    ReasonCode.BANNED: 5,
    ReasonCode.TOPIC_NAME_INVALID: 5,
    ReasonCode.RETAIN_NOT_SUPPORTED: 5,
    ReasonCode.QOS_NOT_SUPPORTED: 5,
}
#: Every other reason: come again later.
UNAVAILABLE = 3

_PUBACK = 0x40
_SHORT = struct.Struct(">BBH")


def encode_publish(
    topic: str,
    payload: bytes,
    *,
    qos: int = 0,
    retain: bool = False,
    dup: bool = False,
    packet_id: int = 0,
    properties: PublishProperties | None = None,
) -> bytes:
    """Write a PUBLISH; that the topic is valid is the caller's word."""
    raw = topic.encode()
    first = 0x30 | dup << 3 | qos << 1 | retain
    if len(raw) > 0xFFFF:
        raise MalformedPacket(f"a topic of {len(raw)} bytes; MQTT has room for 65535")
    if qos:
        length = len(raw) + len(payload) + 4
        parts = (header(first, length), WORD.pack(len(raw)), raw, WORD.pack(packet_id), payload)
        return b"".join(parts)
    length = len(raw) + len(payload) + 2
    return b"".join((header(first, length), WORD.pack(len(raw)), raw, payload))


def encode_puback(packet_id: int, code: int = 0, properties: AckProperties | None = None) -> bytes:
    """Write a PUBACK, which is a promise: a refusal cannot be said and closes the connection."""
    if code >= FAILURE:
        raise MalformedPacket(f"PUBACK of MQTT 3.1.1 cannot refuse with 0x{code:02x}")
    return _SHORT.pack(_PUBACK, 2, packet_id)


def encode_connack(session_present: bool, return_code: int) -> bytes:
    """Write a CONNACK."""
    if return_code >= FAILURE:
        return_code = RETURN_CODES.get(ReasonCode(return_code), UNAVAILABLE)
    return bytes((0x20, 2, session_present, return_code))


def encode_suback(packet_id: int, codes: tuple[int, ...]) -> bytes:
    """Write a SUBACK."""
    known = bytes(SUBSCRIPTION_REFUSED if code >= FAILURE else code for code in codes)
    return frame(0x90, WORD.pack(packet_id) + known)


def encode_unsuback(packet_id: int) -> bytes:
    """Write an UNSUBACK."""
    return _SHORT.pack(0xB0, 2, packet_id)


def encode_connect(packet: packets.Connect) -> bytes:
    """Write a CONNECT."""
    if packet.password is not None and packet.username is None:
        raise MalformedPacket("CONNECT has a password and no user name [MQTT-3.1.2-22]")
    will = packet.will
    flags = packet.clean_session << 1
    parts = [text(packet.client_id)]
    if will:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        parts += [text(will.topic), binary(will.payload)]
    if packet.username is not None:
        flags |= 0x80
        parts.append(text(packet.username))
    if packet.password is not None:
        flags |= 0x40
        parts.append(binary(packet.password))
    head = text("MQTT") + bytes((PROTOCOL_LEVEL, flags)) + WORD.pack(packet.keep_alive_s)
    return frame(0x10, head + b"".join(parts))


def encode_subscribe(packet_id: int, filters: tuple[packets.Filter, ...]) -> bytes:
    """Write a SUBSCRIBE."""
    wanted = b"".join(text(each.topic_filter) + bytes((each.qos,)) for each in filters)
    return frame(0x82, WORD.pack(packet_id) + wanted)


def encode_unsubscribe(packet_id: int, filters: tuple[str, ...]) -> bytes:
    """Write an UNSUBSCRIBE."""
    return frame(0xA2, WORD.pack(packet_id) + b"".join(map(text, filters)))


def encode(packet: packets.Packet) -> bytes:
    """Write any packet."""
    match packet:
        case packets.Publish(topic, payload, qos, retain, dup, packet_id, _):
            return encode_publish(
                topic, payload, qos=qos, retain=retain, dup=dup, packet_id=packet_id
            )
        case packets.Puback():
            return encode_puback(packet.packet_id, packet.code)
        case packets.Connect():
            return encode_connect(packet)
        case packets.Connack():
            return encode_connack(packet.session_present, packet.return_code)
        case packets.Subscribe():
            return encode_subscribe(packet.packet_id, packet.filters)
        case packets.Suback():
            return encode_suback(packet.packet_id, packet.codes)
        case packets.Unsubscribe():
            return encode_unsubscribe(packet.packet_id, packet.filters)
        case packets.Unsuback():
            return encode_unsuback(packet.packet_id)
        case packets.Pubrec():
            return _SHORT.pack(0x50, 2, packet.packet_id)
        case packets.Pubrel():
            return _SHORT.pack(0x62, 2, packet.packet_id)
        case packets.Pubcomp():
            return _SHORT.pack(0x70, 2, packet.packet_id)
        case packets.Pingreq():
            return b"\xc0\x00"
        case packets.Pingresp():
            return b"\xd0\x00"
        case packets.Disconnect(code):
            if code:
                raise MalformedPacket(f"DISCONNECT of MQTT 3.1.1 cannot say 0x{code:02x}")
            return b"\xe0\x00"
        case packets.Auth():
            raise MalformedPacket("MQTT 3.1.1 has no AUTH")
