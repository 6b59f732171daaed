"""What this region answers to its peers and its gateways, through its own NATS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.adapters.nats import streams
from isthmus.adapters.nats.entries import id_at
from isthmus.core.cursor import Cursor, resume_after
from isthmus.errors import InputError, IsthmusError
from isthmus.region.bus import BusCopies
from isthmus.region.items import ItemStore
from isthmus.region.peer import PeerLink

_log = logging.getLogger(__name__)

#: For a gateway of ours to say what a connection subscribes to; a peer waits a little longer.
SUBSCRIBED_TIMEOUT_S = 0.8


class Answers:
    """Answers the peers' questions. Each is answered only when the answer is known to be true."""

    def __init__(
        self,
        client: Client,
        own: str,
        store: ItemStore,
        copies: BusCopies,
        links: dict[str, PeerLink],
        incarnation: asyncio.Future[str],
        catch_up: Callable[[], Awaitable[int]],
    ) -> None:
        self._client = client
        self._own = own
        self._store = store
        self._copies = copies
        self._links = links
        self._incarnation = incarnation
        self._catch_up = catch_up
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Subscribe to the questions."""
        for what, answer in (
            ("hello", self._hello),
            ("cursors", self._cursors),
            ("head", self._head),
            ("subscribed", self._subscribed),
        ):
            await self._client.subscribe(f"peer.*.{what}", cb=self._responder(answer))
        await self._client.subscribe("region.catch-up", cb=self._responder(self._caught_up))
        await self._client.subscribe("region.subscriptions", cb=self._responder(self._asked))

    def _responder(
        self, answer: Callable[[str, bytes], Awaitable[object]]
    ) -> Callable[[Msg], Awaitable[None]]:
        async def respond(message: Msg) -> None:
            try:
                reply = await answer(message.subject.split(".")[1], message.data)
                await message.respond(protocol.encode(reply))
            except (IsthmusError, NatsError, TimeoutError) as error:
                # The peer's request times out, and it asks again.
                extra = {"action": "no-answer", "subject": message.subject, "reason": repr(error)}
                _log.info("answer", extra=extra)

        async def start(message: Msg) -> None:
            # Some answers wait for other regions: one of them must not hold up the next.
            task = asyncio.create_task(respond(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return start

    async def _hello(self, region: str, raw: bytes) -> protocol.HelloReply:
        request = protocol.decode(raw, protocol.HelloRequest)
        incarnation = await self._incarnation
        return protocol.HelloReply(
            incarnation,
            await self._resume(request.log, streams.LOG, incarnation),
            await self._resume(request.bus, streams.bus(self._own), incarnation),
        )

    async def _resume(self, cursor: Cursor, stream: str, incarnation: str) -> int:
        found = await id_at(self._client, stream, cursor.sequence)
        return resume_after(cursor, incarnation, found)

    async def _cursors(self, region: str, raw: bytes) -> protocol.CursorsReply:
        """Answered before our own incarnation is known: two regions may start at once."""
        link = self._link(region)
        return protocol.CursorsReply(link.pull.log, link.pull.bus)

    async def _head(self, region: str, raw: bytes) -> protocol.HeadReply:
        incarnation = await self._incarnation
        writers = self._copies.held[self._link(region).region].snapshot()
        return protocol.HeadReply(incarnation, await self._store.log.head(), writers)

    def _link(self, region: str) -> PeerLink:
        link = self._links.get(region)
        if link is None:
            raise InputError(f"{region!r} is not a configured peer")
        return link

    async def _caught_up(self, _what: str, raw: bytes) -> protocol.CatchUpReply:
        return protocol.CatchUpReply(await self._catch_up())

    async def _asked(self, _what: str, raw: bytes) -> protocol.SubscriptionsReply:
        """An API asks what a connection subscribes to: its region's gateway knows."""
        request = protocol.decode(raw, protocol.SubscriptionsRequest)
        if request.region == self._own:
            return await self._subscribed(self._own, raw)
        return await self._link(request.region).subscribed(request)

    async def _subscribed(self, _region: str, raw: bytes) -> protocol.SubscriptionsReply:
        reply = await self._client.request("region.subscribed", raw, SUBSCRIBED_TIMEOUT_S)
        return protocol.decode(reply.data, protocol.SubscriptionsReply)
