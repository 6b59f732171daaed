"""Plans: all that a process which we start to make load is told, as one JSON file.

The invariant: what is wrong with a plan is said before anything is done. Unknown fields, wrong
types and values that are wrong together name the file and the field.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import ConfigError


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON object: an unknown or mistyped field is an error that names it."""


class Plan(Protocol):
    """What a whole file holds."""

    def validate(self) -> None:
        """Raise ConfigError for values that are of the right type and still wrong."""


P = TypeVar("P", bound=Plan)


def load(path: Path, kind: type[P]) -> P:
    """Read a plan; raises ConfigError that names the file, the field and the value."""
    try:
        plan = msgspec.json.decode(path.read_bytes(), type=kind)
        plan.validate()
    except OSError as error:
        hint = "name it with --plan FILE"
        raise ConfigError(f"{path}: {error.strerror}", hint=hint) from None
    except UNDECODABLE as error:
        raise ConfigError(f"{path}: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.args[0]}", hint=error.hint) from None
    return plan


def dump(path: Path, value: msgspec.Struct) -> None:
    """Write what ``load`` reads back, for people too."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
