"""The fields that packets of both versions are made of: numbers, strings, binary data.

``Fields`` reads a body and never past its end. What is written is as long as it says, or not
written at all.
"""

from __future__ import annotations

import struct

from isthmus.errors import MalformedPacket
from isthmus.wire.topics import validate_filter, validate_topic

#: The largest number that a variable byte integer can say, and so the largest remaining length:
#: section 2.2.3 of MQTT 3.1.1, 1.5.5 of MQTT 5.
VARIABLE_MAX = 268_435_455

WORD = struct.Struct(">H")
LONG = struct.Struct(">I")


class Fields:
    """Reads a part of ``data`` field by field."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self._data = data
        self._position = position
        self._end = len(data) if end is None else end

    def take(self, count: int) -> bytes:
        end = self._position + count
        if end > self._end:
            raise MalformedPacket("a packet ends within a field")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def byte(self) -> int:
        position = self._position
        if position >= self._end:
            raise MalformedPacket("a packet ends within a field")
        self._position = position + 1
        return self._data[position]

    def word(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def long(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def variable(self) -> int:
        """Read a variable byte integer of MQTT 5, which takes as few bytes as it can."""
        number = self.byte()
        if number < 0x80:
            return number
        number &= 0x7F
        for index in range(1, 4):
            byte = self.byte()
            number |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if not byte:
                    raise MalformedPacket("a variable byte integer is too long [MQTT-1.5.5-1]")
                return number
        raise MalformedPacket("a variable byte integer takes more than 4 bytes, section 1.5.5")

    def packet_id(self) -> int:
        return packet_id(self.take(2), 0)

    def binary(self) -> bytes:
        # Written out, as every string of a message's properties comes by here.
        data, position = self._data, self._position
        start = position + 2
        if start > self._end:
            raise MalformedPacket("a packet ends within a field")
        end = start + (data[position] << 8 | data[position + 1])
        if end > self._end:
            raise MalformedPacket("a packet ends within a field")
        self._position = end
        return data[start:end]

    def text(self) -> str:
        return decode_text(self.binary())

    def topic(self) -> str:
        return decode_topic(self.binary())

    def filter(self) -> str:
        topic_filter = self.text()
        validate_filter(topic_filter)
        return topic_filter

    def part(self, length: int) -> Fields:
        """Answer the next ``length`` bytes as fields of their own, and go on behind them."""
        end = self._position + length
        if end > self._end:
            raise MalformedPacket("properties are longer than their packet")
        part = Fields(self._data, self._position, end)
        self._position = end
        return part

    @property
    def position(self) -> int:
        return self._position

    @property
    def more(self) -> bool:
        return self._position < self._end


def packet_id(data: bytes, position: int) -> int:
    """Read a packet identifier."""
    number = data[position] << 8 | data[position + 1]
    if not number:
        raise MalformedPacket("packet identifier is 0 [MQTT-2.3.1-1; MQTT 5: 2.2.1-3]")
    return number


def decode_text(raw: bytes) -> str:
    """Read the bytes of a string."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise MalformedPacket("a string is not UTF-8 [MQTT-1.5.3-1; MQTT 5: 1.5.4-1]") from None
    if "\0" in text:
        raise MalformedPacket("a string holds U+0000 [MQTT-1.5.3-2; MQTT 5: 1.5.4-2]")
    return text


def decode_topic(raw: bytes) -> str:
    """Read the bytes of a topic name."""
    topic = decode_text(raw)
    validate_topic(topic)
    return topic


def frame(first: int, body: bytes) -> bytes:
    """Put the fixed header before a body."""
    return header(first, len(body)) + body


def header(first: int, length: int) -> bytes:
    """Write a fixed header."""
    if length < 0x80:
        return bytes((first, length))
    if length < 0x4000:
        return bytes((first, length & 0x7F | 0x80, length >> 7))
    return bytes((first,)) + variable(length)


def variable(number: int) -> bytes:
    """Write a variable byte integer."""
    if number > VARIABLE_MAX:
        raise MalformedPacket(f"{number} bytes; MQTT has room for {VARIABLE_MAX}")
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def text(value: str) -> bytes:
    """Write a string."""
    return binary(value.encode())


def binary(value: bytes) -> bytes:
    """Write binary data, or a string's bytes."""
    if len(value) > 0xFFFF:
        raise MalformedPacket(f"a field of {len(value)} bytes; MQTT has room for 65535")
    return WORD.pack(len(value)) + value
