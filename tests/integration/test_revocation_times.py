"""How long who is connected stays after a revocation, in its region and in the other one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from statistics import quantiles

import pytest
import pytest_asyncio
from mqtt_wire import Wire
from regions import HOME, OTHER, Regions, two_regions

from isthmus.clock import monotonic_s

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.nightly,
    pytest.mark.timeout(600),
]
_log = logging.getLogger(__name__)

DEVICES = 300
AT_ONCE = 8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), aws_api=False) as started:
        yield started


@pytest.mark.parametrize("region", [HOME, OTHER])
async def test_revocations_reach_who_is_connected(regions: Regions, region: str) -> None:
    """Counted from when an operator asks the home region for it, not from when it has answered."""
    names = [f"revoked-{region}-{n}" for n in range(DEVICES)]
    await regions.register(names)
    spared = await regions.device(f"spared-{region}")
    room = asyncio.Semaphore(AT_ONCE)

    async def revoked(name: str, wire: Wire) -> float:
        async with room:
            began_s = monotonic_s()
            asking = asyncio.create_task(
                regions.operator.revoke(HOME, regions.identity(name).certificate_id)
            )
            assert await wire.closed() == []
            took_s = monotonic_s() - began_s
            await asking
            return took_s

    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(regions.client(region, spared))
        wires = [
            (name, await stack.enter_async_context(regions.client(region, name))) for name in names
        ]
        took = await asyncio.gather(*(revoked(*each) for each in wires))
        await other.publish(regions.topic(spared))
    cuts = quantiles(took, n=100)
    figures = {"p50": cuts[49], "p99": cuts[98], "max": max(took)}
    shown = {name: round(1000 * value) for name, value in figures.items()}
    _log.info("%d revocations in %s, connected to %s, in ms: %s", DEVICES, HOME, region, shown)
