"""A change of rights holds for those who are connected, in the region it was made in and beyond."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.local import bring_up
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), aws_api=False) as started:
        yield started


@pytest.mark.parametrize("connected_to", [HOME, OTHER])
async def test_a_revocation_closes_a_live_connection(regions: Regions, connected_to: str) -> None:
    name = await regions.device(f"revoked-in-{connected_to}")
    spared = await regions.device(f"spared-in-{connected_to}")
    async with (
        regions.client(connected_to, name) as wire,
        regions.client(connected_to, spared) as other,
    ):
        await wire.publish(regions.topic(name))

        answer = await regions.operator.revoke(HOME, regions.identity(name).certificate_id)

        assert answer["status"] == "REVOKED"
        assert answer["confirmed_by"] == [OTHER]
        assert await wire.closed() == []
        await other.publish(regions.topic(spared))
    for region in (HOME, OTHER):
        async with regions.wire(region, name) as wire:
            assert await wire.connect(name) == 5
            assert await wire.closed() == []


async def test_a_revoked_certificate_cannot_be_registered_again(regions: Regions) -> None:
    name = await regions.device("registered-again")
    await regions.operator.revoke(HOME, regions.identity(name).certificate_id)

    for region in (OTHER, HOME):
        await regions.register([name], region)

    for region in (HOME, OTHER):
        assert not await regions.admitted(region, name)


async def test_a_certificate_revoked_before_anybody_knew_it_is_never_admitted(
    regions: Regions,
) -> None:
    identity = regions.identity("revoked-first")
    answer = await regions.operator.revoke(HOME, identity.certificate_id)
    await regions.register(["revoked-first"], OTHER)

    assert answer["status"] == "REVOKED"
    for region in (HOME, OTHER):
        assert not await regions.admitted(region, "revoked-first")


def policy(name: str, *actions: str) -> dict[str, str]:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    return {"name": name, "document": json.dumps(document)}


async def with_policy(regions: Regions, device: str, given: dict[str, str]) -> None:
    entry = bring_up.device(regions.system, device, {}, given["name"])
    await regions.operator.register(HOME, [entry], [given])


@pytest.mark.parametrize("region", [HOME, OTHER])
async def test_a_policy_that_no_longer_allows_to_connect_closes_the_connection(
    regions: Regions, region: str
) -> None:
    name = f"unwelcome-in-{region}"
    await with_policy(regions, name, policy(name, "iot:*"))
    async with regions.client(region, name) as wire:
        await wire.publish("any/topic")

        await with_policy(regions, name, policy(name, "iot:Publish"))

        assert await wire.closed() == []


@pytest.mark.parametrize("region", [HOME, OTHER])
async def test_a_policy_that_no_longer_allows_to_receive_stops_deliveries(
    regions: Regions, region: str
) -> None:
    name, talker = f"deaf-in-{region}", await regions.device(f"talker-in-{region}")
    topic = regions.topic(talker)
    await with_policy(regions, name, policy(name, "iot:*"))
    async with regions.client(region, name) as wire, regions.client(region, talker) as talking:
        await wire.subscribe(topic)
        await talking.publish(topic, b"heard")
        assert (await wire.expect(mqtt3.Publish)).payload == b"heard"

        await with_policy(regions, name, policy(name, "iot:Connect", "iot:Publish"))

        # The gateway hears of it a moment after the region does.
        async def deaf() -> bool:
            await talking.publish(topic, b"not heard")
            return await wire.ping() == []

        await until("nothing is delivered any more", deaf)


async def test_regions_may_have_no_process_for_awss_clients(regions: Regions) -> None:
    running = {name.removeprefix(f"{HOME}-") for name in regions.system.pids(HOME)}
    assert running == {"nats", "services", "gateway", "lake", "site"}
