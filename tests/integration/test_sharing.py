"""A group that shares a subscription gets each message once, wherever its members are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio
from mqtt_wire import Wire
from regions import HOME, OTHER, Regions, two_regions, until
from second_gateway import Second, second_gateway

from isthmus.core import sessions
from isthmus.core.sessions import SESSION
from isthmus.wire import mqtt3
from isthmus.wire.packets import Publish

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    directory = tmp_path_factory.mktemp("regions")
    async with two_regions(directory, aws_api=False, everywhere=("everywhere/#",)) as started:
        yield started


class Group:
    """Members that share one subscription, and what each was given."""

    def __init__(self, regions: Regions, topic: str) -> None:
        self.regions = regions
        self.topic = topic
        self.filter = f"$share/g/{topic}"

    @asynccontextmanager
    async def member(
        self,
        name: str,
        region: str = HOME,
        *,
        gateway: Second | None = None,
        is_present: bool | None = None,
    ) -> AsyncIterator[Wire]:
        """A member; ``is_present`` is for one whose session lasts: whether it goes on."""
        await self.regions.who_may(name, "iot:*")
        place = self.regions.place(region)
        if gateway is not None:
            place = gateway.config.mqtt.host, gateway.config.mqtt.port
        tls = self.regions.tls(self.regions.identity(name))
        wire = await Wire.open(*place, tls, self.regions.system.hostname(region))
        try:
            wire.send(mqtt3.Connect(name, clean_session=is_present is None))
            assert await wire.expect(mqtt3.Connack) == mqtt3.Connack(bool(is_present), 0)
            if not is_present:
                assert await wire.subscribe(self.filter, qos=1) == (1,)
            await self._known(name)
            yield wire
        finally:
            await wire.abort()

    async def _known(self, name: str) -> None:
        """Wait until both regions know of a member, and of where it is."""
        for region in (HOME, OTHER):

            async def is_known(region: str = region) -> bool:
                state = sessions.read(await self.regions.item(region, SESSION, name))
                return state.left is None and self.filter in state.filters

            await until(f"{region} knows of {name}", is_known)

    async def told(self, *payloads: str, region: str = HOME) -> None:
        await self.regions.who_may("tells", "iot:*")
        async with self.regions.client(region, "tells") as wire:
            for number, payload in enumerate(payloads, 1):
                await wire.publish(self.topic, payload.encode(), number)


async def taken(wires: dict[str, Wire], count: int) -> dict[str, list[str]]:
    """What each was given and has acknowledged, when all of them have so many together."""
    found: dict[str, list[str]] = {name: [] for name in wires}
    is_all = asyncio.Event()

    async def take(name: str, wire: Wire) -> None:
        while True:
            message = await wire.expect(Publish)
            wire.send(mqtt3.Puback(message.packet_id))
            found[name].append(message.payload.decode())
            if sum(map(len, found.values())) >= count:
                is_all.set()

    tasks = [asyncio.create_task(take(*each)) for each in wires.items()]
    try:
        async with asyncio.timeout(20):
            await is_all.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


def all_of(found: dict[str, list[str]]) -> list[str]:
    return sorted(payload for payloads in found.values() for payload in payloads)


NUMBERS = sorted(str(number) for number in range(60))


async def test_each_message_has_one_taker_in_whatever_gateway(regions: Regions) -> None:
    group = Group(regions, "shared/gateways")
    async with (
        second_gateway(regions) as gateway,
        group.member("takes-1") as one,
        group.member("takes-2", gateway=gateway) as two,
    ):
        await group.told(*NUMBERS)
        found = await taken({"1": one, "2": two}, len(NUMBERS))
        assert all_of(found) == NUMBERS
        assert all(found.values())
        assert [*await one.ping(), *await two.ping()] == []


async def test_what_is_delivered_everywhere_has_one_taker_in_all_regions(regions: Regions) -> None:
    group = Group(regions, "everywhere/shared")
    async with (
        group.member("takes-at-home") as one,
        group.member("takes-elsewhere", OTHER) as two,
    ):
        await group.told(*NUMBERS[:30])
        await group.told(*NUMBERS[30:], region=OTHER)
        found = await taken({"1": one, "2": two}, len(NUMBERS))
        # Whoever is nearer is preferred.
        assert (sorted(found["1"]), sorted(found["2"])) == (NUMBERS[:30], NUMBERS[30:])
        await one.abort()
        await group.told("alone")
        while True:
            message = await two.expect(Publish)
            if message.payload == b"alone":
                break


async def test_what_a_member_did_not_take_is_handed_over_when_it_leaves(regions: Regions) -> None:
    group = Group(regions, "shared/left-over")
    await regions.who_may("listens", "iot:*")
    async with AsyncExitStack() as stack:
        listens = await stack.enter_async_context(regions.client(HOME, "listens"))
        assert await listens.subscribe(group.topic, qos=1) == (1,)
        leaves = await stack.enter_async_context(group.member("leaves"))
        await group.told(*NUMBERS)
        for _ in NUMBERS:
            await leaves.expect(Publish)
        stays = await stack.enter_async_context(group.member("stays"))
        await leaves.abort()
        found = await taken({"stays": stays}, len(NUMBERS))
        assert all_of(found) == NUMBERS
        assert await stays.ping() == []
        # Nobody else is given it again.
        assert all_of(await taken({"listens": listens}, len(NUMBERS))) == NUMBERS
        assert await listens.ping() == []
    # It was stored again, and said once.
    rows = [row for row in regions.lake(HOME, "tells", raw=True) if row.topic == group.topic]
    assert len(rows) == len(NUMBERS)


async def test_what_is_published_while_a_member_leaves_finds_another_one(regions: Regions) -> None:
    group = Group(regions, "shared/leaves")
    await regions.who_may("tells", "iot:*")
    async with group.member("remains") as remains, AsyncExitStack() as stack:
        found: list[bytes] = []

        async def take() -> None:
            while len(found) < 10 * len(NUMBERS):
                message = await remains.expect(Publish)
                remains.send(mqtt3.Puback(message.packet_id))
                found.append(message.payload)

        taking = asyncio.create_task(take())
        tells = await stack.enter_async_context(regions.client(HOME, "tells"))
        for part in range(10):
            # Nobody but the publisher's gateway process knows yet that it goes.
            async with group.member(f"leaves-{part}"):
                for number in range(len(NUMBERS)):
                    payload = f"{part}-{number}".encode()
                    tells.send(Publish(group.topic, payload, 1, packet_id=number + 1))
        await asyncio.wait_for(taking, 20)
        assert len(set(found)) == 10 * len(NUMBERS)


async def test_what_nobody_is_there_for_waits_for_a_session_that_lasts(regions: Regions) -> None:
    group = Group(regions, "shared/waits")
    async with group.member("will-return", is_present=False):
        pass
    for region in (HOME, OTHER):

        async def has_left(region: str = region) -> bool:
            item = await regions.item(region, SESSION, "will-return")
            return sessions.read(item).left is not None

        await until(f"{region} knows that it left", has_left)
    await group.told(*NUMBERS)
    async with group.member("will-return", OTHER, is_present=True) as wire:
        assert all_of(await taken({"1": wire}, len(NUMBERS))) == NUMBERS


async def test_a_killed_gateway_loses_nothing_of_members_that_are_remembered(
    regions: Regions,
) -> None:
    group = Group(regions, "shared/killed")
    async with (
        second_gateway(regions) as gateway,
        group.member("survives", gateway=gateway) as one,
    ):
        async with group.member("is-killed", is_present=False):
            await group.told(*NUMBERS)
            await regions.kill_part(HOME, "gateway")
        await until("gateways let in", lambda: regions.admitted(HOME, "tells"))
        async with group.member("is-killed", is_present=True) as two:
            found = await taken({"1": one, "2": two}, len(NUMBERS))
            assert all_of(found) == NUMBERS


async def test_everybody_else_gets_every_message(regions: Regions) -> None:
    group, other = Group(regions, "shared/others"), Group(regions, "shared/others")
    other.filter = "$share/h/shared/others"
    await regions.who_may("listens", "iot:*")
    async with (
        group.member("in-one") as one,
        other.member("in-another") as two,
        regions.client(HOME, "listens") as three,
    ):
        assert await three.subscribe(group.topic, qos=1) == (1,)
        await group.told("a", "b")
        found = await taken({"1": one, "2": two, "3": three}, 6)
        assert found == {"1": ["a", "b"], "2": ["a", "b"], "3": ["a", "b"]}


async def test_whoever_unsubscribes_is_no_member(regions: Regions) -> None:
    group = Group(regions, "shared/unsubscribed")
    async with group.member("goes") as one, group.member("remains") as two:
        one.send(mqtt3.Unsubscribe(7, (group.filter,)))
        await one.expect(mqtt3.Unsuback)
        await group.told(*NUMBERS)
        assert all_of(await taken({"2": two}, len(NUMBERS))) == NUMBERS
        assert await one.ping() == []


async def test_who_may_not_share_is_told(regions: Regions) -> None:
    name = await regions.device("may-not-share")
    async with regions.client(HOME, name) as wire:
        assert await wire.subscribe(f"$share/g/{regions.topic(name)}", qos=1) == (0x80,)
        assert await wire.subscribe("$share/g", qos=1) == (0x80,)
