"""Hands messages to the gateways of the region, any of them, and waits for their promises."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.core import carried
from isthmus.core import item as items
from isthmus.core.log_view import LogView
from isthmus.core.message_properties import identity_of
from isthmus.errors import InputError, Unavailable
from isthmus.protocol import PublishReply, PublishRequest
from isthmus.wire.packets import Publish

_log = logging.getLogger(__name__)

#: A gateway answers when the promise is kept or given up, so only one that dies is waited for.
PATIENCE_S = 2.0
#: Requests whose events are not said yet. Of more nobody hears: no gateway takes anything.
SAYING_MAX = 1_000


class Messages:
    """What a process of the API publishes."""

    def __init__(self, client: Client, log: LogView, promise_timeout_s: float) -> None:
        self._client = client
        self._log = log
        self._timeout_s = promise_timeout_s + PATIENCE_S
        self._changed = asyncio.Event()
        self._saying: set[asyncio.Task[None]] = set()

    def applied(self) -> None:
        """The view has applied more of the log."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def publish(self, message: Publish, principal: str) -> None:
        """Return when the promise of a message is kept; raises Unavailable.

        Then it may be stored or not: the client sends it again. What it retains is read by
        whoever asks from then on.
        """
        identity = identity_of(message.properties) or secrets.token_hex(16)
        request = PublishRequest(
            message.topic,
            message.payload,
            message.qos,
            message.retain,
            message.properties,
            identity,
            principal,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                raw = protocol.encode(request)
                answer = await self._client.request("region.publish", raw, self._timeout_s)
                reply = protocol.decode(answer.data, PublishReply)
                if reply.refused:
                    raise Unavailable(f"A gateway of this region does not take it: {reply.refused}")
                await self._has(reply.item)
        except (NatsError, TimeoutError, InputError) as error:
            raise Unavailable("No gateway of this region has promised it in time") from error

    def say(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Publish these as the region's own word, in this order; nobody waits for it."""
        if not events:
            return
        if len(self._saying) >= SAYING_MAX:
            _log.warning("nothing is said", extra={"action": "say", "topic": events[0][0]})
            return
        task = asyncio.create_task(self._say(events))
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    async def _say(self, events: Sequence[tuple[str, bytes]]) -> None:
        for topic, payload in events:
            try:
                await self.publish(Publish(topic, payload, 1), "")
            except Unavailable as error:
                extra = {"action": "say", "topic": topic, "reason": str(error)}
                _log.warning("what was done is not told", extra=extra)

    async def _has(self, raw: bytes) -> None:
        """Wait until the log has brought what a message retains, and so brings it to everybody."""
        if not raw:
            return
        item = carried.read(raw)
        while self._lacks(item):
            await self._changed.wait()

    def _lacks(self, item: items.Item) -> bool:
        held = self._log.get(item.kind, item.key)
        return items.join(held, item) != held
