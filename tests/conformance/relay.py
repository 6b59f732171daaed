"""Plain TCP in, mutual TLS out: for suites that know nothing of certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: How long to wait for the gateway's goodbye, after the suite has closed its side.
GOODBYE_S = 0.2


class Relay:
    """Everybody who comes is the same device, whatever its client id."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext, name: str) -> None:
        self._target = (host, port)
        self._tls = tls
        self._name = name
        self._pumps: set[asyncio.Task[None]] = set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(
                *self._target,
                ssl=self._tls,
                server_hostname=self._name,
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except OSError:
            writer.transport.abort()
            return
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            # What was written leaves first: it may be the reason.
            sink.close()


@asynccontextmanager
async def relay(
    host: str, target: tuple[str, int], tls: ssl.SSLContext, name: str
) -> AsyncIterator[int]:
    """A relay on this address; answers its port."""
    server = await asyncio.start_server(Relay(*target, tls, name).connect, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
