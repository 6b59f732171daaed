"""A cable: what one place is reached through by others, which can be cut, be slow, or lose things.

It passes bytes on and knows nothing of them. What goes through it is cut off from outside, so that
neither end has a switch for it.
"""

from __future__ import annotations

import asyncio
import struct
from socket import SO_LINGER, SOL_SOCKET

READ_BYTES = 65_536


class Cable:
    """Listens on the host that it leads to, and passes on whatever connects.

    ``port`` is where; with 0 the system picks one when it is opened first, and it stays that one.
    """

    def __init__(self, host: str, to_port: int, port: int = 0) -> None:
        self.port = port
        #: Seconds that whatever goes either way is under way; who is far away can be lost with it.
        self.delay_s = 0.0
        self._host, self._to_port = host, to_port
        self._is_cut = self._is_lost = False
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Let through what connects; nothing changes where that is so, or where it is cut."""
        if self._server is None and not self._is_cut:
            self._server = await asyncio.start_server(self._connect, self._host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def heal(self) -> None:
        """Let through what connects from now on, whatever was before."""
        self._is_cut = self._is_lost = False
        await self.open()

    def lose(self) -> None:
        """Lose what is under way, and whatever comes before it heals; any thread may say so."""
        self._is_lost = True

    async def cut(self, *, reset: bool = False) -> None:
        """Close what is open, or reset it, and take nothing new until it heals."""
        self._is_cut = True
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for end in list(self._ends):
            if reset:
                at_once = struct.pack("ii", 1, 0)
                end.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, at_once)
            end.transport.abort()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._to_port)
        except OSError:
            writer.transport.abort()
            return
        if self._is_cut:
            # It was cut while this one connected.
            writer.transport.abort()
            far_writer.transport.abort()
            return
        self._ends |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(READ_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self._is_lost:
                    return
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.transport.abort()
            self._ends.discard(sink)
