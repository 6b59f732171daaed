"""CONNECT: who may begin a session, under which name, and what CONNACK grants.

The codes are MQTT 5's; a client of 3.1.1 is told the nearest of its five. Names in brackets are
normative statements of the OASIS standard of MQTT 5, 7 March 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from isthmus.core.dialect import AWS, Dialect
from isthmus.core.message_properties import clamped, refuse_properties
from isthmus.core.policy_context import Asked
from isthmus.core.session import (
    OUTGOING_IN_FLIGHT_MAX,
    RECEIVE_MAX,
    Permissions,
    Session,
    may_publish,
)
from isthmus.errors import MalformedPacket
from isthmus.wire import packets
from isthmus.wire.mqtt import CODECS
from isthmus.wire.properties import ConnackProperties, ConnectProperties
from isthmus.wire.reason_codes import ReasonCode

#: From accept to CONNECT.
CONNECT_TIMEOUT_S = 10.0
CLIENT_ID_MAX_BYTES = 128
#: MQTT 5 has no longer session.
EXPIRY_S_MAX = 0xFFFF_FFFF
#: Topic aliases that a client may use towards us.
TOPIC_ALIAS_MAX = 8
#: What a client of MQTT 5 may send us in one packet: the payload and its properties.
PACKET_MAX_BYTES = 146 * 1024


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a CONNECT is refused, and what the client is told."""

    code: ReasonCode
    reason: str
    #: It may be let in a little later, as it is.
    is_passing: bool = False

    def answer(self, level: int) -> bytes:
        """The CONNACK; nothing where the client had better just connect again.

        To some a refusal is the last word that they hear (docs/clients.md), and all come back when
        a connection was only closed. With MQTT 5 there is one for what the client may mend: it can
        do nothing for a server that is not ready.
        """
        is_unavailable = self.code is ReasonCode.SERVER_UNAVAILABLE
        if self.is_passing and (level == packets.LEVEL_3 or is_unavailable):
            return b""
        return CODECS[level].encode(packets.Connack(False, self.code))


def check_connect(
    packet: packets.Packet, assigned_id: str, dialect: Dialect = AWS
) -> packets.Connect | Refusal:
    """Check the first packet by itself; raises MalformedPacket if it is not a CONNECT.

    ``assigned_id`` is given to a client of MQTT 5 that brings no name [MQTT-3.1.3-6], and in the
    standard dialect to one of 3.1.1 with a clean session, whose standard has the same rule.
    """
    if not isinstance(packet, packets.Connect):
        raise MalformedPacket(f"the first packet is {type(packet).__name__}, not Connect")
    client_id = packet.client_id
    is_named = packet.level == packets.LEVEL_5 or (
        dialect.names_the_nameless and packet.clean_session
    )
    if not client_id and is_named:
        client_id = assigned_id
    if not client_id or len(client_id.encode()) > CLIENT_ID_MAX_BYTES or client_id[0] == "$":
        reason = "a client id of 1 to 128 bytes, not beginning in $"
        return Refusal(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, reason)
    refused = _refuse_asked(packet.properties, dialect) if packet.properties else None
    if refused:
        return refused
    will = packet.will
    if will and (refused := _refuse_will(will, dialect)):
        return refused
    if will and will.properties:
        will = replace(will, properties=clamped(will.properties))
    return replace(packet, client_id=client_id, will=will)


def _refuse_asked(asked: ConnectProperties, dialect: Dialect) -> Refusal | None:
    if asked.authentication_method is not None:
        # Section 4.12: a server that does not know a method says so by this code.
        reason = "extended authentication is not supported"
        return Refusal(ReasonCode.BAD_AUTHENTICATION_METHOD, reason)
    least = dialect.client_packet_min_bytes
    if asked.max_packet_bytes is not None and asked.max_packet_bytes < least:
        reason = f"a maximum packet size below {least} bytes"
        return Refusal(ReasonCode.QUOTA_EXCEEDED, reason)
    return None


def _refuse_will(will: packets.Will, dialect: Dialect) -> Refusal | None:
    """It is published later without being looked at again."""
    if will.qos > 1:
        return Refusal(ReasonCode.QOS_NOT_SUPPORTED, "a will may not be of QoS 2")
    if dialect.is_reserved(will.topic) or not dialect.takes_topic(will.topic):
        reason = "the will's topic is reserved, too long or too deep"
        return Refusal(ReasonCode.TOPIC_NAME_INVALID, reason)
    found = refuse_properties(will.properties) if will.properties else None
    return Refusal(*found) if found else None


def asked_by(packet: packets.Connect) -> Asked:
    """What a CONNECT asks for, as conditions of policies name it."""
    is_persistent = session_expiry_s(packet, EXPIRY_S_MAX) > 0
    return Asked(is_persistent, packet.will.topic if packet.will else None)


def authorize_connect(packet: packets.Connect, permissions: Permissions) -> Refusal | None:
    """Whether the principal may connect as this client, with this will."""
    allowed, reason = permissions.allows("iot:Connect", f"client/{packet.client_id}")
    if allowed and packet.will:
        allowed, reason = may_publish(permissions, packet.will.topic, retain=packet.will.retain)
    return None if allowed else Refusal(ReasonCode.NOT_AUTHORIZED, reason)


def session_expiry_s(packet: packets.Connect, most_s: int) -> int:
    """How long the session outlives its connection: 3.1.1 has a flag for it, and no time."""
    if packet.level == packets.LEVEL_3:
        return 0 if packet.clean_session else most_s
    asked = packet.properties or ConnectProperties()
    return min(asked.session_expiry_s, most_s)


def begin(
    packet: packets.Connect,
    permissions: Permissions,
    expiry_max_s: int = 0,
    dialect: Dialect = AWS,
) -> Session:
    """The session of an accepted CONNECT; ``expiry_max_s`` is the most that it may outlive it."""
    asked = packet.properties or ConnectProperties()
    return Session(
        packet.client_id,
        permissions,
        dialect.keep_alive_limit_s(packet.keep_alive_s),
        packet.will,
        packet.level,
        min(asked.receive_max, OUTGOING_IN_FLIGHT_MAX),
        asked.max_packet_bytes,
        session_expiry_s(packet, expiry_max_s),
        expiry_max_s,
        dialect,
        asked=asked_by(packet),
    )


def accept(
    packet: packets.Connect,
    *,
    is_assigned: bool,
    is_present: bool = False,
    expiry_s: int = 0,
    dialect: Dialect = AWS,
) -> bytes:
    """The CONNACK that grants what is there, and names what is not; 3.1.1 has room for neither."""
    keep_alive_s = dialect.bounded_keep_alive_s(packet.keep_alive_s)
    granted = ConnackProperties(
        session_expiry_s=expiry_s,
        receive_max=RECEIVE_MAX,
        qos_max=1,
        max_packet_bytes=PACKET_MAX_BYTES,
        assigned_client_id=packet.client_id if is_assigned else None,
        topic_alias_max=TOPIC_ALIAS_MAX,
        subscription_ids_available=False,
        server_keep_alive_s=None if keep_alive_s == packet.keep_alive_s else keep_alive_s,
    )
    return CODECS[packet.level].encode(packets.Connack(is_present, 0, granted))
