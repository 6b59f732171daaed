"""JSON of strangers: decoded within bounds, or refused with the reason.

msgspec decodes everywhere else. Here names that stand twice have to be refused, as signed text that
two readers take for different things is how rights are got around, and msgspec takes the last one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

#: Several times the depth of the models, and a fraction of Python's own limit.
DEPTH_MAX = 64
SHOWN_MAX = 128
#: Possessive: a string that does not end is read once and not again.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def decode(raw: bytes) -> Any:
    """The value of a text; raises ValueError with a reason that is for the client."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if _depth(text) > DEPTH_MAX:
        raise ValueError(f"it is nested more than {DEPTH_MAX} deep")
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if "\\u" in text:
        _check_text(value)
    return value


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"it has {twice[:SHOWN_MAX]!r} twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it is not JSON: {name}")


def _check_text(value: Any) -> None:
    r"""Half a character, as ``"\ud800"``, is JSON and can be written nowhere."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("it has half of a surrogate pair") from None
    elif isinstance(value, list):
        for each in value:
            _check_text(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            _check_text(name)
            _check_text(each)
