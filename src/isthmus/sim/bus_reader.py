"""Joins what batches carry into the region's log: what region/bus_reader.py does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from isthmus.core import item as items
from isthmus.core.confirm import Watermarks
from isthmus.core.item import Item
from isthmus.core.update import Merge
from isthmus.sim.store import WAKE_S, Entry, Refused, bus

if TYPE_CHECKING:
    from isthmus.sim.services import Services

NOTE_S = 1.0
RETRY_S = 0.1


class Reached(NamedTuple):
    """How far a stream was read: its sequence, the id there, and the heads of its writers."""

    sequence: int = 0
    id: str = ""
    writers: tuple[tuple[str, int], ...] = ()


def read_name(origin: str) -> str:
    """Under which name the region's disk has how far a stream was read."""
    return f"read {origin}"


class BusReader:
    """Follows all streams; only one of them is this region's own."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._system = services.region.system
        self._store = services.store
        self._process = services.process
        self._own = services.name
        self._heads = Watermarks()
        self._reached: dict[str, Reached] = {}
        self._is_waiting: set[str] = set()
        for origin in self._system.regions_named:
            self._begin(origin, self._resume(origin))
        self._noted = dict(self._reached)
        for origin in self._reached:
            self._read(origin)
        self._process.after(NOTE_S, self._note)

    def _resume(self, origin: str) -> Reached:
        """Where this was left; the beginning where the stream does not have that message there."""
        noted: Reached | None = self._store.state.get(read_name(origin))
        if noted is None:
            return Reached()
        found = self._store.stream(bus(origin)).at(noted.sequence)
        return noted if found is not None and found.id == noted.id else Reached()

    def _begin(self, origin: str, reached: Reached) -> None:
        self._reached[origin] = reached
        if origin == self._own:
            self._heads = Watermarks(dict(reached.writers))

    def heads(self) -> dict[str, int] | None:
        """The last batch of each own writer, or None until everything that is there is read."""
        is_read = self._reached[self._own].sequence >= self._store.stream(bus(self._own)).synced
        return self._heads.snapshot() if is_read else None

    def store_restarted(self) -> None:
        """Whoever waited for news of a stream asks again."""
        for origin in sorted(self._is_waiting):
            self._read(origin)

    def _read(self, origin: str) -> None:
        self._is_waiting.discard(origin)
        entries = self._store.stream(bus(origin)).after(self._reached[origin].sequence)
        if not entries:
            self._wait(origin)
            return
        newest: dict[tuple[str, str], Item] = {}
        for entry in entries:
            if origin == self._own:
                writer, _, number = entry.id.rpartition(":")
                self._heads.advance(writer, int(number))
            for item in self._system.carried(entry.payload):
                name = (item.kind, item.key)
                newest[name] = items.join(newest[name], item) if name in newest else item
        self._join(origin, list(newest.values()), entries[-1])

    def _wait(self, origin: str) -> None:
        self._is_waiting.add(origin)
        self._store.when_news(self._process, bus(origin), partial(self._wake, origin))

    def _wake(self, origin: str) -> None:
        if origin in self._is_waiting:
            self._read(origin)

    def _join(self, origin: str, waiting: list[Item], last: Entry) -> None:
        """Write all items at once; each waits for the disk, and any may fail."""
        if not waiting:
            self._took(origin, last)
            return
        results: list[bool] = []

        def done(is_written: bool) -> None:
            results.append(is_written)
            if len(results) < len(waiting):
                return
            if all(results):
                self._took(origin, last)
            else:
                self._process.after(RETRY_S, self._read, origin)

        for item in waiting:
            self._services.perform(Merge(self._services.log, item), done)

    def _took(self, origin: str, last: Entry) -> None:
        self._reached[origin] = Reached(last.sequence, last.id)
        if self._store.stream(bus(origin)).synced > last.sequence:
            self._process.after(WAKE_S, self._read, origin)
        else:
            self._wait(origin)

    def _note(self) -> None:
        for origin, reached in self._reached.items():
            if reached != self._noted[origin]:
                heads = self._heads.snapshot() if origin == self._own else {}
                noted = reached._replace(writers=tuple(heads.items()))
                written = partial(self._written, origin, reached)
                self._store.put(self._process, read_name(origin), noted, written)
        self._process.after(NOTE_S, self._note)

    def _written(self, origin: str, reached: Reached, result: int | Refused) -> None:
        if not isinstance(result, Refused):
            self._noted[origin] = reached
