"""Clients of two real regions hear what AWS's clients change in one of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from listener_clients import Paho
from regions import HOME, OTHER, Regions, two_regions, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
Event = dict[str, Any]
TYPES = (
    "THING",
    "THING_TYPE",
    "THING_TYPE_ASSOCIATION",
    "THING_GROUP",
    "THING_GROUP_HIERARCHY",
    "THING_GROUP_MEMBERSHIP",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    directory = tmp_path_factory.mktemp("regions")
    # Only lifecycle events go everywhere: of a change every region tells its own clients itself.
    everywhere = ("$aws/events/presence/#",)
    async with two_regions(directory, everywhere=everywhere) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def call(regions: Regions) -> Caller:
    return Caller(regions, await a_key(regions))


async def switch(call: Caller, *types: str, is_on: bool = True) -> None:
    wanted = {each: {"Enabled": is_on} for each in types}
    await call("update_event_configurations", eventConfigurations=wanted)


class Events:
    """What somebody hears of the registry who listens to events."""

    def __init__(self, client: Paho) -> None:
        self._client = client

    async def next(self) -> Event:
        while True:
            event: Event = json.loads(await self._client.hear())
            # Clients that come and go, as who hears this.
            if "clientId" not in event:
                return event

    async def until(self, event_type: str, operation: str) -> list[Event]:
        """All events that come, to one of these."""
        found = [await self.next()]
        while brief(found[-1])[:2] != (event_type, operation):
            found.append(await self.next())
        return found


@asynccontextmanager
async def hearing(regions: Regions, region: str) -> AsyncIterator[Events]:
    name = await regions.who_may(f"hears-in-{region}", "iot:*")
    listen = regions.config(region).mqtt
    tls = regions.tls(regions.identity(name))
    tls.check_hostname = False
    async with Paho(name, listen, tls) as client:
        await client.subscribe("$aws/events/#")
        yield Events(client)


def brief(event: Event) -> tuple[str, str, bool]:
    """What happened to what, and whether it is marked."""
    event_type = event["eventType"].removesuffix("_EVENT")
    return event_type, event["operation"], event.get("replicated", False)


async def test_nothing_is_told_before_it_is_switched_on(regions: Regions, call: Caller) -> None:
    async with hearing(regions, HOME) as events:
        await call("create_thing", thingName="silent")
        await switch(call, "THING")
        await call("create_thing", thingName="told")
        assert (await events.next())["thingName"] == "told"
        await switch(call, "THING", is_on=False)


async def test_a_change_is_heard_once_in_each_region_and_marked_in_the_other(
    regions: Regions, call: Caller
) -> None:
    async with hearing(regions, HOME) as here, hearing(regions, OTHER) as there:
        await switch(call, *TYPES)
        await call("create_thing_type", thingTypeName="kind")
        await call("create_thing", thingName="car", thingTypeName="kind")
        await call("create_thing_group", thingGroupName="root")
        await call("create_thing_group", thingGroupName="leaf", parentGroupName="root")
        await call("add_thing_to_thing_group", thingName="car", thingGroupName="leaf")
        described = await call("describe_thing", thingName="car")
        heard = [await each.until("THING_GROUP_MEMBERSHIP", "ADDED") for each in (here, there)]
        await call("delete_thing", thingName="car")
        for each, found in zip((here, there), heard, strict=True):
            found += await each.until("THING_GROUP_MEMBERSHIP", "REMOVED")
        await switch(call, *TYPES, is_on=False)
    expected = [
        ("THING_TYPE", "CREATED"),
        ("THING", "CREATED"),
        ("THING_TYPE_ASSOCIATION", "ADDED"),
        ("THING_GROUP", "CREATED"),
        ("THING_GROUP", "CREATED"),
        ("THING_GROUP_HIERARCHY", "ADDED"),
        ("THING_GROUP_MEMBERSHIP", "ADDED"),
        ("THING_TYPE_ASSOCIATION", "REMOVED"),
        ("THING", "DELETED"),
        ("THING_GROUP_MEMBERSHIP", "REMOVED"),
    ]
    assert [brief(each) for each in heard[0]] == [(*each, False) for each in expected]
    assert [brief(each) for each in heard[1]] == [(*each, True) for each in expected]
    assert {tuple(each["regions"]) for each in heard[1]} == {(HOME,)}
    created = heard[0][1]
    assert created["thingId"] == described["thingId"]
    assert created["versionNumber"] == described["version"]
    assert created["accountId"] == regions.config(HOME).account_id


async def test_services_that_are_killed_tell_everything_and_repeat_themselves_word_for_word(
    regions: Regions, call: Caller
) -> None:
    names: list[str] = []
    is_over = asyncio.Event()

    async def write() -> None:
        while not is_over.is_set():
            names.append(f"storm-{len(names)}")
            while True:
                try:
                    await call("create_thing", thingName=names[-1])
                    break
                except call.errors.ServiceUnavailableException:
                    # As AWS's clients do.
                    continue

    async with hearing(regions, HOME) as events:
        await switch(call, "THING")
        writing = asyncio.create_task(write())
        heard = [await events.next()]
        for _ in range(3):
            await regions.kill_part(HOME, "services")
            written = len(names)
            await until("there are more", lambda written=written: len(names) > written + 5)
        is_over.set()
        await writing
        await call("delete_thing", thingName=names[0])
        heard += await events.until("THING", "DELETED")
    created = {each["thingName"] for each in heard if each["operation"] == "CREATED"}
    assert created == set(names)
    told: dict[str, Event] = {}
    for each in heard:
        assert told.setdefault(each["eventId"], each) == each
    assert len(told) == len(names) + 1
