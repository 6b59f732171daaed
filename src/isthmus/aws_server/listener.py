"""HTTPS: requests in, as they were sent and signed; responses out.

Every bound on what a client may send, and on how long it may take, is here. Nobody is asked for a
certificate. Several processes may listen at one place; the kernel spreads the connections. A TLS
file that is replaced is taken over, for those who come from then on.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import StreamReader, hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from isthmus.adapters.renewal import Renewed, RenewedContext
from isthmus.adapters.tls import public_context
from isthmus.aws.requests import BODY_BYTES_MAX, TARGET_CHARACTERS_MAX, HttpRequest
from isthmus.aws.responses import HttpResponse
from isthmus.aws.service_error import ServiceError
from isthmus.clock import monotonic_s
from isthmus.config import AwsApi

#: Each may hold a body of a megabyte.
CONNECTIONS_MAX = 512
#: Between two requests, and for the line and headers of one. AWS's clients keep connections for
#: longer and open another one where theirs was closed.
IDLE_S = 60.0
HANDSHAKE_S = 10.0
BODY_S = 20.0
#: For reading on where a request is refused unread: who is cut off while sending reads no answer.
LINGER_S = 2.0
#: Tokens of sessions are the longest headers that clients send.
HEADER_BYTES_MAX = 16 * 1024
SHUTDOWN_S = 1.0
#: Between two looks at the TLS files.
LOOK_S = 1.0
SHARE_PORTS = hasattr(socket, "SO_REUSEPORT")

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
#: Reads a request to its end; raises ServiceError where it is refused before that.
Read = Callable[[], Awaitable[HttpRequest]]


class Answers(Protocol):
    """Who answers."""

    async def answer(self, read: Read) -> HttpResponse:
        """The response to what is read, or to what it raises."""
        ...

    def not_http(self, reason: str) -> HttpResponse:
        """The response to what is no request at all."""
        ...


class Listener:
    """The listening socket, and what stands between it and who answers."""

    def __init__(self, config: AwsApi, answers: Answers) -> None:
        self._config = config
        self._answers = answers

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled; what is being answered then has a moment to end."""
        server = _Server(
            self._handle,
            self._answers,
            access_log=None,
            keepalive_timeout=IDLE_S,
            # The line has method and version too. What is too long for an operation is still read,
            # so that it is told what it is.
            max_line_size=2 * TARGET_CHARACTERS_MAX,
            max_field_size=HEADER_BYTES_MAX,
            lingering_time=LINGER_S,
            # A body is signed as it was sent.
            auto_decompress=False,
        )
        renewed = Renewed(self._config.tls, public_context, monotonic_s())
        listening = await asyncio.get_running_loop().create_server(
            server,
            self._config.listen.host,
            self._config.listen.port,
            ssl=RenewedContext(renewed),
            ssl_handshake_timeout=HANDSHAKE_S,
            reuse_port=SHARE_PORTS or None,
        )
        try:
            ready()
            while True:
                await asyncio.sleep(LOOK_S)
                renewed.look(monotonic_s())
        finally:
            listening.close()
            server.pre_shutdown()
            await server.shutdown(SHUTDOWN_S)
            # TLS would wait for whoever is at the other end to say that he is going, too.
            server.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)

        async def read() -> HttpRequest:
            headers = tuple(request.headers.items())
            body = await _body(request)
            if connection.broken is request.content:
                raise _not_valid()
            return HttpRequest(request.method, request.raw_path, headers, body)

        response = _response(await self._answers.answer(read))
        if connection.broken is request.content:
            response.force_close()
        return response


class _Server(web.Server):
    """Closes connections beyond the bound, and makes the others."""

    def __init__(self, handle: Handle, answers: Answers, **options: Any) -> None:
        super().__init__(handle, **options)
        self._answers = answers
        self._options = options
        self._open: dict[RequestHandler, asyncio.Transport] = {}

    def __call__(self) -> RequestHandler:
        return _Connection(self, self._answers, loop=self._loop, **self._options)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._open[handler] = transport
        if len(self._open) > CONNECTIONS_MAX:
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._open.pop(handler, None)

    def abort(self) -> None:
        """Close what is still open, and wait for nobody."""
        for transport in list(self._open.values()):
            transport.abort()


class _Connection(RequestHandler):
    """Answers what aiohttp cannot read in the same form as everything else."""

    # It has slots.
    __slots__ = ("_answers", "broken")

    def __init__(self, server: _Server, answers: Answers, **options: Any) -> None:
        super().__init__(server, **options)
        self._answers = answers
        #: The body that ended in what is no part of one; none comes after that.
        self.broken: StreamReader | None = None

    def data_received(self, data: bytes) -> None:
        """End a body where what comes is no part of one.

        aiohttp queues that as the next request, behind one whose body would never end.
        """
        super().data_received(data)
        if not self._messages or isinstance(self._messages[-1][0], RawRequestMessage):
            return
        bodies = [body for _, body in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof():
                self._messages.pop()
                self.broken = body
                body.feed_eof()
                self.close()
                return

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        response = _response(self._answers.not_http(message or repr(exc)))
        response.force_close()
        return response


def _response(answer: HttpResponse) -> web.Response:
    response = web.Response(status=answer.status, headers=answer.headers, body=answer.body)
    # Else it would tell the versions of Python and aiohttp.
    response.headers[hdrs.SERVER] = "isthmus"
    return response


async def _body(request: web.BaseRequest) -> bytes:
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise _too_large()
    parts, size = [], 0
    try:
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async with asyncio.timeout(BODY_S):
            async for part in request.content.iter_any():
                size += len(part)
                if size > BODY_BYTES_MAX:
                    raise _too_large()
                parts.append(part)
    except TimeoutError:
        message = f"The body did not come within {BODY_S:.0f} s"
        raise ServiceError("RequestTimeoutException", message) from None
    except web.RequestPayloadError:
        raise _not_valid() from None
    except ConnectionError:
        # Nobody is there to be told, and it is no fault of ours.
        message = "The connection ended before the body"
        raise ServiceError("SerializationException", message) from None
    return b"".join(parts)


def _not_valid() -> ServiceError:
    return ServiceError("SerializationException", "The body is not valid HTTP")


def _too_large() -> ServiceError:
    message = f"A body may have {BODY_BYTES_MAX} bytes"
    return ServiceError("RequestEntityTooLargeException", message)
