"""One client of a gateway, from accept to close: what gateway/connection.py does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.core.batch import Source
from isthmus.core.connecting import Refusal, accept
from isthmus.core.session import (
    Action,
    Ask,
    Close,
    Join,
    Leave,
    Recall,
    Remember,
    Send,
    Session,
    Store,
    Ticket,
)
from isthmus.sim.network import Channel
from isthmus.sim.world import Process
from isthmus.wire.packets import Connect, Packet

if TYPE_CHECKING:
    from isthmus.sim.gateway import Gateway


class Connection:
    """One client, from accept to close."""

    def __init__(self, gateway: Gateway, principal: str) -> None:
        self.gateway = gateway
        self.process: Process = gateway.process
        self.principal = principal
        self.session: Session | None = None
        self.source: Source | None = None
        #: When CONNECT was accepted, and a name for it.
        self.admitted = ""
        #: Origins whose messages it is not given live, as it is given earlier ones first.
        self.behind: set[str] = set()
        #: What came before CONNACK could be sent.
        self._early: list[Packet] | None = None
        self.heard_s = gateway.process.now_s()
        self.channel: Channel

    @property
    def client_id(self) -> str:
        return self.session.client_id if self.session else ""

    def received(self, channel: Channel, data: Any) -> None:
        """A packet of the client."""
        # Before anything is read: after a pause nobody here may be served until we caught up.
        if self.gateway.notice_pause() or not channel.is_open(self):
            return
        self.heard_s = self.process.now_s()
        packet: Packet = data
        if self.session is None:
            self._connect(packet)
        elif self._early is not None:
            self._early.append(packet)
        else:
            self.perform(self.session.handle(packet, self.process.now_ms()))
        if self.behind:
            self.gateway.sessions.has_room(self)

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
        self._early = []
        self.gateway.sessions.begin(self, packet, partial(self._begun, packet))

    def _begun(self, connect: Connect, is_present: bool) -> None:
        """The session is what CONNACK says that it is."""
        session, early, self._early = self.session, self._early or (), None
        if session is None or not self.channel.is_open(self):
            return
        answer = accept(
            connect, is_assigned=False, is_present=is_present, expiry_s=session.expiry_s
        )
        self.channel.send(self, answer)
        self.gateway.sessions.went_on(self)
        for packet in early:
            if self.channel.is_open(self):
                self.perform(session.handle(packet, self.process.now_ms()))

    def perform(self, actions: list[Action]) -> None:
        """Do what the session decided, in order."""
        for action in actions:
            match action:
                case Store():
                    self.gateway.store(self, action)
                case Ask():
                    self.gateway.requests.ask(self, action)
                case Send(data):
                    self.channel.send(self, data)
                case Join(topic_filter, granted):
                    self.gateway.delivery.join(self, topic_filter, granted)
                case Leave(topic_filter, granted):
                    self.gateway.delivery.leave(self, topic_filter, granted)
                case Recall(topic_filter, granted):
                    self.gateway.recall(self, topic_filter, granted)
                case Remember():
                    self.gateway.sessions.remember(self, action)
                case Close(reason, _):
                    self.close(reason)
                    return

    def kept(self, tickets: list[Ticket]) -> None:
        """The promises of some of this client's publishes are kept."""
        if self.session is None or not self.channel.is_open(self):
            return
        for ticket in tickets:
            ticket.kept = True
        answers = self.session.answers()
        if answers:
            self.channel.send(self, answers)

    def fail(self, reason: str) -> None:
        """What the client waits for cannot be promised: it hears nothing, and connects again."""
        self.close(reason, at_once=True)

    def close(self, reason: str, *, at_once: bool = False) -> None:
        if self.channel.is_open(self):
            client = self.client_id or "somebody"
            self.gateway.world.say(self.gateway.who, f"closes {client}: {reason}")
            self.channel.close(self, at_once=at_once)
            self.gateway.closed(self)
