"""Values that have no parts, of each type that a shape can have, read from text or from JSON.

What is not of the type is refused with the words of AWS's own parser, and the member's name.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from botocore.model import Shape
from botocore.utils import is_json_value_header

from isthmus.aws import timestamps
from isthmus.aws.service_error import ServiceError
from isthmus.core import json_text
from isthmus.errors import BrokenInvariant

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_FLOAT = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?")
#: JSON has no numbers for these, so the protocol writes them as text.
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_BITS = {"integer": 32, "long": 64}
_JSON_TYPES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def wrong(shape: Shape | None, value: Any, where: str) -> ServiceError:
    """What is answered to a value that is of another type."""
    given = _JSON_TYPES.get(type(value), "this")
    wanted = shape.type_name if shape else "structure"
    message = f"{where or 'The body'}: {given} cannot be converted to {wanted}"
    return ServiceError("SerializationException", message)


def from_text(shape: Shape, value: str, where: str) -> Any:
    """What stands in a path, a query or a header."""
    value = text(value, where)
    if is_json_value_header(shape):
        return _json_value(shape, value, where)
    if (convert := _FROM_TEXT.get(shape.type_name)) is None:
        raise BrokenInvariant(f"{where}: nothing is known of {shape.type_name} outside of a body")
    try:
        return convert(shape, value)
    except ValueError:
        raise wrong(shape, value, where) from None


def from_json(shape: Shape, value: Any, where: str) -> Any:
    """What stands in a body."""
    try:
        return _FROM_JSON[shape.type_name](shape, value)
    except ValueError:
        raise wrong(shape, value, where) from None


def text(value: str, where: str) -> str:
    """Text that can be written in UTF-8, which bytes of a header need not be."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ServiceError("SerializationException", f"{where}: it is not UTF-8") from None
    return value


def _json_value(shape: Shape, value: str, where: str) -> Any:
    try:
        return json_text.decode(_blob(shape, value))
    except ValueError as error:
        message = f"{where}: it is not JSON in base64: {error}"
        raise ServiceError("SerializationException", message) from None


# Each takes a value of its type, and raises ValueError for any other


def _string(shape: Shape, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _boolean(shape: Shape, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _boolean_text(shape: Shape, value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError
    return value == "true"


def _integer(shape: Shape, value: Any) -> int:
    bound = 1 << (_BITS[shape.type_name] - 1)
    if not isinstance(value, int) or isinstance(value, bool) or not -bound <= value < bound:
        raise ValueError
    return value


def _integer_text(shape: Shape, value: str) -> int:
    if not _INTEGER.fullmatch(value):
        raise ValueError
    return _integer(shape, int(value))


def _float(shape: Shape, value: Any) -> float:
    if value in _NOT_FINITE:
        return float(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError
    try:
        number = float(value)
    except OverflowError:
        raise ValueError from None
    if number in (float("inf"), float("-inf")):
        raise ValueError
    return number


def _float_text(shape: Shape, value: str) -> float:
    if value in _NOT_FINITE:
        return float(value)
    if not _FLOAT.fullmatch(value):
        raise ValueError
    return _float(shape, float(value))


def _blob(shape: Shape, value: Any) -> bytes:
    if not isinstance(value, str) or not value.isascii():
        raise ValueError
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError from None


def _timestamp(shape: Shape, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    return timestamps.read(value, timestamps.form_of(shape))


_Convert = Callable[[Shape, Any], Any]
_FROM_JSON: dict[str, _Convert] = {
    "string": _string,
    "boolean": _boolean,
    "integer": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "blob": _blob,
    "timestamp": _timestamp,
}
_FROM_TEXT: dict[str, _Convert] = {
    **_FROM_JSON,
    "boolean": _boolean_text,
    "integer": _integer_text,
    "long": _integer_text,
    "float": _float_text,
    "double": _float_text,
}
