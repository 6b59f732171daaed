"""Who connects and goes is said where it happens, and by whoever is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from mqtt_wire import Wire
from nats.errors import TimeoutError as NatsTimeoutError
from regions import HOME, OTHER, WITHIN_S, Regions, two_regions, until

from isthmus import config as configs
from isthmus import protocol
from isthmus.adapters.nats import connection
from isthmus.aws_server.connectivity import Connectivity
from isthmus.config import RegionConfig
from isthmus.protocol import CONNECTIVITY_MAX
from isthmus.wire import mqtt3, packets
from isthmus.wire.packets import Publish

pytestmark = pytest.mark.asyncio(loop_scope="module")
EVENTS = "$aws/events/presence/+/{}"
#: For how long a gateway may stand still before its clients are told to be gone.
LEASE_S = 5.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    directory = tmp_path_factory.mktemp("regions")
    settings: dict[str, Any] = {"everywhere": ("$aws/events/#",), "lease_s": LEASE_S}
    async with two_regions(directory, cuttable=True, **settings) as started:
        yield started


class Events:
    """The events of one client, as somebody hears them who subscribes to them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.versions: list[int] = []

    async def next(self) -> dict[str, Any]:
        message = await self._wire.expect(Publish)
        self._wire.send(mqtt3.Puback(message.packet_id))
        event = json.loads(message.payload)
        assert message.topic.split("/")[3:] == [event["eventType"], event["clientId"]]
        return event

    async def connected(self) -> dict[str, Any]:
        event = await self.next()
        assert event["eventType"] == "connected", event
        return event

    async def disconnected(self, of: dict[str, Any]) -> str:
        """Why a connection ended, whose event this is."""
        event = await self.next()
        assert event["eventType"] == "disconnected", event
        same = ("clientId", "sessionIdentifier", "principalIdentifier", "versionNumber")
        assert [event[name] for name in same] == [of[name] for name in same]
        return event["disconnectReason"]


@asynccontextmanager
async def hearing(
    regions: Regions, name: str, region: str = HOME, **connect: Any
) -> AsyncIterator[Events]:
    """Somebody who hears of a device."""
    listener = await regions.who_may(f"hears-of-{name}-{region}", "iot:*")
    await regions.who_may(name, "iot:*")
    async with regions.client(region, listener, **connect) as wire:
        assert await wire.subscribe(EVENTS.format(name), qos=1) == (1,)
        yield Events(wire)


async def test_who_connects_and_goes_is_said(regions: Regions) -> None:
    async with hearing(regions, "comes-and-goes") as events:
        async with regions.client(HOME, "comes-and-goes") as wire:
            connected = await events.connected()
            wire.send(mqtt3.Disconnect())
            assert await events.disconnected(connected) == "CLIENT_INITIATED_DISCONNECT"
        assert ip_address(connected["ipAddress"]).is_loopback
        certificate_id = regions.identity("comes-and-goes").certificate_id
        assert connected["principalIdentifier"] == certificate_id
        async with regions.client(HOME, "comes-and-goes") as wire:
            again = await events.connected()
            assert again["versionNumber"] > connected["versionNumber"]
            await wire.abort()
        assert await events.disconnected(again) == "CONNECTION_LOST"


async def test_why_a_client_was_closed_is_said(regions: Regions) -> None:
    async with hearing(regions, "offends") as events:
        async with regions.client(HOME, "offends") as wire:
            connected = await events.connected()
            wire.send(mqtt3.Connect("offends"))
            assert await events.disconnected(connected) == "CLIENT_ERROR"
        async with regions.client(HOME, "offends"), regions.client(HOME, "offends"):
            first = await events.connected()
            assert await events.disconnected(first) == "DUPLICATE_CLIENTID"
            second = await events.connected()
            await regions.operator.revoke(HOME, regions.identity("offends").certificate_id)
            assert await events.disconnected(second) == "AUTH_ERROR"


async def test_a_client_that_goes_to_another_region_has_left_the_first(regions: Regions) -> None:
    async with (
        hearing(regions, "moves") as events,
        hearing(regions, "moves", OTHER) as elsewhere,
        regions.client(HOME, "moves") as wire,
    ):
        first = await events.connected()
        assert await elsewhere.connected() == first
        async with regions.client(OTHER, "moves"):
            # Nobody had to tell the client: it has no session that others know of.
            assert await wire.closed() == []
            heard = [await elsewhere.next(), await elsewhere.next()]
            assert heard[0]["disconnectReason"] == "DUPLICATE_CLIENTID"
            assert heard[1]["eventType"] == "connected"
            assert heard[1]["versionNumber"] > first["versionNumber"]


async def test_the_clients_of_a_killed_gateway_are_said_to_be_gone(regions: Regions) -> None:
    async with (
        hearing(regions, "of-a-killed-one", OTHER) as events,
        regions.client(HOME, "of-a-killed-one"),
    ):
        connected = await events.connected()
        await regions.kill_part(HOME, "gateway")
        assert await events.disconnected(connected) == "SERVER_ERROR"
    await until("home lets in", lambda: regions.admitted(HOME, "of-a-killed-one"))


async def test_a_survivor_says_for_a_dead_region_that_its_clients_are_gone(
    regions: Regions,
) -> None:
    async with (
        hearing(regions, "stays-behind", OTHER) as events,
        regions.client(HOME, "stays-behind"),
    ):
        connected = await events.connected()
        await regions.kill(HOME)
        try:
            assert await events.disconnected(connected) == "SERVER_ERROR"
        finally:
            await regions.system.start(HOME)
            await regions.together()
        await until("home lets in", lambda: regions.admitted(HOME, "stays-behind"))


async def test_who_was_only_cut_off_is_said_to_be_there_again(regions: Regions) -> None:
    async with (
        hearing(regions, "is-cut-off", OTHER) as events,
        regions.client(HOME, "is-cut-off") as wire,
    ):
        connected = await events.connected()
        await regions.system.cut()
        assert await events.disconnected(connected) == "SERVER_ERROR"
        await regions.system.heal()
        again = await events.connected()
        assert again["sessionIdentifier"] == connected["sessionIdentifier"]
        assert again["versionNumber"] > connected["versionNumber"]
        assert await wire.ping() == []
        await wire.abort()
        assert await events.disconnected(again) == "CONNECTION_LOST"
    await regions.together()


async def test_services_that_start_again_know_who_is_there(regions: Regions) -> None:
    async with (
        hearing(regions, "is-there-throughout") as events,
        regions.client(HOME, "is-there-throughout") as stays,
        hearing(regions, "goes-meanwhile") as others,
        regions.client(HOME, "goes-meanwhile") as goes,
    ):
        first, second = await events.connected(), await others.connected()
        await regions.kill_part(HOME, "services")
        await goes.abort()
        assert await others.disconnected(second) == "CONNECTION_LOST"
        # And nothing is said of who stayed: by the time that it goes there would be.
        await stays.abort()
        assert await events.disconnected(first) == "CONNECTION_LOST"


async def test_whatever_dies_the_newest_event_of_each_client_is_right(regions: Regions) -> None:
    names = [f"restless-{number}" for number in range(20)]
    listener = await regions.who_may("hears-of-all", "iot:*")
    for name in names:
        await regions.who_may(name, "iot:*")
    newest: dict[str, tuple[int, bool]] = {}
    is_over, chance = asyncio.Event(), random.Random(1)

    async def hear(wire: Wire) -> None:
        while found := await wire.next():
            assert isinstance(found, Publish)
            wire.send(mqtt3.Puback(found.packet_id))
            event = json.loads(found.payload)
            said = event["versionNumber"], event["eventType"] == "disconnected"
            newest[event["clientId"]] = max(newest.get(event["clientId"], said), said)

    async def come_and_go(name: str) -> None:
        while not is_over.is_set():
            with contextlib.suppress(OSError, AssertionError):
                async with regions.client(chance.choice([HOME, OTHER]), name) as wire:
                    if chance.random() < 0.5:
                        wire.send(mqtt3.Disconnect())
                        await wire.closed()

    async with regions.client(OTHER, listener) as wire, AsyncExitStack() as stack:
        assert await wire.subscribe("$aws/events/presence/+/+", qos=1) == (1,)
        hearing = asyncio.create_task(hear(wire))
        restless = [asyncio.create_task(come_and_go(name)) for name in names]
        for part in ("services", "gateway", "services"):
            heard = len(newest), sum(version for version, _ in newest.values())
            await until("there are news", lambda heard=heard: _differs(newest, heard))
            await regions.kill_part(HOME, part)
            await until("home lets in", lambda: regions.admitted(HOME, "restless-0"))
        is_over.set()
        await asyncio.gather(*restless)
        for number, name in enumerate(names[:10]):

            async def stays(region: str = (HOME, OTHER)[number % 2], name: str = name) -> bool:
                with contextlib.suppress(OSError, AssertionError):
                    await stack.enter_async_context(regions.client(region, name))
                    return True
                return False

            await until(f"{name} is let in", stays)
        wanted = {name: number >= 10 for number, name in enumerate(names)}

        async def is_right() -> bool:
            return {name: newest[name][1] for name in names if name in newest} == wanted

        await until("all is known", is_right)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def _differs(newest: dict[str, tuple[int, bool]], before: tuple[int, int]) -> bool:
    return (len(newest), sum(version for version, _ in newest.values())) != before


async def test_a_gateway_that_knows_of_others_than_the_services_do_is_asked(
    regions: Regions,
) -> None:
    config = configs.load(regions.system.region_dir(HOME) / "region.toml", RegionConfig)
    client = await connection.connect(config.gateway_nats, name="gateway")
    try:
        asked = await client.subscribe("region.census")
        told = protocol.PresenceTold("elsewhere", [], "0")
        await client.publish("region.presence", protocol.encode(told))
        other = msgspec.structs.replace(told, digest="1")
        await client.publish("region.presence", protocol.encode(other))
        # The gateway that really is there may be asked as well.
        async with asyncio.timeout(WITHIN_S):
            while True:
                request = await asked.next_msg(WITHIN_S)
                if protocol.decode(request.data, protocol.CensusRequest).gateway == "elsewhere":
                    break
    finally:
        await client.close()


async def test_an_api_is_told_who_is_connected_in_any_region_and_who_has_gone(
    regions: Regions,
) -> None:
    here, there = (
        await regions.who_may("asked-1", "iot:*"),
        await regions.who_may("asked-2", "iot:*"),
    )
    config = regions.config(HOME)
    assert config.aws_api is not None
    client = await connection.connect(config.aws_api.nats, name="api")
    asking = Connectivity(client)

    async def are_connected(*names: str) -> bool:
        found = await asking.connected("asked-")
        return [each.client for each in found if each.client.startswith("asked-")] == list(names)

    try:
        async with regions.client(OTHER, there):
            async with regions.client(HOME, here) as wire:
                await until("both are there", lambda: are_connected(here, there))
                behind = await asking.connected(here)
                assert here not in {each.client for each in behind}
                wire.send(mqtt3.Disconnect())
                await until("one has gone", lambda: are_connected(there))
            known = {each.client: each for each in await asking.known([here, there, "nobody"])}
        assert known.keys() == {here, there}
        assert known[there].region == OTHER
        assert not known[there].has_ended
        gone = known[here]
        assert (gone.has_ended, gone.reason) == (True, "CLIENT_INITIATED_DISCONNECT")
        assert gone.ended_ms >= gone.present.at_ms
        many = [here, *(f"nobody-{number}" for number in range(2 * CONNECTIVITY_MAX)), there]
        assert [each.client for each in await asking.known(many)] == [here, there]
        # Nothing is answered to what is no question, and the next one is.
        with pytest.raises(NatsTimeoutError):
            await client.request("region.connectivity", b"not JSON", timeout=0.2)
        assert await asking.known(["nobody"]) == []
    finally:
        await client.close()


async def test_nobody_else_says_it(regions: Regions) -> None:
    name = await regions.who_may("pretends", "iot:*")
    async with regions.client(HOME, name) as wire:
        wire.send(Publish("$aws/events/presence/connected/victim", b"{}", 0))
        assert await wire.closed() == []


@pytest.mark.parametrize(
    ("may", "will"), [("iot:Publish", None), ("iot:Connect", packets.Will("a/b", b"gone"))]
)
async def test_a_connect_that_policies_deny_is_heard_of(
    regions: Regions, may: str, will: packets.Will | None
) -> None:
    listener = await regions.who_may("hears-of-the-denied", "iot:*")
    name = await regions.who_may(f"may-{may[4:].lower()}", may)
    async with regions.client(HOME, listener) as wire:
        topic = f"$aws/events/presence/connect_failed/{name}"
        assert await wire.subscribe(topic, qos=1) == (1,)
        async with regions.wire(HOME, name) as denied:
            assert await denied.connect(name, will=will) == 5
            assert await denied.closed() == []
        event = await Events(wire).next()
        assert event.pop("timestamp") > 0
        assert len(event.pop("sessionIdentifier")) == 16
        assert ip_address(event.pop("ipAddress")).is_loopback
        assert event == {
            "clientId": name,
            "eventType": "connect_failed",
            "connectFailureReason": "AUTHORIZATION_FAILED",
            "principalIdentifier": regions.identity(name).certificate_id,
        }
