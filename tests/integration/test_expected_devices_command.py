"""`isthmus device expect` and `expected` on real regions, and the devices that come then."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from commands import isthmus
from mqtt_wire import CLOSED
from new_devices import Factory, a_factory, attempt, until_admitted
from regions import HOME, OTHER, Regions, two_regions

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(regions: Regions, tmp_path_factory: pytest.TempPathFactory) -> Factory:
    call = Caller(regions, await a_key(regions))
    return await a_factory(regions, call, tmp_path_factory.mktemp("factory"))


async def expected(regions: Regions, region: str) -> list[dict[str, Any]]:
    said = await isthmus(regions, "device", "expected", "--region", region, "--json")
    assert said.code == 0, said.error
    found: list[dict[str, Any]] = json.loads(said.out)["devices"]
    return found


async def test_who_is_listed_in_one_region_is_let_in_by_the_other_and_others_wait(
    regions: Regions, factory: Factory, tmp_path: Path
) -> None:
    listed, by_name, other = (factory.device(f"listed-{n}") for n in range(3))
    entries = [
        {"certificate": listed.certificate_id, "thing": "listed-0", "policy": "all"},
        {"ca": factory.ca.id, "common_name": "listed-1", "thing": "listed-1", "policy": "all"},
    ]
    file = tmp_path / "devices.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in entries) + "\n")
    said = await isthmus(regions, "device", "expect", "--file", str(file), "--json")
    assert said.code == 0, said.error
    assert json.loads(said.out) == {"devices": 2, "replicated": True, "confirmed_by": [OTHER]}
    for region in (HOME, OTHER):
        found = await expected(regions, region)
        assert sorted(found, key=len) == sorted(entries, key=len)

    for device, name in ((listed, "listed-0"), (by_name, "listed-1")):
        assert await attempt(regions, device, name, OTHER) == CLOSED
        assert await until_admitted(regions, device, name, HOME) == 1
    assert await attempt(regions, other, "listed-2", OTHER) == CLOSED
    assert await attempt(regions, other, "listed-2", HOME) == CLOSED

    said = await isthmus(regions, "device", "expect", "--file", str(file), "--remove")
    assert (said.code, said.out) == (0, "2 devices are no longer expected\n")
    assert await expected(regions, OTHER) == []
    # Whoever came in time stays.
    assert await until_admitted(regions, listed, "listed-0", OTHER) == 1


async def test_what_names_no_device_is_told(regions: Regions, tmp_path: Path) -> None:
    file = tmp_path / "devices.jsonl"
    file.write_text("[]\n")
    for words, told in (
        (("expect",), "a device is named by"),
        (("expect", "--certificate", "x"), "64 lowercase hex digits"),
        (("expect", "--certificate", "a" * 64, "--thing", "a b"), "thing"),
        (("expect", "--file", str(file), "--thing", "t"), "stands alone"),
        (("expect", "--file", str(file)), "line 1"),
        (("expect", "--file", str(tmp_path / "none")), "No such file"),
    ):
        said = await isthmus(regions, "device", *words)
        assert (said.code, told in said.error) == (2, True), said
    said = await isthmus(regions, "device", "expected")
    assert (said.code, said.out) == (0, "no device is expected\n")
