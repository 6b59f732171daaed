"""The AWS SDK over WebSocket, signing with the profile that a local system writes."""

from __future__ import annotations

import asyncio
import configparser
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from client_programs import CLIENTS, Client, Instead, Place, Program, running
from regions import HOME, OTHER, Regions, two_regions

from isthmus.local import aws_profile, foreground

pytestmark = pytest.mark.asyncio(loop_scope="module")

signing = pytest.mark.parametrize(
    ("program", "version"),
    [each for each in CLIENTS if each[0].name == "AWS SDK"],
    ids=["3.1.1", "5"],
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        await aws_profile.write_profiles(started.system, started.operator)
        yield started


@asynccontextmanager
async def started(
    regions: Regions,
    directory: Path,
    program: Program,
    version: str,
    *,
    at: str = HOME,
    **changed: str,
) -> AsyncIterator[Client]:
    """A client that signs; it is given no certificate that exists."""
    system, address = regions.system, regions.system.address(at)
    nothing = directory / "nothing.pem"
    place = Place(address.host, address.ports["https"], system.pki.ca_file, nothing, nothing)
    client_id = f"signs-{at}-{version}"
    more = {
        "profile": aws_profile.profile(at),
        "region": at,
        "aws-config": str(aws_profile.config_file(system)),
        "aws-credentials": str(aws_profile.credentials_file(system)),
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    topic = f"signed/{client_id}"
    async with running(program, version, directory, place, client_id, topic, more=more) as client:
        yield client


@signing
async def test_it_publishes_and_receives_in_every_region(
    regions: Regions, tmp_path: Path, program: Program, version: str
) -> None:
    for at in (HOME, OTHER):
        async with started(regions, tmp_path, program, version, at=at) as client:
            await client.connected()
            topic = f"signed/{client.id}"
            await client.subscribe(topic)
            client.publish(topic, "signed", qos=1)
            await client.acknowledged("signed")
            assert await client.hears("message") == ["1", "0", topic, "signed"]


@signing
@pytest.mark.parametrize("what", ["the secret", "the region"])
async def test_it_is_refused_where_something_is_wrong(
    regions: Regions, tmp_path: Path, program: Program, version: str, what: str
) -> None:
    changed = {"region": "ap"}
    if what == "the secret":
        wrong = tmp_path / "credentials"
        parser = credentials(regions)
        parser[aws_profile.profile(HOME)]["aws_secret_access_key"] = "x" * 40
        with wrong.open("w") as file:
            parser.write(file)
        changed = {"aws_credentials": str(wrong)}
    async with started(regions, tmp_path, program, version, **changed) as client:
        with pytest.raises(Instead, match="refused"):
            await client.connected()


@signing
async def test_it_is_closed_and_stays_out_when_its_key_is_deactivated(
    regions: Regions, tmp_path: Path, program: Program, version: str
) -> None:
    made = await regions.operator.create_access_key(HOME, "operator")
    parser = credentials(regions)
    section = parser[aws_profile.profile(HOME)]
    section["aws_access_key_id"], section["aws_secret_access_key"] = made["id"], made["secret"]
    own = tmp_path / "credentials"
    with own.open("w") as file:
        parser.write(file)
    async with started(regions, tmp_path, program, version, aws_credentials=str(own)) as client:
        await client.connected()
        await regions.operator.change_access_key(HOME, made["id"], "deactivate")
        await client.hears("disconnected")
        if version == "5":
            # The client for 3.1.1 tells of refusals only until it was connected once.
            await client.hears("refused", "connected")


def credentials(regions: Regions) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(aws_profile.credentials_file(regions.system))
    return parser


# The profile and the command


async def test_the_ready_file_names_the_profile(regions: Regions, tmp_path: Path) -> None:
    foreground._write_ready(regions.system, tmp_path / "ready.json")
    ready = json.loads((tmp_path / "ready.json").read_text())
    parser = configparser.ConfigParser(interpolation=None)
    parser.read([ready["aws_config_file"], ready["aws_credentials_file"]])
    for region in (HOME, OTHER):
        profile = ready["regions"][region]["aws_profile"]
        assert parser[f"profile {profile}"]["region"] == region
        assert parser[profile]["aws_access_key_id"].startswith("AKIA")


async def test_the_profile_is_for_its_owner_and_its_key_is_kept(regions: Regions) -> None:
    system = regions.system
    for file in (aws_profile.config_file(system), aws_profile.credentials_file(system)):
        assert file.stat().st_mode & 0o777 == 0o600
    before = aws_profile.credentials_file(system).read_text()
    await aws_profile.write_profiles(system, regions.operator)
    assert aws_profile.credentials_file(system).read_text() == before
    key = credentials(regions)[aws_profile.profile(OTHER)]["aws_access_key_id"]
    (held,) = [each for each in await regions.operator.access_keys(HOME) if each["id"] == key]
    assert (held["role"], held["status"]) == ("admin", "Active")
    await regions.operator.change_access_key(HOME, key, "delete")
    await aws_profile.write_profiles(system, regions.operator)
    assert credentials(regions)[aws_profile.profile(HOME)]["aws_access_key_id"] != key


def command(regions: Regions, *words: str) -> subprocess.CompletedProcess[str]:
    state = str(regions.system.settings.state_dir)
    return subprocess.run(
        [sys.executable, "-m", "isthmus", "access-key", *words, "--state", state],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )


async def test_the_command_makes_lists_and_takes_away(regions: Regions) -> None:
    def told(*words: str) -> Any:
        done = command(regions, *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    made = await asyncio.to_thread(told, "create", "--role", "read-only")
    assert (made["role"], made["status"], len(made["secret"])) == ("read-only", "Active", 40)
    shown = await asyncio.to_thread(
        command, regions, "create", "--role", "admin", "--region", OTHER
    )
    assert "aws_secret_access_key = " in shown.stdout
    for what, status in (("deactivate", "Inactive"), ("activate", "Active"), ("delete", None)):
        assert (await asyncio.to_thread(told, what, made["id"]))["status"] == status
    listed = await asyncio.to_thread(command, regions, "list")
    assert made["id"] not in listed.stdout
    assert shown.stdout.split()[2] in listed.stdout
    assert shown.stdout.split()[-1] not in listed.stdout
    wrong = await asyncio.to_thread(command, regions, "delete", "AKIAX")
    assert wrong.returncode == 2
    assert "there is no access key 'AKIAX'" in wrong.stderr
