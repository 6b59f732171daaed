"""The packets of MQTT 3.1.1 and MQTT 5 as values: one family for both versions.

``mqtt3`` and ``mqtt5`` read and write them. Where the versions differ, MQTT 5 adds: a reason code
where 3.1.1 has none (0, success) and ``properties``, which are None where the wire has none, and so
always with 3.1.1. ``mqtt3`` writes what its wire has room for and leaves out the rest.

The two of the hot path are tuples, which are made several times faster than dataclasses; tell
packets apart by their type and never by comparing them, since a tuple equals any tuple of the same
fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from isthmus.wire.properties import (
    AckProperties,
    AuthProperties,
    ConnackProperties,
    ConnectProperties,
    DisconnectProperties,
    PublishProperties,
    SubscribeProperties,
    UnsubscribeProperties,
)

#: The protocol levels of CONNECT that we speak: MQTT 3.1.1 and MQTT 5, section 3.1.2.2 of each.
LEVEL_3 = 4
LEVEL_5 = 5
#: A SUBACK return code: the subscription was refused, section 3.9.3 of 3.1.1. In MQTT 5 the same
#: number is one reason among others, unspecified error.
SUBSCRIPTION_REFUSED = 0x80


class Publish(NamedTuple):
    """A message. ``packet_id`` is 0 with QoS 0, where the wire has none.

    The topic is always whole: a topic alias is a shorthand of one connection's wire, which the
    decoder resolves and ``mqtt5.encode_publish`` takes as an argument.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: PublishProperties | None = None


class Puback(NamedTuple):
    """The answer to a QoS 1 PUBLISH."""

    packet_id: int
    code: int = 0
    properties: AckProperties | None = None


class Filter(NamedTuple):
    """A topic filter that a client wants, and how; what follows the QoS is MQTT 5's, 3.8.3.1."""

    topic_filter: str
    #: The greatest QoS that the client wants.
    qos: int = 0
    #: Nothing that this connection's client id published.
    no_local: bool = False
    #: Copies keep the RETAIN flag with which they were published.
    retain_as_published: bool = False
    #: Retained messages: 0 always, 1 only for a new subscription, 2 never.
    retain_handling: int = 0


@dataclass(frozen=True, slots=True)
class Will:
    """What to publish for a client that leaves without DISCONNECT.

    ``properties`` are the message's own, ready for its PUBLISH.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    #: How long to wait for the client to come back first, MQTT 5 section 3.1.3.2.2.
    delay_s: int = 0
    properties: PublishProperties | None = None

    def publish(self) -> Publish:
        """The message that it becomes."""
        return Publish(self.topic, self.payload, self.qos, self.retain, properties=self.properties)


@dataclass(frozen=True, slots=True)
class Connect:
    """The first packet of a client. ``level`` says in which version it speaks.

    ``clean_session`` is MQTT 5's Clean Start: it ends an older session, and the session expiry
    among the properties says how long the new one lasts. With 3.1.1 the flag says both.
    """

    client_id: str
    clean_session: bool = True
    keep_alive_s: int = 0
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    level: int = LEVEL_3
    properties: ConnectProperties | None = None


@dataclass(frozen=True, slots=True)
class Connack:
    """The answer to CONNECT: a return code of 3.1.1 or a reason code of MQTT 5; 0 accepts."""

    session_present: bool
    return_code: int
    properties: ConnackProperties | None = None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The filters that a client wants."""

    packet_id: int
    filters: tuple[Filter, ...]
    properties: SubscribeProperties | None = None


@dataclass(frozen=True, slots=True)
class Suback:
    """For each filter of a SUBSCRIBE the granted QoS, or why it was refused."""

    packet_id: int
    codes: tuple[int, ...]
    properties: AckProperties | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Filters that the client no longer wants."""

    packet_id: int
    filters: tuple[str, ...]
    properties: UnsubscribeProperties | None = None


@dataclass(frozen=True, slots=True)
class Unsuback:
    """The answer to UNSUBSCRIBE; with MQTT 5 a reason code for each filter."""

    packet_id: int
    codes: tuple[int, ...] = ()
    properties: AckProperties | None = None


@dataclass(frozen=True, slots=True)
class Pubrec:
    """Part of QoS 2, which we refuse: known so that it can be refused by name."""

    packet_id: int
    code: int = 0
    properties: AckProperties | None = None


@dataclass(frozen=True, slots=True)
class Pubrel:
    """Part of QoS 2, which we refuse: known so that it can be refused by name."""

    packet_id: int
    code: int = 0
    properties: AckProperties | None = None


@dataclass(frozen=True, slots=True)
class Pubcomp:
    """Part of QoS 2, which we refuse: known so that it can be refused by name."""

    packet_id: int
    code: int = 0
    properties: AckProperties | None = None


@dataclass(frozen=True, slots=True)
class Pingreq:
    """A client asks whether the server is there."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The server is there."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The end. From a client with code 0 its will is not published.

    With MQTT 5 a server sends it too, to say why it closes.
    """

    code: int = 0
    properties: DisconnectProperties | None = None


@dataclass(frozen=True, slots=True)
class Auth:
    """Extended authentication of MQTT 5, which we refuse: known so that it is refused by name."""

    code: int = 0
    properties: AuthProperties | None = None


Packet = (
    Publish
    | Puback
    | Connect
    | Connack
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)
