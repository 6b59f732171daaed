"""Takes in what is published by no connection: an API of this region asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.clock import now_ms
from isthmus.core import publishing
from isthmus.core.admission import Admission
from isthmus.core.batch import Share, Source
from isthmus.core.log_view import LogView
from isthmus.core.promises import Promise, Promises
from isthmus.core.retained import RETAINED, retain
from isthmus.core.session import Ticket
from isthmus.core.stamp import StampClock
from isthmus.errors import InputError
from isthmus.gateway.lane import Client, Lane
from isthmus.gateway.shedding import Shedding
from isthmus.protocol import PublishReply, PublishRequest
from isthmus.region.entrance import Entrance
from isthmus.wire.packets import Publish

_log = logging.getLogger(__name__)


class Asked:
    """A message whose promise somebody waits for."""

    def __init__(self, source: Source) -> None:
        self.source = source
        #: Why it could not be promised; empty once it is.
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def kept(self, tickets: list[Ticket]) -> None:
        self._end("")

    def fail(self, reason: str) -> None:
        self._end(reason)

    def _end(self, outcome: str) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Storing(NamedTuple):
    """Stores what came by no connection, in the lane of its topic's promise."""

    lanes: Mapping[Promise, Lane]
    promises: Promises
    view: LogView
    clock: StampClock
    choose: Callable[[str], tuple[Share, ...]]

    def put(self, client: Client, publish: Publish, identity: str) -> bytes:
        """Whatever its QoS, its client hears of its promise; returns the item that it retains."""
        lane, at_ms = self.lanes[self.promises.of(publish.topic)], now_ms()
        item = b""
        if publish.retain:
            present = self.view.get(RETAINED, publish.topic)
            item = retain(present, self.clock, publish, at_ms).encode()
            lane.carry(item)
        lane.put(client, publish, at_ms, self.choose(publish.topic), identity)
        return item


class Publishing:
    """What one gateway process takes in so."""

    def __init__(
        self,
        client: NatsClient,
        notice_pause: Callable[[], bool],
        gate: Entrance,
        shedding: Shedding,
        storing: Storing,
    ) -> None:
        self._client = client
        self._notice_pause = notice_pause
        self._gate = gate
        self._shedding = shedding
        self.put = storing.put
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen to the APIs; one of the region's gateways takes each message."""
        await self._client.subscribe("region.publish", queue="gateways", cb=self._on_publish)

    @property
    def is_open(self) -> bool:
        """Whether the region has caught up: else nobody is served, whatever he asks."""
        return not self._notice_pause() and self._gate.admission is Admission.OPEN

    async def _on_publish(self, message: Msg) -> None:
        # One that waits for its promise must not hold up the next.
        task = asyncio.create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Msg) -> None:
        try:
            reply = await self._take(protocol.decode(message.data, PublishRequest))
            await message.respond(protocol.encode(reply))
        except (InputError, NatsError) as error:
            # Whoever asked sends it again.
            extra = {"action": "publish", "reason": repr(error)}
            _log.warning("what an API has published is not answered", extra=extra)

    async def _take(self, asked: PublishRequest) -> PublishReply:
        if not self.is_open:
            return PublishReply("catching-up")
        if self._shedding.is_holding:
            return PublishReply("backlog")
        waiting = Asked(publishing.source(asked.identity, asked.principal))
        publish = Publish(
            asked.topic, asked.payload, asked.qos, asked.retain, properties=asked.properties
        )
        item = self.put(waiting, publish, asked.identity)
        refused = await waiting.outcome
        return PublishReply(refused, b"" if refused else item)
