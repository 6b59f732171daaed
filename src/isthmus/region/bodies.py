"""What requests of the internal API bring."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import InputError

T = TypeVar("T")


def read(raw: bytes, kind: type[T], *, hint: str = "") -> T:
    """Read a body; raises InputError, which names the field that is wrong."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except UNDECODABLE as error:
        raise InputError(f"body: {error}", hint=hint) from None
