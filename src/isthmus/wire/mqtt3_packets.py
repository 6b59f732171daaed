"""The packets of MQTT 3.1.1 as values.

``mqtt3`` reads and writes them. The two of the hot path are tuples, which are made several times
faster than dataclasses; tell packets apart by their type and never by comparing them, since a
tuple equals any tuple of the same fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: A SUBACK return code: the subscription was refused, section 3.9.3.
SUBSCRIPTION_REFUSED = 0x80


class Publish(NamedTuple):
    """A message. ``packet_id`` is 0 with QoS 0, where the wire has none."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0


class Puback(NamedTuple):
    """The answer to a QoS 1 PUBLISH."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Will:
    """What to publish for a client that leaves without DISCONNECT."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """The first packet of a client."""

    client_id: str
    clean_session: bool = True
    keep_alive_s: int = 0
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None


@dataclass(frozen=True, slots=True)
class Connack:
    """The answer to CONNECT; return code 0 accepts."""

    session_present: bool
    return_code: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Filters, each with the greatest QoS that the client wants."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Suback:
    """For each filter of a SUBSCRIBE the granted QoS or SUBSCRIPTION_REFUSED."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Filters that the client no longer wants."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsuback:
    """The answer to UNSUBSCRIBE."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pubrec:
    """Part of QoS 2, which we refuse: known so that it can be refused by name."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pubrel:
    """Part of QoS 2, which we refuse: known so that it can be refused by name."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pubcomp:
    """Part of QoS 2, which we refuse: known so that it can be refused by name."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pingreq:
    """A client asks whether the server is there."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The server is there."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A client leaves in good order: its will is not published."""


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
)
