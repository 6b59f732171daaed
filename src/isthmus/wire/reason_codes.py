"""The reason codes of MQTT 5, and in which packet each may stand.

Section 2.4 of the OASIS standard of 7 March 2019 lists them all; the tables of sections 3.2.2.2
(CONNACK), 3.4.2.1 (PUBACK), 3.5.2.1 (PUBREC), 3.6.2.1 (PUBREL), 3.7.2.1 (PUBCOMP), 3.9.3 (SUBACK),
3.11.3 (UNSUBACK), 3.14.2.1 (DISCONNECT) and 3.15.2.1 (AUTH) say where they are allowed. From 0x80
on a code is a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class ReasonCode(IntEnum):
    """Why, as one byte of MQTT 5, section 2.4."""

    SUCCESS = 0x00
    #: DISCONNECT: do not publish the will, section 3.14.2.1.
    NORMAL_DISCONNECTION = 0x00
    #: SUBACK, section 3.9.3; the granted QoS is the code.
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    #: DISCONNECT of a client that wants its will published all the same, section 3.14.2.1.
    DISCONNECT_WITH_WILL = 0x04
    #: PUBACK, PUBREC: stored, and nobody listens, section 3.4.2.1.
    NO_MATCHING_SUBSCRIBERS = 0x10
    #: UNSUBACK, section 3.11.3.
    NO_SUBSCRIPTION_EXISTED = 0x11
    #: AUTH, section 3.15.2.1.
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    #: The bytes cannot be read by the rules of the standard, sections 1.2 and 4.13.1.
    MALFORMED_PACKET = 0x81
    #: The packet can be read and must not come, or not like this, sections 1.2 and 4.13.1.
    PROTOCOL_ERROR = 0x82
    #: Valid, and not to this server's taste.
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    #: CONNACK, section 3.1.2.2 [MQTT-3.1.2-2].
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    #: CONNACK, section 3.1.3.1 [MQTT-3.1.3-8].
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    #: Section 4.12: extended authentication that is not supported.
    BAD_AUTHENTICATION_METHOD = 0x8C
    #: DISCONNECT after 1.5 times the keep-alive, section 3.1.2.10 [MQTT-3.1.2-22].
    KEEP_ALIVE_TIMEOUT = 0x8D
    #: DISCONNECT of the older connection of a client id, section 3.1.4 [MQTT-3.1.4-3].
    SESSION_TAKEN_OVER = 0x8E
    #: Well formed, and not accepted by this server.
    TOPIC_FILTER_INVALID = 0x8F
    #: Well formed, and not accepted by this server.
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    #: More QoS 1 and 2 in flight than was allowed, sections 3.3.4 and 4.9 [MQTT-3.3.4-9].
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    #: 0, or above the maximum that was said, section 3.3.2.3.4 [MQTT-3.3.2-8] [MQTT-3.3.2-9].
    TOPIC_ALIAS_INVALID = 0x94
    #: Above the Maximum Packet Size that was said, section 3.2.2.3.6 [MQTT-3.2.2-15].
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    #: The payload is not the UTF-8 that its indicator promises, section 3.3.2.3.2.
    PAYLOAD_FORMAT_INVALID = 0x99
    #: Section 3.2.2.3.5 [MQTT-3.2.2-14].
    RETAIN_NOT_SUPPORTED = 0x9A
    #: Above the Maximum QoS that was said, section 3.2.2.3.4 [MQTT-3.2.2-11] [MQTT-3.2.2-12].
    QOS_NOT_SUPPORTED = 0x9B
    #: Section 4.11: for now, or for good with SERVER_MOVED.
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    #: Section 3.2.2.3.13.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    #: Section 3.2.2.3.12.
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    #: Section 3.2.2.3.11.
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


Allowed = Mapping[int, ReasonCode]


def _allow(*numbers: int) -> Allowed:
    """By number: one look-up both checks a byte and names it."""
    return {number: ReasonCode(number) for number in numbers}


CONNACK_CODES = _allow(
    *(0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90),
    *(0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F),
)
PUBACK_CODES = _allow(0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
PUBREC_CODES = PUBACK_CODES
PUBREL_CODES = _allow(0x00, 0x92)
PUBCOMP_CODES = PUBREL_CODES
SUBACK_CODES = _allow(0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2)
UNSUBACK_CODES = _allow(0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91)
#: With 0x8C, which section 2.4 allows here and the table of section 3.14.2.1 forgets.
DISCONNECT_CODES = _allow(
    *(0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90),
    *(
        0x93,
        0x94,
        0x95,
        0x96,
        0x97,
        0x98,
        0x99,
        0x9A,
        0x9B,
        0x9C,
        0x9D,
        0x9E,
        0x9F,
        0xA0,
        0xA1,
        0xA2,
    ),
)
AUTH_CODES = _allow(0x00, 0x18, 0x19)
