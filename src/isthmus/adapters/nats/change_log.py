"""A region's change log on JetStream: the newest version of each item, compare-and-set on its key.

A write is durable here when it returns. Its revision is the stream sequence, which the region's
services also use as the log's position.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from isthmus.adapters.nats.publisher import Publisher, StreamRefused
from isthmus.adapters.nats.streams import LOG, log_subject
from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import StaleRevision, Unavailable

TIMEOUT_S = 5.0
_WRONG_LAST_SEQUENCE = 10071
_NO_STREAM = 10059


@dataclass(frozen=True, slots=True)
class Stored:
    """An item as the log has it; revision 0 where it has none."""

    item: Item
    revision: int


class _State(msgspec.Struct):
    last_seq: int


class _Error(msgspec.Struct):
    err_code: int = 0


class _Info(msgspec.Struct):
    """What is read of a stream's answer: one of the two."""

    state: _State | None = None
    error: _Error | None = None


class NatsChangeLog:
    """Implements ports.ChangeLog."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._js = client.jetstream(timeout=TIMEOUT_S)
        self._publisher = Publisher(client)
        self._starting = asyncio.Lock()
        self._is_listening = False

    async def get(self, kind: str, key: str) -> Stored:
        """The present version, or an empty item with revision 0."""
        try:
            found = await self._js.get_last_msg(LOG, log_subject(kind, key))
        except NotFoundError:
            return Stored(Item(kind, key), 0)
        except (TimeoutError, NatsError) as error:
            raise Unavailable(f"the change log does not answer: {error!r}") from error
        assert found.data is not None
        assert found.seq is not None
        return Stored(items.decode(found.data), found.seq)

    async def put(self, item: Item, revision: int) -> int:
        """Write the next version; raises StaleRevision if ``revision`` is not the present one."""
        if not self._is_listening:
            await self._listen()
        headers = {
            "Nats-Expected-Stream": LOG,
            "Nats-Expected-Last-Subject-Sequence": str(revision),
        }
        subject = log_subject(item.kind, item.key)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await (await self._publisher.send(subject, item.encode(), headers))
        except StreamRefused as error:
            if error.code == _WRONG_LAST_SEQUENCE:
                raise StaleRevision(f"{item.kind} {item.key!r}") from None
            raise
        except TimeoutError:
            raise Unavailable("the change log does not answer a write") from None

    async def _listen(self) -> None:
        async with self._starting:
            if not self._is_listening:
                await self._publisher.start()
                self._is_listening = True

    async def head(self) -> int:
        """The position of the newest write; 0 where there is no log yet."""
        # Who answers many readers asks for every one of them: nats-py would read all that a stream
        # says of itself for each.
        try:
            answer = await self._client.request(f"$JS.API.STREAM.INFO.{LOG}", b"", TIMEOUT_S)
            info = msgspec.json.decode(answer.data, type=_Info)
        except (TimeoutError, NatsError, *UNDECODABLE) as error:
            raise Unavailable(f"the change log does not answer: {error!r}") from error
        if info.state is not None:
            return info.state.last_seq
        if info.error is not None and info.error.err_code == _NO_STREAM:
            return 0
        raise Unavailable(f"the change log does not answer: {info.error!r}")
