"""AWS's clients by the API's stable name, as our nameservers resolve it, through a switchover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
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


async def test_the_data_plane_is_at_the_same_name(
    regions: Regions, stable: boto3.session.Session
) -> None:
    client = stable.client("iot-data")
    assert client.meta.endpoint_url == regions.system.api_url
    with pytest.raises(client.exceptions.ClientError, match="NotImplementedException"):
        await asyncio.to_thread(client.publish, topic="a")
