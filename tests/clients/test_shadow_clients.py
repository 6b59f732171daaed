"""Clients of shadows as they are: all of them see one and the same, in either region."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aws_sdk import WITHIN_S
from regions import HOME, OTHER, Regions, two_regions
from shadow_clients import data
from shadow_devices import Device, Refused, Seen, devices

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

NAME = "device-of-shadows"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        await started.who_may(NAME, "iot:*")
        yield started


async def what_all_see(found: list[Device]) -> Seen:
    """The shadow, which is the same to all."""
    shown = [await each.get() for each in found]
    assert all(each == shown[0] for each in shown), shown
    return shown[0]


async def until_all_hear(found: list[Device], wish: dict[str, int], version: int) -> None:
    """Wait until who hears what is left to do has heard of this version."""
    for each in found:
        if each.deltas is not None:
            async with asyncio.timeout(WITHIN_S):
                heard = await each.deltas.get()
                while heard[1] < version:
                    heard = await each.deltas.get()
            assert heard == (wish, version)


async def test_all_clients_see_one_shadow_in_both_regions(regions: Regions) -> None:
    callers = {region: await data(regions, region) for region in (HOME, OTHER)}
    async with (
        devices(regions, HOME, NAME, "one", callers[HOME]) as here,
        devices(regions, OTHER, NAME, "one", callers[OTHER]) as there,
    ):
        for each in here + there:
            with pytest.raises(Refused, match="404"):
                await each.get()
        reported = {}
        for region, found in ((HOME, here), (OTHER, there)):
            for each in found:
                leaf = f"{each.name}-{region}"
                reported[leaf] = len(reported) + 1
                # Each counts on, whoever was before it and wherever.
                assert await each.update(reported={leaf: reported[leaf]}) == reported[leaf]
        assert await what_all_see(here + there) == Seen({}, reported, 8)
        for number, each in enumerate(here + there, 9):
            assert await each.update(desired={"lamp": number}) == number
            await until_all_hear(here + there, {"lamp": number}, number)


async def test_all_clients_go_on_in_the_region_that_is_left(regions: Regions) -> None:
    callers = {region: await data(regions, region) for region in (HOME, OTHER)}
    async with devices(regions, HOME, NAME, "moves", callers[HOME]) as here:
        for number, each in enumerate(here, 1):
            assert await each.update(reported={each.name: number}) == number
        await here[-1].update(desired={"lamp": 1})
        before = await what_all_see(here)
        assert before.version == 5
        await regions.kill(HOME)
    try:
        async with devices(regions, OTHER, NAME, "moves", callers[OTHER]) as there:
            assert await what_all_see(there) == before
            for number, each in enumerate(there, 6):
                assert await each.update(reported={each.name: number}) == number
                await until_all_hear(there, {"lamp": 1}, number)
            after = await what_all_see(there)
            assert after.reported == {each.name: number for number, each in enumerate(there, 6)}
    finally:
        await regions.system.start(HOME)
        await regions.together()
    async with devices(regions, HOME, NAME, "moves", callers[HOME]) as here:
        assert await what_all_see(here) == after
        for number, each in enumerate(here, after.version + 1):
            assert await each.update(desired={"lamp": number}) == number
