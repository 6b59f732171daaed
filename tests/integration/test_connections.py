"""Connections of clients, shown and ended in any region; messages that come by no connection."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import botocore.exceptions
import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from mqtt_wire import Wire5
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.core import publishing
from isthmus.wire import mqtt5
from isthmus.wire.packets import Disconnect, Publish, Unsubscribe, Will

pytestmark = pytest.mark.asyncio(loop_scope="module")

ABSENT = "ResourceNotFoundException"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    directory = tmp_path_factory.mktemp("regions")
    async with two_regions(directory, everywhere=("$aws/events/#",), lease_s=2.0) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(regions: Regions) -> Caller:
    return Caller(regions, await a_key(regions), HOME, service="iot-data")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(regions: Regions) -> Caller:
    """Whoever asks in the region where clients of these tests are not."""
    return Caller(regions, await a_key(regions), OTHER, service="iot-data")


def code_of(refused: pytest.ExceptionInfo[botocore.exceptions.ClientError]) -> str:
    return str(refused.value.response["Error"]["Code"])


async def known(call: Caller, client: str, *, connected: bool = True) -> dict[str, Any]:
    """What is said of a client once that is known of it."""
    found: dict[str, Any] = {}

    async def is_said() -> bool:
        found.clear()
        try:
            found.update(await call("get_connection", clientId=client))
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != ABSENT:
                raise
        return found.get("connected") is connected

    await until(f"{client} is said to be connected: {connected}", is_said)
    return found


async def test_a_client_of_one_region_is_shown_and_sent_away_by_the_other(
    regions: Regions, there: Caller
) -> None:
    name = await regions.who_may("is-sent-away", "iot:*")
    async with regions.client(HOME, name, keep_alive_s=77) as wire:
        assert await wire.subscribe("a/+", "b", qos=1) == (1, 1)
        found = await known(there, name)
        assert found["thingName"] == name
        assert (found["keepAliveDuration"], found["cleanSession"]) == (77, True)
        asked = await there("get_connection", clientId=name, includeSocketInformation=True)
        assert (asked["targetIp"], asked["targetPort"]) == regions.place(HOME)
        socket = wire.writer.get_extra_info("sockname")
        assert (asked["sourceIp"], asked["sourcePort"]) == socket
        listed = await there("list_subscriptions", clientId=name)
        assert [each["topicFilter"] for each in listed["subscriptions"]] == ["a/+", "b"]
        kept = await there("delete_connection", clientId=name)
        assert kept["ResponseMetadata"]["HTTPHeaders"]["x-isthmus-replicated"] == "true"
        assert await wire.closed() == []
    ended = await known(there, name, connected=False)
    assert ended["disconnectReason"] == "API_INITIATED_DISCONNECT"
    # Nobody keeps it from coming back.
    async with regions.client(HOME, name) as wire:
        assert (await known(there, name))["connectedSince"] > found["connectedSince"]
        assert await wire.ping() == []


async def test_its_will_and_its_session_are_as_whoever_asks_wants(
    regions: Regions, here: Caller, there: Caller
) -> None:
    name = await regions.who_may("leaves-a-will", "iot:*")
    listener = await regions.who_may("hears-of-wills", "iot:*")
    lasting = mqtt5.ConnectProperties(session_expiry_s=600)
    connect = {"will": Will("wills", b"gone", 1), "clean_session": False}
    async with regions.client(HOME, listener) as hears:
        assert await hears.subscribe("wills", qos=1) == (1,)
        for cleans, silences in ((False, False), (True, True), (False, True)):
            async with regions.wire(HOME, name) as tls:
                wire = Wire5(tls.reader, tls.writer)
                assert await wire.connect(name, properties=lasting, **connect) == 0
                await wire.subscribe("a", qos=1)
                await known(there, name)
                await there(
                    "delete_connection",
                    clientId=name,
                    cleanSession=cleans,
                    preventWillMessage=silences,
                )
                (said,) = await wire.closed()
                assert isinstance(said, Disconnect)
                assert said.code == 0x98
            for call in (here, there):
                await known(call, name, connected=False)
            if cleans:
                with pytest.raises(botocore.exceptions.ClientError) as refused:
                    await here("list_subscriptions", clientId=name)
                assert code_of(refused) == ABSENT
            else:
                listed = await here("list_subscriptions", clientId=name)
                assert listed["subscriptions"] == [{"topicFilter": "a", "qos": 1}]
        # One of three was not to be withheld.
        assert [each.payload for each in await hears.ping() if isinstance(each, Publish)] == [
            b"gone"
        ]
        # Of who is away it is the session that is taken.
        await there("delete_connection", clientId=name, cleanSession=True)
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            await there("delete_connection", clientId=name)
        assert code_of(refused) == ABSENT


async def test_services_that_start_again_show_who_stayed(regions: Regions, here: Caller) -> None:
    name = await regions.who_may("stays-throughout", "iot:*")
    async with regions.client(HOME, name) as wire:
        before = await known(here, name)
        await regions.kill_part(HOME, "services")

        async def is_shown() -> bool:
            try:
                return bool((await here("get_connection", clientId=name))["connected"])
            except botocore.exceptions.ClientError:
                return False

        await until("the services say who is there", is_shown)
        after = await here("get_connection", clientId=name)
        assert after["connectedSince"] == before["connectedSince"]
        assert await wire.ping() == []


# Messages that come by no connection


async def test_a_message_reaches_who_subscribes_and_both_lakes(
    regions: Regions, here: Caller
) -> None:
    name = await regions.who_may("hears-of-the-api", "iot:*")
    async with regions.wire(HOME, name) as tls:
        wire = Wire5(tls.reader, tls.writer)
        assert await wire.connect(name) == 0
        assert await wire.subscribe("from/+", qos=1) == (1,)
        await here("publish", topic="from/it", qos=1, payload=b"1", contentType="text/plain")
        await here("publish", topic="from/it", payload=b"1")
        said = [await wire.expect(Publish) for _ in range(2)]
    assert [(each.payload, each.qos) for each in said] == [(b"1", 1), (b"1", 0)]
    assert said[0].properties is not None
    assert said[0].properties.content_type == "text/plain"
    for region in (HOME, OTHER):
        # They are two, be their contents the same.
        await until(f"{region} has both", lambda region=region: len(_told(regions, region)) == 2)


def _told(regions: Regions, region: str) -> list[str]:
    rows = regions.lake(region, publishing.CLIENT)
    return [row.payload for row in rows if row.topic == "from/it"]


async def test_what_is_retained_is_read_at_once_and_in_the_other_region_soon(
    regions: Regions, here: Caller, there: Caller
) -> None:
    for number in range(5):
        payload = str(number).encode()
        await here("publish", topic="kept", retain=True, payload=payload)
        assert (await here("get_retained_message", topic="kept"))["payload"] == payload

    async def is_there() -> bool:
        found = await there("list_retained_messages")
        return [each["topic"] for each in found["retainedTopics"]] == ["kept"]

    await until("the other region has it", is_there)


async def test_a_key_publishes_as_its_role_may(regions: Regions) -> None:
    key = await a_key(regions, "operator")
    call = Caller(regions, key, HOME, service="iot-data")
    await call("publish", topic="a", payload=b"1")
    for role, request in (("operator", {"retain": True}), ("read-only", {}), ("provisioner", {})):
        call = Caller(regions, await a_key(regions, role), HOME, service="iot-data")
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            await call("publish", topic="a", payload=b"1", **request)
        assert code_of(refused) == "AccessDeniedException"


async def test_without_a_gateway_nobody_is_told_that_a_message_is_safe(
    regions: Regions, here: Caller
) -> None:
    pid = regions.signal(HOME, "gateway", signal.SIGSTOP)
    try:
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            await here("publish", topic="a", payload=b"stopped")
        assert code_of(refused) == "ServiceUnavailableException"
    finally:
        os.kill(pid, signal.SIGCONT)

    async def is_taken() -> bool:
        with contextlib.suppress(botocore.exceptions.ClientError):
            await here("publish", topic="a", payload=b"again")
            return True
        return False

    await until("it is taken again", is_taken)


# What clients subscribe to is said


async def test_what_a_client_subscribes_to_is_said_in_every_region(regions: Regions) -> None:
    name = await regions.who_may("is-heard-of", "iot:*")
    listener = await regions.who_may("hears-of-filters", "iot:*")
    async with regions.client(OTHER, listener) as hears:
        assert await hears.subscribe(f"$aws/events/subscriptions/+/{name}", qos=1) == (1,)

        async def heard() -> tuple[str, list[str]]:
            message = await hears.expect(Publish)
            event = json.loads(message.payload)
            assert message.topic.split("/")[3:] == [event["eventType"], name]
            assert event["principalIdentifier"] == regions.identity(name).certificate_id
            return event["eventType"], event["topics"]

        async with regions.client(HOME, name) as wire:
            # The last one is for nobody.
            await wire.subscribe("a/+", "b", "$aws/no", qos=1)
            assert await heard() == ("subscribed", ["a/+", "b"])
            await wire.subscribe("b")
            assert await heard() == ("subscribed", ["b"])
            wire.send(Unsubscribe(2, ("a/+", "never")))
            assert await heard() == ("unsubscribed", ["a/+"])
        # What ends with its connection is not left.
        async with regions.client(HOME, name) as wire:
            await wire.subscribe("c")
            assert await heard() == ("subscribed", ["c"])


async def test_events_name_the_thing_that_a_certificate_is_attached_to_exclusively(
    regions: Regions,
) -> None:
    name = await regions.who_may("is-nobody-elses", "iot:*")
    listener = await regions.who_may("hears-of-things", "iot:*")
    call = Caller(regions, await a_key(regions))
    (principal,) = (await call("list_thing_principals", thingName=name))["principals"]
    await call("detach_thing_principal", thingName=name, principal=principal)
    await call("create_thing", thingName="the-thing")
    exclusive = {"principal": principal, "thingPrincipalType": "EXCLUSIVE_THING"}
    await call("attach_thing_principal", thingName="the-thing", **exclusive)
    await regions.level()
    async with regions.client(OTHER, listener) as hears:
        assert await hears.subscribe(f"$aws/events/+/+/{name}", qos=1) == (1,)
        async with regions.client(HOME, name) as wire:
            await wire.subscribe("a")
            # The one is said by the region's services, and the other by the gateway.
            heard = [json.loads((await hears.expect(Publish)).payload) for _ in range(2)]
            things = {each["eventType"]: each["thingName"] for each in heard}
            assert things == {"connected": "the-thing", "subscribed": "the-thing"}
