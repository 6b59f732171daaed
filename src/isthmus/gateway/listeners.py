"""Where a gateway listens, and what stands between each of its sockets and MQTT."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

from isthmus.config import Listen, RegionConfig
from isthmus.gateway.renewal import RenewedContext
from isthmus.gateway.stream import PlainStream, Stream
from isthmus.gateway.tls import TlsStream, mqtt_context

BACKLOG = 4_096
#: Several gateways of a region share their ports; the kernel spreads the connections.
SHARE_PORTS = hasattr(socket, "SO_REUSEPORT")

#: Makes the protocol of an accepted connection over its stream.
MakeConnection = Callable[[Stream], asyncio.Protocol]


class Listeners:
    """A gateway's listening sockets."""

    def __init__(self, config: RegionConfig) -> None:
        self._config = config
        self._mqtt_tls = RenewedContext(config.mqtt_tls, mqtt_context)
        self._server_names = frozenset(name.lower().encode() for name in config.server_names)
        self._servers: list[asyncio.Server] = []

    def _stacks(self) -> Iterator[tuple[Listen, Callable[[], Stream]]]:
        """Every configured listener, and how the stream of one of its connections is made."""
        config = self._config
        yield config.mqtt, lambda: TlsStream(self._mqtt_tls.context, self._server_names)
        if config.plain is not None:
            yield config.plain, lambda: PlainStream(config.plain_principal)

    async def open(self, connection: MakeConnection) -> None:
        """Listen on all of them, or on none."""
        try:
            for listen, stream in self._stacks():
                await self._listen(listen, stream, connection)
        except BaseException:
            self.close()
            raise

    async def _listen(
        self, listen: Listen, stream: Callable[[], Stream], connection: MakeConnection
    ) -> None:
        self._servers.append(
            await asyncio.get_running_loop().create_server(
                lambda: connection(stream()),
                listen.host,
                listen.port,
                reuse_port=SHARE_PORTS,
                backlog=BACKLOG,
            )
        )

    def look(self, now_s: float) -> None:
        """Notice certificates that were replaced; called every second or so."""
        self._mqtt_tls.look(now_s)

    def close(self) -> None:
        """Take no more connections; those that are there stay."""
        for server in self._servers:
            server.close()
        self._servers.clear()
