"""This region's copies of the bus: what is stored, per origin and writer.

Batches of another origin are stored here byte for byte, in their writer's order; only then are
they confirmed. Batches beyond a gap were never acknowledged by anybody and are not copied.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.follow import Entry
from isthmus.core.confirm import Standing, Watermarks
from isthmus.errors import Unavailable

STORE_TIMEOUT_S = 5.0


def writer_and_number(entry: Entry) -> tuple[str, int]:
    """From the batch id, which is ``<writer>:<number>``."""
    writer, _, number = entry.id.rpartition(":")
    return writer, int(number)


class BusCopies:
    """Stores batches of other origins, and our own that came back from a peer."""

    def __init__(self, client: Client, regions: Iterable[str]) -> None:
        self._js: JetStreamContext = client.jetstream(timeout=STORE_TIMEOUT_S)
        self._regions = tuple(regions)
        #: Per origin, per writer: what this region's own fsynced stream holds.
        self.held: dict[str, Watermarks] = defaultdict(Watermarks)

    async def load(self) -> None:
        """Read from the streams what they hold; the streams are the truth, not a memory of them."""
        for origin in self._regions:
            self.held[origin] = Watermarks(await self._numbers(streams.bus(origin)))

    async def _numbers(self, stream: str) -> dict[str, int]:
        info = await self._js.stream_info(stream, subjects_filter=">")
        numbers = {}
        for subject in info.state.subjects or {}:
            try:
                last = await self._js.get_last_msg(stream, subject)
            except NotFoundError:
                # A damaged disk: the index names what the store has not. What we cannot read we
                # do not have, and copy again.
                continue
            _, _, number = (last.headers or {}).get("Nats-Msg-Id", ":0").rpartition(":")
            numbers[subject.rsplit(".", 1)[1]] = int(number)
        return numbers

    async def store(self, origin: str, entries: list[Entry]) -> dict[str, int]:
        """Store what is new, in order; return the watermarks that rose."""
        held = self.held[origin]
        ahead = Watermarks(held.snapshot())
        new = []
        for entry in entries:
            writer, number = writer_and_number(entry)
            if ahead.advance(writer, number) is Standing.NEW:
                new.append((writer, number, entry))
        await self._publish(streams.bus(origin), [entry for _, _, entry in new])
        risen = {}
        for writer, number, _ in new:
            held.advance(writer, number)
            risen[writer] = number
        return risen

    async def _publish(self, stream: str, entries: list[Entry]) -> None:
        try:
            acks = [
                await self._js.publish_async(
                    entry.subject, entry.payload, stream=stream, headers={"Nats-Msg-Id": entry.id}
                )
                for entry in entries
            ]
            async with asyncio.timeout(STORE_TIMEOUT_S):
                for ack in acks:
                    await ack
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"{stream} does not take a copy: {error!r}") from error
