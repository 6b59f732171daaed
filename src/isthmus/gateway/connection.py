"""One client's socket: its stream, packets, and the session's actions performed.

Bounded everywhere: a client that has not connected within a few seconds is closed, one that reads
too slowly gets no QoS 0 and then is closed, and one to which many PUBACKs are owed, or that
publishes while too much waits (``shedding``), is not read from meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, cast

from isthmus.clock import now_ms
from isthmus.core.batch import Source
from isthmus.core.commanding import Has
from isthmus.core.connecting import (
    PACKET_MAX_BYTES,
    TOPIC_ALIAS_MAX,
    Refusal,
    accept,
    check_connect,
)
from isthmus.core.dialect import AWS, Dialect
from isthmus.core.dismissals import Dismissal
from isthmus.core.presence import DisconnectReason, reason_of
from isthmus.core.session import (
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
from isthmus.errors import MalformedPacket
from isthmus.gateway.stream import Ended, Stream
from isthmus.wire import mqtt
from isthmus.wire.packets import LEVEL_3, Connect, Disconnect, Packet
from isthmus.wire.reason_codes import ReasonCode

if TYPE_CHECKING:
    from isthmus.core.session import Action
    from isthmus.gateway.gateway import Gateway

_log = logging.getLogger(__name__)

#: For what is written already to leave, after a connection was closed.
CLOSE_GRACE_S = 5.0
#: Bytes that may wait to be sent to a client; and those, two of the largest messages, from which
#: on it is given no more QoS 0.
UNSENT_MAX_BYTES = 1024 * 1024
UNSENT_FULL_BYTES = 256 * 1024
#: PUBACKs owed, above which a client is not read from; AWS IoT allows 100 in flight.
OWED_MAX = 100


class Connection(asyncio.Protocol):
    """A client, from accept to close."""

    def __init__(self, gateway: Gateway, stream: Stream, dialect: Dialect = AWS) -> None:
        self._gateway = gateway
        self.dialect = dialect
        self._stream = stream
        self._decoder = mqtt.ServerDecoder(PACKET_MAX_BYTES, topic_alias_max=TOPIC_ALIAS_MAX)
        self._transport: asyncio.Transport | None = None
        #: False while we do not read from it; it is not silent then.
        self.is_read = True
        self._shedding = gateway.shedding
        #: None where its rates are not limited.
        self._rates = gateway.shedding.rates(self._rate_changed)
        #: Whether QoS 0 is dropped: its socket is full, or it is over its rate.
        self.drops = self._is_full = False
        self.session: Session | None = None
        #: What the bus's records call this connection; made when CONNECT is accepted.
        self.source: Source | None = None
        #: Why it has ended, once it has.
        self.ended_by = DisconnectReason.CONNECTION_LOST
        #: When CONNECT was accepted, and a name for it: greater is newer.
        self.admitted = (0, "")
        #: Origins whose messages it is not given live, as it is given earlier ones first.
        self.behind: set[str] = set()
        #: What is to be sent at once with what follows.
        self._gathered: list[bytes] | None = None
        #: CONNACK waits for its promise.
        self._is_beginning = False
        #: What was read and is not handled yet: bounded by what is read at once.
        self._held_back: deque[Packet] = deque()
        self.opened_s = self.heard_s = gateway.now_s()
        #: When the newest bytes were read, in milliseconds since 1970.
        self.read_ms = 0

    @property
    def principal(self) -> str:
        return self._stream.principal

    def certificate(self) -> str:
        """The certificate that TLS has proven, in PEM; empty where there is none."""
        return self._stream.certificate()

    @property
    def address(self) -> str:
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return str(peer[0]) if peer else ""

    @property
    def ends(self) -> tuple[str, int, str, int]:
        """Address and port of the client, and those that it has connected to."""
        if self._transport is None:
            return "", 0, "", 0
        named = self._transport.get_extra_info
        peer, here = named("peername") or ("", 0), named("sockname") or ("", 0)
        return str(peer[0]), peer[1], str(here[0]), here[1]

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=UNSENT_FULL_BYTES)
        self._gateway.opened(self)

    def data_received(self, data: bytes) -> None:
        # Before anything is read: after a pause nobody here may be served until we caught up.
        if self._gateway.notice_pause():
            return
        plaintext, answer = self._stream.feed(data)
        if answer:
            self._write(answer)
        if plaintext:
            # Only MQTT keeps a client alive [MQTT-3.1.2-24], not what its transport says.
            self.heard_s = self._gateway.now_s()
            try:
                self._receive(plaintext)
            except MalformedPacket as error:
                self._refuse_malformed(error)
        if self._stream.ended is not None:
            self._end(self._stream.ended)

    def pause_writing(self) -> None:
        self.drops = self._is_full = True
        self._shedding.full.add(self)

    def resume_writing(self) -> None:
        self._is_full = False
        self._shedding.full.discard(self)
        self._rate_changed()

    def eof_received(self) -> None:
        self.close("the client closed its side")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._shedding.full.discard(self)
        if self._rates is not None:
            self._rates.stop()
        self._gateway.closed(self)

    def _end(self, ended: Ended) -> None:
        if ended.http is not None and self._transport is not None:
            transport = self._transport
            # As far as MQTT goes, it is over.
            self.connection_lost(None)
            self._gateway.rest.take(transport, ended.http)
            return
        if ended.is_goodbye and self.session is not None and self._transport is not None:
            if self._held_back or self._must_wait():
                self._held_back.append(Disconnect())
                return
            self.perform(self.session.handle(Disconnect(), now_ms()))
        self.close(ended.reason)

    # Packets

    def _receive(self, plaintext: bytes) -> None:
        now = self.read_ms = now_ms()
        packets = self._decoder.feed(plaintext)
        if self._rates is not None:
            self._rates.received(packets, len(plaintext))
        if self._held_back:
            self._held_back.extend(packets)
            return
        for packet in packets:
            if self._transport is None:
                return
            if self.session is None:
                self._connect(packet)
            elif self._must_wait():
                self._held_back.append(packet)
            else:
                self.perform(self.session.handle(packet, now))
        if self.behind:
            self._gateway.sessions.has_room(self)
        self.check_owed()

    def _must_wait(self) -> bool:
        """Whether nothing more of this client may be handled now.

        No connection has more than so many messages in doubt: by that the lake tells what may be a
        repeat. A client of MQTT 5 knows the limit, and is told when it passes it.
        """
        session = self.session
        assert session is not None
        is_full = session.owed >= OWED_MAX and session.level == LEVEL_3
        return is_full or self._is_beginning

    def _go_on(self) -> None:
        """Handle what was held back, as far as it may be."""
        now = self.read_ms
        while self._held_back and self.session is not None and self._transport is not None:
            if self._must_wait():
                break
            self.perform(self.session.handle(self._held_back.popleft(), now))
        self.check_owed()

    def _connect(self, packet: Packet) -> None:
        if self._is_beginning:
            # It is refused soon: what it has sent behind its CONNECT was in vain.
            return
        assigned_id = f"assigned-{secrets.token_hex(16)}"
        connect = check_connect(packet, assigned_id, self.dialect)
        if isinstance(connect, Refusal):
            self.refuse(connect)
            return
        accepted = self._gateway.admit(self, connect)
        if isinstance(accepted, Refusal):
            self.refuse(accepted)
            return
        if accepted is None:
            self._wait_to_be_refused()
            return
        self.session = accepted
        self.source = Source(secrets.token_hex(8), accepted.client_id, self.principal)
        is_assigned = connect.client_id == assigned_id
        self._is_beginning = True
        begun = partial(self._begun, connect, is_assigned=is_assigned)
        self._gateway.sessions.begin(self, connect, begun)

    def _begun(self, connect: Connect, is_present: bool, *, is_assigned: bool) -> None:
        """The session is what CONNACK says that it is."""
        session, self._is_beginning = self.session, False
        if session is None or self._transport is None:
            return
        self._send(
            accept(
                connect,
                is_assigned=is_assigned,
                is_present=is_present,
                expiry_s=session.expiry_s,
                dialect=self.dialect,
            )
        )
        self._gateway.presence.came(self, connect.keep_alive_s)
        self._gateway.sessions.went_on(self)
        self._go_on()

    def _wait_to_be_refused(self) -> None:
        """Read nothing more, until somebody else has said what the client is told."""
        assert self._transport is not None
        self._is_beginning, self.is_read = True, False
        self._transport.pause_reading()

    def refuse(self, refusal: Refusal) -> None:
        """Answer CONNECT by a refusal, and close."""
        self._send(refusal.answer(self._decoder.level))
        self.close(f"refused: {refusal.reason}")

    def _refuse_malformed(self, error: MalformedPacket) -> None:
        # Until CONNACK was sent it is CONNACK that says why.
        accepted = self.session is not None and not self._is_beginning
        self._send(mqtt.farewell(error, level=self._decoder.level, accepted=accepted))
        self.close(f"malformed packet: {error}", by=DisconnectReason.CLIENT_ERROR)

    # Actions

    def perform(self, actions: list[Action]) -> None:
        """Do what the session decided, in order."""
        for action in actions:
            if type(action) is Store:
                # Nearly every action is one.
                self._gateway.store(self, action)
                continue
            match action:
                case Send(data):
                    self._send(data)
                    if self._rates is not None:
                        self._rates.sent(len(data))
                case Join(topic_filter, granted):
                    self._gateway.subscribed.join(self, topic_filter, granted)
                case Leave(topic_filter, granted):
                    self._gateway.subscribed.leave(self, topic_filter, granted)
                case Recall(topic_filter, granted):
                    self._gateway.recall(self, topic_filter, granted)
                case Remember():
                    self._gateway.sessions.remember(self, action)
                case Ask():
                    self._gateway.requests.ask(self, action)
                case Has(execution):
                    self._gateway.commands.has(execution)
                case Close(reason, code):
                    self.close(reason, by=reason_of(code))
                    return

    def kept(self, tickets: list[Ticket]) -> None:
        """The promises of some of this client's publishes are kept."""
        if self.session is None:
            return
        for ticket in tickets:
            ticket.kept = True
        answers = self.session.answers()
        if answers:
            self._send(answers)
        if self._held_back:
            self._go_on()
        else:
            self.check_owed()

    def check_owed(self) -> None:
        """Read on, or wait, by how many PUBACKs are owed, and by what else there is too much of."""
        if self._transport is None or self.session is None:
            return
        may_read = (
            self.session.owed < OWED_MAX
            and not self._is_beginning
            and not self._held_back
            and not (self._shedding.is_holding and self._shedding.holds(self.session))
            and (self._rates is None or not self._rates.is_over)
        )
        if may_read != self.is_read:
            self.is_read = may_read
            if may_read:
                self.heard_s = self._gateway.now_s()
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def gather(self) -> None:
        """Keep what is to be sent, until ``scatter`` sends it at once: a write costs the most."""
        self._gathered = []

    def scatter(self) -> None:
        """Send what was gathered."""
        gathered, self._gathered = self._gathered, None
        if gathered:
            self._send(b"".join(gathered))

    def _send(self, plaintext: bytes) -> None:
        if self._gathered is not None:
            self._gathered.append(plaintext)
        elif plaintext and self._transport is not None:
            self._write(self._stream.wrap(plaintext))

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)
            if self._is_full and self.unsent > UNSENT_MAX_BYTES:
                self.cut()

    # Too much

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def cut(self) -> None:
        """The client is too slow; it cannot be told: the word would wait behind all the rest."""
        self._shedding.slow += 1
        self.close("the client reads too slowly", by=DisconnectReason.THROTTLED, at_once=True)

    def drop(self) -> None:
        """A QoS 0 message is not given to this client."""
        self._shedding.dropped += 1

    def _rate_changed(self) -> None:
        self.drops = self._is_full or (self._rates is not None and self._rates.is_over)
        self.check_owed()

    # The end

    def fail(self, reason: str) -> None:
        """What the client waits for cannot be promised: it hears nothing, and connects again."""
        self.close(reason, code=ReasonCode.SERVER_BUSY, at_once=True)

    def taken_over(self, reason: str) -> None:
        """The client has a newer connection."""
        self.close(reason, code=ReasonCode.SESSION_TAKEN_OVER)

    def dismissed(self, dismissal: Dismissal) -> None:
        """Somebody has asked that this connection end."""
        session = self.session
        assert session is not None
        if dismissal.cleans:
            session.expiry_s = 0
        if dismissal.silences:
            session.will = None
        self.close("an API has asked for it", code=ReasonCode.ADMINISTRATIVE_ACTION)

    def close(
        self,
        reason: str,
        *,
        code: ReasonCode | None = None,
        by: DisconnectReason | None = None,
        at_once: bool = False,
    ) -> None:
        """Close the socket; what is already written still leaves, unless ``at_once``.

        A client of MQTT 5 is told the code first; at once, only if nothing waits before it. ``by``
        is for those who hear of its end, where the code does not say it.
        """
        self.scatter()
        if code is not None and self.session is not None:
            self._send(self.session.farewell(code))
        if not at_once:
            self._write(self._stream.close())
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self.ended_by = by or reason_of(code)
        client = self.session.client_id if self.session else ""
        extra = {"action": "close", "client": client, "reason": reason}
        _log.info("connection closed", extra=extra)
        if at_once:
            transport.abort()
        else:
            transport.close()
            # A client that does not read would keep its socket, and what waits in it, for ever.
            asyncio.get_running_loop().call_later(CLOSE_GRACE_S, transport.abort)
