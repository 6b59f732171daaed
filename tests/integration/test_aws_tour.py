"""boto3 and the AWS CLI, as they are, call every operation that is there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
import botocore.exceptions
import pytest
import pytest_asyncio
from aws_region import handled
from aws_tour import CLIENT, INPUT, Seen, Step, tour
from awscli.clidriver import create_clidriver
from botocore import xform_name
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.aws import models
from isthmus.local import aws_profile
from isthmus.wire.packets import Publish

pytestmark = pytest.mark.asyncio(loop_scope="module")
#: Calls an operation of a service; gives its output, or raises the name of its error.
Call = Callable[[str, dict[str, Any]], dict[str, Any]]


class Refused(Exception):
    """An operation ended in the error of this name."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        await aws_profile.write_profiles(started.system, started.operator)
        await started.who_may(CLIENT, "iot:*")
        for region in started.system.settings.regions:
            (started.system.bucket(region) / INPUT).touch()
        yield started


@pytest.fixture
def profile(regions: Regions, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The profile of a region: all that `isthmus up` gives to its users."""
    files = {
        "AWS_CONFIG_FILE": aws_profile.config_file(regions.system),
        "AWS_SHARED_CREDENTIALS_FILE": aws_profile.credentials_file(regions.system),
    }
    # Of both it is the variable that counts.
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    for name, file in files.items():
        monkeypatch.setenv(name, str(file))
    return aws_profile.profile


def service_of(operation: str) -> str:
    return next(name for name in models.SERVICES if operation in models.service(name).operations)


def by_boto3(profile: str) -> Call:
    session = boto3.session.Session(profile_name=profile)
    clients = {name: session.client(name) for name in models.SERVICES}

    def call(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        client = clients[service_of(operation)]
        try:
            output: dict[str, Any] = getattr(client, xform_name(operation))(**parameters)
        except botocore.exceptions.ClientError as error:
            raise Refused(error.response["Error"]["Code"]) from None
        return output

    return call


def by_the_cli(profile: str) -> Call:
    """The command's own code, in this process: it takes a second to start."""
    driver = create_clidriver()

    def call(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        command = [service_of(operation), xform_name(operation, "-")]
        shape = models.service(command[0]).operations[operation].output_shape
        if shape and "payload" in shape.serialization:
            # Of what is no JSON to it, the client asks into which file, and takes options only.
            for name, value in parameters.items():
                command += [f"--{xform_name(name, '-')}", value]
            command.append(os.devnull)
        else:
            command += ["--cli-input-json", json.dumps(parameters)]
        command += ["--profile", profile, "--output", "json"]
        said, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            code = driver.main(command)
        if code:
            error = told.getvalue()
            assert "An error occurred (" in error, error
            raise Refused(error.partition("(")[2].partition(")")[0])
        return json.loads(said.getvalue() or "{}")

    return call


async def take(call: Call, step: Step, seen: Seen) -> None:
    """Take a step, which ends as it says."""
    called = asyncio.to_thread(call, step.operation, step.parameters(seen))
    if step.error:
        with pytest.raises(Refused, match=step.error):
            await called
    else:
        seen[step.operation] = await called


async def test_the_tour_has_every_operation_that_is_there() -> None:
    there = {name for service in models.SERVICES for name in handled(service)}
    assert {step.operation for step in tour("lamp")} == there


@pytest.mark.parametrize(("client", "region"), [(by_boto3, HOME), (by_the_cli, OTHER)])
async def test_a_client_goes_through_all_operations(
    regions: Regions,
    profile: Callable[[str], str],
    client: Callable[[str], Call],
    region: str,
) -> None:
    call: Call = client(profile(region))
    seen: Seen = {}

    async def is_known() -> bool:
        with contextlib.suppress(Refused):
            found = await asyncio.to_thread(call, "GetConnection", {"clientId": CLIENT})
            return bool(found["connected"])
        return False

    async with regions.client(region, CLIENT) as wire:
        assert await wire.subscribe("tour/told", qos=1) == (1,)
        await until("the client is known", is_known)
        for step in tour(f"tour-{region}"):
            await take(call, step, seen)
        # It has been sent away, after what it was told.
        said = await wire.closed()
        assert [each.payload for each in said if isinstance(each, Publish)] == [b"told", b""]
