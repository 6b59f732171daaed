"""One process of a region's AWS-compatible API: its view of the log, and what it hears of the rest.

It writes the region's log as the services do, under the region's own incarnation: the log takes a
version only over the one that its writer saw, so that no two processes make the same dot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg

from isthmus import protocol
from isthmus.adapters.buckets import Buckets
from isthmus.adapters.garbage import keep_for_good
from isthmus.adapters.hooks import Hooks
from isthmus.adapters.nats import connection
from isthmus.adapters.nats.change_log import NatsChangeLog
from isthmus.adapters.sealing import Sealing
from isthmus.adapters.x509 import DeviceX509
from isthmus.aws import models, requests
from isthmus.aws.context import Context
from isthmus.aws.devices.fleet_provisioning import creations
from isthmus.aws.listed import LISTED
from isthmus.aws.requests import Call
from isthmus.aws_server.callers import Callers
from isthmus.aws_server.connectivity import Connectivity
from isthmus.aws_server.data_requests import DataRequests
from isthmus.aws_server.device_requests import DeviceRequests
from isthmus.aws_server.exchange import Exchanges, WhenKept
from isthmus.aws_server.expired import Expired
from isthmus.aws_server.listener import Listener
from isthmus.aws_server.messages import Messages
from isthmus.aws_server.newcomers import Newcomers
from isthmus.aws_server.registration_tasks import Region, RegistrationTasks
from isthmus.clock import monotonic_s, now_ms
from isthmus.config import AwsApi, RegionConfig
from isthmus.core.admission import Admission
from isthmus.core.conflicts import CONFLICT
from isthmus.core.shadows import SHADOW
from isthmus.core.stamp import StampClock
from isthmus.core.table import Table
from isthmus.core.view import Change
from isthmus.errors import ConfigError, InputError, Unavailable
from isthmus.region.entrance import Entrance
from isthmus.region.items import ItemStore
from isthmus.region.level import Level
from isthmus.region.log_view import keep_following
from isthmus.region.promise import Promises
from isthmus.region.standing import Standing
from isthmus.region.turns import Turns
from isthmus.region.view_table import view_table

TICK_S = 0.1
#: Kinds of which a request needs one item, if any, of very many.
WITHOUT = frozenset({SHADOW, CONFLICT})


class Server:
    """The process's state."""

    def __init__(self, config: RegionConfig, aws_api: AwsApi, client: Client, table: Table) -> None:
        self._config = config
        self._client = client
        self._peers = {peer.region for peer in config.peers}
        self._naming = config.naming
        self.store = ItemStore(NatsChangeLog(client), table, LISTED, WITHOUT)
        self._entrance = Entrance(client, self.store, config.alone_after_s)
        self._level = Level(self.store, self.store.log.head)
        self._standing = Standing()
        self._clock = StampClock(config.region, "")
        self._promises = Promises(
            lambda: self._standing.is_alone, self._level.reached, self.store.newest
        )
        sealing = self._sealing = Sealing.load(Path(config.secrets_key))
        self._hooks = Hooks(aws_api.hooks)
        self._creations = creations()
        self._x509 = DeviceX509(sealing)
        self._turns = Turns()
        self._connectivity = Connectivity(client)
        self._messages = Messages(client, self.store, config.promise_timeout_s)
        self._callers = Callers(config, self.store.view, sealing)
        say = self._messages.say
        exchanges = Exchanges(self._may_serve, self._callers, self._context, self._promise, say)
        self._listener = Listener(aws_api, exchanges)
        self._buckets = Buckets(aws_api.buckets)
        self._tasks = RegistrationTasks(
            Region(
                config.region,
                self.store,
                self._buckets,
                self._line_context,
                self._promise,
                lambda: self.is_open,
                config.lease_s,
            )
        )
        self._newcomers = Newcomers(self._may_serve, self._line_context, self._promise)
        self._device_requests = DeviceRequests(
            client, lambda: self.is_open, self._may_serve, self._line_context, self._promise, say
        )
        self._data_requests = DataRequests(
            client, lambda: self.is_open, self._may_serve, self._context, self._promise, say
        )
        self._expired = Expired(
            self._line_context, lambda: self.is_open, lambda: self._standing.is_alone
        )
        self._is_settled = False

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        for name in models.SERVICES:
            requests.prepare(models.service(name))
        await self._client.subscribe("region.heartbeat", cb=self._on_heartbeat)
        await self._client.subscribe("peer.*.report", cb=self._on_report)
        await self._client.subscribe("region.registration", "api", cb=self._newcomers.asked)
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_following(self._client, self.store, self._applied))
            group.create_task(self._entrance.keep(self._settle))
            group.create_task(self._tick_for_ever())
            group.create_task(self._tasks.run())
            group.create_task(self._device_requests.run())
            group.create_task(self._data_requests.run())
            group.create_task(self._expired.run())
            # Not a task of the group: what it answers last needs the others.
            await self._listener.serve(ready)

    def _settle(self) -> None:
        """What is in memory when the first request may be answered, stays there."""
        if self.is_open and not self._is_settled:
            self._is_settled = True
            keep_for_good()

    def _applied(self, _changes: list[Change]) -> None:
        self._entrance.applied()
        self._level.applied()
        self._messages.applied()
        self._settle()

    async def _tick_for_ever(self) -> None:
        while True:
            self._entrance.notice_pause()
            self._entrance.notice_silence()
            await asyncio.sleep(TICK_S)

    # For a request

    @property
    def is_open(self) -> bool:
        """Whether the region has caught up with its peers, and says under what it writes."""
        return self._entrance.admission is Admission.OPEN and bool(self._standing.incarnation)

    async def _may_serve(self) -> None:
        # After a thaw nothing says that the tick is the first to run.
        self._entrance.notice_pause()
        if not self.is_open:
            raise Unavailable("This region is catching up with its peers")
        await self._level.reached()

    def _context(self, call: Call, caller: str) -> Context:
        return self._made(call, partial(self._callers.may, caller), caller)

    def _line_context(self, call: Call) -> Context:
        """For a line of a task, whose caller had the rights then, and for what the region does."""
        return self._made(call, lambda _: True, "")

    def _made(self, call: Call, may: Callable[[str], bool], caller: str) -> Context:
        return Context(
            call,
            self.store,
            self._naming,
            self._clock,
            now_ms(),
            self._x509,
            turn=self._turns.of,
            connectivity=self._connectivity,
            messages=self._messages,
            give_way=partial(asyncio.sleep, 0),
            buckets=self._buckets,
            sealing=self._sealing,
            hooks=self._hooks,
            creations=self._creations,
            may=may,
            caller=caller,
        )

    def _promise(self) -> WhenKept:
        return partial(
            self._promises.kept,
            self._standing.incarnation,
            peers=len(self._peers),
            timeout_s=self._config.promise_timeout_s,
        )

    # What the region and the peers say

    async def _on_heartbeat(self, message: Msg) -> None:
        with contextlib.suppress(InputError):
            heartbeat = protocol.decode(message.data, protocol.Heartbeat)
            self._entrance.heard()
            if self._standing.heard(heartbeat):
                # Whoever is writing takes it for what he writes from here on.
                self._clock.incarnation = self._standing.incarnation
                self._promises.wake()

    async def _on_report(self, message: Msg) -> None:
        with contextlib.suppress(InputError):
            report = protocol.decode(message.data, protocol.Report)
            # The subject is what NATS lets this peer publish on; the payload must agree with it.
            if report.region in self._peers and message.subject.split(".")[1] == report.region:
                self._promises.heard(report, monotonic_s())


async def run_api(config: RegionConfig, ready: Callable[[], None]) -> None:
    """Run one process of the API until cancelled."""
    if config.aws_api is None:
        hint = "add a section [aws_api]: where it listens, its TLS files, its NATS user"
        raise ConfigError("aws_api is missing", hint=hint)
    client = await connection.connect(config.aws_api.nats, name="api")
    try:
        directory = Path(config.state_dir)
        async with view_table(directory, "api", client, LISTED, WITHOUT) as table:
            await Server(config, config.aws_api, client, table).run(ready)
    finally:
        await client.close()
