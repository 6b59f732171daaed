"""This region's copies of the bus: what is stored, per origin and writer.

Batches of another origin are stored here byte for byte, in their writer's order; only then are
they confirmed. This process is the only one that writes another origin's stream, so each message
names the sequence that it must follow: a message that was lost on the way takes all later ones with
it, and no gap can ever be confirmed over. Batches beyond a gap of their writer's own making were
never acknowledged by anybody and are not copied.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.entries import Entry
from isthmus.adapters.nats.publisher import Publisher
from isthmus.core.confirm import Standing, Watermarks
from isthmus.errors import InputError, Unavailable

_log = logging.getLogger(__name__)

STORE_TIMEOUT_S = 5.0
#: What a message must follow, by stream sequence.
FOLLOWS = "Nats-Expected-Last-Sequence"


def writer_and_number(entry: Entry) -> tuple[str, int]:
    """From the batch id, which is ``<writer>:<number>``; raises InputError for anything else."""
    writer, _, number = entry.id.rpartition(":")
    if not writer or not number.isdecimal():
        raise InputError(f"message {entry.sequence} has no batch id: {entry.id[:80]!r}")
    return writer, int(number)


class BusCopies:
    """Stores batches of other origins, and our own that came back from a peer."""

    def __init__(self, client: Client, own: str, regions: Iterable[str]) -> None:
        self._js: JetStreamContext = client.jetstream(timeout=STORE_TIMEOUT_S)
        self._publisher = Publisher(client)
        self._own = own
        self._regions = tuple(regions)
        #: Per origin, per writer: what this region's own fsynced stream holds.
        self.held: dict[str, Watermarks] = defaultdict(Watermarks)
        #: The last sequence of each stream that we append to.
        self._ends: dict[str, int] = {}
        #: Every peer may fill up our own stream: one after another, or each would meet the other's.
        self._storing: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        #: Streams of which a write failed: what they hold is read again before the next one.
        self._unsure: set[str] = set()

    async def load(self) -> None:
        """Read from the streams what they hold; the streams are the truth, not a memory of them."""
        await self._publisher.start()
        for origin in self._regions:
            await self._load(origin)

    async def _load(self, origin: str) -> None:
        stream = streams.bus(origin)
        info = await self._js.stream_info(stream, subjects_filter=">")
        numbers = {}
        for subject in info.state.subjects or {}:
            writer = subject.rsplit(".", 1)[1]
            numbers[writer] = await self._last_number(stream, subject)
        self.held[origin] = Watermarks(numbers)
        self._ends[origin] = info.state.last_seq
        self._unsure.discard(origin)

    async def _last_number(self, stream: str, subject: str) -> int:
        try:
            last = await self._js.get_last_msg(stream, subject)
        except NotFoundError:
            # No such writer here, or a damaged disk whose index names what the store has not:
            # what we cannot read we do not have, and copy again.
            return 0
        _, _, number = (last.headers or {}).get("Nats-Msg-Id", ":0").rpartition(":")
        return int(number) if number.isdecimal() else 0

    async def look_again(self, writers: Mapping[str, int]) -> None:
        """See whether our own stream has these batches by now: gateways write it, not we."""
        held = self.held[self._own]
        for writer, number in writers.items():
            if held.get(writer) < number:
                subject = streams.bus_subject(self._own, writer)
                held.raise_to(writer, await self._last_number(streams.bus(self._own), subject))

    async def store(self, origin: str, entries: list[Entry]) -> dict[str, int]:
        """Store what is new, in order; return the watermarks that rose.

        Raises Unavailable when any of it could not be stored; then nothing is confirmed.
        """
        async with self._storing[origin]:
            return await self._store(origin, entries)

    async def _store(self, origin: str, entries: list[Entry]) -> dict[str, int]:
        risen = {}
        try:
            if origin in self._unsure:
                await self._load(origin)
                # Of what a failed write has stored after all nobody was told.
                risen = self.held[origin].snapshot()
            new = self._new(origin, entries)
            if origin == self._own:
                await self._insert([entry for _, _, entry in new])
            else:
                await self._append(origin, [entry for _, _, entry in new])
        except (NatsError, TimeoutError, Unavailable) as error:
            self._unsure.add(origin)
            raise Unavailable(f"{streams.bus(origin)} does not take a copy: {error!r}") from error
        for writer, number, _ in new:
            self.held[origin].advance(writer, number)
            risen[writer] = number
        return risen

    def _new(self, origin: str, entries: list[Entry]) -> list[tuple[str, int, Entry]]:
        ahead = Watermarks(self.held[origin].snapshot())
        new = []
        for entry in entries:
            try:
                writer, number = writer_and_number(entry)
            except InputError as error:
                extra = {"action": "bad-batch", "origin": origin, "reason": str(error)}
                _log.error("a message of the bus cannot be copied", extra=extra)
                continue
            if ahead.advance(writer, number) is Standing.NEW:
                new.append((writer, number, entry))
        return new

    async def _append(self, origin: str, entries: list[Entry]) -> None:
        """Pipelined: each message names the one that it follows."""
        acks: list[asyncio.Future[int]] = []
        end = self._ends[origin]
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                for number, entry in enumerate(entries):
                    headers = {"Nats-Msg-Id": entry.id, FOLLOWS: str(end + number)}
                    acks.append(await self._publisher.send(entry.subject, entry.payload, headers))
                for ack in acks:
                    await ack
        finally:
            _give_up(acks)
        self._ends[origin] = end + len(entries)

    async def _insert(self, entries: list[Entry]) -> None:
        """One by one: gateways may be writing our own stream, each under its own writer."""
        for entry in entries:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                ack = await self._publisher.send(
                    entry.subject, entry.payload, {"Nats-Msg-Id": entry.id}
                )
                await ack


def _give_up(acks: list[asyncio.Future[int]]) -> None:
    for ack in acks:
        if not ack.cancel() and not ack.cancelled():
            # Retrieved, so that a second failure is not reported as forgotten.
            ack.exception()
