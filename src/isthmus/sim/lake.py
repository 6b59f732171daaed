"""What a region's lake would show of its bus: what region/lake.py reads, in the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from isthmus.core import batch as batches
from isthmus.core.confirm import Standing, Watermarks
from isthmus.core.repeat import RepeatIndex
from isthmus.sim.store import bus

if TYPE_CHECKING:
    from isthmus.sim.system import System


class Row(NamedTuple):
    """One message; the default view leaves repeats out."""

    client: str
    payload: bytes
    is_repeat: bool


def rows(system: System, region: str) -> Iterator[Row]:
    """The raw view: every message of every stream, each batch once."""
    index = RepeatIndex()
    for origin in system.regions_named:
        held = Watermarks()
        for entry in system.regions[region].store.stream(bus(origin)).after(0, limit=10**9):
            batch = batches.decode(entry.payload)
            if held.advance(batch.writer, batch.number) is not Standing.NEW:
                continue
            for number, message in enumerate(batch.messages):
                source = batch.sources[message.source]
                original = index.mark(
                    source.client,
                    source.principal,
                    source.connection,
                    message.topic,
                    message.payload,
                    message.id,
                    f"{batch.writer}:{batch.number}:{number}",
                    message.at_ms,
                )
                yield Row(source.client, message.payload, original is not None)
