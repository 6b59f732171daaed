"""One start of a gateway process: what gateway/gateway.py, connection.py and lane.py do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.core import batch as batches
from isthmus.core.admission import Admission, Gate
from isthmus.core.batch import Source, batch_id
from isthmus.core.confirm import Durability
from isthmus.core.connecting import Refusal, accept, authorize_connect, begin
from isthmus.core.log_view import LogView
from isthmus.core.permissions import Permissions
from isthmus.core.registry import CertificateStatus
from isthmus.core.session import Close, Send, Session, Store, Ticket
from isthmus.core.writer import Writer
from isthmus.protocol import Report
from isthmus.sim.network import Channel
from isthmus.sim.store import LOG, WAKE_S, Refused, bus
from isthmus.sim.world import Process
from isthmus.wire.packets import Connect, Packet
from isthmus.wire.reason_codes import ReasonCode

if TYPE_CHECKING:
    from isthmus.sim.region import Region

ACCOUNT = "123456789012"
#: Topics for which one region is enough, as for the observers' canaries.
LOCAL_PREFIX = "local/"


class Connection:
    """One client, from accept to close."""

    def __init__(self, gateway: Gateway, principal: str) -> None:
        self.gateway = gateway
        self.process: Process = gateway.process
        self.principal = principal
        self.session: Session | None = None
        self.source: Source | None = None
        self.heard_s = gateway.process.now_s()
        self.channel: Channel

    def received(self, channel: Channel, data: Any) -> None:
        """A packet of the client."""
        # Before anything is read: after a pause nobody here may be served until we caught up.
        if self.gateway.notice_pause() or not channel.is_open(self):
            return
        self.heard_s = self.process.now_s()
        packet: Packet = data
        if self.session is None:
            self._connect(packet)
        else:
            self.perform(self.session.handle(packet))

    def closed(self, channel: Channel) -> None:
        self.gateway.closed(self)

    def _connect(self, packet: Packet) -> None:
        assert isinstance(packet, Connect)
        accepted = self.gateway.admit(self, packet)
        if isinstance(accepted, Refusal):
            self.channel.send(self, accepted.answer(packet.level))
            self.close(accepted.reason)
            return
        self.session = accepted
        identity = f"{self.gateway.who}#{self.gateway.next_connection()}"
        self.source = Source(identity, accepted.client_id, self.principal)
        self.channel.send(self, accept(packet, is_assigned=False))

    def perform(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Store():
                    self.gateway.store(self, action)
                case Send(data):
                    self.channel.send(self, data)
                case Close(reason):
                    self.close(reason)
                    return

    def close(self, reason: str, *, at_once: bool = False) -> None:
        if self.channel.is_open(self):
            client = self.session.client_id if self.session else "somebody"
            self.gateway.world.say(self.gateway.who, f"closes {client}: {reason}")
            self.channel.close(self, at_once=at_once)
            self.gateway.closed(self)


class Gateway:
    """Who is connected here, what they may do, and where their messages go."""

    def __init__(self, region: Region, number: int) -> None:
        self.region = region
        self.number = number
        self.system = region.system
        self.world = region.system.world
        self.timing = self.world.timing
        self.nats = region.store
        self.process: Process = Process(region.machine, f"gateway-{number}")
        self.log = LogView()
        regions = frozenset(self.system.regions_named)
        self.permissions = Permissions(ACCOUNT, regions, self.log.view)
        self.gate = Gate(pause_limit_s=self.timing.alone_after_s)
        self.start = region.system.next_start()
        self.opened_after_s = self.world.now_s
        self._writers: dict[Durability, Writer[tuple[Connection, Ticket]]] = {}
        self._is_alone = False
        self._alone_epoch = ("", -1)
        self._flushing: set[Durability] = set()
        self._connections: dict[Connection, None] = {}
        self._clients: dict[str, Connection] = {}
        self._accepted = 0
        self._made = 0
        self._route_epoch = 0
        self._answered_absence = 0
        for durability in Durability:
            self._new_writer(durability)
        self._follow()
        self._tick()
        self._catch_up()

    @property
    def who(self) -> str:
        return f"{self.region.name}/gateway-{self.number}"

    def next_connection(self) -> str:
        self._accepted += 1
        return f"{self.start}.{self._accepted}"

    def _new_writer(self, durability: Durability) -> None:
        self._made += 1
        name = f"{self.region.name}-{self.start}-{self._made}"
        writer = self._writers[durability] = Writer(self.region.name, name, durability)
        if writer.set_alone(self._is_alone):
            self._record(writer)

    # The log

    def _follow(self) -> None:
        entries = self.nats.stream(LOG).after(self.log.position)
        changed: set[str] = set()
        for entry in entries:
            kind, key = entry.subject
            changed |= self.log.take(entry.sequence, kind, key, entry.payload)
        self.gate.applied(self.log.position)
        for connection in list(self._connections):
            if connection.principal in changed:
                self._recheck(connection)
        if entries:
            self.process.after(WAKE_S, self._follow)
        else:
            self.nats.when_news(self.process, LOG, self._follow)

    def store_restarted(self) -> None:
        self._follow()

    def _recheck(self, connection: Connection) -> None:
        session = connection.session
        if session is None:
            return
        status = self.log.view.status(connection.principal)
        if status is not CertificateStatus.ACTIVE:
            connection.close(f"the certificate is {status or 'unknown'} now", at_once=True)
            return
        session.permissions = self.permissions.of(connection.principal, session.client_id, "")
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

    def accept(self, connection: Connection) -> None:
        self._connections[connection] = None

    def admit(self, connection: Connection, connect: Connect) -> Session | Refusal:
        """Decide on a CONNECT; an accepted client takes over from its older connection."""
        if self.gate.admission is not Admission.OPEN:
            self.world.say(self.who, f"refuses {connect.client_id}: catching up", "catching-up")
            return Refusal(ReasonCode.SERVER_UNAVAILABLE, "catching-up", is_passing=True)
        principal = connection.principal
        status = self.log.view.status(principal)
        if status is not CertificateStatus.ACTIVE:
            reason = f"the certificate is {status or 'unknown'}"
            state = "revoked-refused" if status is CertificateStatus.REVOKED else "refused"
            self.world.say(self.who, f"refuses {connect.client_id}: {reason}", state)
            return Refusal(ReasonCode.NOT_AUTHORIZED, reason)
        permissions = self.permissions.of(principal, connect.client_id, "")
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
        return begin(connect, permissions)

    def closed(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        session = connection.session
        if session is not None and self._clients.get(session.client_id) is connection:
            del self._clients[session.client_id]

    # Messages

    def store(self, connection: Connection, action: Store) -> None:
        """Hand a publish to the lane of its durability."""
        publish = action.publish
        durability = Durability.TWO_REGIONS
        if publish.topic.startswith(LOCAL_PREFIX) or len(self.system.regions_named) == 1:
            durability = Durability.REGION
        assert connection.source is not None
        self.system.watch.served(self, connection.principal)
        self._writers[durability].add(
            connection.source,
            publish.topic,
            publish.payload,
            qos=publish.qos,
            dup=publish.dup,
            at_ms=self.process.now_ms(),
            token=None if action.ticket is None else (connection, action.ticket),
            identity=self.system.identity_of(publish.payload),
        )
        self._flush_soon(durability)

    def probe(self, answer: Callable[[], None]) -> None:
        """An observer's canary: stored in this region, and answered."""
        if self.notice_pause() or self.gate.admission is not Admission.OPEN:
            return

        def stored(result: int | Refused) -> None:
            if isinstance(result, int):
                answer()

        self.nats.put(self.process, "canary", self.start, stored)

    def _flush_soon(self, durability: Durability) -> None:
        if durability not in self._flushing:
            self._flushing.add(durability)
            self.process.after(self.timing.gather_s, self._flush, durability)

    def _flush(self, durability: Durability) -> None:
        self._flushing.discard(durability)
        writer = self._writers[durability]
        batch = writer.flush(self.process.now_s())
        if batch is None:
            return
        self.nats.append(
            self.process,
            bus(self.region.name),
            writer.id,
            batches.encode(batch),
            partial(self._acked, durability, writer, batch.number),
            identity=batch_id(writer.id, batch.number),
        )
        # A stream may answer before the next one is asked, and a writer must bear both orders.
        self._release(writer)

    def _acked(
        self,
        durability: Durability,
        writer: Writer[tuple[Connection, Ticket]],
        number: int,
        result: int | Refused,
    ) -> None:
        if writer is not self._writers[durability]:
            return
        if isinstance(result, Refused):
            self._fail(durability, f"the stream did not take a batch: {result.reason}")
        elif not writer.stored(number):
            self._fail(durability, f"batch {number} was stored out of order")
        else:
            self._release(writer)

    def _release(self, writer: Writer[tuple[Connection, Ticket]]) -> None:
        by_connection: dict[Connection, list[Ticket]] = {}
        for connection, ticket in writer.release():
            by_connection.setdefault(connection, []).append(ticket)
        alone = writer.newly_alone()
        if alone:
            self.world.reached["acknowledged-alone"] += alone
        for connection, tickets in by_connection.items():
            for ticket in tickets:
                client = connection.session.client_id if connection.session else ""
                self.system.watch.kept(self, writer, client, ticket.packet_id)
            if connection.session is None or not connection.channel.is_open(connection):
                continue
            for ticket in tickets:
                ticket.kept = True
            answers = connection.session.answers()
            if answers:
                connection.channel.send(connection, answers)

    def _fail(self, durability: Durability, reason: str) -> None:
        """Close everybody who waits, and begin anew as another writer."""
        waiting = self._writers[durability].abandon()
        self.world.say(self.who, f"gives a writer up: {reason}", "writer-given-up")
        self._new_writer(durability)
        for connection in dict.fromkeys(connection for connection, _ in waiting):
            connection.close(f"the promise could not be kept: {reason}", at_once=True)

    # What the region and the peers say

    def heard_region(self, incarnation: str, is_alone: bool, epoch: int) -> None:
        self.gate.heard(self.process.now_s())
        known, known_epoch = self._alone_epoch
        if incarnation != known or epoch > known_epoch:
            self._alone_epoch = (incarnation, epoch)
            self._is_alone = is_alone
            for writer in self._writers.values():
                if writer.set_alone(is_alone):
                    self._record(writer)

    def _record(self, writer: Writer[tuple[Connection, Ticket]]) -> None:
        ranges = [(each.first, each.last, each.messages) for each in writer.ranges()]
        done = partial(self._recorded, writer, self._is_alone)
        self.nats.put(self.process, f"alone-range {writer.id}", ranges, done)

    def _recorded(
        self,
        writer: Writer[tuple[Connection, Ticket]],
        was_alone: bool,
        result: int | Refused,
    ) -> None:
        if writer not in self._writers.values() or was_alone != self._is_alone:
            return
        if isinstance(result, Refused):
            self.process.after(self.timing.retry_s, self._record, writer)
            return
        writer.recorded()
        self._release(writer)

    def heard_report(self, report: Report) -> None:
        for writer in self._writers.values():
            if writer.confirmed(report.writers.get(writer.id, 0)):
                self._release(writer)

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
        for durability, writer in self._writers.items():
            if writer.overdue(now_s, self.timing.promise_timeout_s):
                self._fail(durability, f"not within {self.timing.promise_timeout_s} s")
        for connection in list(self._connections):
            session = connection.session
            limit_s = session.keep_alive_s if session else 10.0
            if now_s - connection.heard_s > limit_s:
                connection.close(f"silent for more than {limit_s} s", at_once=True)
        self.process.after(self.timing.heartbeat_s, self._tick)

    def die(self) -> None:
        """The process is killed; the machine's kernel closes its connections."""
        self.process.end()
        for connection in self._connections:
            connection.channel.died(connection)
