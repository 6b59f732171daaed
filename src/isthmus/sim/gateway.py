"""One start of a gateway process: what gateway/gateway.py does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from isthmus.core.admission import Admission, Gate
from isthmus.core.confirm import Durability
from isthmus.core.connecting import Refusal, asked_by, authorize_connect, begin
from isthmus.core.log_view import LogView
from isthmus.core.permissions import Permissions
from isthmus.core.rechecks import Rechecks
from isthmus.core.retained import RETAINED, retain, retained
from isthmus.core.session import Granted, Session, Store
from isthmus.core.stamp import StampClock
from isthmus.protocol import Report
from isthmus.sim import store
from isthmus.sim.connection import Connection
from isthmus.sim.delivery import Delivery
from isthmus.sim.lane import Lane, Saying
from isthmus.sim.requests import Requests
from isthmus.sim.sessions import Sessions
from isthmus.sim.store import LOG, WAKE_S, Refused
from isthmus.sim.world import Process
from isthmus.wire.packets import Connect
from isthmus.wire.reason_codes import ReasonCode

if TYPE_CHECKING:
    from isthmus.sim.region import Region

ACCOUNT = "123456789012"
#: Topics for which one region is enough, as for the observers' canaries.
LOCAL_PREFIX = "local/"
#: Between two times that it says that it lives, and how far its sessions have come.
SECOND_S = 1.0
#: Whose rights are asked about in one turn: few, so that changes come in between.
RECHECKED_AT_ONCE = 2
#: Until the other gateways of a region hear of who has connected.
CONNECTED_S = 0.02
#: The longest that a session outlives its connection: no clock here is wrong by as much.
SESSION_EXPIRY_MAX_S = 86_400


class Gateway:
    """Who is connected here, what they may do, and where their messages go."""

    def __init__(self, region: Region, number: int) -> None:
        self.region = region
        self.number = number
        self.system = region.system
        self.world = region.system.world
        self.timing = self.world.timing
        self.nats: store.Store = region.store
        self.process: Process = Process(region.machine, f"gateway-{number}")
        self.log: LogView = LogView(decode=region.system.decoded)
        regions = frozenset(self.system.regions_named)
        self.permissions = Permissions(ACCOUNT, regions, self.log.view)
        self._rechecks: Rechecks[Connection] = Rechecks()
        self._is_rechecking = False
        self.gate = Gate(pause_limit_s=self.timing.alone_after_s)
        self.start = region.system.next_start()
        self.opened_after_s = self.world.now_s
        self._alone_epoch = ("", -1)
        self._connections: dict[Connection, None] = {}
        self._clients: dict[str, Connection] = {}
        self._accepted = 0
        self._made = 0
        self._said = 0
        self._route_epoch = 0
        self._answered_absence = 0
        self.id: str = f"g{self.start}"
        self._clock = StampClock(region.name, self.id)
        self._lanes = {durability: Lane(self, durability) for durability in Durability}
        is_only = len(self.system.regions_named) == 1
        self.usual = self._lanes[Durability.REGION if is_only else Durability.TWO_REGIONS]
        self.delivery: Delivery = Delivery(self)
        self.sessions = Sessions(self)
        self.requests = Requests(self)
        self._follow()
        self._tick()
        self._tell_and_look()
        self._catch_up()

    @property
    def who(self) -> str:
        return f"{self.region.name}/gateway-{self.number}"

    def next_connection(self) -> str:
        self._accepted += 1
        return f"{self.start}.{self._accepted}"

    def next_writer(self) -> str:
        self._made += 1
        return f"{self.region.name}-{self.start}-{self._made}"

    # The log

    def _follow(self) -> None:
        entries = self.nats.stream(LOG).after(self.log.position)
        changes = []
        for entry in entries:
            kind, key = entry.subject
            change = self.log.take(entry.sequence, kind, key, entry.payload)
            if change is not None:
                changes.append(change)
        self.gate.applied(self.log.position)
        self._rechecks.changed(self.log.view.concerned(changes))
        self._recheck_some()
        if entries:
            self.process.after(WAKE_S, self._follow)
        else:
            self.nats.when_news(self.process, LOG, self._follow)

    def store_restarted(self) -> None:
        self._follow()
        self.delivery.store_restarted()

    def _recheck_some(self) -> None:
        """One turn of the loop; what is left has the next one."""
        for _ in range(min(len(self._rechecks), RECHECKED_AT_ONCE)):
            self._recheck(self._rechecks.next())
        if self._rechecks and not self._is_rechecking:
            self._is_rechecking = True
            self.process.after(WAKE_S, self._recheck_more)

    def _recheck_more(self) -> None:
        self._is_rechecking = False
        self._recheck_some()

    def _recheck(self, connection: Connection) -> None:
        session = connection.session
        if session is None:
            return
        if reason := self.log.view.refusal(connection.principal):
            connection.close(f"{reason} now", at_once=True)
            return
        session.permissions = self.permissions.of(
            connection.principal, session.client_id, "", session.asked
        )
        allowed, reason = session.permissions.allows("iot:Connect", f"client/{session.client_id}")
        if not allowed:
            connection.close(reason, at_once=True)

    # Admission

    def notice_pause(self) -> bool:
        if not self.gate.tick(self.process.now_s()):
            return False
        self.world.say(self.who, "was paused and must catch up", "gateway-paused")
        self.opened_after_s = self.world.now_s
        for each in list(self._connections):
            each.close("this gateway was paused and must catch up first", at_once=True)
        self._catch_up()
        return True

    def _catch_up(self) -> None:
        """Ask the services from where we may admit, again until they answer."""
        absence = self.gate.absence
        services = self.region.services
        if services.process.is_running and self.nats.process.is_running:
            services.process.after(WAKE_S, services.catch_up, partial(self._reply, absence))
        self.process.after(2.0, self._ask_again, absence)

    def _reply(self, absence: int, position: int) -> None:
        self.process.after(WAKE_S, self._caught_up, absence, position)

    def _caught_up(self, absence: int, position: int) -> None:
        self.gate.caught_up(absence, position)
        self.gate.applied(self.log.position)
        self._answered_absence = max(absence, self._answered_absence)
        if absence == self.gate.absence:
            self.world.say(self.who, f"has caught up with position {position}", "caught-up")

    def _ask_again(self, absence: int) -> None:
        if absence == self.gate.absence != self._answered_absence:
            self._catch_up()

    def serves(self, client: str) -> bool:
        return client in self._clients

    def connections_of(self, client: str) -> list[Connection]:
        """Those that are open at this end: the watch asks."""
        if not self.process.is_running:
            return []
        return [
            each
            for each in self._connections
            if each.session is not None
            and each.session.client_id == client
            and each.channel.is_open(each)
        ]

    def accept(self, connection: Connection) -> None:
        self._connections[connection] = None

    def admit(self, connection: Connection, connect: Connect) -> Session | Refusal:
        """Decide on a CONNECT; an accepted client takes over from its older connection."""
        if self.gate.admission is not Admission.OPEN:
            self.world.say(self.who, f"refuses {connect.client_id}: catching up", "catching-up")
            return Refusal(ReasonCode.SERVER_UNAVAILABLE, "catching-up", is_passing=True)
        principal = connection.principal
        if reason := self.log.view.refusal(principal):
            state = "revoked-refused" if "REVOKED" in reason else "refused"
            self.world.say(self.who, f"refuses {connect.client_id}: {reason}", state)
            return Refusal(ReasonCode.NOT_AUTHORIZED, reason)
        permissions = self.permissions.of(principal, connect.client_id, "", asked_by(connect))
        refusal = authorize_connect(connect, permissions)
        if refusal:
            self.world.say(self.who, f"refuses {connect.client_id}: {refusal.reason}", "refused")
            return refusal
        self.system.watch.admitted(self, principal)
        older = self._clients.get(connect.client_id)
        if older is not None:
            self.world.reached["takeover"] += 1
            older.close("another connection has taken over this client id")
        self._clients[connect.client_id] = connection
        self._rechecks.came(principal, connection)
        # Hexadecimal, so that names sort as the times do.
        connection.admitted = f"{self.process.now_ms():012x}.{self.start}.{self._accepted}"
        if self.nats.process.is_running:
            for each in self.region.gateways:
                if each is not self:
                    told = (connect.client_id, connection.admitted)
                    each.process.after(CONNECTED_S, each.heard_connected, *told)
        return begin(connect, permissions, SESSION_EXPIRY_MAX_S)

    def closed(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        self.requests.closed(connection)
        session = connection.session
        if session is None:
            return
        for topic_filter, granted in session.subscriptions.items():
            self.delivery.leave(connection, topic_filter, granted)
        session.subscriptions.clear()
        self.sessions.left(connection)
        self._rechecks.went(connection.principal, connection)
        if self._clients.get(session.client_id) is connection:
            del self._clients[session.client_id]

    # Messages

    def store(self, connection: Connection, action: Store) -> None:
        """Hand a publish to the lane of its durability."""
        publish = action.publish
        lane = self.usual
        if publish.topic.startswith(LOCAL_PREFIX):
            lane = self._lanes[Durability.REGION]
        self.system.watch.served(self, connection.principal)
        if publish.retain:
            present = self.log.get(RETAINED, publish.topic)
            item = retain(present, self._clock, publish, self.process.now_ms()).encode()
            self.system.watch.sessions.retains(self, publish.topic, publish.payload, item)
            lane.carry(item)
        lane.add(connection, action)

    def say(self, topic: str, payload: bytes) -> None:
        """Store a word of the region's own, for whoever subscribes."""
        self._said += 1
        self.usual.say(Saying(topic, payload, f"{self.id}.{self._said}"))

    def take_items(self, items: tuple[bytes, ...]) -> None:
        """What a batch carries holds here at once; the log brings it later."""
        for raw in items:
            self.log.join(self.system.decoded_carried(raw))

    def recall(self, connection: Connection, topic_filter: str, granted: Granted) -> None:
        """Deliver what is retained, to a filter that is the topic itself."""
        found = retained(self.log.view.get(RETAINED, topic_filter))
        if found is None or connection.session is None:
            return
        message = found.publish(topic_filter)
        copy = message._replace(qos=min(message.qos, granted.qos))
        self.world.reached["recalled"] += 1
        connection.perform(connection.session.deliver(copy, found.at_ms, self.process.now_ms()))

    def probe(self, answer: Callable[[], None]) -> None:
        """An observer's canary: stored in this region, and answered."""
        if self.notice_pause() or self.gate.admission is not Admission.OPEN:
            return

        def stored(result: int | Refused) -> None:
            if isinstance(result, int):
                answer()

        self.nats.put(self.process, "canary", self.start, stored)

    # What the region and the peers say

    def heard_region(self, incarnation: str, is_alone: bool, epoch: int) -> None:
        self.gate.heard(self.process.now_s())
        known, known_epoch = self._alone_epoch
        if incarnation != known or epoch > known_epoch:
            self._alone_epoch = (incarnation, epoch)
            for lane in self._lanes.values():
                lane.set_alone(is_alone)

    def heard_report(self, report: Report) -> None:
        for lane in self._lanes.values():
            lane.confirmed(report.writers)

    def heard_connected(self, client: str, admitted: str) -> None:
        """A client that another gateway has let in is gone from here, if it came there later."""
        connection = self._clients.get(client)
        if connection is not None and connection.admitted < admitted:
            self.world.reached["takeover-elsewhere"] += 1
            connection.close("the client has connected to another gateway")

    def heard_route(self, epoch: int, target: str) -> None:
        """The route has changed; who is connected here is sent after it, paced."""
        if epoch <= self._route_epoch:
            return
        self._route_epoch = epoch
        if target != self.region.name:
            self._drain(epoch, target, list(self._clients.values()))

    def _drain(self, epoch: int, target: str, left: list[Connection]) -> None:
        if epoch != self._route_epoch or not left:
            return
        left[0].close(f"the route leads to {target}")
        self.world.reached["drained"] += 1
        self.process.after(self.timing.drain_pause_s, self._drain, epoch, target, left[1:])

    # Time

    def _tick(self) -> None:
        self.notice_pause()
        now_s = self.process.now_s()
        if self.gate.cut_off(now_s):
            self.world.say(self.who, "hears nothing of its services any more", "cut-off")
            self.opened_after_s = self.world.now_s
            self._catch_up()
        for lane in self._lanes.values():
            if lane.overdue(now_s, self.timing.promise_timeout_s):
                lane.fail(f"not within {self.timing.promise_timeout_s} s")
        for connection in list(self._connections):
            session = connection.session
            limit_s = session.keep_alive_s if session else 10.0
            if now_s - connection.heard_s > limit_s:
                connection.close(f"silent for more than {limit_s} s", at_once=True)
        self.process.after(self.timing.heartbeat_s, self._tick)

    def _tell_and_look(self) -> None:
        """What is done once a second."""
        self.delivery.look_for_ends()
        self.sessions.tell()
        services = self.region.services
        if services.process.is_running and self.nats.process.is_running:
            services.process.after(WAKE_S, services.departures.heard_gateway, self.id)
        self.process.after(SECOND_S, self._tell_and_look)

    def end(self) -> None:
        """The machine is gone, and the process with it."""
        self.process.end()
        for connection in self._connections:
            self.system.watch.sessions.ended(connection)

    def die(self) -> None:
        """The process is killed; the machine's kernel closes its connections."""
        self.end()
        for connection in self._connections:
            connection.channel.died(connection)
