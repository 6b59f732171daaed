"""A client that asks a region for shadows by MQTT, and knows each answer by its token."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from isthmus.bench.client import Faults, MqttClient
from isthmus.bench.plan import Client
from isthmus.core import shadow_topics
from isthmus.core.shadow_topics import ACCEPTED, GET, REJECTED, UPDATE
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import BrokenInvariant, Unavailable
from isthmus.wire import mqtt3
from isthmus.wire.mqtt3_encode import encode, encode_publish
from isthmus.wire.packets import Filter, Puback, Publish, Suback, Subscribe

#: Requests of one client under way: within AWS's quota for the shadows of one thing.
WINDOW = 4
#: Until an answer must be there: longer than a region may take for its promise.
ANSWER_S = 15.0


class ShadowClient(MqttClient):
    """One connection, for the named shadows of one thing."""

    def __init__(self, client: Client, faults: Faults, thing: str) -> None:
        super().__init__(client, faults)
        self._thing = thing
        self._decoder = mqtt3.Decoder()
        self._window = asyncio.Semaphore(WINDOW)
        self._sent = 0
        self._subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def subscribe(self) -> None:
        """Hear of answers; to be done before anything is asked."""
        # At QoS 1, as an answer that is dropped would leave open what became of an update.
        filters = tuple(
            Filter(f"$aws/things/{self._thing}/shadow/name/+/{what}/{last}", 1)
            for what in (GET, UPDATE)
            for last in (ACCEPTED, REJECTED)
        )
        self.write(encode(Subscribe(1, filters)))
        async with asyncio.timeout(ANSWER_S):
            await self._subscribed

    async def get(self, key: str) -> dict[str, Any]:
        """The document of a shadow, as GetThingShadow answers it."""
        return await self._ask(key, GET, {})

    async def update(self, key: str, state: dict[str, Any]) -> int:
        """Update a shadow; returns the version that its region accepted it as."""
        version: int = (await self._ask(key, UPDATE, {"state": state}))["version"]
        return version

    async def _ask(self, key: str, what: str, said: dict[str, Any]) -> dict[str, Any]:
        """Ask when it is this one's turn; raises Unavailable for a refusal, and for silence."""
        async with self._window:
            self._sent += 1
            token = f"{self.client.client_id}/{self._sent}"
            answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            self._asked[token] = answer
            payload = msgspec.json.encode({**said, "clientToken": token})
            packet_id = self._sent % 0xFFFF + 1
            topic = shadow_topics.told(key, what, ACCEPTED).rpartition("/")[0]
            self.write(encode_publish(topic, payload, qos=1, packet_id=packet_id))
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await answer
            except TimeoutError:
                self.faults.check()
                reason = f"{what} of {key} has no answer after {ANSWER_S:.0f} s"
                raise Unavailable(f"{self.client.client_id}: {reason}") from None
            finally:
                del self._asked[token]

    def received(self, data: bytes) -> None:
        for packet in self._decoder.feed(data):
            if isinstance(packet, Publish):
                if packet.qos:
                    self.write(encode(Puback(packet.packet_id)))
                self._heard(packet)
            elif isinstance(packet, Suback):
                self._subscribed.set_result(None)

    def _heard(self, packet: Publish) -> None:
        try:
            said = msgspec.json.decode(packet.payload, type=dict[str, Any])
        except UNDECODABLE:
            raise BrokenInvariant(f"{packet.payload[:80]!r} answers nothing") from None
        # What others have updated is told to everybody who listens.
        answer = self._asked.get(said.get("clientToken", ""))
        if answer is None or answer.done():
            return
        if packet.topic.endswith(ACCEPTED):
            answer.set_result(said)
        else:
            reason = f"{packet.topic}: {said.get('code')} {said.get('message')}"
            answer.set_exception(Unavailable(reason))
