"""A session follows its device: to another gateway process, and to another region."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from mqtt_wire import Wire, Wire5
from regions import HOME, OTHER, Regions, two_regions, until
from second_gateway import Second, second_gateway

from isthmus.core import sessions
from isthmus.core.sessions import SESSION
from isthmus.tasks import end
from isthmus.wire import mqtt3, mqtt5
from isthmus.wire.packets import Publish
from isthmus.wire.properties import ConnectProperties, DisconnectProperties

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), aws_api=False) as started:
        yield started


class Listener:
    """A device with a session of MQTT 3.1.1 that lasts; wherever it connects, it goes on."""

    def __init__(self, regions: Regions, name: str) -> None:
        self.regions = regions
        self.name = name
        self.filter = f"to/{name}/#"

    @asynccontextmanager
    async def wire(self, region: str = HOME, gateway: Second | None = None) -> AsyncIterator[Wire]:
        place = self.regions.place(region)
        if gateway is not None:
            place = gateway.config.mqtt.host, gateway.config.mqtt.port
        tls = self.regions.tls(self.regions.identity(self.name))
        wire = await Wire.open(*place, tls, self.regions.system.hostname(region))
        try:
            yield wire
        finally:
            await wire.abort()

    @asynccontextmanager
    async def connected(
        self, region: str = HOME, *, is_present: bool = True, gateway: Second | None = None
    ) -> AsyncIterator[Wire]:
        async with self.wire(region, gateway) as wire:
            wire.send(mqtt3.Connect(self.name, clean_session=False))
            assert await wire.expect(mqtt3.Connack) == mqtt3.Connack(is_present, 0)
            yield wire

    async def subscribed(self) -> None:
        """Connect for the first time, subscribe, and leave."""
        async with self.connected(is_present=False) as wire:
            assert await wire.subscribe(self.filter, qos=1) == (1,)

    async def told(self, *payloads: bytes, region: str = HOME) -> None:
        """Have somebody publish these to it."""
        async with self.regions.client(region, "speaks") as wire:
            for number, payload in enumerate(payloads, 1):
                await wire.publish(f"to/{self.name}/x", payload, number)

    async def left(self, region: str) -> None:
        """Wait until a region knows what it had when it left."""

        async def known() -> bool:
            item = await self.regions.item(region, SESSION, self.name)
            return sessions.read(item).left is not None

        await until(f"{region} knows that it left", known)

    async def back(self, region: str) -> None:
        """Wait until it can connect to a region again."""

        async def admitted() -> bool:
            return await self.regions.admitted(region, "speaks")

        await until(f"{region} lets clients in", admitted)


async def listener(regions: Regions, name: str) -> Listener:
    await regions.who_may("speaks", "iot:*")
    return Listener(regions, await regions.who_may(name, "iot:*"))


async def given(wire: Wire, count: int, *, acknowledge: bool = True) -> list[bytes]:
    """The payloads of the next QoS 1 messages."""
    found = []
    for _ in range(count):
        message = await wire.expect(Publish)
        assert message.qos == 1
        if acknowledge:
            wire.send(mqtt3.Puback(message.packet_id))
        found.append(message.payload)
    return found


async def test_what_was_published_meanwhile_is_given_once_and_in_order(regions: Regions) -> None:
    device = await listener(regions, "comes-back")
    await device.subscribed()
    await device.told(b"1", b"2")
    async with device.connected() as wire:
        assert await given(wire, 2) == [b"1", b"2"]
        # And then what comes.
        await device.told(b"3")
        assert await given(wire, 1) == [b"3"]
        assert await wire.ping() == []
    await device.told(b"4")
    async with device.connected() as wire:
        assert await given(wire, 1) == [b"4"]
        assert await wire.ping() == []


async def test_more_than_a_client_takes_at_once_is_given_in_parts(regions: Regions) -> None:
    device = await listener(regions, "missed-a-lot")
    await device.subscribed()
    wanted = [str(number).encode() for number in range(400)]
    await device.told(*wanted)
    async with device.connected() as wire:
        assert await given(wire, 400) == wanted
        assert await wire.ping() == []


async def test_what_is_subscribed_to_while_a_client_is_read_for_misses_nothing(
    regions: Regions,
) -> None:
    device = await listener(regions, "subscribes-late")
    await device.subscribed()
    await device.told(*[b"missed"] * 400)
    async with device.connected() as wire:
        first = await wire.expect(Publish)
        wire.send(mqtt3.Subscribe(2, (mqtt3.Filter("another/#", 1),)))
        held = [first]
        while not isinstance(found := await wire.next(), mqtt3.Suback):
            held.append(found)
        async with regions.client(HOME, "speaks") as other:
            await other.publish("another/topic", b"not missed")
        # Only now does it acknowledge, and is given the rest.
        wire.send(*(mqtt3.Puback(each.packet_id) for each in held))
        payloads = [each.payload for each in held] + await given(wire, 401 - len(held))
    assert sorted(payloads) == [b"missed"] * 400 + [b"not missed"]


async def test_what_was_not_acknowledged_is_sent_again_under_its_packet_id(
    regions: Regions,
) -> None:
    device = await listener(regions, "does-not-acknowledge")
    await device.subscribed()
    async with device.connected() as wire:
        await device.told(b"1", b"2", b"3")
        first, second, _ = [await wire.expect(Publish) for _ in range(3)]
        wire.send(mqtt3.Puback(second.packet_id))
        await wire.ping()
    await device.left(OTHER)
    async with device.connected(OTHER) as wire:
        again = [await wire.expect(Publish), await wire.expect(Publish)]
        assert [each.payload for each in again] == [b"1", b"3"]
        assert again[0] == first._replace(dup=True)
        assert await wire.ping() == []


async def test_a_session_is_continued_in_the_other_region_when_its_own_has_died(
    regions: Regions,
) -> None:
    device = await listener(regions, "outlives-its-region")
    await device.subscribed()
    async with device.connected() as wire:
        await device.told(b"before")
        assert await given(wire, 1) == [b"before"]
    await device.told(b"while away")
    await regions.kill(HOME)
    try:
        await device.told(b"elsewhere", region=OTHER)
        async with device.connected(OTHER) as wire:
            assert await given(wire, 2) == [b"while away", b"elsewhere"]
            await device.told(b"now", region=OTHER)
            assert await given(wire, 1) == [b"now"]
            assert await wire.ping() == []
    finally:
        await regions.system.start(HOME)
        await regions.together()
    await device.told(b"again at home")
    async with device.connected() as wire:
        assert await given(wire, 1) == [b"again at home"]


async def test_a_killed_gateway_costs_a_session_nothing(regions: Regions) -> None:
    device = await listener(regions, "outlives-its-gateway")
    await device.subscribed()
    async with device.connected() as wire:
        await device.told(b"1", b"2")
        assert await given(wire, 1) == [b"1"]
        await wire.ping()
        await regions.kill_part(HOME, "gateway")
    await device.back(HOME)
    await device.told(b"3")
    async with device.connected() as wire:
        found: list[bytes] = []
        while found[-2:] != [b"2", b"3"]:
            found += await given(wire, 1)
        # What it had acknowledged less than a second before may come once more.
        assert found[:-2] in ([], [b"1"])


async def test_a_session_is_taken_over_by_another_gateway_process(regions: Regions) -> None:
    device = await listener(regions, "moves-within")
    await device.subscribed()
    async with second_gateway(regions) as gateway, device.connected() as older:
        async with device.connected(gateway=gateway) as wire:
            assert await older.closed() == []
            await device.told(b"1")
            assert await given(wire, 1) == [b"1"]
        async with device.connected() as wire:
            await device.told(b"2")
            assert (await given(wire, 1))[-1:] in ([b"1"], [b"2"])


async def test_a_client_that_is_not_remembered_is_taken_over_too(regions: Regions) -> None:
    device = await listener(regions, "moves-without-a-session")
    async with (
        second_gateway(regions) as gateway,
        regions.client(HOME, device.name) as older,
        device.wire(gateway=gateway) as wire,
    ):
        assert await wire.connect(device.name) == 0
        assert await older.closed() == []
        async with regions.client(HOME, device.name) as newest:
            assert await wire.closed() == []
            assert await newest.ping() == []


async def test_a_clean_session_ends_the_older_one(regions: Regions) -> None:
    device = await listener(regions, "forgets")
    await device.subscribed()
    await device.told(b"1")
    async with regions.client(HOME, device.name) as wire:
        await device.told(b"2")
        assert await wire.ping() == []
    async with device.connected(is_present=False) as wire:
        await device.told(b"3")
        assert await wire.ping() == []


async def test_what_is_left_is_left_for_good(regions: Regions) -> None:
    device = await listener(regions, "unsubscribes")
    await device.subscribed()
    async with device.connected() as wire:
        wire.send(mqtt3.Unsubscribe(2, (device.filter,)))
        await wire.expect(mqtt3.Unsuback)
    await device.told(b"1")
    async with device.connected() as wire:
        assert await wire.ping() == []


async def test_in_mqtt_5_a_session_lasts_as_long_as_is_granted(regions: Regions) -> None:
    device = await listener(regions, "expires")
    asked = ConnectProperties(session_expiry_s=100_000)

    async def connected(**fields: object) -> tuple[Wire5, mqtt5.Connack]:
        tls = regions.tls(regions.identity(device.name))
        wire = await Wire5.open(*regions.place(HOME), tls, regions.system.hostname(HOME))
        wire.send(mqtt5.Connect(device.name, level=5, properties=asked, **fields))
        return wire, await wire.expect(mqtt5.Connack)

    wire, answer = await connected()
    assert not answer.session_present
    assert answer.properties.session_expiry_s == 3600
    assert await wire.subscribe(device.filter, qos=1) == (1,)
    await wire.abort()
    # A session of the other version is another one.
    async with device.connected(is_present=False):
        pass
    wire, answer = await connected(clean_session=False)
    assert not answer.session_present
    wire.send(mqtt5.Disconnect(0, DisconnectProperties(session_expiry_s=0)))
    assert await wire.closed() == []
    wire, answer = await connected(clean_session=False)
    assert not answer.session_present
    await wire.abort()
    wire, answer = await connected(clean_session=False)
    assert answer.session_present
    await wire.abort()


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_twenty_killed_gateways_lose_nothing_and_keep_every_session(
    regions: Regions,
) -> None:
    devices = [await listener(regions, f"sees-twenty-killed-{number}") for number in range(3)]
    senders = [await regions.who_may(f"sends-{each.name}", "iot:*") for each in devices]
    for each in devices:
        each.filter = regions.topic(f"sends-{each.name}")
        await each.subscribed()

    async def listen(device: Listener, found: list[bytes]) -> None:
        """Be connected whenever the gateway lets it in, until cancelled."""
        while True:
            with contextlib.suppress(OSError, AssertionError):
                async with device.connected() as wire:
                    while isinstance(message := await wire.next(), Publish):
                        found.append(message.payload)
                        wire.send(mqtt3.Puback(message.packet_id))
            await asyncio.sleep(0.05)

    heard: list[list[bytes]] = [[] for _ in devices]
    async with contextlib.AsyncExitStack() as stack:
        sending = [await stack.enter_async_context(regions.sender(HOME, name)) for name in senders]
        over = asyncio.Event()
        publishing = [asyncio.create_task(each.publish_until(over)) for each in sending]
        listening = [
            asyncio.create_task(listen(device, found))
            for device, found in zip(devices, heard, strict=True)
        ]
        try:
            for _ in range(20):
                before = [len(each.acked) for each in sending]
                await regions.kill_part(HOME, "gateway")
                await until(
                    "everybody is answered again",
                    lambda before=before: all(
                        len(each.acked) > was for each, was in zip(sending, before, strict=True)
                    ),
                )
        finally:
            over.set()
            await asyncio.gather(*publishing)
        for each in sending:
            await each.settled()
            await regions.in_both_lakes(each)
            numbers = regions.numbers(HOME, each.name)
            assert sorted(numbers) == sorted(set(numbers)) == list(range(each._next))
        try:
            for sender, found in zip(sending, heard, strict=True):
                await until(
                    f"everything of {sender.name} was heard",
                    lambda sender=sender, found=found: (
                        {json.loads(each)["seq"] for each in found} >= set(sender.acked)
                    ),
                )
        finally:
            await end(listening)
