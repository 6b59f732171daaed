"""A revocation that was answered holds everywhere, whatever happens to the region that answered."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
import pytest
from regions import STALL_S

from isthmus import config as configs
from isthmus.config import RegionConfig
from isthmus.drill.intruder import Intruder, Outcome
from isthmus.local.bring_up import bring_up, device, healthy, register_all
from isthmus.local.operator import Operator
from isthmus.local.system import LocalSystem, Settings

HOME, OTHER = "eu", "us"


async def revoke_and_lose_the_region(system: LocalSystem, operator: Operator, name: str) -> None:
    intruder = Intruder(name, system.pki.device(name), system.pki.ca_file)
    assert await register_all(operator, HOME, [device(system, name, {})], lambda _: None)
    for region in (HOME, OTHER):
        assert await intruder.attempt(system, region) is Outcome.ADMITTED
    intruder.outcomes.clear()

    answer = await operator.revoke(HOME, intruder.identity.certificate_id)
    await asyncio.sleep(0.001)
    system.kill(HOME)
    await system.gone(HOME)
    system.wipe(HOME)

    assert answer["confirmed_by"] == [OTHER]
    assert await intruder.attempt(system, OTHER) is Outcome.REFUSED
    # It tries all the while the region comes back with an empty disk.
    hammer = asyncio.create_task(intruder.hammer(system, HOME))
    await system.start(HOME)
    await healthy(system, operator)
    hammer.cancel()
    assert await intruder.attempt(system, HOME) is Outcome.REFUSED
    assert await intruder.attempt(system, OTHER) is Outcome.REFUSED
    assert intruder.admitted() == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.nightly)])
async def test_a_revocation_survives_the_region_that_answered_it(
    tmp_path: Path, times: int
) -> None:
    system = LocalSystem(Settings(tmp_path, aws_api=False), random.Random())
    try:
        for region in (HOME, OTHER):
            file = system.region_dir(region) / "region.toml"
            config = configs.load(file, RegionConfig)
            # Alone it would answer that nobody has confirmed.
            configs.dump(file, msgspec.structs.replace(config, alone_after_s=STALL_S))
        async with Operator(system) as operator:
            await bring_up(system, operator)
            for number in range(times):
                await revoke_and_lose_the_region(system, operator, f"device-{number}")
    finally:
        await system.stop()
