"""A will is published once, by whoever is left: the gateway, another one, or another region."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from mqtt_wire import Wire, Wire5
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.wire import mqtt3, mqtt5
from isthmus.wire.packets import Publish, Will
from isthmus.wire.properties import ConnectProperties, DisconnectProperties

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(
        tmp_path_factory.mktemp("regions"), aws_api=False, lease_s=2.0
    ) as started:
        yield started


@asynccontextmanager
async def hearing(
    regions: Regions, region: str, name: str, **connect: object
) -> AsyncIterator[Wire]:
    """Somebody who hears of a device's end."""
    listener = await regions.who_may(f"mourns-{name}", "iot:*")
    async with regions.client(region, listener, **connect) as wire:
        await wire.subscribe(f"gone/{name}", qos=1)
        yield wire


async def heard(wire: Wire) -> bytes:
    message = await wire.expect(Publish)
    wire.send(mqtt3.Puback(message.packet_id))
    return message.payload


@asynccontextmanager
async def dying(regions: Regions, name: str, **connect: object) -> AsyncIterator[Wire]:
    """A device of MQTT 3.1.1 with a will."""
    await regions.who_may(name, "iot:*")
    will = Will(f"gone/{name}", name.encode(), 1)
    async with regions.client(HOME, name, will=will, **connect) as wire:
        yield wire


async def comes_back(regions: Regions, region: str, name: str) -> None:
    await until(f"{name} is let in again", lambda: regions.admitted(region, name))


async def test_the_will_of_a_killed_gateways_client_is_published_by_the_next_one(
    regions: Regions,
) -> None:
    async with hearing(regions, HOME, "of-a-gateway", clean_session=False):
        pass
    async with dying(regions, "of-a-gateway"):
        await regions.kill_part(HOME, "gateway")
        await comes_back(regions, HOME, await regions.device("anybody"))
        # It may be published before anybody is back to hear it.
        async with regions.client(HOME, "mourns-of-a-gateway", clean_session=False) as wire:
            assert await heard(wire) == b"of-a-gateway"
            # And not once more: by the time that another will has come it would have.
            async with regions.client(HOME, "anybody") as other:
                await other.publish(regions.topic("anybody"))
            assert await wire.ping() == []


async def test_whoever_comes_back_within_the_lease_has_not_left(regions: Regions) -> None:
    async with dying(regions, "comes-back"):
        await regions.kill_part(HOME, "gateway")
    await comes_back(regions, HOME, "comes-back")
    async with (
        dying(regions, "is-not-back"),
        hearing(regions, OTHER, "is-not-back") as marker,
        hearing(regions, OTHER, "comes-back") as wire,
        dying(regions, "comes-back"),
    ):
        await regions.kill(HOME)
        try:
            # It goes to the other region at once, and the other device does not.
            will = Will("gone/comes-back", b"again", 1)
            async with regions.client(OTHER, "comes-back", will=will):
                assert await heard(marker) == b"is-not-back"
                assert await wire.ping() == []
        finally:
            await regions.system.start(HOME)
            await regions.together()


class Five:
    """A device of MQTT 5 whose will waits."""

    def __init__(self, regions: Regions, name: str, delay_s: int) -> None:
        self._regions = regions
        self.name = name
        self._will = Will(f"gone/{name}", name.encode(), 1, delay_s=delay_s)

    async def connect(self) -> Wire5:
        await self._regions.who_may(self.name, "iot:*")
        tls = self._regions.tls(self._regions.identity(self.name))
        hostname = self._regions.system.hostname(HOME)
        wire = await Wire5.open(*self._regions.place(HOME), tls, hostname)
        properties = ConnectProperties(session_expiry_s=60)
        connect = mqtt5.Connect(
            self.name, level=5, clean_session=False, will=self._will, properties=properties
        )
        wire.send(connect)
        assert (await wire.expect(mqtt5.Connack)).return_code == 0
        return wire


async def test_a_will_waits_as_long_as_its_client_asked(regions: Regions) -> None:
    patient, hasty = Five(regions, "patient", 1), Five(regions, "hasty", 1)
    async with (
        hearing(regions, HOME, "patient") as patients,
        hearing(regions, HOME, "hasty") as hastys,
    ):
        await (await patient.connect()).abort()
        await (await hasty.connect()).abort()
        back = await patient.connect()
        assert await heard(hastys) == b"hasty"
        assert await patients.ping() == []
        # A session that ends takes its will along, at once.
        back.send(mqtt5.Disconnect(4, DisconnectProperties(session_expiry_s=0)))
        assert await heard(patients) == b"patient"
        await back.abort()


async def test_a_will_that_waits_outlives_its_gateway(regions: Regions) -> None:
    device = Five(regions, "waits-longer", 3)
    async with hearing(regions, HOME, "waits-longer", clean_session=False):
        pass
    wire = await device.connect()
    await wire.abort()
    await regions.kill_part(HOME, "gateway")
    await comes_back(regions, HOME, await regions.device("anybody"))
    async with regions.client(HOME, "mourns-waits-longer", clean_session=False) as listening:
        assert await heard(listening) == b"waits-longer"
