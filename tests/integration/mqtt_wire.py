"""A client of the tests: one socket and our codec, packet by packet, and nothing by itself.

``Wire`` speaks MQTT 3.1.1, and ``Wire5`` the other version.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, ClassVar, Self, TypeVar

from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt3, mqtt5

T = TypeVar("T")

#: What ``connect`` answers where the gateway closed the connection without a CONNACK.
CLOSED = -1
ANSWER_S = 20.0
RETRY_S = 0.05


class Wire:
    """One connection."""

    codec: ClassVar[ModuleType] = mqtt3

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._decoder = self.codec.Decoder()
        #: How the connection ended, for whoever did not expect it.
        self.ended = "the gateway closed the connection"
        self._received: deque[mqtt3.Packet] = deque()

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext | None, name: str) -> Self:
        name = {"server_hostname": name} if tls else {}
        return cls(*await asyncio.open_connection(host, port, ssl=tls, **name))

    def send(self, *found: mqtt3.Packet) -> None:
        self.writer.write(b"".join(self.codec.encode(each) for each in found))

    async def next(self) -> mqtt3.Packet | None:
        """The next packet; None when the gateway has closed the connection."""
        async with asyncio.timeout(ANSWER_S):
            while not self._received:
                try:
                    data = await self.reader.read(65_536)
                except OSError as error:
                    self.ended = repr(error)
                    return None
                if not data:
                    return None
                self._received.extend(self._decoder.feed(data))
        return self._received.popleft()

    async def expect(self, kind: type[T]) -> T:
        found = await self.next()
        assert type(found) is kind, found or self.ended
        return found

    async def connect(self, client_id: str, **fields: Any) -> int:
        """CONNECT; returns the code of the CONNACK."""
        self.send(mqtt3.Connect(client_id, **fields))
        answer = await self.next()
        if answer is None:
            return CLOSED
        assert isinstance(answer, mqtt3.Connack)
        return answer.return_code

    async def publish(self, topic: str, payload: bytes = b"x", packet_id: int = 1) -> None:
        """Publish at QoS 1, and wait for the PUBACK."""
        self.send(mqtt3.Publish(topic, payload, 1, packet_id=packet_id))
        assert (await self.expect(mqtt3.Puback)).packet_id == packet_id

    async def subscribe(self, *filters: str, qos: int = 0) -> tuple[int, ...]:
        """Subscribe; returns the codes of the SUBACK."""
        self.send(mqtt3.Subscribe(1, tuple(mqtt3.Filter(each, qos) for each in filters)))
        before = []
        # What is subscribed to may arrive before it is said so (3.8.4).
        while isinstance(found := await self.next(), mqtt3.Publish):
            before.append(found)
        self._received.extendleft(reversed(before))
        assert isinstance(found, mqtt3.Suback), found or self.ended
        return found.codes

    async def ping(self) -> list[mqtt3.Packet]:
        """What the gateway had sent by the time it answered a PINGREQ that is sent now."""
        self.send(mqtt3.Pingreq())
        before = []
        while not isinstance(found := await self.next(), mqtt3.Pingresp):
            assert found is not None, "closed"
            before.append(found)
        return before

    async def closed(self) -> list[mqtt3.Packet]:
        """Wait until the gateway closes the connection; returns what it still said."""
        said = []
        while (found := await self.next()) is not None:
            said.append(found)
        return said

    async def abort(self) -> None:
        """Reset the connection: no DISCONNECT, no close_notify."""
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Wire5(Wire):
    """One connection of MQTT 5."""

    codec = mqtt5


class Sender:
    """Publishes 0, 1, 2 ... at QoS 1; reconnects, and sends again what was not acknowledged."""

    def __init__(self, name: str, topic: str, open_wire: Callable[[], Awaitable[Wire]]) -> None:
        self.name = name
        self._topic = topic
        self._open = open_wire
        self._wire: Wire | None = None
        self._next = 0
        self._waiting: dict[int, int] = {}
        self._idle = asyncio.Event()
        #: Numbers in the order of their acknowledgements, and how often a region let it in.
        self.acked: list[int] = []
        self.connections = 0

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            with contextlib.suppress(OSError, MalformedPacket):
                wire = await self._open()
                try:
                    await self._session(wire)
                finally:
                    self._wire = None
                    await wire.abort()
            await asyncio.sleep(RETRY_S)

    async def _session(self, wire: Wire) -> None:
        if await wire.connect(self.name) != 0:
            return
        self.connections += 1
        self._wire = wire
        for number in self._waiting.values():
            self._send(number)
        while True:
            try:
                found = await wire.next()
            except TimeoutError:
                continue
            if found is None:
                return
            assert isinstance(found, mqtt3.Puback), found
            number = self._waiting.pop(found.packet_id, None)
            if number is not None:
                self.acked.append(number)
            if not self._waiting:
                self._idle.set()

    def _send(self, number: int) -> None:
        assert self._wire
        payload = json.dumps({"seq": number}).encode()
        self._wire.send(mqtt3.Publish(self._topic, payload, 1, packet_id=number + 1))

    def publish(self, count: int = 1) -> None:
        self._idle.clear()
        for _ in range(count):
            number, self._next = self._next, self._next + 1
            self._waiting[number + 1] = number
            if self._wire is not None:
                self._send(number)

    async def settled(self) -> None:
        """Wait until everything published is acknowledged."""
        if self._waiting:
            async with asyncio.timeout(2 * ANSWER_S):
                await self._idle.wait()

    async def publish_until(self, done: asyncio.Event, pause_s: float = 0.005) -> None:
        """Publish at a steady pace until something has happened."""
        while not done.is_set():
            self.publish()
            await asyncio.sleep(pause_s)
