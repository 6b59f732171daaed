"""What devices ask by HTTPS: operations of AWS's data plane, each with the right that it needs.

Who asks is the certificate that TLS has proven, and its policies are asked as for MQTT. There is no
client id and no thing in such a request, so that their variables have no value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from isthmus.core import json_text, publishing, request_targets
from isthmus.core.request_targets import Query
from isthmus.errors import InputError, IsthmusError
from isthmus.wire.packets import Publish

#: By the names of AWS's errors.
STATUSES = {
    "InvalidRequestException": 400,
    "ForbiddenException": 403,
    "MissingAuthenticationTokenException": 403,
    "UnknownOperationException": 404,
    "MethodNotAllowedException": 405,
    "RequestEntityTooLargeException": 413,
    "InternalFailureException": 500,
    "ServiceUnavailableException": 503,
}
SHOWN_MAX = 128
#: Of signatures, which are not for the operation.
_NOT_INPUT = "x-amz-"
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_BOOLEANS = {"true": True, "false": False}
_INDICATORS = ("UNSPECIFIED_BYTES", "UTF8_DATA")
_EXPIRY_BITS = 63


class Refused(IsthmusError):
    """A device's request is refused.

    ``code`` is the name of one of AWS's errors, and ``reason`` is for the log, where the device is
    not to be told.
    """

    def __init__(self, code: str, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or message


def passing(message: str, reason: str = "") -> Refused:
    """What is refused as it is now, and may be carried out a little later or elsewhere."""
    again = f"{message}. Send the request again, here or to another region."
    return Refused("ServiceUnavailableException", again, reason or message)


#: Of an operation's input, by AWS's names.
Members = Mapping[str, Any]


class Operation(NamedTuple):
    """One that devices may ask for."""

    name: str
    method: str
    #: The path as it is sent. Its groups are members of the input, by AWS's names.
    path: re.Pattern[str]
    #: What the right must be to, as the ARN in a policy ends, for members of the input. A gateway
    #: and the API each find it of what they have read, and must find the same.
    right_to: Callable[[Members], str]
    #: The other members that the right depends on, by their names in the query.
    query: Mapping[str, str] = MappingProxyType({})

    @property
    def action(self) -> str:
        """The right that it needs."""
        return f"iot:{self.name}"


def _topic(members: Members) -> str:
    return f"topic/{members['topic']}"


def _anything(_: Members) -> str:
    return "*"


def _thing(members: Members) -> str:
    return f"thing/{members['thingName']}"


def _shadow(members: Members) -> str:
    name = members.get(_SHADOW_NAME)
    return _thing(members) if name is None else f"{_thing(members)}/{name}"


_SHADOW_NAME = "shadowName"
_SHADOW = re.compile("/things/(?P<thingName>[^/]+)/shadow")
_NAMED_SHADOWS = re.compile("/api/things/shadow/ListNamedShadowsForThing/(?P<thingName>[^/]+)")
_BY_NAME = MappingProxyType({"name": _SHADOW_NAME})
_RETAINED = re.compile("/retainedMessage/(?P<topic>.+)")

PUBLISH = Operation("Publish", "POST", re.compile("/topics/(?P<topic>.+)"), _topic)
OPERATIONS = (
    PUBLISH,
    Operation("GetRetainedMessage", "GET", _RETAINED, _topic),
    Operation("ListRetainedMessages", "GET", re.compile("/retainedMessage"), _anything),
    Operation("GetThingShadow", "GET", _SHADOW, _shadow, _BY_NAME),
    Operation("UpdateThingShadow", "POST", _SHADOW, _shadow, _BY_NAME),
    Operation("DeleteThingShadow", "DELETE", _SHADOW, _shadow, _BY_NAME),
    # AWS documents a right to the thing, and one to everything, which is one to the thing too.
    Operation("ListNamedShadowsForThing", "GET", _NAMED_SHADOWS, _thing),
)


class Asked(NamedTuple):
    """What a request is for."""

    operation: Operation
    #: Members that stand in its path, or that its right depends on.
    members: Mapping[str, str]
    query: Query

    @property
    def resource(self) -> str:
        """What its right must be to."""
        return self.operation.right_to(self.members)


def asked(method: str, target: str) -> Asked:
    """What is asked by a method and a target, as they stand in the request line; or Refused."""
    path, _, query = target.partition("?")
    found = [(each, match) for each in OPERATIONS if (match := each.path.fullmatch(path))]
    if not found:
        message = f"There is no operation for devices at {path[:SHOWN_MAX]}"
        raise Refused("UnknownOperationException", message)
    for operation, match in found:
        if operation.method == method:
            try:
                found_names = match.groupdict().items()
                names = {name: request_targets.decoded(text) for name, text in found_names}
                values = request_targets.parameters(query)
            except ValueError:
                message = "The address is not UTF-8 that is percent-encoded"
                raise Refused("InvalidRequestException", message) from None
            return Asked(operation, names | _judged(operation, values), values)
    message = f"{method[:SHOWN_MAX]} is not allowed at {path[:SHOWN_MAX]}"
    raise Refused("MethodNotAllowedException", message)


def _judged(operation: Operation, query: Query) -> dict[str, str]:
    """The members of a query that a right depends on."""
    found = {}
    for name, member in operation.query.items():
        if name in query:
            if len(query[name]) > 1:
                message = f"{name!r} is there {len(query[name])} times"
                raise Refused("InvalidRequestException", message)
            found[member] = query[name][0]
    return found


def publish(what: Asked, headers: Iterable[tuple[str, str]]) -> Publish:
    """The message that is asked to be published, but for its payload; or Refused."""
    try:
        members = {**what.members, **_of_query(what.query), **_of_headers(headers)}
        return publishing.checked(publishing.message(members))
    except InputError as error:
        raise Refused("InvalidRequestException", str(error)) from None


def _of_query(query: Query) -> dict[str, Any]:
    members = {}
    for name, values in query.items():
        if name.lower().startswith(_NOT_INPUT):
            continue
        if (read := _QUERY.get(name)) is None:
            # Whoever sends it would be told that all is well.
            raise InputError(f"Publish has no member {name[:SHOWN_MAX]!r} that is known here")
        if len(values) > 1:
            raise InputError(f"{name!r} is there {len(values)} times")
        members[name] = read(name, values[0])
    return members


def _of_headers(headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        found[name] = f"{found[name]},{value}" if name in found else value
    members = {
        member: read(member, found[name])
        for name, (member, read) in _HEADERS.items()
        if name in found
    }
    # JSON's null is no value, as for AWS.
    return {member: value for member, value in members.items() if value is not None}


# Each reads a member of this name from its text


def _text(_: str, text: str) -> str:
    return text


def _integer(name: str, text: str) -> int:
    number = int(text) if _INTEGER.fullmatch(text) else 1 << _EXPIRY_BITS
    if not -1 << _EXPIRY_BITS <= number < 1 << _EXPIRY_BITS:
        raise InputError(f"{name}: {text[:SHOWN_MAX]!r} is no number of 64 bits")
    return number


def _qos(name: str, text: str) -> int:
    number = _integer(name, text)
    if number not in (0, 1):
        raise InputError(f"{name} is {number}, and may be 0 or 1")
    return number


def _boolean(name: str, text: str) -> bool:
    if text not in _BOOLEANS:
        raise InputError(f"{name} is {text[:SHOWN_MAX]!r}, and may be true or false")
    return _BOOLEANS[text]


def _indicator(name: str, text: str) -> str:
    if text not in _INDICATORS:
        raise InputError(f"{name} is {text[:SHOWN_MAX]!r}, and may be {' or '.join(_INDICATORS)}")
    return text


def _json(name: str, text: str) -> Any:
    try:
        return json_text.decode(publishing.from_base64(text))
    except ValueError as error:
        raise InputError(f"{name} is not JSON in base64: {error}") from None


_QUERY = {
    "qos": _qos,
    "retain": _boolean,
    "contentType": _text,
    "responseTopic": _text,
    "messageExpiry": _integer,
}
_HEADERS: Mapping[str, tuple[str, Any]] = {
    "x-amz-mqtt5-user-properties": ("userProperties", _json),
    "x-amz-mqtt5-payload-format-indicator": ("payloadFormatIndicator", _indicator),
    "x-amz-mqtt5-correlation-data": ("correlationData", _text),
}
