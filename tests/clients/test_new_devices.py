"""The clients that most devices use, with nothing but a certificate of a CA that is registered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from client_programs import CLIENTS, Place, Program, running
from new_devices import PROVISIONING, Factory, a_factory
from regions import HOME, OTHER, Regions, two_regions

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: To repeat the first attempt; its other attempts it makes by itself.
LEAVES_IT_TO_THE_APPLICATION = ("AWS SDK", "3.1.1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(regions: Regions, tmp_path_factory: pytest.TempPathFactory) -> Factory:
    call = Caller(regions, await a_key(regions))
    directory = tmp_path_factory.mktemp("factory")
    return await a_factory(regions, call, directory, registrationConfig=PROVISIONING)


@pytest.mark.parametrize(
    ("program", "version"), CLIENTS, ids=[f"{each.name}-{version}" for each, version in CLIENTS]
)
async def test_a_client_that_is_closed_at_first_comes_again_and_is_let_in(
    regions: Regions, factory: Factory, program: Program, version: str, tmp_path: Path
) -> None:
    name = f"{program.name}-{version}".replace(".", "-").replace(" ", "-")
    device = factory.device(name)
    region = (HOME, OTHER)[len(name) % 2]
    host, port = regions.place(region)
    place = Place(host, port, regions.system.pki.ca_file, device.certificate, device.key)
    topic = f"clients/{name}"
    if (program.name, version) == LEAVES_IT_TO_THE_APPLICATION:
        async with running(program, version, tmp_path, place, name, topic) as client:
            await client.hears("refused")
    async with running(program, version, tmp_path, place, name, topic) as client:
        await client.hears("connected")
        client.publish(topic, "1")
        await client.acknowledged("1")
