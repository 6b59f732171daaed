"""Regions that were cut off, wiped, restored or killed converge, lose nothing, say what lost."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from mqtt_wire import CLOSED
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.errors import IsthmusError
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMPORTED = 300


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    directory = tmp_path_factory.mktemp("regions")
    async with two_regions(directory, cuttable=True, aws_api=False) as started:
        yield started


def conflicts(digests: dict[str, str]) -> set[str]:
    return {name for name in digests if name.startswith("conflict/")}


async def test_regions_that_were_cut_off_from_each_other_converge_and_list_what_lost(
    regions: Regions,
) -> None:
    names = ["contested", "revoked-here", "writes-in-eu", "writes-in-us"]
    await regions.register(names, HOME, vin="1")
    before = conflicts(await regions.level())
    revoked = regions.identity("revoked-here").certificate_id

    async with regions.sender(HOME, names[2]) as here, regions.sender(OTHER, names[3]) as there:
        await regions.system.cut()
        await asyncio.gather(regions.alone(HOME), regions.alone(OTHER))
        here.publish(20)
        there.publish(20)
        answers = await asyncio.gather(
            regions.register(["contested", "only-in-eu"], HOME, vin="2"),
            regions.register(["contested", "only-in-us", "revoked-here"], OTHER, vin="3"),
            regions.operator.revoke(HOME, revoked),
            here.settled(),
            there.settled(),
        )
        await regions.system.heal()
        await regions.together()
        await asyncio.gather(regions.in_both_lakes(here), regions.in_both_lakes(there))

    digests = await regions.level()
    assert [answer["replicated"] for answer in answers[:3]] == [False, False, False]
    assert {"thing/only-in-eu", "thing/only-in-us"} <= digests.keys()
    assert len(conflicts(digests) - before) == 1
    for region in (HOME, OTHER):
        assert not await regions.admitted(region, "revoked-here")
        assert await regions.admitted(region, "only-in-us")
        assert await regions.admitted(region, "only-in-eu")
        for name in names[2:]:
            assert sorted(regions.numbers(region, name, raw=True)) == list(range(20))


async def answers_until_admitted(regions: Regions, region: str, name: str) -> list[int]:
    """Try to connect until admitted; the codes that a returning region answered with."""
    codes: list[int] = []

    async def admitted() -> bool:
        try:
            async with regions.wire(region, name) as wire:
                codes.append(await wire.connect(name))
        except OSError:
            return False
        return codes[-1] == 0

    await until(f"{region} admits {name}", admitted)
    return codes


async def test_a_wiped_region_gets_everything_back_before_it_admits_anybody(
    regions: Regions,
) -> None:
    await regions.together()
    name = await regions.device("known-before")
    await regions.device("revoked-before")
    await regions.operator.revoke(OTHER, regions.identity("revoked-before").certificate_id)
    async with regions.sender(OTHER, name) as sender:
        sender.publish(20)
        await sender.settled()
    await regions.in_both_lakes(sender)
    rows = sorted(row.position for row in regions.lake(HOME, name, raw=True))

    await regions.kill(OTHER)
    regions.system.wipe(OTHER)
    # It runs, and has not met the other region yet.
    await regions.system.cut()
    await regions.system.start(OTHER)
    async with regions.wire(OTHER, name) as wire:
        first = await wire.connect(name)
    await regions.system.heal()
    codes = await answers_until_admitted(regions, OTHER, name)
    at_admission = await regions.operator.digests(OTHER)

    # It is closed while the region catches up; 5 would say that the certificate is not known.
    assert {first, *codes[:-1]} == {CLOSED}
    assert at_admission == await regions.operator.digests(HOME)
    assert not await regions.admitted(OTHER, "revoked-before")
    await regions.together()
    await until(
        "the lake is filled again",
        lambda: sorted(row.position for row in regions.lake(OTHER, name, raw=True)) == rows,
    )


async def write_everything(regions: Regions, region: str, name: str) -> None:
    """A device and twenty messages of it, through one region, told to be safe."""
    answer = await regions.register([name], region)
    assert answer["replicated"] is True
    async with regions.sender(region, name) as sender:
        sender.publish(20)
        await sender.settled()


async def test_a_region_restored_to_an_older_disk_loses_nothing_twice_in_a_row(
    regions: Regions,
) -> None:
    await regions.together()
    disk = regions.system.region_dir(OTHER) / "jetstream"
    older = disk.with_name("older")
    await write_everything(regions, OTHER, "in-the-copy")
    await regions.device("revoked-since")
    await regions.kill(OTHER)
    shutil.copytree(disk, older)
    await regions.system.start(OTHER)
    await regions.together()
    written = ["in-the-copy"]
    incarnations = [(await regions.status(OTHER))["incarnation"]]
    for turn in ("first", "second"):
        written.append(f"{turn}-not-in-the-copy")
        await write_everything(regions, OTHER, written[-1])
        await regions.operator.revoke(OTHER, regions.identity("revoked-since").certificate_id)

        await regions.kill(OTHER)
        shutil.rmtree(disk)
        shutil.copytree(older, disk)
        await regions.system.start(OTHER)
        await regions.together()
        incarnations.append((await regions.status(OTHER))["incarnation"])
        written.append(f"{turn}-after-the-restore")
        await write_everything(regions, OTHER, written[-1])

        digests = await regions.level()
        assert {f"thing/{name}" for name in written} <= digests.keys()
        for region in (HOME, OTHER):
            assert not await regions.admitted(region, "revoked-since")
            for name in written:
                await regions.in_lake(region, name, range(20))
                assert len(regions.numbers(region, name, raw=True)) == 20
    assert len(set(incarnations)) == 3


async def test_an_import_that_was_killed_is_finished_by_running_it_again(
    regions: Regions,
) -> None:
    await regions.together()
    # The fleet's policy comes with the first device, whichever test runs first.
    await regions.register(["imported-before"])
    names = [f"imported-{number}" for number in range(IMPORTED)]
    before = len(await regions.operator.digests(HOME))
    importing = asyncio.create_task(regions.register(names))

    async def half_way() -> bool:
        return len(await regions.operator.digests(HOME)) > before + IMPORTED

    await until("the import is under way", half_way)
    regions.signal(HOME, "services", signal.SIGKILL)
    with pytest.raises(IsthmusError):
        await importing
    await regions.together()
    partly = await regions.level()
    answer = await regions.register(names)
    digests = await regions.level()

    assert before + IMPORTED < len(partly) < before + 4 * IMPORTED
    assert answer["things"] == IMPORTED
    assert answer["replicated"] is True
    # A thing, a certificate and two attachments each.
    assert len(digests) == before + 4 * IMPORTED
    for region in (HOME, OTHER):
        async with regions.client(region, names[-1]) as wire:
            wire.send(mqtt3.Publish(regions.topic(names[-1]), b"x", 1, packet_id=1))
            assert (await wire.expect(mqtt3.Puback)).packet_id == 1
