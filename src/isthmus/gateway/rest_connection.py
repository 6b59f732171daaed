"""One client's connection on which HTTP is spoken: requests one after another, each answered.

Bounded everywhere: a request's head and body have a length and a time, and who asks is known before
anything of a body is kept. Nothing more is read of a client while it is answered, while it does not
read its answers, and while it is over its rate.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple

import h11

from isthmus.core.connecting import CONNECT_TIMEOUT_S
from isthmus.core.policy import Authorizer
from isthmus.core.rest import Refused
from isthmus.core.session import PAYLOAD_MAX_BYTES
from isthmus.gateway.stream import Stream
from isthmus.gateway.websocket import HEAD_MAX_BYTES, REASON_MAX

if TYPE_CHECKING:
    from isthmus.gateway.rest import Rest

_log = logging.getLogger(__name__)

#: Between two requests, and for the head of one.
IDLE_S = 60.0
BODY_S = 20.0
#: For reading on where a request is answered unread: who is cut off while sending reads no answer.
LINGER_S = 2.0
#: For what is written already to leave, after a connection was closed.
CLOSE_GRACE_S = 5.0
#: Of one request; what else may stand in one is as short.
BODY_MAX_BYTES = PAYLOAD_MAX_BYTES


class Head(NamedTuple):
    """A request without its body."""

    method: str
    #: Path and query, as they stand in the request line.
    target: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """The first header of a name, which is given in lower case."""
        return next((value for found, value in self.headers if found.lower() == name), None)


class Response(NamedTuple):
    """What is sent."""

    status: int
    headers: dict[str, str]
    body: bytes


class Question(NamedTuple):
    """A request whose head has been judged."""

    #: Given the body.
    answer: Callable[[bytes], Awaitable[Response]]
    #: Or it is read, and dropped.
    wants_body: bool = True
    #: The answer need not wait for the body, and is the connection's last.
    is_last: bool = False


class RestConnection(asyncio.Protocol):
    """A client of HTTP, from where its connection turned out to be one, to its end."""

    def __init__(self, rest: Rest, stream: Stream, transport: asyncio.Transport) -> None:
        self._rest = rest
        self._stream = stream
        self._transport: asyncio.Transport | None = transport
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
        self._question: Question | None = None
        self._body = bytearray()
        self._has_no_body = False
        self._is_read = True
        self._is_answering = self._is_leaving = self._is_full = False
        #: None where its rates are not limited.
        self.rates = rest.shedding.rates(self._go_on)
        #: Whether its next answer is to be its last.
        self.is_drained = False
        #: When it is closed, unless something comes or leaves before.
        self.until_s = rest.now_s() + CONNECT_TIMEOUT_S
        #: What its certificate may do; None where that is to be found anew.
        self.rights: Authorizer | None = None

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

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        plaintext, answer = self._stream.feed(data)
        self._write(answer)
        if plaintext:
            self.received(plaintext)
        if self._stream.ended is not None:
            self.close(self._stream.ended.reason)

    def received(self, plaintext: bytes) -> None:
        """Take what the client has said."""
        if self._is_leaving:
            return
        self._http.receive_data(plaintext)
        if self.rates is not None:
            self.rates.received((), len(plaintext))
        self._go_on()

    def pause_writing(self) -> None:
        self._is_full = True
        self._read_or_wait()

    def resume_writing(self) -> None:
        self._is_full = False
        self._go_on()

    def eof_received(self) -> None:
        self.close("the client closed its side")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._forget_body()
        if self.rates is not None:
            self.rates.stop()
        self._rest.closed(self)

    # Requests

    @property
    def _may_go_on(self) -> bool:
        return (
            self._transport is not None
            and not self._is_answering
            and not self._is_leaving
            and not self._is_full
            and (self.rates is None or not self.rates.is_over)
        )

    def _go_on(self) -> None:
        """Take what has come, as far as it may be."""
        try:
            while self._may_go_on:
                match self._http.next_event():
                    case h11.Request() as request:
                        self._begin(request)
                    case h11.Data(data=data):
                        self._gather(data)
                    case h11.EndOfMessage():
                        self._ask()
                    case _:
                        break
        except h11.RemoteProtocolError as error:
            message = f"This is not HTTP: {error}"[:REASON_MAX]
            self._give_up(Refused("InvalidRequestException", message), error.error_status_hint)
        self._read_or_wait()

    def _begin(self, request: h11.Request) -> None:
        self.until_s = self._rest.now_s() + BODY_S
        self._has_no_body = request.method == b"HEAD"
        # h11 lets nothing but ASCII into a target.
        headers = tuple((name.decode(), value.decode("latin-1")) for name, value in request.headers)
        head = Head(request.method.decode(), request.target.decode(), headers)
        self._question = question = self._rest.question(self, head)
        waits = self._http.they_are_waiting_for_100_continue
        if question.is_last or (waits and not question.wants_body):
            self._question = question._replace(is_last=True)
            self._ask()
        elif int(head.header("content-length") or 0) > BODY_MAX_BYTES:
            self._give_up(_too_large())
        elif waits:
            go_on = self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._write(self._stream.wrap(go_on or b""))

    def _gather(self, data: bytes) -> None:
        question = self._question
        assert question is not None
        if len(self._body) + len(data) > BODY_MAX_BYTES:
            self._give_up(_too_large())
        elif question.wants_body and not self._rest.takes(len(data)):
            self._give_up(Refused("ServiceUnavailableException", "Too many requests are read now"))
        elif question.wants_body:
            self._body += data

    def _give_up(self, error: Refused, status: int = 0) -> None:
        """Refuse a request before its end; nothing after it would be understood."""
        self._forget_body()
        self._question = self._rest.refusal(error, is_last=True, status=status)
        self._ask()

    def _ask(self) -> None:
        question = self._question
        assert question is not None
        self._is_answering, self.until_s = True, float("inf")
        self._rest.answer(self, question, bytes(self._body))

    def _forget_body(self) -> None:
        self._rest.takes(-len(self._body))
        self._body = bytearray()

    # Responses

    def respond(self, response: Response) -> None:
        """Answer the request that was asked."""
        question, self._question = self._question, None
        self._is_answering = False
        self._forget_body()
        if self._transport is None or question is None:
            return
        http, fields = self._http, dict(response.headers)
        fields |= {"Content-Length": str(len(response.body)), "Date": formatdate(usegmt=True)}
        if question.is_last or self.is_drained:
            fields["Connection"] = "close"
        said = http.send(h11.Response(status_code=response.status, headers=list(fields.items())))
        if response.body and not self._has_no_body:
            said = (said or b"") + (http.send(h11.Data(data=response.body)) or b"")
        said = (said or b"") + (http.send(h11.EndOfMessage()) or b"")
        self._write(self._stream.wrap(said))
        self.until_s = self._rest.now_s() + IDLE_S
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            self._go_on()
        elif http.their_state is h11.SEND_BODY:
            self._is_leaving = True
            self.until_s = self._rest.now_s() + LINGER_S
            self._read_or_wait()
        else:
            self.close("it was the last answer")

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _read_or_wait(self) -> None:
        if self._transport is None:
            return
        may_read = self._may_go_on or self._is_leaving
        if may_read != self._is_read:
            self._is_read = may_read
            if may_read:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def close(self, reason: str, *, at_once: bool = False) -> None:
        """Close the socket; what is already written still leaves, unless ``at_once``."""
        if not at_once:
            self._write(self._stream.close())
        transport, self._transport = self._transport, None
        if transport is None:
            return
        extra = {"action": "rest-close", "principal": self.principal, "reason": reason}
        _log.info("connection closed", extra=extra)
        if at_once:
            transport.abort()
        else:
            transport.close()
            # A client that does not read would keep its socket, and what waits in it, for ever.
            asyncio.get_running_loop().call_later(CLOSE_GRACE_S, transport.abort)


def _too_large() -> Refused:
    message = f"A body may have {BODY_MAX_BYTES} bytes"
    return Refused("RequestEntityTooLargeException", message)
