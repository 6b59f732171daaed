"""MQTT 3.1.1: bytes in, packets out, and back; no I/O. This module is the codec's whole interface.

Whatever the chunks in which bytes arrive, the same stream gives the same packets or the same
refusal, and never more than one incomplete packet of ``max_packet_bytes`` is kept. PUBLISH and
PUBACK are the gateway's hot path and are read without intermediate objects; every other packet is
rare enough to be read field by field. Names in brackets are the normative statements of the OASIS
standard of 29 October 2014.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus.errors import MalformedPacket
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
from isthmus.wire.mqtt3_packets import (
    SUBSCRIPTION_REFUSED,
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
    Will,
)
from isthmus.wire.topics import validate_filter, validate_topic

__all__ = [
    "MAX_PACKET_BYTES",
    "PROTOCOL_LEVEL",
    "SUBSCRIPTION_REFUSED",
    "Connack",
    "Connect",
    "Decoder",
    "Disconnect",
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

#: Room for the 128 KB payload that AWS IoT Core allows, its topic and header.
MAX_PACKET_BYTES = 146 * 1024


class UnsupportedProtocol(MalformedPacket):
    """A CONNECT of another MQTT version: to be answered with CONNACK 1 [MQTT-3.1.2-2]."""

    def __init__(self, name: str, level: int) -> None:
        super().__init__(f"CONNECT speaks {name} level {level}, not MQTT level {PROTOCOL_LEVEL}")
        self.level = level


class PacketTooLarge(MalformedPacket):
    """A packet is larger than the limit; raised before its body is kept."""


_PUBACK = 0x40
#: Every legal first byte of a PUBLISH. QoS 3 [MQTT-3.3.1-4] and DUP with QoS 0 [MQTT-3.3.1-2]
#: are absent, so one look-up both checks and reads it.
_PUBLISH_FLAGS: dict[int, tuple[int, bool, bool]] = {
    0x30 | dup << 3 | qos << 1 | retain: (qos, bool(retain), bool(dup))
    for qos in (0, 1, 2)
    for dup in (0, 1)
    for retain in (0, 1)
    if qos or not dup
}
_new_tuple = tuple.__new__


class Decoder:
    """Reads one connection's bytes, in any chunks.

    Invariant: what is kept between two calls is the beginning of one packet, whose first byte is
    legal and whose length is within the limit. After a refusal every further call refuses too.
    """

    __slots__ = ("_broken", "_max_packet_bytes", "_needed", "_pending", "_raw_topic", "_topic")

    def __init__(self, max_packet_bytes: int = MAX_PACKET_BYTES) -> None:
        self._max_packet_bytes = max_packet_bytes
        self._pending = bytearray()
        #: Bytes that ``_pending`` must reach before looking at it again is worth the time: a
        #: peer that sends byte by byte would else cost us the square of its packet's length.
        self._needed = 0
        # A device mostly publishes to one topic: the last one need not be checked again, and
        # all its messages share one string.
        self._raw_topic = b""
        self._topic = ""
        self._broken = False

    @property
    def pending_bytes(self) -> int:
        """How much of an incomplete packet is kept."""
        return len(self._pending)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Packet]:
        """Answer the packets that ``data`` completes.

        Raises MalformedPacket; packets before the malformed one in the same call are dropped
        with it, as the connection must be closed anyway [MQTT-4.8.0-1] and none was answered.
        """
        if self._broken:
            raise MalformedPacket("what follows a malformed packet cannot be read")
        if self._pending:
            # At most what is missing is copied twice; the limit was checked when it was kept.
            self._pending += data
            if len(self._pending) < self._needed:
                return []
            whole = bytes(self._pending)
            self._pending.clear()
        else:
            whole = data if type(data) is bytes else bytes(data)
        try:
            return self._packets(whole)
        except MalformedPacket:
            self._broken = True
            raise

    def _packets(self, data: bytes) -> list[Packet]:
        packets: list[Packet] = []
        position, size = 0, len(data)
        needed = 2
        while size - position >= 2:
            first, length = data[position], data[position + 1]
            start = position + 2
            flags = _PUBLISH_FLAGS.get(first)
            if flags is None and first not in _READERS:
                raise MalformedPacket(_first_byte_reason(first))
            if length > 0x7F:
                length, start = _long_length(data, position + 1)
                if not start:
                    needed = size - position + 1
                    break
            end = start + length
            if end - position > self._max_packet_bytes:
                raise PacketTooLarge(
                    f"a packet of {end - position} bytes; the limit is {self._max_packet_bytes}"
                )
            if end > size:
                needed = end - position
                break
            if flags is not None:
                packets.append(self._publish(flags, data, start, end))
            elif first == _PUBACK and length == 2:
                packets.append(_new_tuple(Puback, (_packet_id(data, start),)))
            else:
                packets.append(_read(first, data[start:end]))
            position = end
        if position < size:
            self._pending += data[position:] if position else data
            self._needed = needed
        return packets

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
            self._topic = _topic(raw)
            self._raw_topic = raw
        packet_id = _packet_id(data, topic_end) if qos else 0
        fields = (self._topic, data[payload_start:end], qos, retain, dup, packet_id)
        return _new_tuple(Publish, fields)


def _long_length(data: bytes, position: int) -> tuple[int, int]:
    """Read a remaining length of several bytes; answers it and the position after it, or 0."""
    length = 0
    for index, byte in enumerate(data[position : position + 4]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return length, position + index + 1
        if index == 3:
            raise MalformedPacket("remaining length takes more than 4 bytes, section 2.2.3")
    return 0, 0


def _packet_id(data: bytes, position: int) -> int:
    packet_id = data[position] << 8 | data[position + 1]
    if not packet_id:
        raise MalformedPacket("packet identifier is 0 [MQTT-2.3.1-1]")
    return packet_id


def _decode_text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise MalformedPacket("a string is not UTF-8 [MQTT-1.5.3-1]") from None
    if "\0" in text:
        raise MalformedPacket("a string holds U+0000 [MQTT-1.5.3-2]")
    return text


def _topic(raw: bytes) -> str:
    topic = _decode_text(raw)
    validate_topic(topic)
    return topic


def _first_byte_reason(first: int) -> str:
    kind, flags = first >> 4, first & 0x0F
    if kind in (0, 15):
        return f"packet type {kind} is reserved, section 2.2.1"
    if kind == 3:
        why = "QoS 3 [MQTT-3.3.1-4]" if first & 6 == 6 else "DUP with QoS 0 [MQTT-3.3.1-2]"
        return f"PUBLISH has {why}"
    return f"packet type {kind} has reserved flags {flags:04b} [MQTT-2.2.2-2]"


class _Fields:
    """Reads the body of a rare packet field by field; never past its end."""

    __slots__ = ("_body", "_position")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._position = 0

    def take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._body):
            raise MalformedPacket("a packet ends within a field")
        taken = self._body[self._position : end]
        self._position = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def word(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def packet_id(self) -> int:
        return _packet_id(self.take(2), 0)

    def binary(self) -> bytes:
        return self.take(self.word())

    def text(self) -> str:
        return _decode_text(self.binary())

    def filter(self) -> str:
        topic_filter = self.text()
        validate_filter(topic_filter)
        return topic_filter

    @property
    def more(self) -> bool:
        return self._position < len(self._body)


def _read(first: int, body: bytes) -> Packet:
    fields = _Fields(body)
    packet = _READERS[first](fields)
    if fields.more:
        raise MalformedPacket(f"{type(packet).__name__.upper()} has bytes after its last field")
    return packet


def _read_connect(fields: _Fields) -> Connect:
    name, level = fields.text(), fields.byte()
    # MQIsdp is the name of MQTT 3.1: a peer to be told of our version, not a stranger.
    if name not in ("MQTT", "MQIsdp"):
        raise MalformedPacket(f"CONNECT names protocol {name[:20]!r} [MQTT-3.1.2-1]")
    if name != "MQTT" or level != PROTOCOL_LEVEL:
        raise UnsupportedProtocol(name, level)
    flags, keep_alive_s = fields.byte(), fields.word()
    has_username, has_password = flags & 0x80, flags & 0x40
    if flags & 0x01:
        raise MalformedPacket("CONNECT has its reserved flag set [MQTT-3.1.2-3]")
    if has_password and not has_username:
        raise MalformedPacket("CONNECT has a password and no user name [MQTT-3.1.2-22]")
    return Connect(
        client_id=fields.text(),
        clean_session=flags & 0x02 != 0,
        keep_alive_s=keep_alive_s,
        will=_read_will(fields, flags),
        username=fields.text() if has_username else None,
        password=fields.binary() if has_password else None,
    )


def _read_will(fields: _Fields, flags: int) -> Will | None:
    qos, retain = flags >> 3 & 3, flags & 0x20 != 0
    if not flags & 0x04:
        if qos or retain:
            raise MalformedPacket("CONNECT has a will QoS or retain and no will [MQTT-3.1.2-11]")
        return None
    if qos == 3:
        raise MalformedPacket("CONNECT has will QoS 3 [MQTT-3.1.2-14]")
    return Will(_topic(fields.binary()), fields.binary(), qos, retain)


def _read_connack(fields: _Fields) -> Connack:
    flags, code = fields.byte(), fields.byte()
    if flags > 1 or code > 5:
        raise MalformedPacket(f"CONNACK has reserved flags or code: {flags}, {code}")
    if flags and code:
        raise MalformedPacket("CONNACK refuses and has a session present [MQTT-3.2.2-4]")
    return Connack(session_present=flags == 1, return_code=code)


def _read_subscribe(fields: _Fields) -> Subscribe:
    packet_id = fields.packet_id()
    filters: list[tuple[str, int]] = []
    while fields.more:
        topic_filter, qos = fields.filter(), fields.byte()
        if qos > 2:
            raise MalformedPacket("SUBSCRIBE asks for a reserved QoS [MQTT-3.8.3-4]")
        filters.append((topic_filter, qos))
    if not filters:
        raise MalformedPacket("SUBSCRIBE has no filter [MQTT-3.8.3-3]")
    return Subscribe(packet_id, tuple(filters))


def _read_suback(fields: _Fields) -> Suback:
    packet_id = fields.packet_id()
    codes: list[int] = []
    while fields.more:
        codes.append(fields.byte())
    if not codes or any(code > 2 and code != SUBSCRIPTION_REFUSED for code in codes):
        raise MalformedPacket("SUBACK has no or reserved return codes [MQTT-3.9.3-2]")
    return Suback(packet_id, tuple(codes))


def _read_unsubscribe(fields: _Fields) -> Unsubscribe:
    packet_id = fields.packet_id()
    filters: list[str] = []
    while fields.more:
        filters.append(fields.filter())
    if not filters:
        raise MalformedPacket("UNSUBSCRIBE has no filter [MQTT-3.10.3-2]")
    return Unsubscribe(packet_id, tuple(filters))


#: By first byte: outside PUBLISH all four flags are fixed [MQTT-2.2.2-1], so a byte that is not
#: here is malformed.
_READERS: dict[int, Callable[[_Fields], Packet]] = {
    0x10: _read_connect,
    0x20: _read_connack,
    _PUBACK: lambda fields: Puback(fields.packet_id()),
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
