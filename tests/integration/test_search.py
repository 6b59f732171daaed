"""The fleet is searched in a running region: who is connected to any of them, and who is not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from regions import HOME, OTHER, Regions, two_regions, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


async def test_who_is_connected_in_any_region_is_found_in_all(regions: Regions) -> None:
    key = await a_key(regions)
    callers = [Caller(regions, key), Caller(regions, key, OTHER)]
    indexed = {"thingIndexingMode": "REGISTRY", "thingConnectivityIndexingMode": "STATUS"}
    await callers[0]("update_indexing_configuration", thingIndexingConfiguration=indexed)
    names = [await regions.device(f"search-{number}", room="hall") for number in range(3)]
    await regions.level()

    async def find(query: str, *expected: str) -> None:
        async def is_found() -> bool:
            pages = [await caller("search_index", queryString=query) for caller in callers]
            return all([e["thingName"] for e in page["things"]] == [*expected] for page in pages)

        await until(f"{query} finds {expected}", is_found)

    online = "connectivity.connected:true AND thingName:search-*"
    async with regions.client(OTHER, names[2]):
        async with regions.client(HOME, names[0]):
            await find(online, names[0], names[2])
            await find("connectivity.connected:true", names[0], names[2])
            await find("attributes.room:HALL NOT connectivity.connected:true", names[1])
        await find(online, names[2])
        gone = "connectivity.disconnectReason:* connectivity.timestamp>0 thingName:search-*"
        await find(gone, names[0])


async def test_a_search_waits_for_nobody_who_is_away(regions: Regions) -> None:
    caller = Caller(regions, await a_key(regions))
    await regions.kill_part(HOME, "services")

    async def is_refused_or_answered() -> bool:
        try:
            await caller("search_index", queryString="connectivity.connected:false")
        except caller.errors.ServiceUnavailableException:
            return False
        return True

    await until("the services say again who is connected", is_refused_or_answered)
