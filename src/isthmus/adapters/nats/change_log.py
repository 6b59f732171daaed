"""A region's change log on JetStream: the newest version of each item, compare-and-set on its key.

A write is durable here when it returns. Its revision is the stream sequence, which the region's
services also use as the log's position.

Writes that are asked for at once go as one atomic batch, for which the stream syncs its disk once,
ahead of its answer (nats-server 2.15.1, also where a batch goes over several files); who follows
the log may hear of it a moment before that. Each write stands for itself nevertheless: where one
is stale the batch is refused, and goes again in smaller ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from isthmus.adapters.nats.publisher import Message, Publisher, StreamRefused
from isthmus.adapters.nats.streams import LOG, has_batches, log_subject
from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import StaleRevision, Unavailable

TIMEOUT_S = 5.0
#: Writes in one batch: fewer cost the server less one by one, and it takes 1,000 at most.
TOGETHER_MIN, TOGETHER_MAX = 8, 256
#: Bytes of items after which there is no further one.
TOGETHER_BYTES = 512 * 1024
_WRONG_LAST_SEQUENCE = 10071
_NO_STREAM = 10059


@dataclass(frozen=True, slots=True)
class Stored:
    """An item as the log has it; revision 0 where it has none."""

    item: Item
    revision: int


class _Write(NamedTuple):
    """One that was asked for, and who waits for its revision."""

    message: Message
    revision: asyncio.Future[int | None]


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
        #: What was asked for in this turn of the loop.
        self._asked: list[_Write] = []
        self._tasks: set[asyncio.Task[None]] = set()

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
        expected = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        message = Message(log_subject(item.kind, item.key), item.encode(), expected)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                written = await self._together(message)
                if written is None:
                    written = await (await self._publisher.send(*message))
                return written
        except StreamRefused as error:
            if error.code == _WRONG_LAST_SEQUENCE:
                raise StaleRevision(f"{item.kind} {item.key!r}") from None
            raise
        except TimeoutError:
            raise Unavailable("the change log does not answer a write") from None

    async def _together(self, message: Message) -> int | None:
        """Write what is asked for in this turn of the loop; None for what goes by itself."""
        loop = asyncio.get_running_loop()
        revision: asyncio.Future[int | None] = loop.create_future()
        if not self._asked:
            loop.call_soon(self._write_asked)
        self._asked.append(_Write(message, revision))
        return await revision

    def _write_asked(self) -> None:
        asked, self._asked = self._asked, []
        # Not what nobody waits for any more.
        asked = [each for each in asked if not each.revision.done()]
        for batch in _batches(asked):
            self._write_together(batch)

    def _write_together(self, batch: list[_Write]) -> None:
        if len(batch) < TOGETHER_MIN or not has_batches(self._client):
            _settle(batch, [None] * len(batch))
            return
        task = asyncio.create_task(self._write_batch(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write_batch(self, batch: list[_Write]) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                sent = await self._publisher.send_together([each.message for each in batch])
                last = await sent
        except StreamRefused as error:
            if error.code == _WRONG_LAST_SEQUENCE:
                # One of them is stale, or a few.
                half = len(batch) // 2
                self._write_together(batch[:half])
                self._write_together(batch[half:])
            else:
                # The stream has none, or no room for all: each is judged by itself.
                _settle(batch, [None] * len(batch))
        except Exception as error:
            for each in batch:
                if not each.revision.done():
                    each.revision.set_exception(Unavailable(f"a batch is not answered: {error!r}"))
        else:
            _settle(batch, range(last - len(batch) + 1, last + 1))

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


def _batches(writes: Sequence[_Write]) -> Iterator[list[_Write]]:
    """No two of one item are in the same: at most one of them can be its next version."""
    first: dict[str, _Write] = {}
    for each in writes:
        first.setdefault(each.message.subject, each)
    batch: list[_Write] = []
    size = 0
    for each in first.values():
        batch.append(each)
        size += len(each.message.payload)
        if len(batch) == TOGETHER_MAX or size >= TOGETHER_BYTES:
            yield batch
            batch, size = [], 0
    yield batch
    yield from ([each] for each in writes if first[each.message.subject] is not each)


def _settle(writes: Iterable[_Write], revisions: Iterable[int | None]) -> None:
    for each, revision in zip(writes, revisions, strict=True):
        if not each.revision.done():
            each.revision.set_result(revision)
