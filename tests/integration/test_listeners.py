"""Every way into a gateway, by real clients on real sockets."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from regions import HOME, Regions, two_regions, until

from isthmus import config as configs
from isthmus.config import RegionConfig

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


def config_of(regions: Regions, region: str = HOME) -> RegionConfig:
    return configs.load(regions.system.region_dir(region) / "region.toml", RegionConfig)


# Certificates of the gateway


async def test_a_replaced_certificate_is_shown_to_who_connects_and_drops_nobody(
    regions: Regions,
) -> None:
    name, newcomer = await regions.device("stays"), await regions.device("comes-later")
    files = config_of(regions).mqtt_tls
    hostname, (host, _) = regions.system.hostname(HOME), regions.place(HOME)
    new = regions.system.pki.gateway("replaced", [hostname], [host])

    async def shown() -> bytes:
        async with regions.wire(HOME, newcomer) as wire:
            return wire.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)

    async with regions.client(HOME, name) as wire:
        before = await shown()
        shutil.copy(new.chain, files.certificate)
        shutil.copy(new.key, files.key)

        async def is_new() -> bool:
            return await shown() != before

        await until("new connections get the new certificate", is_new)
        await wire.publish(regions.topic(name))
    async with regions.client(HOME, newcomer) as wire:
        await wire.publish(regions.topic(newcomer))
