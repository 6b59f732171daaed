"""Joins the items that batches carry into this region's log, from every bus stream that it has."""

from __future__ import annotations

import asyncio
import logging

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.follow import Entry, follow
from isthmus.core import batch as batches
from isthmus.core import carried
from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.errors import InputError, StreamRewound, Unavailable
from isthmus.region.items import ItemStore
from isthmus.region.state import StateStore

_log = logging.getLogger(__name__)

RETRY_S = 0.1
#: Between two notes of how far a stream was read. What is read again is joined again: no change.
NOTE_S = 1.0
#: Items written at a time: each waits for the disk.
WRITES_MAX = 64

#: A place in a stream: the sequence, and the id of the message that stands there.
Place = tuple[int, str]


class CarriedItems:
    """Follows every bus stream of this region."""

    def __init__(
        self, client: Client, store: ItemStore, state: StateStore, regions: list[str]
    ) -> None:
        self._client = client
        self._store = store
        self._state = state
        self._places: dict[str, Place] = {}
        self._noted: dict[str, Place] = {}
        self._regions = regions

    async def run(self) -> None:
        """Join for ever."""
        async with asyncio.TaskGroup() as group:
            for origin in self._regions:
                group.create_task(self._follow_for_ever(origin))
            group.create_task(self._note_for_ever())

    async def _follow_for_ever(self, origin: str) -> None:
        after: int | None = None
        while True:
            try:
                if after is None:
                    after = await self._resume(origin)
                async for entries in follow(self._client, streams.bus(origin), after):
                    await self._join(origin, entries)
                    after = entries[-1].sequence
                    self._places[origin] = (after, entries[-1].id)
            except StreamRewound:
                after = 0
            except Unavailable as error:
                extra = {"action": "follow-again", "reason": str(error)}
                _log.info("carried items", extra=extra)
                await asyncio.sleep(RETRY_S)

    async def _resume(self, origin: str) -> int:
        """Where this was left; the beginning where the stream does not have that message there."""
        place = await self._state.get(_place_name(origin), tuple[int, str])
        if place is None:
            return 0
        sequence, known = place
        try:
            found = await self._client.jetstream().get_msg(streams.bus(origin), sequence)
        except (NatsError, TimeoutError):
            return 0
        return sequence if (found.headers or {}).get("Nats-Msg-Id") == known else 0

    async def _join(self, origin: str, entries: list[Entry]) -> None:
        """Write what the entries carry; raises Unavailable when the log takes nothing."""
        newest: dict[tuple[str, str], Item] = {}
        for entry in entries:
            try:
                found = [carried.read(raw) for raw in batches.items_of(entry.payload)]
            except InputError as error:
                extra = {"action": "bad-item", "origin": origin, "reason": str(error)}
                _log.error("an item of a batch cannot be taken in", extra=extra)
                continue
            for item in found:
                name = (item.kind, item.key)
                newest[name] = items.join(newest[name], item) if name in newest else item
        waiting = list(newest.values())
        while waiting:
            now, waiting = waiting[:WRITES_MAX], waiting[WRITES_MAX:]
            await asyncio.gather(*(self._store.merge(item) for item in now))

    async def _note_for_ever(self) -> None:
        while True:
            await asyncio.sleep(NOTE_S)
            for origin, place in list(self._places.items()):
                if place == self._noted.get(origin):
                    continue
                try:
                    await self._state.put(_place_name(origin), place)
                except Unavailable as error:
                    extra = {"action": "note-place", "reason": str(error)}
                    _log.info("carried items", extra=extra)
                else:
                    self._noted[origin] = place


def _place_name(origin: str) -> str:
    return f"state.carried.{origin}"
