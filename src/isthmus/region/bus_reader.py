"""Reads every bus stream of this region once: whose batches are there, and what they carry.

The items are joined into this region's log, and what regions say of who is connected goes to the
roster. Of this region's own writers it knows the heads: what a peer must hold before being alone
ends. Only batches without a gap before them count for that, as only those are ever acknowledged.
The lake is read apart from here: its disk may be full while this goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.entries import Entry, id_at
from isthmus.adapters.nats.follow import follow
from isthmus.core import batch as batches
from isthmus.core import carried
from isthmus.core import item as items
from isthmus.core.confirm import Watermarks
from isthmus.core.item import Item
from isthmus.errors import InputError, StreamRewound, Unavailable
from isthmus.region.bus import writer_and_number
from isthmus.region.items import ItemStore
from isthmus.region.presence import Presence
from isthmus.region.state import StateStore, read_name

_log = logging.getLogger(__name__)

RETRY_S = 0.1
#: Between two notes of how far a stream was read. What is read again changes nothing.
NOTE_S = 1.0
#: Items written at a time: each waits for the disk.
WRITES_MAX = 64


class Reached(msgspec.Struct, frozen=True):
    """How far a stream was read: its sequence, the id there, and the heads of its writers."""

    sequence: int = 0
    id: str = ""
    writers: dict[str, int] = {}


class BusReader:
    """Follows all streams; only one of them is this region's own."""

    def __init__(
        self,
        client: Client,
        store: ItemStore,
        state: StateStore,
        presence: Presence,
        own: str,
        regions: Sequence[str],
    ) -> None:
        self._client = client
        self._store = store
        self._state = state
        self._presence = presence
        self._own = own
        self._heads = Watermarks()
        self._reached = dict.fromkeys(regions, Reached())
        self._noted = dict(self._reached)

    async def run(self) -> None:
        """Read for ever, on from where this was noted."""
        async with asyncio.TaskGroup() as group:
            for origin in self._reached:
                group.create_task(self._read_for_ever(origin))
            group.create_task(self._note_for_ever())

    async def heads(self) -> dict[str, int] | None:
        """The last batch of each own writer, or None until everything that is there is read."""
        try:
            state = (await self._client.jetstream().stream_info(streams.bus(self._own))).state
        except (NatsError, TimeoutError):
            return None
        is_read = self._reached[self._own].sequence >= state.last_seq
        return self._heads.snapshot() if is_read else None

    async def read_own(self) -> None:
        """Return when all is read that this region's own stream has now."""
        last: int | None = None
        while last is None or self._reached[self._own].sequence < last:
            with contextlib.suppress(NatsError, TimeoutError):
                if last is None:
                    info = await self._client.jetstream().stream_info(streams.bus(self._own))
                    last = info.state.last_seq
            await asyncio.sleep(RETRY_S)

    async def _read_for_ever(self, origin: str) -> None:
        while True:
            try:
                await self._resume(origin)
                stream = streams.bus(origin)
                async for entries in follow(self._client, stream, self._reached[origin].sequence):
                    await self._take(origin, entries)
            except StreamRewound:
                self._begin(origin, Reached())
            except Unavailable as error:
                _log.info("bus", extra={"action": "follow-again", "reason": str(error)})
                await asyncio.sleep(RETRY_S)

    async def _resume(self, origin: str) -> None:
        """Where this was left; the beginning where the stream does not have that message there."""
        if self._reached[origin].sequence:
            return
        noted = await self._state.get(read_name(origin), Reached)
        if noted is None or not noted.sequence:
            return
        try:
            found = await id_at(self._client, streams.bus(origin), noted.sequence)
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"{streams.bus(origin)} does not answer: {error!r}") from error
        if found == noted.id:
            self._begin(origin, noted)

    def _begin(self, origin: str, reached: Reached) -> None:
        self._reached[origin] = reached
        if origin == self._own:
            self._heads = Watermarks(reached.writers)

    async def _take(self, origin: str, entries: list[Entry]) -> None:
        """Take in what was read; raises Unavailable when the log takes nothing."""
        newest: dict[tuple[str, str], Item] = {}
        for entry in entries:
            try:
                if origin == self._own:
                    self._heads.advance(*writer_and_number(entry))
                carried_by = batches.carried_by(entry.payload)
                if carried_by.presence:
                    self._presence.read(carried_by.presence)
                for raw in carried_by.items:
                    item = carried.read(raw)
                    name = (item.kind, item.key)
                    newest[name] = items.join(newest[name], item) if name in newest else item
            except InputError as error:
                extra = {"action": "bad-batch", "origin": origin, "reason": str(error)}
                _log.error("a message of the bus cannot be read", extra=extra)
        waiting = list(newest.values())
        while waiting:
            now, waiting = waiting[:WRITES_MAX], waiting[WRITES_MAX:]
            await asyncio.gather(*(self._store.merge(item) for item in now))
        last = entries[-1]
        self._reached[origin] = Reached(last.sequence, last.id)

    async def _note_for_ever(self) -> None:
        while True:
            await asyncio.sleep(NOTE_S)
            reached, heads = dict(self._reached), self._heads.snapshot()
            try:
                # First what was read, and then that it was.
                if await self._presence.keep():
                    await self._note(reached, heads)
            except Unavailable as error:
                extra = {"action": "note", "reason": str(error)}
                _log.info("how far a stream was read is not noted", extra=extra)

    async def _note(self, found: Mapping[str, Reached], heads: dict[str, int]) -> None:
        for origin, reached in found.items():
            if reached != self._noted[origin]:
                writers = heads if origin == self._own else {}
                noted = msgspec.structs.replace(reached, writers=writers)
                await self._state.put(read_name(origin), noted)
                self._noted[origin] = reached
