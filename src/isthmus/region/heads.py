"""The head of each of this region's own writers: what a peer must hold before alone ends.

Read from the bus itself and not from the lake, whose disk may be full while the bus goes on. Only
batches without a gap before them count, as only those are ever acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.follow import Entry, follow
from isthmus.core.confirm import Watermarks
from isthmus.errors import InputError, StreamRewound, Unavailable
from isthmus.region.bus import writer_and_number

_log = logging.getLogger(__name__)

RETRY_S = 0.1


class OwnHeads:
    """Follows this region's own bus from a known place, or from its beginning."""

    def __init__(self, client: Client, region: str) -> None:
        self._client = client
        self._stream = streams.bus(region)
        self._numbers = Watermarks()
        self._position = 0

    def begin(self, after: int, writers: Mapping[str, int]) -> None:
        """What lies before a sequence is known already."""
        self._position, self._numbers = after, Watermarks(writers)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async for entries in follow(self._client, self._stream, self._position):
                    self._take(entries)
            except StreamRewound:
                self.begin(0, {})
            except Unavailable as error:
                _log.info("heads", extra={"action": "follow-again", "reason": str(error)})
                await asyncio.sleep(RETRY_S)

    def _take(self, entries: list[Entry]) -> None:
        for entry in entries:
            try:
                self._numbers.advance(*writer_and_number(entry))
            except InputError as error:
                extra = {"action": "bad-batch", "reason": str(error)}
                _log.error("a message of the bus has no number", extra=extra)
        self._position = entries[-1].sequence

    async def now(self) -> dict[str, int] | None:
        """The heads, or None until everything that the stream has is read."""
        try:
            state = (await self._client.jetstream().stream_info(self._stream)).state
        except (NatsError, TimeoutError):
            return None
        return self._numbers.snapshot() if self._position >= state.last_seq else None
