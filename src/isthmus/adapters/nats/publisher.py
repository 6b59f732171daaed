"""Publishes into streams without waiting, and says which messages a stream has.

nats-py's own asynchronous publish keeps a slot for ever when an answer never comes, and a client
that reconnects delivers what it had kept. Here an answer that never comes costs nothing, and
nothing is handed to a connection that is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import Unavailable


class Message(NamedTuple):
    """What a stream is to take."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]


class StreamRefused(Unavailable):
    """A stream has refused a message; ``code`` is the number of NATS's error, 0 of none."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    #: The id of an atomic batch, and how many messages it had.
    batch: str = ""
    count: int = 0
    error: _Error | None = None


_ACKS = msgspec.json.Decoder(_Ack)


class _Waiting(NamedTuple):
    """What waits for an answer, and the batch that the answer must be of, if of any."""

    sequence: asyncio.Future[int]
    batch: str
    messages: int


class Publisher:
    """One inbox for the answers to everything that one process publishes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._inbox = client.new_inbox()
        self._waiting: dict[str, _Waiting] = {}
        self._number = 0

    async def start(self) -> None:
        """Listen for answers, before the first message is sent; raises Unavailable."""
        try:
            await self._client.subscribe(f"{self._inbox}.*", cb=self._on_answer)
        except NatsError as error:
            raise Unavailable(f"cannot listen for answers: {error!r}") from error

    async def send(
        self, subject: str, payload: bytes, headers: Mapping[str, str]
    ) -> asyncio.Future[int]:
        """Publish; the future gives the sequence once the stream has the message.

        It raises StreamRefused if the stream refuses it, a repeat included. Messages reach the
        stream in the order of the calls. Who gives up on a future cancels it.
        """
        return await self._send([Message(subject, payload, headers)])

    async def send_together(self, messages: Sequence[Message]) -> asyncio.Future[int]:
        """Publish so that the stream takes all of it, or refuses it: an atomic batch, ADR-50.

        The future gives the sequence of the last one, and the others stand right before that in
        their order. No two may be of one subject.
        """
        last = len(messages)
        batch_id = f"{self._inbox.rpartition('.')[2]}-{self._number + 1}"
        numbered = [
            each._replace(
                headers={
                    **each.headers,
                    "Nats-Batch-Id": batch_id,
                    "Nats-Batch-Sequence": str(number),
                    **({"Nats-Batch-Commit": "1"} if number == last else {}),
                }
            )
            for number, each in enumerate(messages, 1)
        ]
        return await self._send(numbered, batch_id)

    async def _send(self, messages: Sequence[Message], batch_id: str = "") -> asyncio.Future[int]:
        """Publish, and have the last one answered."""
        if not self._client.is_connected:
            raise Unavailable("not connected to NATS")
        future: asyncio.Future[int] = self._loop.create_future()
        self._number += 1
        token = str(self._number)
        self._waiting[token] = _Waiting(future, batch_id, len(messages) if batch_id else 0)
        future.add_done_callback(lambda _: self._waiting.pop(token, None))
        *before, last = messages
        try:
            for each in before:
                await self._client.publish(each.subject, each.payload, headers=dict(each.headers))
            await self._client.publish(
                last.subject,
                last.payload,
                reply=f"{self._inbox}.{token}",
                headers=dict(last.headers),
            )
        except BaseException as error:
            future.cancel()
            if isinstance(error, NatsError):
                raise Unavailable(f"cannot publish to {last.subject}: {error!r}") from error
            raise
        return future

    async def _on_answer(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rsplit(".", 1)[1])
        if waiting is None or waiting.sequence.done():
            return
        future = waiting.sequence
        try:
            ack = _ACKS.decode(message.data)
        except UNDECODABLE:
            # No responders: an empty message, as there is no such stream.
            future.set_exception(Unavailable("no stream takes this subject"))
            return
        if ack.error is not None or ack.duplicate:
            error = ack.error or _Error(description="it has that message already")
            reason = f"the stream refused a message: {error.description}"
            future.set_exception(StreamRefused(reason, error.err_code))
        elif (ack.batch, ack.count) != (waiting.batch, waiting.messages):
            # A server that has no batches stores their messages one by one, as it will.
            future.set_exception(Unavailable("the stream has stored something else than a batch"))
        else:
            future.set_result(ack.seq)
