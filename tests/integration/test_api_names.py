"""By which names AWS's clients reach the API, and by which certificates they know it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import dns.nameserver
import dns.resolver
import pytest
import pytest_asyncio
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.local import aws_profile

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        await aws_profile.write_profiles(started.system, started.operator)
        yield started


@pytest.fixture
def resolving(regions: Regions) -> Iterator[None]:
    """Have this process ask the sites' nameservers for every name, as behind a delegated zone."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [
        dns.nameserver.Do53Nameserver(host, port) for host, port in regions.system.nameservers
    ]
    dns.resolver.override_system_resolver(resolver)
    yield
    dns.resolver.restore_system_resolver()


@pytest.fixture
def stable(
    regions: Regions, resolving: None, monkeypatch: pytest.MonkeyPatch
) -> boto3.session.Session:
    """By the profile of whichever region is served, and nothing else."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(aws_profile.config_file(regions.system)))
    credentials = aws_profile.credentials_file(regions.system)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    return boto3.session.Session(profile_name=aws_profile.STABLE)


async def answered_by(session: boto3.session.Session, thing: str) -> str:
    """The region that answers now: it names itself in ARNs."""
    # A connection that is open stays where it is, whatever DNS says.
    client = session.client("iot")
    described: dict[str, Any] = await asyncio.to_thread(client.describe_thing, thingName=thing)
    return str(described["thingArn"]).split(":")[3]


async def switch_over(regions: Regions, target: str) -> None:
    epoch = (await regions.operator.routing("witness"))["route"]["epoch"]
    intent = {"id": f"to-{target}", "kind": "move", "target": target, "if_epoch": epoch}
    await regions.operator.send_intent("witness", intent | {"expires_ms": 2**42})


async def test_the_stable_name_leads_aws_clients_to_the_region_that_is_served(
    regions: Regions, stable: boto3.session.Session
) -> None:
    made = await asyncio.to_thread(stable.client("iot").create_thing, thingName="lamp")
    assert made["thingArn"].split(":")[3] == HOME
    await switch_over(regions, OTHER)

    async def has_moved() -> bool:
        return await answered_by(stable, "lamp") == OTHER

    await until("the name leads to the other region", has_moved)
    # The key and its signature's scope are as before, and the name of a region stays its own.
    assert stable.region_name == HOME
    at_home = boto3.session.Session(profile_name=aws_profile.profile(HOME))
    assert await answered_by(at_home, "lamp") == HOME


@pytest.mark.parametrize("by_variable", [False, True])
async def test_the_data_plane_is_at_the_same_name(
    regions: Regions,
    stable: boto3.session.Session,
    monkeypatch: pytest.MonkeyPatch,
    by_variable: bool,
) -> None:
    session = stable
    if by_variable:
        # It wins over the profile, which leads to the other region.
        session = boto3.session.Session(profile_name=aws_profile.profile(OTHER))
        monkeypatch.setenv("AWS_ENDPOINT_URL_IOT_DATA_PLANE", regions.system.api_url)
    client = session.client("iot-data")
    assert client.meta.endpoint_url == regions.system.api_url
    await asyncio.to_thread(client.publish, topic="a")


# Certificates


class Kept:
    """A connection to the API that stays open between its requests."""

    def __init__(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._host, self._reader, self._writer = host, reader, writer
        tls = writer.get_extra_info("ssl_object")
        #: What the server has shown.
        self.certificate = tls.getpeercert(binary_form=True)

    async def is_answered(self) -> bool:
        """Whether it takes a request, an unsigned one."""
        self._writer.write(f"GET /endpoint HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        status = await self._reader.readline()
        await self._reader.readuntil(b"}")
        return status.startswith(b"HTTP/1.1 403")


@asynccontextmanager
async def connected(regions: Regions) -> AsyncIterator[Kept]:
    listen = regions.config(HOME).aws_api.listen
    reader, writer = await asyncio.open_connection(
        listen.host, listen.port, ssl=regions.tls(None), server_hostname=regions.system.api_name
    )
    yield Kept(str(listen), reader, writer)
    writer.close()
    await writer.wait_closed()


def refused_files(regions: Regions) -> list[dict[str, Any]]:
    """What the API's log says of TLS files that it could not use."""
    log = regions.system.settings.state_dir / "logs" / f"{HOME}-api.log"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [each for each in lines if each.get("action") == "tls-files" and "reason" in each]


async def test_replaced_tls_files_are_served_and_drop_nobody_and_broken_ones_change_nothing(
    regions: Regions,
) -> None:
    files = regions.config(HOME).aws_api.tls
    names, host = [regions.system.api_name], regions.system.address(HOME).host

    async def replace(name: str) -> None:
        async with connected(regions) as before:
            old = before.certificate
        made = regions.system.pki.aws_api(name, names, [host])
        shutil.copy(made.chain, files.certificate)
        shutil.copy(made.key, files.key)

        async def is_new() -> bool:
            async with connected(regions) as newest:
                return bool(newest.certificate != old)

        await until("new connections are shown the new certificate", is_new)

    async with connected(regions) as older:
        assert await older.is_answered()
        await replace("replaced")
        assert await older.is_answered()
        await asyncio.to_thread(Path(files.key).write_text, "half a key")
        await until("the log names the file", lambda: bool(refused_files(regions)))
        async with connected(regions) as newer:
            assert newer.certificate != older.certificate
            assert await newer.is_answered()
            await replace("mended")
            assert await newer.is_answered()
        assert await older.is_answered()
    (refused,) = refused_files(regions)
    assert files.key in refused["reason"]
