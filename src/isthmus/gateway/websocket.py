"""MQTT over WebSocket: one HTTP request, then frames (RFC 6455; MQTT 5, section 6).

HTTP is spoken here for exactly one request, without a body and with nothing behind it: what is sent
to MQTT's path and is not the upgrade is answered and closed, so there is no second request whose
beginning two parsers could see in two places. Requests for other paths are left to whoever answers
them (``rest_connection``), from their first byte on. Frames are an envelope only: where they begin
and end means nothing for packets. A client's close frame is as good as DISCONNECT, so its will is
not published; AWS does the same.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from isthmus.core.connecting import PACKET_MAX_BYTES
from isthmus.gateway.stream import Ended, Http, Stream

PATH = "/mqtt"
_FOR_MQTT = re.compile(rb"/mqtt(?=[? ])")
#: The second is what clients of MQTT 3.1 asked for, and some still do.
SUBPROTOCOLS = (Subprotocol("mqtt"), Subprotocol("mqttv3.1"))
#: Of the request: the longest signed address and its session token fit several times.
HEAD_MAX_BYTES = 16 * 1024
FRAME_MAX_BYTES = PACKET_MAX_BYTES
REASON_MAX = 200

#: The library tells of every connection, and so do we.
_library_log = logging.getLogger(f"{__name__}.library")
_library_log.setLevel(logging.WARNING)


class Upgrade(NamedTuple):
    """A request to speak MQTT over WebSocket, right in every respect but who asks."""

    #: As it was sent, with its query.
    target: str
    headers: tuple[tuple[str, str], ...]
    #: The SHA-256 of the certificate that TLS has proven; empty where none was shown.
    certificate: str

    def header(self, name: str) -> str | None:
        """The first header of a name, which is given in lower case."""
        return next((value for found, value in self.headers if found.lower() == name), None)


class Forbidden(NamedTuple):
    """Why nobody is served as who he says he is."""

    reason: str
    #: What the client is told instead, where the reason is for the log only.
    told: str = ""


#: Says as which principal an upgrade is served.
Authenticate = Callable[[Upgrade], str | Forbidden]


def by_certificate(upgrade: Upgrade) -> str | Forbidden:
    """Whoever has proven a certificate is that one.

    A browser shows a user's certificate for every page that asks it to connect, and says of which
    site the page is: only ours may use it.
    """
    if not upgrade.certificate:
        return Forbidden("a client certificate is needed")
    if is_of_another_site(upgrade.header("origin"), upgrade.header("host")):
        return Forbidden("a page of another site may not use this certificate")
    return upgrade.certificate


def is_of_another_site(origin: str | None, host: str | None) -> bool:
    """Whether a browser says that a page asks which did not come from the host that is asked."""
    if origin is None:
        return False
    site = _host(origin)
    return site is None or site != _host(f"//{host}")


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _is_for_another(head: bytearray) -> bool:
    """Whether a request is there, and for another place than MQTT's."""
    line, is_there, _ = head.partition(b"\r\n")
    _, is_request, target = line.partition(b" ")
    return bool(is_there and is_request) and not _FOR_MQTT.match(target)


class WebSocketStream:
    """One connection's WebSocket, over a stream that has proven a certificate or has not."""

    def __init__(self, over: Stream, authenticate: Authenticate) -> None:
        self.principal = ""
        self.ended: Ended | None = None
        self._over = over
        self._authenticate = authenticate
        self._head = bytearray()
        self._frames: Protocol | None = None

    def __del__(self) -> None:
        # The library's protocol and its parser hold each other, and up to a whole frame: nobody
        # has to search for that.
        if self._frames is not None:
            self._frames.parser.close()

    def certificate(self) -> str:
        return self._over.certificate()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        received, answer = self._over.feed(data)
        self.ended = self._over.ended
        if not received:
            return b"", answer
        if self._frames is None:
            plaintext, said = b"", self._upgrade(received)
        else:
            plaintext, said = self._unwrap(self._frames, received)
        return plaintext, answer + self._over.wrap(said) if said else answer

    def wrap(self, plaintext: bytes) -> bytes:
        frames = self._frames
        if frames is None or frames.state is not State.OPEN:
            return b""
        frames.send_binary(plaintext)
        return self._over.wrap(b"".join(frames.data_to_send()))

    def close(self) -> bytes:
        said, frames = b"", self._frames
        if frames is not None and frames.state is State.OPEN:
            frames.send_close(CloseCode.NORMAL_CLOSURE)
            said = self._over.wrap(b"".join(frames.data_to_send()))
        return said + self._over.close()

    # HTTP

    def _upgrade(self, received: bytes) -> bytes:
        """Gather the request; what to say once it is there, or once it is clear that it is none."""
        head = self._head
        begin = max(len(head) - 3, 0)
        head += received
        if _is_for_another(head):
            self.ended = Ended("HTTP is spoken", http=Http(self._over, bytes(head)))
            return b""
        if not head[:1].isalpha():
            return self._refuse(HTTPStatus.BAD_REQUEST, "HTTP is spoken here")
        end = head.find(b"\r\n\r\n", begin)
        if (len(head) if end < 0 else end + 4) > HEAD_MAX_BYTES:
            return self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too long a request")
        if end < 0:
            return b""
        if end + 4 < len(head):
            return self._refuse(HTTPStatus.BAD_REQUEST, "nothing may follow before the answer")
        self._head = bytearray()
        return self._answer(bytes(head))

    def _answer(self, head: bytes) -> bytes:
        server = ServerProtocol(subprotocols=SUBPROTOCOLS, logger=_library_log)
        server.receive_data(head)
        server.parser.close()
        request = next(iter(server.events_received()), None)
        if not isinstance(request, Request) or len(request.headers.get_all("Host")) != 1:
            return self._refuse(HTTPStatus.BAD_REQUEST, "not a request as HTTP/1.1 has them")
        if request.path.partition("?")[0] != PATH:
            return self._refuse(HTTPStatus.NOT_FOUND, f"there is {PATH} only")
        response = server.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            # What it asks for in turn stays; its text may be as long as the request.
            asked = {name: response.headers[name] for name in _ASKS if name in response.headers}
            return self._refuse(HTTPStatus(response.status_code), str(server.handshake_exc), asked)
        headers = tuple(request.headers.raw_items())
        found = self._authenticate(Upgrade(request.path, headers, self._over.principal))
        if isinstance(found, Forbidden):
            return self._refuse(HTTPStatus.FORBIDDEN, found.reason, told=found.told)
        self.principal = found
        # A protocol of its own, so that nothing of the request stays with the connection.
        self._frames = Protocol(Side.SERVER, max_size=(None, FRAME_MAX_BYTES), logger=_library_log)
        return response.serialize()

    def _refuse(
        self,
        status: HTTPStatus,
        reason: str,
        headers: dict[str, str] | None = None,
        *,
        told: str = "",
    ) -> bytes:
        reason = reason[:REASON_MAX]
        self.ended = Ended(f"HTTP {status}: {reason}")
        response = _REFUSES.reject(status, f"{told or reason}\n")
        response.headers.update(headers or {})
        return response.serialize()

    # Frames

    def _unwrap(self, frames: Protocol, received: bytes) -> tuple[bytes, bytes]:
        frames.receive_data(received)
        chunks = []
        for frame in frames.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode is Opcode.BINARY or frame.opcode is Opcode.CONT:
                chunks.append(frame.data)
            elif frame.opcode is Opcode.TEXT:
                # MQTT 5: [MQTT-6.0.0-1].
                frames.fail(CloseCode.UNSUPPORTED_DATA, "MQTT is binary")
                break
            elif frame.opcode is Opcode.CLOSE:
                self.ended = Ended("the client closed the WebSocket", is_goodbye=True)
        if frames.state is not State.OPEN and self.ended is None:
            self.ended = Ended(f"WebSocket: {frames.close_sent}")
        return b"".join(chunks), b"".join(frames.data_to_send())


#: Writes refusals, and keeps nothing of them.
_REFUSES = ServerProtocol(logger=_library_log)
#: Headers by which a refused client is told what would be right.
_ASKS = ("Allow", "Upgrade")
