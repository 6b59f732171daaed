"""Both versions of MQTT on one listener: which one a client speaks, and how to answer in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt3, mqtt5
from isthmus.wire.framing import MAX_PACKET_BYTES, Decoder
from isthmus.wire.malformed import UnsupportedProtocol
from isthmus.wire.packets import LEVEL_3, LEVEL_5, Connack, Disconnect, Packet
from isthmus.wire.properties import AckProperties, PublishProperties
from isthmus.wire.reason_codes import CONNACK_CODES, ReasonCode

_CONNECT = 0x10
#: With their lengths, as they stand on the wire. The second is MQTT 3.1's.
_NAMES = (b"\x00\x04MQTT", b"\x00\x06MQIsdp")


class Codec(Protocol):
    """How packets are written in one version; the modules mqtt3 and mqtt5 are codecs."""

    def encode(self, packet: Packet, /) -> bytes: ...

    def encode_publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        dup: bool = False,
        packet_id: int = 0,
        properties: PublishProperties | None = None,
    ) -> bytes: ...

    def encode_puback(
        self, packet_id: int, code: int = 0, properties: AckProperties | None = None
    ) -> bytes: ...


#: By ``Connect.level``.
CODECS: Mapping[int, Codec] = {LEVEL_3: mqtt3, LEVEL_5: mqtt5}


def protocol_level(begin: bytes) -> int:
    """Tell from a connection's first bytes which version it speaks; 0 if more must be seen.

    Fifteen bytes are always enough. Raises MalformedPacket if this is no CONNECT, and
    UnsupportedProtocol if it is one of another version.
    """
    if begin and begin[0] != _CONNECT:
        raise MalformedPacket("the first packet is not CONNECT [MQTT-3.1.0-1]")
    position = 1
    while begin[position : position + 1] > b"\x7f":
        position += 1
        if position > 4:
            raise MalformedPacket("remaining length takes more than 4 bytes, section 2.2.3")
    if begin[1:2] < b"\x0a" and position == 1 and len(begin) > 1:
        raise MalformedPacket("CONNECT ends within its header, section 3.1.2")
    head = begin[position + 1 :]
    for name in _NAMES:
        if head[: len(name)] == name and len(head) > len(name):
            level = head[len(name)]
            if name == _NAMES[0] and level in CODECS:
                return level
            raise UnsupportedProtocol(name[2:].decode(), level)
    if any(name[: len(head)] == head for name in _NAMES):
        return 0
    raise MalformedPacket(f"CONNECT names protocol {head[2:20]!r} [MQTT-3.1.2-1]")


class ServerDecoder:
    """Reads a client's bytes in the version that its CONNECT names; else as ``framing.Decoder``.

    ``level`` is 0 until that is known.
    """

    __slots__ = ("_begin", "_broken", "_decoder", "_max_packet_bytes", "_topic_alias_max", "level")

    def __init__(
        self, max_packet_bytes: int = MAX_PACKET_BYTES, *, topic_alias_max: int = 0
    ) -> None:
        self.level = 0
        self._max_packet_bytes = max_packet_bytes
        self._topic_alias_max = topic_alias_max
        self._decoder: Decoder | None = None
        self._begin = b""
        self._broken = False

    @property
    def pending_bytes(self) -> int:
        """How much of an incomplete packet is kept."""
        return self._decoder.pending_bytes if self._decoder else len(self._begin)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Packet]:
        """Answer the packets that ``data`` completes; raises MalformedPacket."""
        if self._decoder is not None:
            return self._decoder.feed(data)
        if self._broken:
            raise MalformedPacket("what follows a malformed packet cannot be read")
        begin = self._begin + bytes(data)
        try:
            self.level = protocol_level(begin)
        except MalformedPacket:
            self._broken = True
            raise
        if not self.level:
            self._begin = begin
            return []
        self._begin = b""
        if self.level == LEVEL_5:
            limit, aliases = self._max_packet_bytes, self._topic_alias_max
            self._decoder = mqtt5.Decoder(limit, topic_alias_max=aliases)
        else:
            self._decoder = mqtt3.Decoder(self._max_packet_bytes)
        return self._decoder.feed(begin)


def farewell(error: MalformedPacket, *, level: int, accepted: bool) -> bytes:
    """What to write before the connection is closed for ``error``; nothing if no word fits.

    ``accepted`` says whether CONNACK was sent: before it MQTT 5 answers by CONNACK, after it by
    DISCONNECT [MQTT-3.14.0-1], section 4.13.
    """
    if isinstance(error, UnsupportedProtocol):
        codec = CODECS[LEVEL_5 if error.level > LEVEL_5 else LEVEL_3]
        return codec.encode(Connack(False, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION))
    if level != LEVEL_5:
        return b""
    if accepted:
        return mqtt5.encode(Disconnect(error.reason_code))
    # A CONNECT may be followed at once by what only DISCONNECT has a code for.
    code = CONNACK_CODES.get(error.reason_code, ReasonCode.PROTOCOL_ERROR)
    return mqtt5.encode(Connack(False, code))
