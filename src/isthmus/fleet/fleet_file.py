"""Reads a fleet file: one thing a line, as AWS IoT bulk registration takes them.

    {"ThingName": "1ZZVA4F28R1000017", "SerialNumber": "TB-0001", "Market": "EU"}

``ThingName`` is the thing's name; every other parameter is a string and becomes an attribute. The
invariant: a file is read whole or not at all, and whoever has to mend it sees every bad line at
once, as ``file:line: reason``. What is not kept is never in memory: a line has a limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from isthmus.errors import InputError

#: Fifty attributes at their longest take 47 KB.
LINE_BYTES_MAX = 64 * 1024
#: A thing with a type may have this many on AWS.
ATTRIBUTES_MAX = 50
#: More mistakes than this are counted, not listed.
PROBLEMS_SHOWN_MAX = 20

_THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
_ATTRIBUTE_NAME = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}")
_ATTRIBUTE_VALUE = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_JSON_TYPES = {dict: "an object", list: "a list", bool: "a boolean", type(None): "null"}


class FleetThing(NamedTuple):
    """One thing of a fleet file."""

    name: str
    attributes: dict[str, str]


class _LineError(Exception):
    """One thing wrong with one line."""


class _Problems:
    """Collects what is wrong; keeps the first ones and counts the rest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shown: list[str] = []
        self._count = 0

    def add(self, line_number: int, reason: str) -> None:
        self._count += 1
        if self._count <= PROBLEMS_SHOWN_MAX:
            self._shown.append(f"{self._path}:{line_number}: {reason}")

    def raise_if_any(self) -> None:
        if not self._count:
            return
        more = self._count - len(self._shown)
        lines = [*self._shown, f"and {more} more"] if more else self._shown
        raise InputError(
            "\n".join(lines), hint="mend these lines and run it again; nothing was imported"
        )


def read_fleet(path: Path) -> tuple[FleetThing, ...]:
    """Read the whole file; raises one InputError that lists every bad line."""
    things: list[FleetThing] = []
    first_line_of: dict[str, int] = {}
    problems = _Problems(path)
    try:
        with path.open("rb") as file:
            for line_number, line in _lines(file):
                try:
                    thing = _thing(line)
                    first = first_line_of.setdefault(thing.name, line_number)
                    if first != line_number:
                        raise _LineError(
                            f"ThingName {_show(thing.name)} is on line {first} already"
                        )
                    things.append(thing)
                except _LineError as problem:
                    problems.add(line_number, str(problem))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", hint="name a fleet file") from None
    problems.raise_if_any()
    if not things:
        raise InputError(f"{path}: no thing in it", hint='lines like {"ThingName": "vehicle-1"}')
    return tuple(things)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines that are not blank; None for one that is too long."""
    line_number = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        line_number += 1
        if line_number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        is_long = len(line) > LINE_BYTES_MAX and not line.endswith(b"\n")
        if is_long:
            _skip_rest_of_line(file)
        if is_long or line.strip():
            yield line_number, None if is_long else line


def _skip_rest_of_line(file: BinaryIO) -> None:
    while rest := file.readline(LINE_BYTES_MAX):
        if rest.endswith(b"\n"):
            return


def _thing(line: bytes | None) -> FleetThing:
    if line is None:
        raise _LineError(f"longer than {LINE_BYTES_MAX} bytes")
    parameters = _parameters(line)
    if "ThingName" not in parameters:
        raise _LineError("ThingName is missing")
    name = _string("ThingName", parameters.pop("ThingName"))
    if not _THING_NAME.fullmatch(name):
        raise _LineError(f"ThingName {_show(name)} does not match {_THING_NAME.pattern}")
    if len(parameters) > ATTRIBUTES_MAX:
        raise _LineError(f"{len(parameters)} attributes, at most {ATTRIBUTES_MAX}")
    return FleetThing(name, {each: _attribute(each, v) for each, v in parameters.items()})


def _parameters(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.rstrip().decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise _LineError(f"not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise _LineError(f"not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise _LineError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _LineError(f"{_kind(value)}, not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON keeps the last of two equal names, and with it a silent loss."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _LineError(f"{_show(name)} is there twice")
        found[name] = value
    return found


def _attribute(name: str, value: Any) -> str:
    if not _ATTRIBUTE_NAME.fullmatch(name):
        raise _LineError(f"attribute name {_show(name)} does not match {_ATTRIBUTE_NAME.pattern}")
    text = _string(name, value)
    if not _ATTRIBUTE_VALUE.fullmatch(text):
        raise _LineError(f"{name} {_show(text)} does not match {_ATTRIBUTE_VALUE.pattern}")
    return text


def _string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _LineError(f"{name} is {_kind(value)}, not a string: write it in quotes")
    return value


def _kind(value: Any) -> str:
    return _JSON_TYPES.get(type(value), "a string" if isinstance(value, str) else "a number")


def _show(text: str) -> str:
    """In ASCII, so that a terminal shows what is there and obeys nothing of it."""
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
