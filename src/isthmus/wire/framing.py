"""Cuts a stream of bytes into packets, for both versions of MQTT.

Whatever the chunks in which bytes arrive, the same stream gives the same packets or the same
refusal, and never more than one incomplete packet of ``max_packet_bytes`` is kept. PUBLISH and
PUBACK are the gateway's hot path and are read without intermediate objects; every other packet is
rare enough to be read field by field.

Names in brackets are the normative statements of the OASIS standards, of 29 October 2014 for MQTT
3.1.1 and of 7 March 2019 for MQTT 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from isthmus.errors import MalformedPacket
from isthmus.wire.fields import Fields, decode_topic, packet_id
from isthmus.wire.malformed import PacketTooLarge, UnsupportedProtocol
from isthmus.wire.packets import Packet, Puback, Publish

#: Room for the 128 KB payload that AWS IoT Core allows, its topic and header.
MAX_PACKET_BYTES = 146 * 1024

#: How a packet is read, by its first byte: outside PUBLISH all four flags are fixed
#: [MQTT-2.2.2-1; MQTT 5: 2.1.3-1], so a byte that is not there is malformed.
Readers = Mapping[int, Callable[[Fields], Packet]]

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

    #: What a version of MQTT adds.
    _readers: ClassVar[Readers] = {}
    #: MQTT 5 forbids lengths that take more bytes than they need [MQTT-1.5.5-1].
    _shortest_lengths = False

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
        with it, as the connection must be closed anyway [MQTT-4.8.0-1; MQTT 5: 4.13.1-1] and none
        was answered.
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
        readers = self._readers
        position, size = 0, len(data)
        needed = 2
        while size - position >= 2:
            first, length = data[position], data[position + 1]
            start = position + 2
            flags = _PUBLISH_FLAGS.get(first)
            if flags is None and first not in readers:
                raise MalformedPacket(_first_byte_reason(first))
            if length > 0x7F:
                second = data[start] if start < size else 0
                if 0 < second < 0x80:
                    # Two bytes, up to 16 KB: what most messages take.
                    length, start = length & 0x7F | second << 7, start + 1
                else:
                    length, start = self._long_length(data, position + 1)
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
                packets.append(_new_tuple(Puback, (packet_id(data, start), 0, None)))
            else:
                packets.append(_read(readers[first], data[start:end]))
            position = end
        if position < size:
            self._pending += data[position:] if position else data
            self._needed = needed
        return packets

    def _long_length(self, data: bytes, position: int) -> tuple[int, int]:
        """Read a remaining length of several bytes; answers it and where it ends, or 0."""
        length = 0
        for index, byte in enumerate(data[position : position + 4]):
            length |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if self._shortest_lengths and not byte:
                    raise MalformedPacket("remaining length takes too many bytes [MQTT-1.5.5-1]")
                return length, position + index + 1
            if index == 3:
                raise MalformedPacket("remaining length takes more than 4 bytes, section 2.2.3")
        return 0, 0

    def _publish(self, flags: tuple[int, bool, bool], data: bytes, start: int, end: int) -> Publish:
        raise NotImplementedError

    def _check_topic(self, raw: bytes) -> None:
        """Make this the last topic, if it is one."""
        self._topic = decode_topic(raw)
        self._raw_topic = raw


def _read(reader: Callable[[Fields], Packet], body: bytes) -> Packet:
    fields = Fields(body)
    packet = reader(fields)
    if fields.more:
        raise MalformedPacket(f"{type(packet).__name__.upper()} has bytes after its last field")
    return packet


def read_protocol(fields: Fields, level: int) -> None:
    """Read the name and the level with which CONNECT begins, and refuse every other one."""
    name, found = fields.text(), fields.byte()
    # MQIsdp is the name of MQTT 3.1: a peer to be told of our version, not a stranger.
    if name not in ("MQTT", "MQIsdp"):
        raise MalformedPacket(f"CONNECT names protocol {name[:20]!r} [MQTT-3.1.2-1]")
    if name != "MQTT" or found != level:
        raise UnsupportedProtocol(name, found)


def read_connect_flags(fields: Fields) -> int:
    """Read the flags of CONNECT that both versions have, and check them."""
    flags = fields.byte()
    if flags & 0x01:
        raise MalformedPacket("CONNECT has its reserved flag set [MQTT-3.1.2-3]")
    if not flags & 0x04 and flags & 0x38:
        raise MalformedPacket("CONNECT has a will QoS or retain and no will [MQTT-3.1.2-11]")
    if flags & 0x18 == 0x18:
        raise MalformedPacket("CONNECT has will QoS 3 [MQTT-3.1.2-14; MQTT 5: 3.1.2-12]")
    return flags


def _first_byte_reason(first: int) -> str:
    kind, flags = first >> 4, first & 0x0F
    if kind == 3:
        why = "QoS 3 [MQTT-3.3.1-4]" if first & 6 == 6 else "DUP with QoS 0 [MQTT-3.3.1-2]"
        return f"PUBLISH has {why}"
    if kind == 0 or (kind == 15 and not flags):
        return f"packet type {kind} is reserved, section 2.2.1"
    why = f"has reserved flags {flags:04b} [MQTT-2.2.2-2; MQTT 5: 2.1.3-1]"
    return f"packet type {kind} {why}"
