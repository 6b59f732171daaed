"""Clients of shadows as people use them, each asked for the same things in its own words."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, Protocol

import paho.mqtt.client as paho
from aws_clients import Caller
from aws_sdk import WITHIN_S, answered, sdk_connection
from awscrt import mqtt
from awscrt.mqtt_request_response import ClientOptions
from awsiot import ServiceStreamOptions, V2ServiceException, iotshadow
from botocore.exceptions import ClientError
from regions import Regions, until
from shadow_clients import document

#: What awsiotsdk's client of requests may do at once.
OPTIONS = {"max_request_response_subscriptions": 6, "max_streaming_subscriptions": 2}


class Seen(NamedTuple):
    """A shadow, as a client shows it; what is not there is None or left out, by its ways."""

    desired: dict[str, Any]
    reported: dict[str, Any]
    version: int


class Refused(Exception):
    """A client says that it was refused, with a code."""


class Device(Protocol):
    """One client of one thing's classic shadow."""

    name: str
    #: What is left to do, with the version of which that is said; None where it never hears.
    deltas: asyncio.Queue[tuple[dict[str, Any], int]] | None

    async def update(self, **sections: Any) -> int:
        """Update the shadow; its version."""
        ...

    async def get(self) -> Seen:
        """Read the shadow; raises Refused."""
        ...


class Heard(asyncio.Queue[Any]):
    """What a thread of a client's own says."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def say(self, value: Any) -> None:
        self._loop.call_soon_threadsafe(self.put_nowait, value)


def seen(state: Any, version: int) -> Seen:
    """As the SDK's classes have it."""
    return Seen(state.desired or {}, state.reported or {}, version)


class SdkV2:
    """awsiot.iotshadow's newer client, over MQTT 5."""

    name = "sdk-v2"

    def __init__(self, client: iotshadow.IotShadowClientV2, thing: str) -> None:
        self._client = client
        self._thing = thing
        self.deltas = Heard()

    async def hear(self) -> None:
        loop, subscribed = asyncio.get_running_loop(), asyncio.Event()
        self._stream = self._client.create_shadow_delta_updated_stream(
            iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name=self._thing),
            ServiceStreamOptions(
                incoming_event_listener=lambda event: self.deltas.say((event.state, event.version)),
                subscription_status_listener=lambda _: loop.call_soon_threadsafe(subscribed.set),
            ),
        )
        self._stream.open()
        await asyncio.wait_for(subscribed.wait(), WITHIN_S)

    async def update(self, **sections: Any) -> int:
        request = iotshadow.UpdateShadowRequest(
            thing_name=self._thing, state=iotshadow.ShadowState(**sections)
        )
        return int((await answered(self._client.update_shadow(request))).version)

    async def get(self) -> Seen:
        request = iotshadow.GetShadowRequest(thing_name=self._thing)
        try:
            found = await answered(self._client.get_shadow(request))
        except V2ServiceException as error:
            raise Refused(error.modeled_error.code) from None
        return seen(found.state, found.version)


class SdkV1:
    """awsiot.iotshadow's older client, over MQTT 3.1.1: its answers are events, told by tokens."""

    name = "sdk-v1"

    def __init__(self, client: iotshadow.IotShadowClient, thing: str) -> None:
        self._client = client
        self._thing = thing
        self.deltas = Heard()
        self._answers = Heard()

    async def hear(self) -> None:
        client, qos = self._client, mqtt.QoS.AT_LEAST_ONCE
        update = iotshadow.UpdateShadowSubscriptionRequest(thing_name=self._thing)
        get = iotshadow.GetShadowSubscriptionRequest(thing_name=self._thing)
        delta = iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name=self._thing)
        for subscribe, request, callback in (
            (client.subscribe_to_update_shadow_accepted, update, self._answers.say),
            (client.subscribe_to_update_shadow_rejected, update, self._answers.say),
            (client.subscribe_to_get_shadow_accepted, get, self._answers.say),
            (client.subscribe_to_get_shadow_rejected, get, self._answers.say),
            (
                client.subscribe_to_shadow_delta_updated_events,
                delta,
                lambda event: self.deltas.say((event.state, event.version)),
            ),
        ):
            await answered(subscribe(request, qos, callback)[0])

    async def _asked(self, publish: Callable[..., Any], request: Any) -> Any:
        request.client_token = str(uuid.uuid4())
        await answered(publish(request, mqtt.QoS.AT_LEAST_ONCE))
        async with asyncio.timeout(WITHIN_S):
            while (found := await self._answers.get()).client_token != request.client_token:
                pass
        if isinstance(found, iotshadow.ErrorResponse):
            raise Refused(found.code)
        return found

    async def update(self, **sections: Any) -> int:
        state = iotshadow.ShadowState(**sections)
        request = iotshadow.UpdateShadowRequest(thing_name=self._thing, state=state)
        return int((await self._asked(self._client.publish_update_shadow, request)).version)

    async def get(self) -> Seen:
        request = iotshadow.GetShadowRequest(thing_name=self._thing)
        found = await self._asked(self._client.publish_get_shadow, request)
        return seen(found.state, found.version)


class Paho:
    """paho, on the bare topics."""

    name = "paho"

    def __init__(self, client: paho.Client, thing: str) -> None:
        self._client = client
        self._root = f"$aws/things/{thing}/shadow"
        self.deltas = Heard()
        self._answers = Heard()
        self._subscribed = Heard()
        client.on_message = self._on_message
        client.on_subscribe = lambda *_: self._subscribed.say(None)

    async def hear(self) -> None:
        self._client.subscribe(f"{self._root}/#", 1)
        await asyncio.wait_for(self._subscribed.get(), WITHIN_S)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        said = json.loads(message.payload)
        last = message.topic.removeprefix(self._root + "/")
        if last == "update/delta":
            self.deltas.say((said["state"], said["version"]))
        elif last.endswith(("/accepted", "/rejected")):
            self._answers.say(said)

    async def _asked(self, what: str, **members: Any) -> Any:
        token = str(uuid.uuid4())
        self._client.publish(
            f"{self._root}/{what}", json.dumps({**members, "clientToken": token}), 1
        )
        async with asyncio.timeout(WITHIN_S):
            while (found := await self._answers.get()).get("clientToken") != token:
                pass
        if "code" in found:
            raise Refused(found["code"])
        return found

    async def update(self, **sections: Any) -> int:
        return int((await self._asked("update", state=sections))["version"])

    async def get(self) -> Seen:
        return from_document(await self._asked("get"))


class Boto:
    """boto3's iot-data."""

    name = "boto3"
    deltas = None

    def __init__(self, caller: Caller, thing: str) -> None:
        self._caller = caller
        self._thing = thing

    async def update(self, **sections: Any) -> int:
        payload = json.dumps({"state": sections})
        answer = await self._caller("update_thing_shadow", thingName=self._thing, payload=payload)
        return int(json.loads(answer["payload"].read())["version"])

    async def get(self) -> Seen:
        try:
            return from_document(await document(self._caller, self._thing))
        except ClientError as error:
            raise Refused(error.response["ResponseMetadata"]["HTTPStatusCode"]) from None


def from_document(found: dict[str, Any]) -> Seen:
    state = found["state"]
    return Seen(state.get("desired", {}), state.get("reported", {}), found["version"])


@asynccontextmanager
async def _paho(regions: Regions, region: str, name: str, client_id: str) -> AsyncIterator[Any]:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id)
    identity, connected = regions.identity(name), Heard()
    client.tls_set(str(regions.system.pki.ca_file), str(identity.chain), str(identity.key))
    client.on_connect = lambda *_: connected.say(None)
    client.connect_async(*regions.place(region))
    client.loop_start()
    try:
        await asyncio.wait_for(connected.get(), WITHIN_S)
        yield client
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


@asynccontextmanager
async def devices(
    regions: Regions, region: str, name: str, thing: str, caller: Caller
) -> AsyncIterator[list[Device]]:
    """One of each, connected to a region with one certificate; ``caller`` signs there."""
    await until(f"{region} lets {name} in", lambda: regions.admitted(region, name))
    identity = regions.identity(name)
    files = identity.chain, identity.key
    options = ClientOptions(**OPTIONS, operation_timeout_in_seconds=int(WITHIN_S))
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        five = await enter(sdk_connection(regions, region, *files, 5, f"{thing}-v2-{region}"))
        three = await enter(sdk_connection(regions, region, *files, 3, f"{thing}-v1-{region}"))
        bare = await enter(_paho(regions, region, name, f"{thing}-paho-{region}"))
        found = [
            SdkV2(iotshadow.IotShadowClientV2(five, options), thing),
            SdkV1(iotshadow.IotShadowClient(three), thing),
            Paho(bare, thing),
        ]
        for each in found:
            await each.hear()
        yield [*found, Boto(caller, thing)]
