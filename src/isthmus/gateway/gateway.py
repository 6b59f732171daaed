"""One gateway process: who is connected, what they may do, and where their messages go.

A gateway has no state of its own that matters: its items come from the region's change log, its
messages go to the region's bus, and what it has not acknowledged, clients send again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg

from isthmus import protocol
from isthmus.adapters.garbage import keep_for_good
from isthmus.adapters.nats import connection as nats_connection
from isthmus.adapters.nats.publisher import Publisher
from isthmus.clock import monotonic_s, now_ms
from isthmus.config import RegionConfig
from isthmus.core import carried
from isthmus.core.admission import Admission
from isthmus.core.batch import Batch, Share
from isthmus.core.command_executions import BY_GATEWAYS
from isthmus.core.conflicts import CONFLICT
from isthmus.core.connecting import CONNECT_TIMEOUT_S, Refusal, asked_by, authorize_connect, begin
from isthmus.core.item import Item
from isthmus.core.log_view import LogView
from isthmus.core.promises import Promise
from isthmus.core.retained import RETAINED, retain, retained
from isthmus.core.session import Granted, Session, Store, Ticket
from isthmus.core.shadows import SHADOW
from isthmus.core.stamp import StampClock
from isthmus.core.table import Table
from isthmus.core.view import Change
from isthmus.errors import InputError
from isthmus.gateway.authentication import Authentication
from isthmus.gateway.commands import Commands
from isthmus.gateway.connection import Connection
from isthmus.gateway.data_requests import DataRequests
from isthmus.gateway.delivery import Delivery
from isthmus.gateway.denials import Denials
from isthmus.gateway.door import Door
from isthmus.gateway.events import Events
from isthmus.gateway.lane import Lane
from isthmus.gateway.listeners import Listeners
from isthmus.gateway.live_rights import LiveRights
from isthmus.gateway.newcomers import Newcomers
from isthmus.gateway.presence import Presence
from isthmus.gateway.publishing import Publishing, Storing
from isthmus.gateway.requests import Requests
from isthmus.gateway.rest import Rest
from isthmus.gateway.rights import permissions_of
from isthmus.gateway.sessions import Departed, Sessions
from isthmus.gateway.sharing import Leftover, Sharing
from isthmus.gateway.shedding import Shedding
from isthmus.gateway.subscribed import Subscribed
from isthmus.region.entrance import Entrance
from isthmus.region.log_view import keep_following
from isthmus.region.standing import Standing
from isthmus.region.state import StateStore
from isthmus.region.view_table import view_table
from isthmus.wire.packets import Connect, Publish
from isthmus.wire.reason_codes import ReasonCode
from isthmus.wire.topics import matches

_log = logging.getLogger(__name__)

TICK_S = 0.1
#: Kinds of which there are many, and that no client's connection is about.
WITHOUT = frozenset({SHADOW, CONFLICT})
#: Connections whose silence is looked at per tick: all of them within a few seconds.
SWEEP_S = 1.0
#: Between two words to the other gateways of who has connected here.
CONNECTED_S = 0.02


class Gateway:
    """The process's state, and the one place where sessions meet."""

    def __init__(self, config: RegionConfig, client: Client, table: Table) -> None:
        self.config = config
        self.shedding = Shedding(config.limits, config.canary_prefix)
        self._door = Door(config.limits, self.shedding, self._connecting)
        self.id = secrets.token_hex(4)
        self._client = client
        self._log_view = LogView(table, BY_GATEWAYS, WITHOUT)
        view = self._log_view.view
        #: For filters with wildcards, which only the standard dialect gives what is retained.
        self._retained_topics: set[str] = set()
        self._log_view.watch(RETAINED, self._note_retained)
        self._listeners = Listeners(config, Authentication(config, view))
        self._permissions = permissions_of(config, view)
        self._gate = Entrance(client, self._log_view, config.alone_after_s)
        self._publisher = Publisher(client)
        self._clock = StampClock(config.region, self.id)
        state = StateStore(client)
        self._lanes = {
            promise: Lane(self._publisher, state, config.region, promise, self)
            for promise in (Promise.REGION, Promise.TWO_REGIONS, Promise.NEVER_ALONE)
        }
        # What is acknowledged from memory is stored like the rest.
        self._lane_of = {**self._lanes, Promise.MEMORY: self._lanes[Promise.REGION]}
        self._promises = config.promises
        peers = [peer.region for peer in config.peers]
        kept = self._lanes[Promise.TWO_REGIONS if peers else Promise.REGION]
        self._clients: dict[str, Connection] = {}
        self.commands = Commands(self._log_view, kept, self._clients.get)
        self._sharing = Sharing(client, config.region, self._is_everywhere, self._hand_over)
        self._delivery = Delivery(
            client,
            config.region,
            peers,
            self._take_items,
            self._sharing,
            self.commands.joined,
            follows_all=bool(config.everywhere),
            is_everywhere=self._is_everywhere,
        )
        self.sessions = Sessions(
            client,
            config.region,
            self.id,
            self._log_view,
            kept,
            self._delivery,
            self.store,
            self._sharing,
        )
        publishing = self._publishing = Publishing(
            client, self.notice_pause, self._gate, self.shedding, self._storing()
        )
        say = Events(publishing.put).say
        self.subscribed = Subscribed(config.canary_prefix, view, self._delivery, say)
        self.presence = Presence(client, self.id, config.canary_prefix, self._log_view)
        self._newcomers = Newcomers(client, view, say, is_asked=config.aws_api is not None)
        timeout_s = config.promise_timeout_s
        self.requests = Requests(client, view.associated, say, self._hurry, timeout_s)
        data = DataRequests(client, config.promise_timeout_s)
        self.rest = Rest(view, self._permissions, publishing, self.shedding, self._newcomers, data)
        self._denials = Denials(view, say, config.canary_prefix)
        self._connections: set[Connection] = set()
        self._rights = LiveRights(view, self._permissions, self.commands.rights_changed)
        #: Let in since the other gateways were last told.
        self._connected: dict[str, tuple[int, str]] = {}
        self._route_epoch = 0
        self._standing = Standing()
        self._draining: asyncio.Task[None] | None = None
        self._swept_s = monotonic_s()
        self._is_settled = False

    def _storing(self) -> Storing:
        choose = self._sharing.choose
        return Storing(self._lane_of, self._promises, self._log_view, self._clock, choose)

    now_s = staticmethod(monotonic_s)

    # Life

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        await self._publisher.start()
        await self._client.subscribe("region.heartbeat", cb=self._on_heartbeat)
        await self._client.subscribe("region.route", cb=self._on_route)
        await self._client.subscribe("region.connected", cb=self._on_connected)
        await self._client.subscribe("peer.*.report", cb=self._on_report)
        await self.presence.start()
        await self._publishing.start()
        await self._listeners.open(partial(Connection, self), self._door)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(keep_following(self._client, self._log_view, self._changed))
                group.create_task(self._rights.run())
                group.create_task(self._delivery.run())
                group.create_task(self.sessions.run())
                for lane in self._lanes.values():
                    group.create_task(lane.run())
                group.create_task(self._tick_for_ever())
                group.create_task(self._catch_up_for_ever())
                group.create_task(self._tell_for_ever())
                ready()
        finally:
            self._listeners.close()
            self._door.close()
            self._newcomers.close()
            for each in list(self._connections):
                each.close("the gateway stops", code=ReasonCode.SERVER_SHUTTING_DOWN)
            await self.requests.stop()
            await self.rest.stop()

    # Admission

    def notice_pause(self) -> bool:
        """Note that the process runs; after a pause, close everybody and catch up first."""
        if not self._gate.notice_pause():
            return False
        for each in list(self._connections):
            reason = "this gateway was paused and must catch up first"
            each.close(reason, code=ReasonCode.SERVER_BUSY, at_once=True)
        return True

    async def _catch_up_for_ever(self) -> None:
        await self._delivery.known()
        await self._gate.keep(self._settle)

    def _settle(self) -> None:
        """What is in memory when the first client may come, stays there."""
        if not self._is_settled:
            self._is_settled = True
            keep_for_good()

    def admit(self, connection: Connection, connect: Connect) -> Session | Refusal | None:
        """Decide on a CONNECT; an accepted client takes over from its older connection.

        None where the client is a newcomer, which is refused a little later.
        """
        if self._gate.admission is not Admission.OPEN:
            return Refusal(ReasonCode.SERVER_UNAVAILABLE, "catching-up", is_passing=True)
        principal = connection.principal
        if reason := self._log_view.view.refusal(principal):
            return self._newcomers.refuse(connection, reason)
        permissions = self._permissions.of(
            principal, connect.client_id, connection.address, asked_by(connect)
        )
        refusal = authorize_connect(connect, permissions)
        if refusal:
            self._denials.denied(connect.client_id, principal, connection.address)
            return refusal
        older = self._clients.get(connect.client_id)
        no_room = self.shedding.refuse(
            connect.client_id, permissions, len(self._clients), is_there=older is not None
        )
        if no_room:
            return no_room
        if older is not None:
            older.taken_over("another connection has taken over this client id")
            self.closed(older)
        self._clients[connect.client_id] = connection
        self._connected[connect.client_id] = connection.admitted = (now_ms(), secrets.token_hex(4))
        self._rights.came(principal, connection)
        expiry_max_s = self.config.session_expiry_max_s
        return begin(connect, permissions, expiry_max_s, connection.dialect)

    def _changed(self, changes: list[Change]) -> None:
        """The log has brought news: of whose rights, and how far."""
        self._gate.applied()
        concerned = self._log_view.view.concerned(changes)
        self.rest.changed(concerned)
        self._rights.changed(concerned)

    # Connections

    def _connecting(self) -> int:
        """How many are here and have not connected."""
        return max(0, len(self._connections) - len(self._clients))

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """Forget a connection; a client that left without DISCONNECT leaves its will."""
        self._connections.discard(connection)
        session = connection.session
        if session is None:
            return
        self.presence.went(connection)
        self._sharing.closed(connection)
        for topic_filter, granted in session.subscriptions.items():
            self._delivery.leave(connection, topic_filter, granted)
        session.subscriptions.clear()
        is_open = self._gate.admission is Admission.OPEN
        if self.sessions.left(connection, publishes=is_open) and session.will is not None:
            connection.read_ms = now_ms()
            self.store(connection, Store(session.will.publish(), None))
        session.will = None
        if self._clients.get(session.client_id) is connection:
            del self._clients[session.client_id]
        self._rights.went(connection.principal, connection)

    # Messages

    def store(self, client: Connection | Departed, action: Store) -> None:
        """Hand a publish to the lane of its durability."""
        publish, at_ms = action.publish, client.read_ms
        promise = self._promises.of(publish.topic)
        lane = self._lane_of[promise]
        if publish.retain:
            present = self._log_view.get(RETAINED, publish.topic)
            lane.carry(retain(present, self._clock, publish, at_ms).encode())
        shares = self._sharing.choose(publish.topic)
        if promise is Promise.MEMORY and action.ticket is not None:
            lane.add(client, publish, None, at_ms, shares)
            client.kept([action.ticket])
        else:
            lane.add(client, publish, action.ticket, at_ms, shares)

    def _hand_over(self, leftover: Leftover, to: Share) -> None:
        """Store what a member of a group did not take, for another one."""
        message = leftover.message
        lane = self._lane_of[self._promises.of(message.topic)]
        publish = Publish(
            message.topic,
            message.payload,
            message.qos,
            message.retain,
            properties=message.properties,
        )
        lane.add(leftover, publish, Ticket(0), message.at_ms, (to,), is_handed_over=True)

    def _is_everywhere(self, topic: str) -> bool:
        """Whether clients of every region are given what is published to a topic."""
        return any(matches(each, topic) for each in self.config.everywhere)

    def sent(self, batch: Batch) -> None:
        self._delivery.sent(batch)

    def stored(self, batch: Batch) -> None:
        """This region's stream has a batch."""
        self._take_items(batch.items)

    def loaded(self) -> None:
        """More waits for the stream or a peer, or less: read from publishers, or wait too."""
        if self.shedding.weigh(lane.load for lane in self._lanes.values()):
            for connection in list(self._connections):
                connection.check_owed()

    def forget(self, writer: str) -> None:
        self._delivery.forget(writer)

    def _hurry(self) -> None:
        for lane in self._lanes.values():
            lane.hurry()

    def _take_items(self, items: tuple[bytes, ...]) -> None:
        """What a batch carries holds here at once; the log brings it later."""
        for raw in items:
            with contextlib.suppress(InputError):
                self._log_view.join(carried.read(raw))

    def recall(self, connection: Connection, topic_filter: str, granted: Granted) -> None:
        """Deliver what is retained for a filter."""
        topics = [topic_filter]
        if connection.dialect.recalls_by_wildcard:
            known = self._retained_topics
            topics = [each for each in known if matches(topic_filter, each, dialect="standard")]
        session, now = connection.session, now_ms()
        for topic in topics:
            found = retained(self._log_view.view.get(RETAINED, topic))
            if found is not None and session is not None:
                message = found.publish(topic)
                copy = message._replace(qos=min(message.qos, granted.qos))
                connection.perform(session.deliver(copy, found.at_ms, now))

    def _note_retained(self, item: Item) -> None:
        if retained(item) is None:
            self._retained_topics.discard(item.key)
        else:
            self._retained_topics.add(item.key)

    # What the region and the peers say

    async def _on_heartbeat(self, message: Msg) -> None:
        heartbeat = protocol.decode(message.data, protocol.Heartbeat)
        self._gate.heard()
        if self._standing.heard(heartbeat):
            for lane in self._lanes.values():
                lane.set_alone(heartbeat.alone)

    async def _on_connected(self, message: Msg) -> None:
        """A client that another gateway has let in is gone from here, if it came there later."""
        with contextlib.suppress(InputError):
            told = protocol.decode(message.data, protocol.Connected)
            for client, admitted in told.clients.items() if told.gateway != self.id else ():
                connection = self._clients.get(client)
                if connection is not None and connection.admitted < admitted:
                    connection.taken_over("the client has connected to another gateway")

    async def _on_report(self, message: Msg) -> None:
        with contextlib.suppress(InputError):
            report = protocol.decode(message.data, protocol.Report)
            for lane in self._lanes.values():
                lane.confirmed(report.writers)

    async def _on_route(self, message: Msg) -> None:
        route = protocol.decode(message.data, protocol.Route)
        if route.epoch <= self._route_epoch:
            return
        self._route_epoch = route.epoch
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        if route.target != self.config.region:
            self._draining = asyncio.create_task(self._drain(route))

    async def _drain(self, route: protocol.Route) -> None:
        """Close those who are connected now, paced. Who comes back nevertheless may stay."""
        extra = {"action": "drain", "epoch": route.epoch, "target": route.target}
        _log.info("the route leads elsewhere", extra=extra)
        self.rest.drain()
        for connection in list(self._clients.values()):
            reason = f"the route leads to {route.target}"
            connection.close(reason, code=ReasonCode.USE_ANOTHER_SERVER)
            await asyncio.sleep(1 / self.config.drain_rate_per_s)

    # Time

    async def _tick_for_ever(self) -> None:
        while True:
            self.notice_pause()
            self._cut_slow(self.shedding.full)
            self._gate.notice_silence()
            now_s = monotonic_s()
            for lane in self._lanes.values():
                if lane.overdue(self.config.promise_timeout_s):
                    lane.fail(f"not within {self.config.promise_timeout_s} s")
            if now_s - self._swept_s >= SWEEP_S:
                self._swept_s = now_s
                self._sweep(now_s)
                self._listeners.look(now_s)
            await asyncio.sleep(TICK_S)

    def _cut_slow(self, connections: Collection[Connection]) -> None:
        """Cut off who has not read the most, where more is unsent than the process may hold."""
        for connection in self.shedding.slowest({each: each.unsent for each in connections}):
            connection.cut()

    def _sweep(self, now_s: float) -> None:
        self.rest.sweep(now_s)
        self._cut_slow(self._connections)
        for connection in list(self._connections):
            if not connection.is_read:
                continue
            session = connection.session
            # Who has not connected is not given more time for every byte that it sends.
            since_s = connection.heard_s if session else connection.opened_s
            limit_s = session.keep_alive_s if session else CONNECT_TIMEOUT_S
            if now_s - since_s > limit_s:
                reason = f"silent for more than {limit_s} s"
                connection.close(reason, code=ReasonCode.KEEP_ALIVE_TIMEOUT, at_once=True)

    async def _tell_for_ever(self) -> None:
        """Tell the other gateways and the services who has come, and every second our figures."""
        told_s = monotonic_s() - SWEEP_S
        while True:
            if self._client.is_connected and self._connected:
                connected, self._connected = self._connected, {}
                told = protocol.Connected(self.id, connected)
                await self._client.publish("region.connected", protocol.encode(told))
            self.subscribed.tell()
            await self.presence.tell()
            if self._client.is_connected and monotonic_s() - told_s >= SWEEP_S:
                told_s = monotonic_s()
                await self._client.publish("region.gateway", protocol.encode(self._stats()))
            await asyncio.sleep(CONNECTED_S)

    def _stats(self) -> protocol.GatewayStats:
        view = self._log_view
        return protocol.GatewayStats(
            gateway=self.id,
            admission=self._gate.admission,
            connections=len(self._clients),
            acknowledged=sum(lane.acknowledged for lane in self._lanes.values()),
            acknowledged_alone=sum(lane.acknowledged_alone for lane in self._lanes.values()),
            position=view.position,
            view=view.view.digest,
            shed=self.shedding.told(self._door.waiting),
        )


async def run_gateway(config: RegionConfig, ready: Callable[[], None]) -> None:
    """Run one gateway process until cancelled."""
    client = await nats_connection.connect(config.gateway_nats, name="gateway")
    try:
        directory = Path(config.state_dir)
        async with view_table(directory, "gateway", client, BY_GATEWAYS, WITHOUT) as table:
            await Gateway(config, client, table).run(ready)
    finally:
        await client.close()
