"""What a site keeps on disk: its routes, durably, and its events, in the order they happened.

Invariant: a route is on disk before anybody is told of it, so a site that restarts never serves a
plan older than one it has already served.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from isthmus.core.routing import Route
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import InputError

ROUTES_FILE = "routes.json"
EVENTS_FILE = "events.jsonl"


class _RoutesFile(msgspec.Struct, frozen=True):
    routes: tuple[Route, ...]


class Journal:
    """The files of one site's ``state_dir``."""

    def __init__(
        self, state_dir: Path, site: str, wall_clock: Callable[[], float] = time.time
    ) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self._state_dir = state_dir
        self._site = site
        self._wall_clock = wall_clock
        self._events: IO[bytes] = (state_dir / EVENTS_FILE).open("ab")

    def close(self) -> None:
        self._events.close()

    def load_routes(self) -> dict[str, Route]:
        """Read the routes of the last run; none for a new site."""
        path = self._state_dir / ROUTES_FILE
        try:
            held = msgspec.json.decode(path.read_bytes(), type=_RoutesFile)
        except FileNotFoundError:
            return {}
        except UNDECODABLE as error:
            hint = "restore it from another site's copy, or delete it while the others run"
            raise InputError(f"{path}: {error}", hint=hint) from None
        return {route.name: route for route in held.routes}

    def record_routes(self, routes: Mapping[str, Route]) -> None:
        """Replace the routes file; on return the new one survives a power failure."""
        path = self._state_dir / ROUTES_FILE
        fresh = path.with_suffix(".new")
        ordered = tuple(routes[name] for name in sorted(routes))
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(_RoutesFile(ordered)))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        directory = os.open(self._state_dir, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def event(self, action: str, reason: str, **fields: Any) -> None:
        """Append one line; whoever reads the file sees whole lines at once."""
        line = {"at": self._wall_clock(), "site": self._site, "action": action}
        line.update({key: value for key, value in fields.items() if value is not None})
        line["reason"] = reason
        self._events.write(msgspec.json.encode(line) + b"\n")
        self._events.flush()
