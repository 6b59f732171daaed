"""The properties of MQTT 5, section 2.2.2: values by packet, and how they are read and written.

A property that is absent has its default, which is what the standard says its absence means; where
absence is a meaning of its own the default is None. What has its default is not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from isthmus.errors import MalformedPacket
from isthmus.wire.fields import LONG, WORD, Fields, binary, text, variable
from isthmus.wire.malformed import PacketTooLarge, ProtocolError, TopicAliasInvalid

#: Names and values in the order in which they came, and a name may come again, section 3.1.2.11.8.
UserProperties = tuple[tuple[str, str], ...]
RECEIVE_MAX = 65_535
#: All properties of one packet. Twice what AWS IoT Core takes, and a bound to the work of reading
#: them, which a client may cause before anybody knows who it is.
PROPERTIES_MAX_BYTES = 32 * 1024


class ConnectProperties(NamedTuple):
    """Section 3.1.2.11."""

    #: 0 ends the session with the connection; 0xFFFFFFFF keeps it for ever.
    session_expiry_s: int = 0
    #: QoS 1 messages that the client takes without having acknowledged them.
    receive_max: int = RECEIVE_MAX
    max_packet_bytes: int | None = None
    topic_alias_max: int = 0
    request_response_info: bool = False
    #: Whether reason strings and user properties may come in other packets than PUBLISH, CONNACK
    #: and DISCONNECT [MQTT-3.1.2-29].
    request_problem_info: bool = True
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    user_properties: UserProperties = ()


class ConnackProperties(NamedTuple):
    """Section 3.2.2.3: what the server grants."""

    #: None: what the client asked for.
    session_expiry_s: int | None = None
    receive_max: int = RECEIVE_MAX
    #: 2 is not written: the standard knows its absence only.
    qos_max: int = 2
    retain_available: bool = True
    max_packet_bytes: int | None = None
    assigned_client_id: str | None = None
    topic_alias_max: int = 0
    reason: str | None = None
    wildcards_available: bool = True
    subscription_ids_available: bool = True
    shared_available: bool = True
    #: What the client must use in place of its own [MQTT-3.2.2-21].
    server_keep_alive_s: int | None = None
    response_info: str | None = None
    server_reference: str | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    user_properties: UserProperties = ()


class PublishProperties(NamedTuple):
    """Section 3.3.2.3, and of a will section 3.1.3.2: what goes on to subscribers unaltered.

    But for the expiry, which is lessened by the time that a message waited [MQTT-3.3.2-6], and the
    identifiers, which only a server sends [MQTT-3.3.4-6] and a will has none of.
    """

    #: 1: the payload is UTF-8. Absence and 0 mean the same, and are forwarded as they came.
    payload_format: int | None = None
    message_expiry_s: int | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    content_type: str | None = None
    user_properties: UserProperties = ()
    #: Those of the receiver's subscriptions that match.
    subscription_ids: tuple[int, ...] = ()


class AckProperties(NamedTuple):
    """PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK, sections 3.4.2.2 to 3.11.2.1."""

    reason: str | None = None
    user_properties: UserProperties = ()


class SubscribeProperties(NamedTuple):
    """Section 3.8.2.1."""

    subscription_id: int | None = None
    user_properties: UserProperties = ()


class UnsubscribeProperties(NamedTuple):
    """Section 3.10.2.1."""

    user_properties: UserProperties = ()


class DisconnectProperties(NamedTuple):
    """Section 3.14.2.2."""

    #: From a client only [MQTT-3.14.2-2], and not above 0 if it said 0 in CONNECT. None: as said.
    session_expiry_s: int | None = None
    reason: str | None = None
    server_reference: str | None = None
    user_properties: UserProperties = ()


class AuthProperties(NamedTuple):
    """Section 3.15.2.2."""

    authentication_method: str | None = None
    authentication_data: bytes | None = None
    reason: str | None = None
    user_properties: UserProperties = ()


Properties = (
    ConnectProperties
    | ConnackProperties
    | PublishProperties
    | AckProperties
    | SubscribeProperties
    | UnsubscribeProperties
    | DisconnectProperties
    | AuthProperties
)
P = TypeVar("P", bound=Properties)


class _Property(NamedTuple):
    identifier: int
    read: Callable[[Fields], Any]
    write: Callable[[Any], bytes]
    #: It may come again, and its values are gathered in a tuple.
    repeats: bool = False


def _not_zero(read: Callable[[Fields], int], error: type[ProtocolError]) -> Callable[[Fields], int]:
    def read_not_zero(fields: Fields) -> int:
        number = read(fields)
        if not number:
            raise error("a property must not be 0, sections 3.1.2.11 and 3.3.2.3")
        return number

    return read_not_zero


def _read_bit(fields: Fields) -> int:
    bit = fields.byte()
    if bit > 1:
        raise ProtocolError(f"a property is {bit} and may be 0 or 1, sections 3.1.2.11 to 3.3.2.3")
    return bit


def _read_flag(fields: Fields) -> bool:
    return _read_bit(fields) == 1


def _read_pair(fields: Fields) -> tuple[str, str]:
    return fields.text(), fields.text()


def _byte(value: int) -> bytes:
    return bytes((value,))


def _pair(value: tuple[str, str]) -> bytes:
    return text(value[0]) + text(value[1])


def _text(identifier: int) -> _Property:
    return _Property(identifier, Fields.text, text)


def _flag(identifier: int) -> _Property:
    return _Property(identifier, _read_flag, _byte)


#: Table 2-4 of the standard, by the name of the field that holds the value.
_BY_NAME: dict[str, _Property] = {
    "payload_format": _Property(0x01, _read_bit, _byte),
    "message_expiry_s": _Property(0x02, Fields.long, LONG.pack),
    "content_type": _text(0x03),
    "response_topic": _Property(0x08, Fields.topic, text),
    "correlation_data": _Property(0x09, Fields.binary, binary),
    "subscription_id": _Property(0x0B, _not_zero(Fields.variable, ProtocolError), variable),
    "subscription_ids": _Property(
        0x0B, _not_zero(Fields.variable, ProtocolError), variable, repeats=True
    ),
    "session_expiry_s": _Property(0x11, Fields.long, LONG.pack),
    "assigned_client_id": _text(0x12),
    "server_keep_alive_s": _Property(0x13, Fields.word, WORD.pack),
    "authentication_method": _text(0x15),
    "authentication_data": _Property(0x16, Fields.binary, binary),
    "request_problem_info": _flag(0x17),
    "will_delay_s": _Property(0x18, Fields.long, LONG.pack),
    "request_response_info": _flag(0x19),
    "response_info": _text(0x1A),
    "server_reference": _text(0x1C),
    "reason": _text(0x1F),
    "receive_max": _Property(0x21, _not_zero(Fields.word, ProtocolError), WORD.pack),
    "topic_alias_max": _Property(0x22, Fields.word, WORD.pack),
    "topic_alias": _Property(0x23, _not_zero(Fields.word, TopicAliasInvalid), WORD.pack),
    # The standard has no other value than these: 2 is what absence says, section 3.2.2.3.4.
    "qos_max": _Property(0x24, _read_bit, _byte),
    "retain_available": _flag(0x25),
    "user_properties": _Property(0x26, _read_pair, _pair, repeats=True),
    "max_packet_bytes": _Property(0x27, _not_zero(Fields.long, ProtocolError), LONG.pack),
    "wildcards_available": _flag(0x28),
    "subscription_ids_available": _flag(0x29),
    "shared_available": _flag(0x2A),
}
_IDENTIFIERS = frozenset(each.identifier for each in _BY_NAME.values())
_REPEATING = frozenset(name for name, each in _BY_NAME.items() if each.repeats)
_Readable = Mapping[int, tuple[str, Callable[[Fields], Any], bool]]


def _readable(names: Iterable[str]) -> _Readable:
    known = {name: _BY_NAME[name] for name in names}
    return {each.identifier: (name, each.read, each.repeats) for name, each in known.items()}


_READABLE: dict[type, _Readable] = {
    kind: _readable(kind._fields)
    for kind in (
        *(ConnectProperties, ConnackProperties, AckProperties, SubscribeProperties),
        *(UnsubscribeProperties, DisconnectProperties, AuthProperties),
    )
}
_OF_PUBLISH = _readable((*PublishProperties._fields, "topic_alias"))
_OF_WILL = _readable(("will_delay_s", *PublishProperties._fields[:-1]))


def size_of(properties: PublishProperties | None) -> int:
    """Bytes that a message's properties take at most, within a few: what bounds are kept by."""
    if properties is None:
        return 0
    said = (properties.response_topic, properties.content_type)
    size = sum(len(each.encode()) for each in said if each is not None)
    size += len(properties.correlation_data or b"")
    pairs = properties.user_properties
    # Five bytes of its own has a pair, on the wire and in a batch: empty ones are not free.
    return size + sum(5 + len(name.encode()) + len(value.encode()) for name, value in pairs)


def read_properties(kind: type[P], fields: Fields) -> P | None:
    """Read a packet's properties; None where they say nothing that absence does not."""
    found = _read(fields, _READABLE[kind], kind.__name__)
    properties = kind(**found)
    return None if properties == kind() else properties


def read_publish_properties(fields: Fields) -> tuple[PublishProperties | None, int]:
    """Read the properties of a PUBLISH; answers its topic alias, or 0, apart from them."""
    found = _read(fields, _OF_PUBLISH, "PUBLISH")
    alias = found.pop("topic_alias", 0)
    return PublishProperties(**found) if found else None, alias


def read_will_properties(fields: Fields) -> tuple[PublishProperties | None, int]:
    """Read the properties of a will; answers its delay in seconds apart from them."""
    found = _read(fields, _OF_WILL, "a will")
    delay_s = found.pop("will_delay_s", 0)
    return PublishProperties(**found) if found else None, delay_s


def _read(fields: Fields, readable: _Readable, of: str) -> dict[str, Any]:
    """Answer the properties that are there, by their fields' names."""
    found: dict[str, Any] = {}
    length = fields.variable()
    if not length:
        return found
    if length > PROPERTIES_MAX_BYTES:
        reason = f"properties of {length} bytes; the limit is {PROPERTIES_MAX_BYTES}"
        raise PacketTooLarge(reason)
    properties = fields.part(length)
    while properties.more:
        identifier = properties.variable()
        known = readable.get(identifier)
        if known is None:
            why = "is not one of" if identifier in _IDENTIFIERS else "is no property, so not of"
            raise MalformedPacket(f"0x{identifier:02x} {why} {of}, section 2.2.2.2")
        name, read, repeats = known
        value = read(properties)
        if repeats:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise ProtocolError(f"{of} has {name} twice, section 2.2.2.2")
        else:
            found[name] = value
    for name in _REPEATING & found.keys():
        found[name] = tuple(found[name])
    return found


def write_properties(
    properties: Properties | None, *, topic_alias: int = 0, will_delay_s: int = 0
) -> bytes:
    """Write what has not its default, after its length."""
    written: list[bytes] = []
    if topic_alias:
        written.append(_write("topic_alias", topic_alias))
    if will_delay_s:
        written.append(_write("will_delay_s", will_delay_s))
    if properties is not None:
        defaults = properties._field_defaults
        values: Iterable[Any] = properties
        for name, value in zip(properties._fields, values, strict=True):
            if value == defaults[name]:
                continue
            if _BY_NAME[name].repeats:
                written += [_write(name, each) for each in value]
            else:
                written.append(_write(name, value))
    body = b"".join(written)
    return variable(len(body)) + body


def _write(name: str, value: Any) -> bytes:
    known = _BY_NAME[name]
    return bytes((known.identifier,)) + known.write(value)
