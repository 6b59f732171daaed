"""What a client asks of a shadow: its JSON, read within bounds, or refused as AWS refuses it.

Developer guide, "Device Shadow service documents" and "Device Shadow error messages", in whose
order things are checked. Where the guide leaves room:

- A name that stands twice in one object is refused, as two readers would take it for two things.
- Integers are kept as they are, of any size; other numbers as IEEE 754 has them.
- No array may have null in it; the error names the nearest name above.
- A version or clientToken of null is none.
- What is sent to get or delete a shadow is read for a clientToken, and ignored where it has none.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, NoReturn

import msgspec

from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import IsthmusError

DESIRED, REPORTED = "desired", "reported"
#: AWS's, in bytes.
CLIENT_TOKEN_MAX = 64
#: AWS's quota: names below each other in a section. The error says six; that is AWS's as well.
LEVELS_MAX = 8
#: Bytes of a request: four times a document, for its white space and what it takes away.
REQUEST_MAX = 32 * 1024
#: Characters of a name in an error.
SHOWN_MAX = 128

INVALID_JSON = (400, "Invalid JSON")
NO_STATE = (400, "Missing required node: state")
STATE_NO_OBJECT = (400, "State node must be an object")
SECTION_NO_OBJECT = {
    DESIRED: (400, "Desired node must be an object"),
    REPORTED: (400, "Reported node must be an object"),
}
INVALID_VERSION = (400, "Invalid version")
INVALID_TOKEN = (400, "Invalid clientToken")
TOO_DEEP = (400, "JSON contains too many levels of nesting; maximum is 6")
INVALID_NODE = "State contains an invalid node"
CONFLICT = (409, "Version conflict")
TOO_LARGE = (413, "The payload exceeds the maximum size allowed")
TOO_MANY = (429, "Too Many Requests")
FAILED = (500, "Internal service failure")
NO_UTF8 = (415, "Unsupported documented encoding; supported encoding is UTF-8")


class ShadowRefused(IsthmusError):
    """A request is refused: an HTTP status, AWS's text, and the token that the request had."""

    def __init__(self, code: int, message: str, client_token: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.client_token = client_token


class UpdateRequest(NamedTuple):
    """What is to be changed."""

    #: By section, what to merge into it; None takes a section away, or both.
    state: dict[str, dict[str, Any] | None] | None
    #: The one that the shadow must have; None for any.
    version: int | None = None
    client_token: str | None = None


def read_update(payload: bytes) -> UpdateRequest:
    """The request that a payload is; raises ShadowRefused."""
    asked = _read(payload)
    token = _token(asked)

    def refuse(code: int, message: str) -> NoReturn:
        raise ShadowRefused(code, message, token)

    if "state" not in asked:
        refuse(*NO_STATE)
    state, version = asked["state"], asked.get("version")
    if state is not None and type(state) is not dict:
        refuse(*STATE_NO_OBJECT)
    sections = state or {}
    for name, error in SECTION_NO_OBJECT.items():
        if type(sections.get(name, {})) not in (dict, type(None)):
            refuse(*error)
    # Not isinstance: to Python, true is an int.
    if version is not None and (type(version) is not int or version < 0):
        refuse(*INVALID_VERSION)
    if token is None and asked.get("clientToken") is not None:
        refuse(*INVALID_TOKEN)
    held = [each for each in sections.values() if type(each) is dict]
    # Most requests have not that many brackets, and no array: their values need no look.
    arrays = payload.count(b"[")
    if payload.count(b"{") + arrays > LEVELS_MAX and any(
        _is_too_deep(each, LEVELS_MAX) for each in held
    ):
        refuse(*TOO_DEEP)
    strange = next((name for name in sections if name not in SECTION_NO_OBJECT), None)
    if strange is None and arrays and b"null" in payload:
        named = map(_array_with_null, held)
        strange = next((name for name in named if name is not None), None)
    if strange is not None:
        refuse(400, f"{INVALID_NODE}: '{strange[:SHOWN_MAX]}'")
    return UpdateRequest(state, version, token)


def read_token(payload: bytes) -> str | None:
    """The clientToken of a request to get or delete a shadow; raises ShadowRefused."""
    try:
        asked = _read(payload)
    except ShadowRefused:
        return None
    token = _token(asked)
    if token is None and asked.get("clientToken") is not None:
        raise ShadowRefused(*INVALID_TOKEN)
    return token


def _read(payload: bytes) -> dict[str, Any]:
    """The object that a payload is, in which no name stands twice."""
    if len(payload) > REQUEST_MAX:
        raise ShadowRefused(*TOO_LARGE)
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise ShadowRefused(*NO_UTF8) from None
    try:
        asked = msgspec.json.decode(payload)
        # Every name has a colon behind it. Where there are more, some may be in texts.
        if type(asked) is dict and payload.count(b":") != _names(asked):
            json.loads(payload, object_pairs_hook=_once)
    except RecursionError:
        raise ShadowRefused(*TOO_DEEP) from None
    except (*UNDECODABLE, ValueError):
        # ValueError: a name that stands twice, or an integer of thousands of digits.
        raise ShadowRefused(*INVALID_JSON) from None
    if type(asked) is not dict:
        raise ShadowRefused(*INVALID_JSON)
    return asked


def _names(value: Any) -> int:
    """How many names are in the objects of a value."""
    is_object = type(value) is dict
    count = len(value) if is_object else 0
    for each in value.values() if is_object else value:
        if type(each) is dict or type(each) is list:
            count += _names(each)
    return count


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _token(asked: dict[str, Any]) -> str | None:
    token = asked.get("clientToken")
    if type(token) is str and len(token.encode()) <= CLIENT_TOKEN_MAX:
        return token
    return None


def _is_too_deep(value: Any, left: int) -> bool:
    """Whether there is more below a value than so many levels, of objects and arrays alike."""
    if not left:
        return bool(value)
    inner = value.values() if type(value) is dict else value
    return any(
        _is_too_deep(each, left - 1) for each in inner if type(each) is dict or type(each) is list
    )


def _array_with_null(section: dict[str, Any]) -> str | None:
    """The name of an array that has null anywhere in it; None if there is none."""
    for name, each in section.items():
        if type(each) is list and _has_null(each):
            return name
        if type(each) is dict and (found := _array_with_null(each)) is not None:
            return found
    return None


def _has_null(value: Any) -> bool:
    if type(value) is list:
        return any(map(_has_null, value))
    if type(value) is dict:
        return any(map(_has_null, value.values()))
    return value is None
