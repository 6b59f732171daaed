"""Responses of REST-JSON, written from the output that a caller of boto3 is to see.

Output that is not of the operation's shape is a bug of ours, and raised as one: what botocore would
drop in silence, or trip over, must not leave.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from botocore.model import Shape, StructureShape

from isthmus.aws import timestamps
from isthmus.aws.models import IOT_DATA, Service
from isthmus.aws.requests import Call
from isthmus.aws.service_error import COMMON_ERRORS, ServiceError
from isthmus.errors import BrokenInvariant

JSON, BINARY = "application/json", "application/octet-stream"
#: The models' name for bytes that are JSON: those of shadows.
JSON_DOCUMENT = "JsonDocument"
#: Where the model names none.
SUCCESS = 200


class HttpResponse(NamedTuple):
    """What is sent."""

    status: int
    headers: dict[str, str]
    body: bytes


def write(call: Call, output: Mapping[str, Any], request_id: str) -> HttpResponse:
    """The response to a call; raises BrokenInvariant where its output is not of its shape."""
    shape, name = call.operation.output_shape, call.operation.name
    status = call.operation.http.get("responseCode", SUCCESS)
    headers = {"x-amzn-RequestId": request_id}
    if shape is None:
        if output:
            raise BrokenInvariant(f"{name} has no output, and gave {sorted(output)}")
        if name != "Publish":
            return HttpResponse(status, headers, b"")
        # In no model, and what AWS answers.
        content = msgspec.json.encode({"message": "OK", "traceId": request_id})
        return HttpResponse(status, headers | {"Content-Type": JSON}, content)
    given = _given(shape, output, name)
    payload = shape.serialization.get("payload")
    body: dict[str, Any] = {}
    for member, value in given.items():
        one = shape.members[member]
        where, path = one.serialization.get("name", member), f"{name}.{member}"
        match one.serialization.get("location"):
            case "statusCode":
                status = _value(one, value, path)
            case "header":
                headers[where] = _header(one, value, path)
            case "headers":
                headers |= {f"{where}{key}": each for key, each in _value(one, value, path).items()}
            case _ if member != payload:
                body[where] = _value(one, value, path)
    if payload is None:
        return HttpResponse(status, headers | {"Content-Type": JSON}, msgspec.json.encode(body))
    kind, content = _payload(shape.members[payload], given.get(payload), f"{name}.{payload}")
    return HttpResponse(status, headers | {"Content-Type": kind}, content)


def refuse(service: Service, error: ServiceError, request_id: str) -> HttpResponse:
    """The response to what was refused."""
    status = service.errors.get(error.code) or COMMON_ERRORS.get(error.code)
    if status is None:
        raise BrokenInvariant(f"{service.name} has no error {error.code!r}")
    shape = service.model.shape_for_error_code(error.code)
    known = shape.members if shape else {}
    if unknown := error.members.keys() - known:
        raise BrokenInvariant(f"{error.code} has no members {sorted(unknown)}")
    body = {"message": error.message, **error.members}
    if service.name == IOT_DATA:
        # In no model, and in every answer of AWS's data plane.
        body["traceId"] = request_id
    headers = {
        "x-amzn-RequestId": request_id,
        "x-amzn-ErrorType": error.code,
        "Content-Type": JSON,
    }
    return HttpResponse(status, headers, msgspec.json.encode(body))


def _given(shape: StructureShape, value: Any, where: str) -> dict[str, Any]:
    """The members that have a value, all of them known and none missing."""
    if not isinstance(value, Mapping):
        raise _not(shape, value, where)
    given = {name: each for name, each in value.items() if each is not None}
    if unknown := given.keys() - shape.members.keys():
        raise BrokenInvariant(f"{where} has no members {sorted(unknown)}")
    if missing := set(shape.required_members) - given.keys():
        raise BrokenInvariant(f"{where} needs {sorted(missing)}")
    return given


def _not(shape: Shape, value: Any, where: str) -> BrokenInvariant:
    return BrokenInvariant(f"{where} is {type(value).__name__}, not {shape.type_name}")


def _payload(shape: Shape, value: Any, where: str) -> tuple[str, bytes]:
    """What a body that is one member has in it, and of which kind it is."""
    if shape.type_name == "structure":
        return JSON, msgspec.json.encode({} if value is None else _value(shape, value, where))
    if value is None:
        return BINARY, b""
    if shape.type_name == "blob" and isinstance(value, bytes):
        return JSON if shape.name == JSON_DOCUMENT else BINARY, value
    if shape.type_name == "string" and isinstance(value, str):
        return BINARY, value.encode()
    raise _not(shape, value, where)


def _header(shape: Shape, value: Any, where: str) -> str:
    value = _value(shape, value, where)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(shape: Shape, value: Any, where: str) -> Any:
    """A value as it stands in JSON."""
    match shape.type_name:
        case "structure":
            members = shape.members
            return {
                members[name].serialization.get("name", name): _value(
                    members[name], each, f"{where}.{name}"
                )
                for name, each in _given(shape, value, where).items()
            }
        case "list" if isinstance(value, list | tuple):
            member = shape.member
            return [_value(member, each, f"{where}[{n}]") for n, each in enumerate(value)]
        case "map" if isinstance(value, Mapping):
            key, member = shape.key, shape.value
            return {
                _value(key, name, where): _value(member, each, f"{where}[{name!r}]")
                for name, each in value.items()
            }
        case kind if (write_one := _WRITE.get(kind)) is not None:
            written = write_one(shape, value)
            if written is not None:
                return written
    raise _not(shape, value, where)


# Each gives None where the value is not of its type


def _string(shape: Shape, value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _boolean(shape: Shape, value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _integer(shape: Shape, value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(shape: Shape, value: Any) -> float | str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _blob(shape: Shape, value: Any) -> str | None:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else None


def _timestamp(shape: Shape, value: Any) -> Any:
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    return timestamps.write(value, timestamps.form_of(shape))


_WRITE: dict[str, Callable[[Shape, Any], Any]] = {
    "string": _string,
    "boolean": _boolean,
    "integer": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "blob": _blob,
    "timestamp": _timestamp,
}
