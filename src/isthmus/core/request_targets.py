"""What is encoded in the target of a request of HTTP: its path, and the values in its query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

#: Values by name, in the order in which they stand in the query.
Query = Mapping[str, list[str]]

_BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def parameters(query: str) -> dict[str, list[str]]:
    """The values of each name; raises ValueError as ``decoded`` does.

    A plus is a plus, as it is for who signs and for who checks that.
    """
    found: dict[str, list[str]] = {}
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            found.setdefault(decoded(name), []).append(decoded(value))
    return found


def decoded(text: str) -> str:
    """Text without its percent-encoding; raises ValueError where that is not of UTF-8."""
    encoded = text.encode("ascii")
    if _BROKEN_ESCAPE.search(text):
        raise ValueError(f"{text[:80]!r} has a broken escape")
    return unquote_to_bytes(encoded).decode()
