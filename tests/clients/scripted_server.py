"""A server over TLS that does what a test says, packet by packet."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Literal, TypeVar

from client_programs import ANSWER_S, Place

from isthmus.adapters.pki import Pki
from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt
from isthmus.wire.packets import Connack, Connect, Packet, Pingreq, Pingresp
from isthmus.wire.reason_codes import ReasonCode

T = TypeVar("T")

HOST = "127.0.0.1"
#: The ways in which the server's side of a connection ends: a reset, the end of TCP alone, as
#: where a process is killed, and the end of TLS before it.
End = Literal["reset", "killed", "closed"]


class Connection:
    """One connection, whose CONNECT has come and is not answered yet."""

    def __init__(
        self, writer: asyncio.StreamWriter, decoder: mqtt.ServerDecoder, connect: Connect
    ) -> None:
        self.connect = connect
        self._writer = writer
        self._codec = mqtt.CODECS[decoder.level]
        self.heard: asyncio.Queue[Packet] = asyncio.Queue()
        #: The client has closed its side, and so knows that there is no connection any more.
        self.gone = asyncio.Event()

    def send(self, *found: Packet) -> None:
        self._writer.write(b"".join(self._codec.encode(each) for each in found))

    def accept(self, *, session_present: bool = False) -> None:
        self.send(Connack(session_present, 0))

    def refuse(self) -> None:
        """As a server does that is not ready yet."""
        self.send(Connack(False, ReasonCode.SERVER_UNAVAILABLE))
        self.end("closed")

    async def next(self) -> Packet:
        async with asyncio.timeout(ANSWER_S):
            return await self.heard.get()

    async def expects(self, kind: type[T]) -> T:
        """The next packet of this kind."""
        while not isinstance(found := await self.next(), kind):
            pass
        return found

    def end(self, how: End) -> None:
        if how == "closed":
            self._writer.close()
            return
        if how == "reset":
            at_once = struct.pack("ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, at_once)
        self._writer.transport.abort()


class ScriptedServer:
    """Listens, and hands out connections by the client's id."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki
        self._connections: defaultdict[str, asyncio.Queue[Connection]] = defaultdict(asyncio.Queue)
        self._handling: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tls = self._make_tls()
        self._server: asyncio.Server
        self._port = 0

    async def listen(self) -> None:
        """Take connections, always at the same place."""
        self._server = await asyncio.start_server(self._handle, HOST, self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]

    def do_not_listen(self) -> None:
        self._server.close()

    async def stop(self) -> None:
        self._server.close()
        for each in self._writers:
            each.transport.abort()
        await asyncio.gather(*self._handling)

    def _make_tls(self) -> ssl.SSLContext:
        identity = self._pki.gateway("scripted", ["localhost"], [HOST])
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(self._pki.devices_ca_file)
        )
        context.load_cert_chain(str(identity.chain), str(identity.key))
        # The AWS SDK leaves where nobody asks for its certificate.
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    def place(self) -> Place:
        device = self._pki.device("scripted")
        files = (self._pki.ca_file, Path(device.certificate), Path(device.key))
        return Place(HOST, self._port, *files)

    async def accepts(self, client_id: str, within_s: float = ANSWER_S) -> Connection:
        """The next connection under this id; raises TimeoutError."""
        async with asyncio.timeout(within_s):
            return await self._connections[client_id].get()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)
        self._writers.add(writer)
        decoder = mqtt.ServerDecoder()
        connection: Connection | None = None
        try:
            with contextlib.suppress(OSError, MalformedPacket):
                while data := await reader.read(65_536):
                    for packet in decoder.feed(data):
                        if isinstance(packet, Connect):
                            connection = Connection(writer, decoder, packet)
                            self._connections[packet.client_id].put_nowait(connection)
                        elif isinstance(packet, Pingreq) and connection:
                            connection.send(Pingresp())
                        elif connection:
                            connection.heard.put_nowait(packet)
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            if connection:
                connection.gone.set()


@asynccontextmanager
async def scripted_server(pki: Pki) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(pki)
    await server.listen()
    try:
        yield server
    finally:
        await server.stop()
