"""Reads this region's bus streams into its lake, each batch once.

A process of its own, which gives way to the others: what is read late is late, and nobody waits for
it, while every confirmation to a peer would wait behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus.adapters import lake as files
from isthmus.adapters.lake import Lake, LakeRow
from isthmus.adapters.nats import connection, streams
from isthmus.adapters.nats.entries import Entry, entry_id, id_at
from isthmus.adapters.nats.follow import follow
from isthmus.config import RegionConfig
from isthmus.core import batch as batches
from isthmus.core.batch import Batch
from isthmus.core.confirm import Standing, Watermarks
from isthmus.core.repeat import RepeatIndex
from isthmus.errors import InputError, StreamRewound, Unavailable
from isthmus.region.bus import writer_and_number

_log = logging.getLogger(__name__)

#: Of the scheduler: a machine that is full serves whoever waits for an answer first.
NICENESS = 5
#: By which the lake may be late: nobody waits for it, and reading each batch as it comes took as
#: much of the machine as serving the clients.
REST_S = 0.1
RETRY_S = 0.1
COMMIT_S = 0.5
#: Between two attempts when the lake's disk takes nothing.
DISK_RETRY_S = 2.0


class LakeReader:
    """Follows every bus stream of this region."""

    def __init__(self, client: Client, lake: Lake, regions: list[str], canary_prefix: str) -> None:
        self._client = client
        self._lake = lake
        self._regions = regions
        #: The observers' own messages are nobody's telemetry.
        self._canary_prefix = canary_prefix
        self._repeats = RepeatIndex()
        self._dirty = False
        self._held = {origin: Watermarks(lake.cursor.writers.get(origin, {})) for origin in regions}

    async def run(self) -> None:
        """Read for ever; on the way out, write down what was read."""
        self._remember_recent()
        try:
            while True:
                try:
                    await self._read_until_broken()
                except* OSError as error:
                    # Full, or failing: replication goes on without the lake.
                    extra = {"action": "lake-disk", "reason": repr(error.exceptions[0])}
                    _log.error("the lake cannot be written", extra=extra)
                await asyncio.sleep(DISK_RETRY_S)
                self._go_back()
        finally:
            with contextlib.suppress(OSError):
                self._lake.prepare()()
            self._lake.close()

    async def _read_until_broken(self) -> None:
        async with asyncio.TaskGroup() as group:
            for origin in self._regions:
                group.create_task(self._read_for_ever(origin))
            group.create_task(self._commit_for_ever())

    def _go_back(self) -> None:
        """To what is safely in the lake; every stream is read again from there."""
        with contextlib.suppress(OSError):
            self._lake.reopen()
        writers = self._lake.cursor.writers
        self._held = {origin: Watermarks(writers.get(origin, {})) for origin in self._regions}

    def _remember_recent(self) -> None:
        start = max(0, self._lake.cursor.length - files.RECENT_BYTES)
        for row in files.read(self._lake.path, raw=True, after_byte=start):
            if row.qos:
                self._mark(row, row.body())

    async def _read_for_ever(self, origin: str) -> None:
        after: int | None = None
        while True:
            try:
                if after is None:
                    after = await self._resume(origin)
                async for entries in follow(
                    self._client, streams.bus(origin), after, rest_s=REST_S
                ):
                    self._take(origin, entries)
                    after = entries[-1].sequence
            except StreamRewound:
                # Read again from the beginning: what the lake has, it takes once.
                after = 0
            except Unavailable as error:
                _log.info("lake", extra={"action": "follow-again", "reason": str(error)})
                await asyncio.sleep(RETRY_S)

    async def _resume(self, origin: str) -> int:
        """Where the lake stands in a stream; its beginning where it has not that message there."""
        sequence, known = self._lake.cursor.streams.get(origin, (0, ""))
        if sequence == 0:
            return 0
        try:
            found = await id_at(self._client, streams.bus(origin), sequence)
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"{streams.bus(origin)} does not answer: {error!r}") from error
        return sequence if found == known else 0

    def _take(self, origin: str, entries: list[Entry]) -> None:
        held = self._held[origin]
        rows: list[LakeRow] = []
        for entry in entries:
            try:
                rows += self._read(origin, held, entry)
            except InputError as error:
                # One message that nobody can read must not hold up all that follow it.
                extra = {"action": "bad-batch", "origin": origin, "reason": str(error)}
                _log.error("a message of the bus cannot be read", extra=extra)
        self._lake.append(rows)
        last = entries[-1]
        self._lake.cursor.streams[origin] = (last.sequence, entry_id(last))
        self._lake.cursor.writers[origin] = held.snapshot()
        self._dirty = True

    def _read(self, origin: str, held: Watermarks, entry: Entry) -> list[LakeRow]:
        writer, number = writer_and_number(entry)
        if held.advance(writer, number) is not Standing.NEW:
            return []
        return self._rows(batches.decode(entry.payload), entry.stored_s)

    def _rows(self, batch: Batch, stored_s: float) -> list[LakeRow]:
        rows = []
        for index, message in enumerate(batch.messages):
            if message.is_handed_over or message.topic.startswith(self._canary_prefix):
                continue
            source = batch.sources[message.source]
            row = LakeRow(
                origin=batch.origin,
                position=f"{batch.writer}:{batch.number}:{index}",
                at_ms=message.at_ms,
                stored_s=stored_s,
                client=source.client,
                principal=source.principal,
                connection=source.connection,
                topic=message.topic,
                qos=message.qos,
                id=message.id,
                dup=message.dup,
                **files.payload_fields(message.payload),
                **files.property_fields(message.properties),
            )
            # QoS 0 is never sent again by anybody.
            original = self._mark(row, message.payload) if message.qos else None
            rows.append(files.marked(row, original) if original else row)
        return rows

    def _mark(self, row: LakeRow, payload: bytes) -> str | None:
        return self._repeats.mark(
            row.client,
            row.principal,
            row.connection,
            row.topic,
            payload,
            row.id,
            row.position,
            row.at_ms,
        )

    async def _commit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_S)
            if self._dirty:
                self._dirty = False
                commit = self._lake.prepare()
                # A disk that takes its time must not make this region look dead.
                await asyncio.to_thread(commit)


async def run_lake(config: RegionConfig, ready: Callable[[], None]) -> None:
    """Run one region's lake until cancelled."""
    os.nice(NICENESS)
    client = await connection.connect(config.lake_nats, name="lake")
    try:
        regions = [config.region, *(peer.region for peer in config.peers)]
        lake = Lake(Path(config.state_dir) / "lake")
        reader = LakeReader(client, lake, regions, config.canary_prefix)
        ready()
        await reader.run()
    finally:
        await client.close()
