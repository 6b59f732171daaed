"""Answers in pages: a token says after which key the next page goes on.

Which members carry token and size, and which the result, the models' paginators say. A token has
the last key that was given and nothing else, so any region and process goes on from it, nothing is
kept between pages, and a page late in a long list costs what the first one does. What was removed
meanwhile is no hindrance: the page after a key begins at whatever is next now.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from isthmus.aws.requests import Call
from isthmus.aws.service_error import invalid
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import BrokenInvariant

#: AWS's, for the operations whose documentation says.
SIZE_DEFAULT = 25


class Entry(NamedTuple):
    """A part of a result, and the key that it is sorted by."""

    key: str
    value: Any


class _Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a page ended."""

    operation: str
    after: str


def page(
    call: Call,
    entries_after: Callable[[str | None], Iterable[Entry]],
    *,
    size: int = SIZE_DEFAULT,
) -> dict[str, Any]:
    """The page that a call asks for, as output; of ``size`` where it does not say.

    ``entries_after`` gives the entries whose key is beyond this one, in order, and all of them for
    None. It is read no further than the page.
    """
    name = call.operation.name
    pages = call.service.paginators.get(name)
    if pages is None:
        raise BrokenInvariant(f"{name} is not answered in pages")
    size = _size(call, pages.get("limit_key"), size)
    after = key(call, call.parameters.get(pages["input_token"]))
    entries = list(islice(entries_after(after), size + 1))
    output: dict[str, Any] = {pages["result_key"]: [entry.value for entry in entries[:size]]}
    if len(entries) > size:
        output[pages["output_token"]] = token(call, entries[size - 1].key)
    return output


def _size(call: Call, member: str | None, default: int) -> int:
    if member is None:
        return default
    most = call.operation.input_shape.members[member].metadata.get("max", default)
    return int(call.parameters.get(member, min(default, most)))


def token(call: Call, after: str) -> str:
    """What says that a page of an operation ended at a key."""
    found = _Token(call.operation.name, after)
    # Not the alphabet for addresses: the models' pattern of a marker has this one.
    return base64.b64encode(msgspec.json.encode(found)).decode()


def key(call: Call, token: str | None) -> str | None:
    """The key at which the page before ended; None where this is the first."""
    if token is None:
        return None
    try:
        read = msgspec.json.decode(base64.b64decode(token, validate=True), type=_Token)
    except (binascii.Error, ValueError, *UNDECODABLE):
        read = None
    if read is None or read.operation != call.operation.name:
        raise invalid(call.operation, "The token is not one that this operation gave")
    return read.after
