"""Clients for every way into a gateway: paho, aiohttp's WebSocket, and bare connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import paho.mqtt.client as paho
from mqtt_wire import Wire
from paho.mqtt.enums import CallbackAPIVersion

from isthmus.config import Listen
from isthmus.wire import mqtt3

ANSWER_S = 20.0


@asynccontextmanager
async def dialled(
    listen: Listen | None, tls: ssl.SSLContext | None = None, name: str = ""
) -> AsyncIterator[Wire]:
    """A connection to one of a gateway's listeners."""
    assert listen is not None
    wire = await Wire.open(listen.host, listen.port, tls, name or listen.host)
    try:
        yield wire
    finally:
        await wire.abort()


class Paho:
    """A paho client that is connected, and hears what it says."""

    def __init__(
        self, name: str, listen: Listen, tls: ssl.SSLContext | None = None, **options: Any
    ) -> None:
        self._listen = listen
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, name, reconnect_on_failure=False, **options
        )
        if tls is not None:
            self._client.tls_set_context(tls)
        loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

        def tell(what: str, heard: object) -> None:
            loop.call_soon_threadsafe(self._events.put_nowait, (what, heard))

        self._client.on_connect = lambda *said: tell("connected", said[3].value)
        self._client.on_subscribe = lambda *said: tell("subscribed", said[2])
        self._client.on_message = lambda *said: tell("message", said[2].payload)

    async def _next(self) -> tuple[str, Any]:
        async with asyncio.timeout(ANSWER_S):
            return await self._events.get()

    async def __aenter__(self) -> Paho:
        await asyncio.to_thread(self._client.connect, self._listen.host, self._listen.port)
        self._client.loop_start()
        assert await self._next() == ("connected", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def echo(self, topic: str, payload: bytes = b"echo") -> None:
        """Subscribe to a topic, publish to it, and hear it."""
        await self.subscribe(topic)
        self._client.publish(topic, payload, 1)
        assert await self.hear() == payload

    async def subscribe(self, topic_filter: str) -> None:
        self._client.subscribe(topic_filter, 1)
        assert (await self._next())[0] == "subscribed"

    async def hear(self) -> bytes:
        """The payload of the next message."""
        what, payload = await self._next()
        assert what == "message"
        return bytes(payload)


class WebSocket:
    """aiohttp's client of WebSocket: frames are written as they are told, packets are read."""

    def __init__(self, frames: aiohttp.ClientWebSocketResponse) -> None:
        self.frames = frames
        self._decoder = mqtt3.Decoder()
        self._received: list[mqtt3.Packet] = []

    async def send(self, *found: mqtt3.Packet) -> None:
        """All of them in one frame."""
        await self.frames.send_bytes(b"".join(mqtt3.encode(each) for each in found))

    async def next(self) -> mqtt3.Packet | None:
        """The next packet; None when the gateway has closed the WebSocket."""
        while not self._received:
            message = await self.frames.receive(ANSWER_S)
            if message.type is not aiohttp.WSMsgType.BINARY:
                return None
            self._received.extend(self._decoder.feed(message.data))
        return self._received.pop(0)

    async def connect(self, client_id: str, **fields: Any) -> int:
        await self.send(mqtt3.Connect(client_id, **fields))
        answer = await self.next()
        assert isinstance(answer, mqtt3.Connack), answer
        return answer.return_code

    def abort(self) -> None:
        """Reset the connection: no close frame, no close_notify."""
        transport = self.frames.get_extra_info("socket")
        assert transport is not None
        self.frames._response.connection.transport.abort()  # type: ignore[union-attr]


@asynccontextmanager
async def websocket(
    listen: Listen, tls: ssl.SSLContext, path: str = "/mqtt", **options: Any
) -> AsyncIterator[WebSocket]:
    """A WebSocket that pings and closes only when it is told to."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"https://{listen}{path}",
            ssl=tls,
            **{"protocols": ("mqtt",), "autoping": False, "autoclose": False, **options},
        ) as frames,
    ):
        yield WebSocket(frames)
