"""One region's services in one process: replicator, alone keeper, reader of the bus, and API.

What they do in which order when a region starts: open the streams, decide under which incarnation
this region goes on, pull what the peers have, and only then let its gateways admit anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg

from isthmus import protocol
from isthmus.adapters.nats import connection, streams
from isthmus.adapters.nats.change_log import NatsChangeLog
from isthmus.adapters.nats.entries import id_at
from isthmus.clock import monotonic_s, now_ms
from isthmus.config import RegionConfig
from isthmus.core import conflicts
from isthmus.core.admission import Absence
from isthmus.core.alone import AloneKeeper, AloneState
from isthmus.core.catalogue import Listed
from isthmus.core.conflicts import CONFLICT
from isthmus.core.cursor import keeps_incarnation
from isthmus.core.departed import acts_for
from isthmus.core.stamp import StampClock
from isthmus.core.table import Table
from isthmus.core.view import Change
from isthmus.errors import InputError, Unavailable
from isthmus.protocol import HEARTBEAT_S
from isthmus.region import state as names
from isthmus.region.answers import Answers
from isthmus.region.api import Api
from isthmus.region.bus import BusCopies
from isthmus.region.bus_reader import BusReader
from isthmus.region.departures import Departures
from isthmus.region.items import ItemStore
from isthmus.region.level import Level
from isthmus.region.log_view import keep_following
from isthmus.region.own_messages import OwnMessages
from isthmus.region.peer import PeerLink
from isthmus.region.presence import Presence
from isthmus.region.promise import Promises
from isthmus.region.registry_events import RegistryTeller
from isthmus.region.state import StateStore
from isthmus.region.view_table import view_table

_log = logging.getLogger(__name__)

RETRY_S = 0.1
#: A peer whose report is younger than this is reachable, whatever one request says.
REACHABLE_S = 1.0
#: Seconds until a peer's head is asked for again: it may have died while we were catching up.
CATCH_UP_ATTEMPT_S = 3.0
CATCH_UP_S = 10.0
#: For the word of every peer when a region starts and one has answered; without it all streams are
#: read again from their beginning.
OTHER_PEERS_S = 3.0
ALONE_HISTORY = 100
#: What operators page through, beside what every view lists.
LISTED: Mapping[str, Listed] = {CONFLICT: conflicts.listed}


class Services:
    """The parts, and what ties them together."""

    def __init__(self, config: RegionConfig, client: Client, table: Table, told: Table) -> None:
        loop = asyncio.get_running_loop()
        self.config = config
        self._client = client
        self._state = StateStore(client)
        self._incarnation: asyncio.Future[str] = loop.create_future()
        self._regions = [config.region, *(peer.region for peer in config.peers)]
        self.store = ItemStore(NatsChangeLog(client), table, LISTED)
        self.copies = BusCopies(client, config.region, self._regions)
        self._level = Level(self.store, self.store.log.head)
        self.promises = Promises(
            lambda: self.keeper.state.answers, self._level.reached, self.store.newest
        )
        self.keeper = self._keeper(AloneState())
        self.links = {
            peer.region: PeerLink(
                config,
                peer,
                self.store,
                self.copies,
                self._state,
                self._incarnation,
                self.promises.heard_head,
                OwnMessages(client, config.region),
            )
            for peer in config.peers
        }
        self.presence = Presence(
            client, self._state, config.region, self._gateway_lives, self._acts_for
        )
        self.bus = BusReader(
            client, self.store, self._state, self.presence, config.region, self._regions
        )
        self.departures = Departures(client, self.store, self._gateway_lives, self._acts_for)
        self.teller = RegistryTeller(config.region, config.naming, client, self._state, told)
        self._began_s = monotonic_s()
        #: Transitions into and out of being alone, newest last.
        self.alone_history: deque[AloneState] = deque(maxlen=ALONE_HISTORY)
        self.gateways: dict[str, tuple[float, protocol.GatewayStats]] = {}
        self._absence = Absence(config.alone_after_s, config.alone_start_s, monotonic_s())

    def _applied(self, _changes: list[Change]) -> None:
        self._level.applied()

    def _keeper(self, state: AloneState) -> AloneKeeper:
        config = self.config
        return AloneKeeper(state, len(config.peers), config.alone_after_s, monotonic_s())

    # Start

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled; ``ready`` is called when the API answers."""
        await streams.ensure_streams(self._client, self._regions, self.config.bus_max_bytes)
        await self.copies.load()
        await self.presence.load()
        self.keeper = self._keeper(await self._state.get(names.ALONE, AloneState) or AloneState())
        answers = Answers(
            self._client,
            self.config.region,
            self.store,
            self.copies,
            self.links,
            self._incarnation,
            self.catch_up,
        )
        for link in self.links.values():
            await link.load()
        await answers.serve()
        await self._client.subscribe("peer.*.report", cb=self._on_report)
        await self._client.subscribe("region.gateway", cb=self._on_gateway)
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_following(self._client, self.store, self._applied))
            for link in self.links.values():
                group.create_task(link.run())
            group.create_task(self.bus.run())
            group.create_task(self.teller.run())
            group.create_task(self.departures.run(self._knows_who_lives))
            group.create_task(self.presence.run(self.bus.read_own, self._knows_who_lives))
            await self._decide_incarnation()
            group.create_task(self._heartbeat_for_ever())
            group.create_task(self._keep_alone_state())
            clock = StampClock(self.config.region, self._incarnation.result())
            api = Api(self, clock)
            group.create_task(api.serve(ready))

    async def _decide_incarnation(self) -> None:
        """Go on under the old incarnation only if the peers' cursors prove that nothing is lost."""
        held = await self._state.get(names.INCARNATION, str) or ""
        cursors = await self._peer_cursors() if held and self.links else []
        found = []
        for reply in cursors:
            bus = streams.bus(self.config.region)
            for cursor, stream in ((reply.log, streams.LOG), (reply.bus, bus)):
                found.append((cursor, await id_at(self._client, stream, cursor.sequence)))
        keep = keeps_incarnation(held, found, all_answered=len(cursors) == len(self.links))
        incarnation = held if keep else secrets.token_hex(4)
        await self._state.put(names.INCARNATION, incarnation)
        self._incarnation.set_result(incarnation)
        extra = {"action": "incarnation", "kept": keep, "incarnation": incarnation}
        _log.info("region starts", extra=extra)

    async def _peer_cursors(self) -> list[protocol.CursorsReply]:
        """How far the peers have pulled from us.

        Waits for one of them as long as for a start, and then for the others a little longer.
        """
        found: dict[str, protocol.CursorsReply] = {}
        limit_s = self.config.alone_start_s
        while len(found) < len(self.links) and self._waited_s() < limit_s:
            missing = [name for name in self.links if name not in found]
            asked = [self.links[name].cursors() for name in missing]
            replies = await asyncio.gather(*asked, return_exceptions=True)
            for name, reply in zip(missing, replies, strict=True):
                if isinstance(reply, protocol.CursorsReply):
                    found[name] = reply
            if found:
                limit_s = min(limit_s, OTHER_PEERS_S)
            await asyncio.sleep(RETRY_S if len(found) < len(self.links) else 0)
        return list(found.values())

    def _waited_s(self) -> float:
        return monotonic_s() - self._absence.since_s

    # What others say

    async def _on_report(self, message: Msg) -> None:
        try:
            report = protocol.decode(message.data, protocol.Report)
        except InputError as error:
            _log.warning("report", extra={"action": "bad-report", "reason": str(error)})
            return
        # The subject is what NATS lets this peer publish on; the payload must agree with it.
        link = self.links.get(message.subject.split(".")[1])
        if link is None or report.region != link.region:
            return
        if report.storing:
            self.keeper.heard(monotonic_s())
        self.promises.heard(report, monotonic_s())
        link.heard_incarnation(report.incarnation)

    async def _on_gateway(self, message: Msg) -> None:
        with contextlib.suppress(InputError):
            stats = protocol.decode(message.data, protocol.GatewayStats)
            self.gateways[stats.gateway] = (monotonic_s(), stats)

    # Gateways that die

    def _knows_who_lives(self) -> bool:
        """Whether this process has listened for long enough to say who is silent."""
        since_s = max(self._began_s, self._absence.since_s)
        return self._absence.is_over and monotonic_s() - since_s > self.config.lease_s

    def _gateway_lives(self, region: str, gateway: str) -> bool:
        now_s, lease_s = monotonic_s(), self.config.lease_s
        if region != self.config.region:
            return self.promises.peers.heard_within(region, now_s, lease_s)
        heard_s, _ = self.gateways.get(gateway, (float("-inf"), None))
        return now_s - heard_s <= lease_s

    def _acts_for(self, region: str) -> bool:
        now_s, lease_s = monotonic_s(), self.config.lease_s
        peers = self.promises.peers
        hears = partial(peers.heard_within, now_s=now_s, limit_s=lease_s)
        return acts_for(self.config.region, region, self._regions, hears)

    # Alone

    async def _heartbeat_for_ever(self) -> None:
        """Tell the gateways how this region stands."""
        while True:
            self._notice_pause()
            await self._tell_gateways()
            await asyncio.sleep(HEARTBEAT_S)

    async def _keep_alone_state(self) -> None:
        """Decide whether this region is alone; writing it down may take its time."""
        while True:
            await self._decide_alone()
            # Never later than the moment at which the region would be alone.
            left_s = self.keeper.deadline_s() - monotonic_s()
            await asyncio.sleep(min(HEARTBEAT_S, left_s) if left_s > 0 else HEARTBEAT_S)

    def _notice_pause(self) -> None:
        paused_s = self._absence.tick(monotonic_s())
        if paused_s:
            extra = {"action": "paused", "paused_s": round(paused_s, 1)}
            _log.warning("this process was paused", extra=extra)

    async def _decide_alone(self) -> None:
        # Asked for while it is of use: ten times a second would be much otherwise.
        stored = await self.bus.heads() if self.keeper.state.alone else None
        confirmed = self.promises.peers.confirmed()
        decision = self.keeper.tick(monotonic_s(), now_ms(), stored, confirmed)
        if decision is None or (decision[0].alone and self.config.alone == "refuse"):
            return
        state, reason = decision
        with contextlib.suppress(Unavailable):
            await self._state.put(names.ALONE, state)
            self.keeper.entered(state)
            self.alone_history.append(state)
            self.promises.wake()
            _log.warning("alone", extra={"action": "alone", "alone": state.alone, "reason": reason})
            await self._tell_gateways()

    async def _tell_gateways(self) -> None:
        state = self.keeper.state
        incarnation = self._incarnation.result()
        heartbeat = protocol.Heartbeat(incarnation, state.answers, state.epoch)
        if self._client.is_connected:
            await self._client.publish("region.heartbeat", protocol.encode(heartbeat))

    # Catching up

    async def catch_up(self) -> int:
        """Wait until this region is level with every reachable peer; return its log's position.

        Raises TimeoutError when that takes longer than the gateway that asked waits.
        """
        async with asyncio.timeout(CATCH_UP_S):
            return await self._catch_up()

    async def be_current(self) -> None:
        """Return once this region has been level with its peers since it last was absent.

        Raises Unavailable when that takes too long: who answers before would show versions that
        are older than those shown already, and write over what he has not seen.
        """
        self._notice_pause()
        if self._absence.is_over:
            return
        try:
            await self.catch_up()
        except TimeoutError:
            raise Unavailable(
                "this region is catching up with its peers",
                hint="send the request again, or to another region",
            ) from None

    async def _catch_up(self) -> int:
        while True:
            absence = self._absence.number
            asked = [self._catch_up_with(link) for link in self.links.values()]
            levels = await asyncio.gather(*asked)
            # After a thaw nothing says that the heartbeat is the first to run.
            self._notice_pause()
            if self._absence.may_serve(levels, absence, monotonic_s()):
                return await self.store.log.head()
            await asyncio.sleep(RETRY_S)

    async def _catch_up_with(self, link: PeerLink) -> bool | None:
        """True when level with it, False to try again, None if it cannot be reached."""
        try:
            head = await link.head()
            async with asyncio.timeout(CATCH_UP_ATTEMPT_S):
                await link.level_with(head)
        except (Unavailable, TimeoutError):
            reachable = self.promises.peers.heard_within(link.region, monotonic_s(), REACHABLE_S)
            return False if reachable else None
        return True


async def run_services(config: RegionConfig, ready: Callable[[], None]) -> None:
    """Run one region's services until cancelled."""
    client = await connection.connect(config.nats, name="services")
    try:
        directory = Path(config.state_dir)
        async with (
            view_table(directory, "services", client, LISTED) as table,
            view_table(directory, "events", client) as told,
        ):
            await Services(config, client, table, told).run(ready)
    finally:
        await client.close()
