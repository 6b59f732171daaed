"""Why bytes are refused, and what an MQTT 5 peer is told of it in CONNACK or DISCONNECT.

MalformedPacket itself says 0x81. What a client must not do with packets that are well formed and
in their place (QoS 2, a payload that is no text, too many in flight) is the session's to refuse.
"""

from __future__ import annotations

from isthmus.errors import MalformedPacket
from isthmus.wire.reason_codes import ReasonCode


class ProtocolError(MalformedPacket):
    """A packet that can be read and that MQTT 5 forbids, sections 1.2 and 4.13.1."""

    reason_code: int = ReasonCode.PROTOCOL_ERROR


class TopicAliasInvalid(ProtocolError):
    """A topic alias is 0 or above the maximum [MQTT-3.3.2-8] [MQTT-3.3.2-9]."""

    reason_code: int = ReasonCode.TOPIC_ALIAS_INVALID


class UnsupportedProtocol(MalformedPacket):
    """A CONNECT of another MQTT version [MQTT-3.1.2-2].

    To be answered with CONNACK 1 of MQTT 3.1.1, which every older client can read; a newer one is
    told 0x84 in a CONNACK of MQTT 5.
    """

    reason_code: int = ReasonCode.UNSUPPORTED_PROTOCOL_VERSION

    def __init__(self, name: str, level: int) -> None:
        super().__init__(f"CONNECT speaks {name} level {level}, which is not spoken here")
        self.level = level


class PacketTooLarge(MalformedPacket):
    """A packet is larger than the limit; raised before its body is kept."""

    reason_code: int = ReasonCode.PACKET_TOO_LARGE
