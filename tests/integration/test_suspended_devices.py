"""A suspension closes those who are connected and keeps them out, everywhere, until it is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import paho.mqtt.client as paho
import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from regions import HOME, OTHER, Regions, two_regions, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aws(regions: Regions) -> Caller:
    return Caller(regions, await a_key(regions))


@contextmanager
def connected(regions: Regions, region: str, name: str) -> Iterator[paho.Client]:
    """A client of paho's that connects again by itself for as long as it is not let in."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name)
    client.tls_set_context(regions.tls(regions.identity(name)))
    client.reconnect_delay_set(1, 1)
    client.connect(*regions.place(region))
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def answer_of(name: str, *, suspended: bool, kind: str = "thing") -> dict[str, object]:
    return {kind: name, "suspended": suspended, "known": True}


async def test_a_thing_is_closed_and_kept_out_in_both_regions_until_it_is_resumed(
    regions: Regions,
) -> None:
    here, there = await regions.device("suspended-here"), await regions.device("suspended-there")
    spared = await regions.device("spared-by-suspension")
    with (
        connected(regions, HOME, here) as one,
        connected(regions, OTHER, there) as other,
        connected(regions, HOME, spared) as third,
    ):
        clients = (one, other, third)
        await until("all are connected", lambda: all(each.is_connected() for each in clients))

        answer = await regions.operator.suspend(HOME, [here, there], reason="stolen")

        assert answer["of"] == [answer_of(each, suspended=True) for each in (here, there)]
        assert answer["confirmed_by"] == [OTHER]
        assert answer["not_confirmed_by"] == []
        await until("both are closed", lambda: not one.is_connected() and not other.is_connected())
        for region in (HOME, OTHER):
            for name in (here, there):
                assert not await regions.admitted(region, name)
            held = await regions.operator.suspensions(region)
            mine = [each for each in held if each.get("thing") in (here, there)]
            assert [(each["thing"], each["reasons"]) for each in mine] == [
                (here, ["stolen"]),
                (there, ["stolen"]),
            ]
        assert third.is_connected()

        answer = await regions.operator.resume(OTHER, [here, there], wait_for_all=True)

        assert answer["of"] == [answer_of(each, suspended=False) for each in (here, there)]
        assert answer["not_confirmed_by"] == []
        await until("both are back", lambda: one.is_connected() and other.is_connected())
        held = await regions.operator.suspensions(HOME)
        assert not [each for each in held if each.get("thing") in (here, there)]


async def test_a_group_is_closed_with_those_who_join_it_later(
    regions: Regions, aws: Caller
) -> None:
    inside, later = await regions.device("in-the-group"), await regions.device("joins-later")
    await aws("create_thing_group", thingGroupName="fleet")
    await aws("create_thing_group", thingGroupName="trucks", parentGroupName="fleet")
    await aws("add_thing_to_thing_group", thingGroupName="trucks", thingName=inside)
    async with regions.client(OTHER, inside) as wire, regions.client(HOME, later) as other:
        answer = await regions.operator.suspend(HOME, groups=["fleet"])

        assert answer["of"] == [answer_of("fleet", suspended=True, kind="group")]
        assert await wire.closed() == []
        await other.publish(regions.topic(later))
        await aws("add_thing_to_thing_group", thingGroupName="trucks", thingName=later)
        assert await other.closed() == []
    for region in (HOME, OTHER):
        for name in (inside, later):
            assert not await regions.admitted(region, name)

    await regions.operator.resume(HOME, groups=["fleet"], wait_for_all=True)

    for region in (HOME, OTHER):
        await until("it is let in", lambda region=region: regions.admitted(region, inside))


async def test_a_certificate_that_is_activated_by_hand_stays_out(
    regions: Regions, aws: Caller
) -> None:
    name = await regions.device("activated-by-hand")
    certificate = regions.identity(name).certificate_id
    await regions.operator.suspend(HOME, [name])
    for status in ("INACTIVE", "ACTIVE"):
        await aws("update_certificate", certificateId=certificate, newStatus=status)
    assert not await regions.admitted(HOME, name)
    await regions.operator.resume(HOME, [name])
    await until("it is let in", lambda: regions.admitted(HOME, name))


async def test_what_is_not_known_here_is_suspended_before_it_is_made(regions: Regions) -> None:
    answer = await regions.operator.suspend(HOME, ["not-made-yet"])
    assert answer["of"] == [{"thing": "not-made-yet", "suspended": True, "known": False}]
    await regions.device("not-made-yet")
    for region in (HOME, OTHER):
        assert not await regions.admitted(region, "not-made-yet")


async def test_the_list_has_pages(regions: Regions) -> None:
    names = [f"one-of-many-{number:04}" for number in range(1001)]
    await asyncio.gather(
        regions.operator.suspend(HOME, names[:1000]), regions.operator.suspend(HOME, names[1000:])
    )
    held = [each.get("thing") for each in await regions.operator.suspensions(HOME)]
    assert [each for each in held if each in set(names)] == names
