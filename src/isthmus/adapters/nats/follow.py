"""Follow a stream from a position: everything after it, in order, then what comes.

A pull consumer with a request always open: a new message is here as soon as it is stored, however
far the server is, and silence is noticed by us within two expiries, not by the server's ten
seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from uuid import uuid4

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from isthmus.adapters.nats.entries import Entry, delivered
from isthmus.errors import StreamRewound, Unavailable

#: Messages asked for at once, and how long one request stays open. The next one is made when half
#: of either has passed: asking takes a round trip, for which nothing would come.
PULL_BATCH = 512
PULL_EXPIRES_S = 2.0
#: The consumer goes away by itself when nobody pulls for this long.
CONSUMER_IDLE_S = 30.0
#: For how long it is waited for what is there already: the server says then that this was all.
AT_ONCE_S = 0.01
#: Messages handed over at once.
TAKE_MAX = 1024


async def follow(
    client: Client,
    stream: str,
    after: int,
    *,
    subjects: Sequence[str] = (),
    rest_s: float = 0.0,
) -> AsyncGenerator[list[Entry], None]:
    """Yield what the stream holds after a sequence, as lists in order, without end.

    ``subjects`` are filters of what is wanted: all, where there are none.
    ``rest_s`` is for who is in no hurry: what comes within that time of another message comes with
    it, and costs both sides less.

    Raises Unavailable when the server falls silent, the consumer is lost or a message is missing;
    the caller resumes from the last sequence that it took. Raises StreamRewound when the stream
    ends before ``after``: it was wiped or restored, and the caller's position means nothing.
    Never skips: each list continues the one before.
    """
    try:
        if after:
            await _check_end(client, stream, after)
        consumer = await client.jetstream().add_consumer(
            stream,
            ConsumerConfig(
                name=uuid4().hex,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=after + 1,
                ack_policy=AckPolicy.NONE,
                # Who may have only some of a stream may name one filter, by which that is judged.
                filter_subject=subjects[0] if len(subjects) == 1 else None,
                filter_subjects=list(subjects) if len(subjects) > 1 else None,
                inactive_threshold=CONSUMER_IDLE_S,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer.name}"
        puller = _Rester(client, next_subject, rest_s) if rest_s else _Puller(client, next_subject)
        async with aclosing(puller.entries()) as batches:
            async for entries in batches:
                yield entries
    except (TimeoutError, NatsError, OSError) as error:
        raise Unavailable(f"cannot follow {stream}: {error!r}") from error


async def _check_end(client: Client, stream: str, after: int) -> None:
    try:
        last = (await client.jetstream().stream_info(stream)).state.last_seq
    except NotFoundError:
        last = 0
    if last < after:
        raise StreamRewound(f"{stream} ends at {last}, before {after}")


class _Puller:
    """Keeps a pull request open and hands over what arrives."""

    def __init__(self, client: Client, subject: str) -> None:
        self._client = client
        self._subject = subject
        self._queue: asyncio.Queue[Msg] = asyncio.Queue()
        #: Messages that were asked for and have not come, and when more are asked for anyway.
        self._asked = 0
        self._ask_at_s = 0.0
        self._delivered = 0

    async def entries(self) -> AsyncGenerator[list[Entry], None]:
        inbox = self._client.new_inbox()

        async def take(message: Msg) -> None:
            self._queue.put_nowait(message)

        subscription = await self._client.subscribe(inbox, cb=take)
        try:
            while True:
                entries = await self._take(inbox)
                if entries:
                    yield entries
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _ask(
        self, inbox: str, batch: int = PULL_BATCH, expires_s: float | None = None
    ) -> None:
        expires_s = PULL_EXPIRES_S if expires_s is None else expires_s
        request = {"batch": batch, "expires": int(expires_s * 1e9)}
        await self._client.publish(self._subject, msgspec.json.encode(request), reply=inbox)
        self._asked += batch
        self._ask_at_s = asyncio.get_running_loop().time() + expires_s / 2

    async def _take(self, inbox: str) -> list[Entry]:
        """Wait for what comes; raises TimeoutError where nothing does, not even a status."""
        entries: list[Entry] = []
        self._read(await self._next(inbox), entries)
        while not self._queue.empty() and len(entries) < TAKE_MAX:
            self._read(self._queue.get_nowait(), entries)
        return entries

    async def _next(self, inbox: str) -> Msg:
        async with asyncio.timeout(2 * PULL_EXPIRES_S):
            while True:
                loop = asyncio.get_running_loop()
                if self._asked <= PULL_BATCH // 2 or loop.time() >= self._ask_at_s:
                    await self._ask(inbox)
                # Not wait_for: in Python 3.11 it can swallow a cancellation.
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._ask_at_s):
                        return await self._queue.get()

    def _read(self, message: Msg, entries: list[Entry]) -> None:
        """Note what has come, a message or a status."""
        status = (message.headers or {}).get("Status") if not message.data else None
        if status is None:
            self._check_order(message)
            entries.append(delivered(message))
            self._asked -= 1
        elif status in ("408", "404"):
            # A request ran out; what it did not deliver is asked for again.
            lacking = (message.headers or {}).get("Nats-Pending-Messages", "")
            self._asked -= int(lacking) if lacking.isdecimal() else self._asked
        elif status != "100":
            raise Unavailable(f"the server ended the consumer (status {status})")

    def _check_order(self, message: Msg) -> None:
        # A message that was sent while the connection was down, or that the client dropped, is
        # gone: the consumer does not repeat it. The next one would make the position skip it.
        delivered = int(message.reply.split(".")[6])
        if delivered != self._delivered + 1:
            raise Unavailable(f"message {self._delivered + 1} of the consumer is missing")
        self._delivered = delivered


class _Rester(_Puller):
    """Asks for one message and, some time after it has come, for all that came since."""

    def __init__(self, client: Client, subject: str, rest_s: float) -> None:
        super().__init__(client, subject)
        self._rest_s = rest_s

    async def _take(self, inbox: str) -> list[Entry]:
        entries: list[Entry] = []
        await self._ask(inbox, batch=1)
        await self._answered(entries)
        if entries:
            await asyncio.sleep(self._rest_s)
            await self._ask(inbox, expires_s=AT_ONCE_S)
            await self._answered(entries)
        return entries

    async def _answered(self, entries: list[Entry]) -> None:
        """Wait until everything has come that was asked for, or was said not to be there."""
        async with asyncio.timeout(2 * PULL_EXPIRES_S):
            while self._asked > 0:
                self._read(await self._queue.get(), entries)
