"""Requests of REST-JSON, read into the input that a caller of boto3 gave for them.

Every member stands where its shape says: in the path, the query, a header, or the body. What comes
as text is converted by its type, and JSON has to be of the right type already. Nothing is taken
that is not in the model: a member that a newer client knows and we do not would be lost otherwise,
and the client would be told that all is well. ``null`` is no value, as for AWS.

Whatever is sent, ServiceError is all that is raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from botocore.model import OperationModel, Shape, StructureShape

from isthmus.aws import patterns, routing, scalars, validation
from isthmus.aws.models import Service
from isthmus.aws.service_error import ServiceError, invalid
from isthmus.core import json_text

#: The longest text that the models allow is a policy of 404,600 characters; of ASCII, in practice.
BODY_BYTES_MAX = 1024**2
TARGET_CHARACTERS_MAX = 16 * 1024
#: Of signatures and authorizers, which are not for the operation.
_NOT_INPUT = "x-amz-"
_OURS = "x-isthmus-"
SHOWN_MAX = 128


class HttpRequest(NamedTuple):
    """What was sent."""

    method: str
    #: Path and query, as they stand in the request line.
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Call(NamedTuple):
    """What is asked for, as it was checked."""

    service: Service
    operation: OperationModel
    parameters: dict[str, Any]
    #: What is said to us beside AWS's input: headers of ours, by name in lower case.
    extras: Mapping[str, str] = MappingProxyType({})


def prepare(service: Service) -> None:
    """Do beforehand what would keep the first requests of a process waiting."""
    _router(service)
    for name in service.model.shape_names:
        pattern = service.model.shape_for(name).metadata.get("pattern")
        if pattern is not None:
            patterns.compiled(pattern)


def read(service: Service, request: HttpRequest) -> Call:
    """The call that a request is; raises ServiceError where it is none, or not a valid one."""
    if len(request.target) > TARGET_CHARACTERS_MAX:
        message = f"The address has {len(request.target)} characters"
        raise ServiceError("RequestEntityTooLargeException", message)
    if len(request.body) > BODY_BYTES_MAX:
        message = f"The body has {len(request.body)} bytes, and may have {BODY_BYTES_MAX}"
        raise ServiceError("RequestEntityTooLargeException", message)
    path, _, text = request.target.partition("?")
    query = routing.parameters(text)
    match = _router(service).match(request.method, path, query)
    parameters = _input(match, query, request)
    validation.check(match.operation, parameters)
    headers = ((name.lower(), value) for name, value in request.headers)
    extras = {name: value for name, value in headers if name.startswith(_OURS)}
    return Call(service, match.operation, parameters, extras)


@cache
def _router(service: Service) -> routing.Router:
    return routing.Router(service.model)


def _input(
    match: routing.Match, query: Mapping[str, list[str]], request: HttpRequest
) -> dict[str, Any]:
    shape = match.operation.input_shape
    headers = _headers(request.headers)
    query = {
        name: values
        for name, values in query.items()
        if name not in match.literals and not name.lower().startswith(_NOT_INPUT)
    }
    found: dict[str, Any] = {}
    maps: list[tuple[str, Shape]] = []
    members = shape.members if shape else {}
    for name, member in members.items():
        where = member.serialization.get("name", name)
        match member.serialization.get("location"):
            case "uri":
                value = scalars.from_text(member, match.labels[where], name)
            case "header":
                value = headers.get(where.lower())
                value = None if value is None else scalars.from_text(member, value, name)
            case "headers":
                value = _with_prefix(member, headers, where.lower(), name)
            case "querystring" if member.type_name == "map":
                maps.append((name, member))
                continue
            case "querystring":
                value = _from_query(match.operation, member, query.pop(where, None), name)
            case _:
                continue
        if value is not None:
            found[name] = value
    # All of a query that no other member takes.
    for name, member in maps if query else ():
        found[name] = {
            key: _from_query(match.operation, member.value, values, f"{name}.{key}")
            for key, values in query.items()
        }
    if query and not maps:
        raise _unknown(match.operation, next(iter(query)))
    return found | _body(match.operation, shape, request.body)


def _unknown(operation: OperationModel, name: str) -> ServiceError:
    message = f"{operation.name} has no member {name[:SHOWN_MAX]!r} that is known here"
    return invalid(operation, message)


# Outside of the body


def _headers(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Each header once, by its name in lower case, its values in their order."""
    found: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _with_prefix(
    shape: Shape, headers: Mapping[str, str], prefix: str, name: str
) -> dict[str, Any] | None:
    found = {
        key.removeprefix(prefix): scalars.from_text(shape.value, value, name)
        for key, value in headers.items()
        if key.startswith(prefix) and key != prefix
    }
    return found or None


def _from_query(
    operation: OperationModel, shape: Shape, values: list[str] | None, name: str
) -> Any:
    if values is None:
        return None
    if shape.type_name == "list":
        return [scalars.from_text(shape.member, value, name) for value in values]
    if len(values) > 1:
        raise invalid(operation, f"{name!r} is there {len(values)} times")
    return scalars.from_text(shape, values[0], name)


# The body


def _body(operation: OperationModel, shape: StructureShape | None, body: bytes) -> dict[str, Any]:
    payload: str = shape.serialization.get("payload", "") if shape else ""
    member = shape.members[payload] if shape and payload else None
    # An empty payload is none: nothing in the request tells them apart.
    if not body:
        return {}
    if member is not None and member.type_name == "blob":
        return {payload: body}
    if member is not None and member.type_name == "string":
        return {payload: scalars.text(body.decode("utf-8", "surrogateescape"), payload)}
    try:
        value = json_text.decode(body)
    except ValueError as error:
        raise ServiceError("SerializationException", f"The body cannot be read: {error}") from None
    if value is None:
        return {}
    if member is not None:
        return {payload: _value(operation, member, value, payload)}
    return _members(operation, shape, value, "")


def _value(operation: OperationModel, shape: Shape, value: Any, where: str) -> Any:
    """A value of JSON as its shape says; None where there is none."""
    if value is None:
        return None
    match shape.type_name:
        case "structure":
            return _members(operation, shape, value, where)
        case "list":
            if not isinstance(value, list):
                raise scalars.wrong(shape, value, where)
            member = shape.member
            return [
                _value(operation, member, each, f"{where}.{number}.member")
                for number, each in enumerate(value, 1)
            ]
        case "map":
            if not isinstance(value, dict):
                raise scalars.wrong(shape, value, where)
            member = shape.value
            return {
                key: _value(operation, member, each, f"{where}.{key[:SHOWN_MAX]}.member")
                for key, each in value.items()
            }
    return scalars.from_json(shape, value, where)


def _members(
    operation: OperationModel, shape: StructureShape | None, value: Any, where: str
) -> dict[str, Any]:
    """The members of a structure; of an operation's own, those that stand in the body."""
    if not isinstance(value, dict):
        raise scalars.wrong(shape, value, where)
    members = _in_body(shape) if shape else {}
    found = {}
    for key, each in value.items():
        path = f"{where}.{key[:SHOWN_MAX]}" if where else key[:SHOWN_MAX]
        if key not in members:
            raise _unknown(operation, path)
        if each is not None:
            name, member = members[key]
            found[name] = _value(operation, member, each, path)
    return found


@cache
def _in_body(shape: StructureShape) -> dict[str, tuple[str, Shape]]:
    """The members of a structure that stand in JSON, by their names there."""
    return {
        member.serialization.get("name", name): (name, member)
        for name, member in shape.members.items()
        if "location" not in member.serialization
    }
