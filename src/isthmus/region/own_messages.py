"""What a region itself says: messages in its bus that no client could have published.

Whoever has something to say is a writer of its own, and stores one batch after another.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus.adapters.nats import streams
from isthmus.core import batch as batches
from isthmus.core.batch import Batch, Message, Source, batch_id
from isthmus.core.presence import Word
from isthmus.core.presence_events import CLIENT
from isthmus.errors import Unavailable

STORE_TIMEOUT_S = 5.0


class OwnMessages:
    """One writer, and another one after a failure."""

    def __init__(self, client: Client, region: str) -> None:
        self._client = client
        self._region = region
        self._source = Source("", CLIENT, "")
        self._writer, self._number = "", 0

    async def store(self, messages: Iterable[Message], words: Iterable[Word] = ()) -> None:
        """Return when it is on disk; raises Unavailable where it may be there or not.

        What is stored again is another writer's, so it is there twice perhaps, and under the same
        identities.
        """
        if not self._writer:
            self._writer, self._number = secrets.token_hex(16), 0
            self._source = Source(secrets.token_hex(8), CLIENT, "")
        self._number += 1
        batch = Batch(
            self._region,
            self._writer,
            self._number,
            (self._source,),
            tuple(messages),
            presence=tuple(words),
        )
        subject = streams.bus_subject(self._region, batch.writer)
        headers = {"Nats-Msg-Id": batch_id(batch.writer, batch.number)}
        try:
            await self._client.jetstream(timeout=STORE_TIMEOUT_S).publish(
                subject, batches.encode(batch), headers=headers
            )
        except (NatsError, TimeoutError) as error:
            self._writer = ""
            raise Unavailable(f"the stream did not take it: {error!r}") from error
