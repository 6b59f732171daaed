"""Where a gateway listens, and what stands between each of its sockets and MQTT."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

from isthmus.adapters.renewal import Renewed
from isthmus.clock import monotonic_s
from isthmus.config import Listen, RegionConfig
from isthmus.core.dialect import DIALECTS, Dialect
from isthmus.gateway.door import Door, Listening, listen
from isthmus.gateway.stream import Ended, PlainStream, Stream
from isthmus.gateway.tls import HTTP, MQTT, TlsStream, contexts
from isthmus.gateway.websocket import Authenticate, WebSocketStream

BACKLOG = 4_096
#: Several gateways of a region share their ports; the kernel spreads the connections.
SHARE_PORTS = hasattr(socket, "SO_REUSEPORT")

#: Makes the protocol of an accepted connection over its stream.
MakeConnection = Callable[[Stream, Dialect], asyncio.Protocol]


class _ByAlpn:
    """TLS in which a client speaks MQTT or HTTP, as it has asked for by ALPN."""

    def __init__(self, tls: TlsStream, authenticate: Authenticate) -> None:
        self._tls = tls
        self._authenticate = authenticate
        self._stream: Stream = tls

    @property
    def principal(self) -> str:
        return self._stream.principal

    @property
    def ended(self) -> Ended | None:
        return self._stream.ended

    def certificate(self) -> str:
        return self._stream.certificate()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        if self._tls.is_open:
            return self._stream.feed(data)
        answer = self._tls.shake_hands(data)
        if not self._tls.is_open:
            return b"", answer
        if self._tls.protocol != MQTT:
            self._stream = WebSocketStream(self._tls, self._authenticate)
        plaintext, more = self._stream.feed(b"")
        return plaintext, answer + more

    def wrap(self, plaintext: bytes) -> bytes:
        return self._stream.wrap(plaintext)

    def close(self) -> bytes:
        return self._stream.close()


class Listeners:
    """A gateway's listening sockets."""

    def __init__(self, config: RegionConfig, authenticate: Authenticate) -> None:
        self._config = config
        self._authenticate = authenticate
        self._contexts = Renewed(config.mqtt_tls, contexts, monotonic_s())
        self._server_names = frozenset(name.lower().encode() for name in config.server_names)
        self._open: list[Listening] = []

    def _stacks(self) -> Iterator[tuple[Listen, Callable[[], Stream]]]:
        """Every configured listener, and how the stream of one of its connections is made."""
        config = self._config
        yield config.mqtt, lambda: TlsStream(self._contexts.current.mqtt, self._server_names)
        if config.https is not None:
            yield config.https, self._https_stream
        if config.plain is not None:
            yield config.plain, lambda: PlainStream(config.plain_principal)

    def _https_stream(self) -> Stream:
        tls = TlsStream(self._contexts.current.https, self._server_names, anonymous=(HTTP, b""))
        return _ByAlpn(tls, self._authenticate)

    async def open(self, connection: MakeConnection, door: Door) -> None:
        """Listen on all of them, or on none; whoever comes stands at the door first."""
        try:
            for place, stream in self._stacks():
                await self._listen(place, stream, connection, door)
        except BaseException:
            self.close()
            raise

    async def _listen(
        self, place: Listen, stream: Callable[[], Stream], connection: MakeConnection, door: Door
    ) -> None:
        def came(sock: socket.socket, address: str) -> None:
            door.came(sock, address, lambda: connection(stream(), DIALECTS[place.dialect]))

        self._open += await listen(place.host, place.port, BACKLOG, came, is_shared=SHARE_PORTS)

    def look(self, now_s: float) -> None:
        """Notice certificates that were replaced; called every second or so."""
        self._contexts.look(now_s)

    def close(self) -> None:
        """Take no more connections; those that are there stay."""
        for each in self._open:
            each.close()
        self._open.clear()
