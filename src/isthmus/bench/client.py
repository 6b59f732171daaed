"""One MQTT 3.1.1 client of the generator: connects, and hands on what comes after CONNACK."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from functools import cache
from itertools import cycle
from typing import Protocol, TypeVar, cast

from isthmus.bench.plan import Client
from isthmus.errors import BrokenInvariant, Unavailable
from isthmus.tasks import end
from isthmus.wire import mqtt3_encode, packets

C = TypeVar("C", bound="MqttClient")

CONNACK_BYTES = 4
ACCEPTED = mqtt3_encode.encode_connack(False, 0)
DISCONNECT = mqtt3_encode.encode(packets.Disconnect())
KEEP_ALIVE_S = 1_200
CONNECT_TIMEOUT_S = 30.0
#: Handshakes at once while connections are made that others wait for.
CONNECTING_AT_ONCE = 32


class Faults:
    """The first thing that went wrong, which ends a load."""

    def __init__(self) -> None:
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self, reason: str) -> None:
        if not self._first.done():
            self._first.set_exception(Unavailable(reason))

    async def during(self, seconds: float) -> None:
        """Wait; raises Unavailable as soon as something goes wrong."""
        await asyncio.wait({self._first}, timeout=seconds)
        self.check()

    async def until(self, awaited: Iterable[asyncio.Future[None]], seconds: float) -> bool:
        """Wait for all of these, as long as nothing goes wrong; False if that takes too long."""

        async def all_of_them() -> None:
            for each in awaited:
                await each

        waiting = asyncio.create_task(all_of_them())
        either: set[asyncio.Future[None]] = {self._first, waiting}
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        is_over = waiting.done()
        await end([waiting])
        self.check()
        return is_over

    def check(self) -> None:
        if self._first.done():
            self._first.result()


class MqttClient(asyncio.Protocol):
    """A connection; ``received`` is what a load does with what comes."""

    def __init__(self, client: Client, faults: Faults) -> None:
        self.client = client
        self.faults = faults
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._head = b""
        self._leaving = False

    def received(self, data: bytes) -> None:
        """Take bytes that came after CONNACK."""
        raise BrokenInvariant(f"nothing was asked for, and {data[:16].hex(' ')} came")

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        connect = packets.Connect(
            client_id=self.client.client_id, keep_alive_s=KEEP_ALIVE_S, clean_session=True
        )
        self.transport.write(mqtt3_encode.encode_connect(connect))

    def data_received(self, data: bytes) -> None:
        if not self.accepted.done():
            self._head += data
            if len(self._head) < CONNACK_BYTES:
                return
            connack, data = self._head[:CONNACK_BYTES], self._head[CONNACK_BYTES:]
            if connack != ACCEPTED:
                self._fail(f"CONNECT was answered {connack.hex(' ')}")
                return
            self.accepted.set_result(None)
        if data:
            try:
                self.received(data)
            except BrokenInvariant as error:
                self._fail(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if not self._leaving:
            self._fail(f"the server closed the connection{f': {error!r}' if error else ''}")

    def _fail(self, reason: str) -> None:
        reason = f"{self.client.client_id}: {reason}"
        if not self.accepted.done():
            self.accepted.set_exception(Unavailable(reason))
        else:
            self.faults.tell(reason)
        self.leave()

    # What a load does

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def leave(self) -> None:
        """DISCONNECT, and close."""
        self._leaving = True
        if self.transport is not None:
            self.transport.write(DISCONNECT)
            self.transport.close()


class Server(Protocol):
    """Where clients connect; the fields are those of a ``LoadPlan``."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def hostname(self) -> str: ...
    @property
    def ca_file(self) -> str: ...
    @property
    def sources(self) -> tuple[str, ...]: ...


class Dialler:
    """Connects clients to one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._tls = cache(self._make_tls)
        self._sources = cycle([(host, 0) for host in server.sources] or [None])

    def _make_tls(self, certificate: str, key: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self._server.ca_file)
        context.load_cert_chain(certificate, key)
        return context

    async def connect(self, client: C) -> C:
        """Handshake, CONNECT, CONNACK. Raises Unavailable with what went wrong."""
        server, spec = self._server, client.client
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(
                    lambda: client,
                    server.host,
                    server.port,
                    ssl=self._tls(spec.certificate, spec.key),
                    server_hostname=server.hostname,
                    local_addr=next(self._sources),
                )
                await client.accepted
        except TimeoutError:
            reason = f"no CONNACK within {CONNECT_TIMEOUT_S:.0f} s"
            raise Unavailable(f"{spec.client_id}: {reason}") from None
        except OSError as error:
            raise Unavailable(f"{spec.client_id} cannot connect: {error!r}") from None
        return client

    async def connect_all(self, clients: Iterable[MqttClient]) -> None:
        """Connect many, a few at once."""
        waiting = iter(clients)

        async def work() -> None:
            for each in waiting:
                await self.connect(each)

        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTING_AT_ONCE):
                group.create_task(work())
