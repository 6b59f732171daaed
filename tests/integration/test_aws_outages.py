"""What the AWS-compatible API answers while something is away: the other region, or this one."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aws_clients import LAUNCHER, Caller, a_key, second_api
from aws_dimensions import KIND
from botocore.exceptions import ClientError, EndpointConnectionError
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.errors import Unavailable

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    directory = tmp_path_factory.mktemp("regions")
    async with two_regions(
        directory, cuttable=True, launcher=LAUNCHER, alone_start_s=1.0
    ) as started:
        yield started


async def is_served(call: Caller) -> bool:
    try:
        await call("describe_endpoint")
    except (ClientError, EndpointConnectionError):
        return False
    return True


async def test_a_region_that_is_alone_says_that_nobody_confirmed(regions: Regions) -> None:
    call = Caller(regions, await a_key(regions))
    await regions.system.cut()
    try:
        await regions.alone(HOME)
        headers = await call.make("written-alone")
    finally:
        await regions.system.heal()
    assert headers["x-isthmus-replicated"] == "false"
    assert "x-isthmus-confirmed-by" not in headers
    await regions.together()
    # Sent again it is confirmed, as if it had been from the beginning.
    assert (await call.make("written-alone"))["x-isthmus-confirmed-by"] == OTHER


async def test_a_region_that_lost_its_services_answers_that_it_cannot(regions: Regions) -> None:
    call = Caller(regions, await a_key(regions))
    regions.signal(HOME, "services", signal.SIGSTOP)
    try:

        async def is_refused() -> bool:
            try:
                await call("describe_endpoint")
            except call.errors.ServiceUnavailableException as error:
                return "catching up" in error.response["Error"]["Message"]
            return False

        await until("it refuses", is_refused)
    finally:
        regions.signal(HOME, "services", signal.SIGCONT)
    await until("it serves", lambda: is_served(call))


async def test_a_running_process_takes_over_a_new_incarnation(regions: Regions) -> None:
    call = Caller(regions, await a_key(regions))
    await call.make("survives", "before")
    before = (await regions.status(HOME))["incarnation"]
    pid = regions.system.pids(HOME)[f"{HOME}-api"]
    # Without a peer that proves that nothing is lost, the services begin another one.
    await regions.system.cut()
    try:
        await regions.kill_part(HOME, "services")

        async def is_another() -> bool:
            with contextlib.suppress(Unavailable):
                return (await regions.status(HOME))["incarnation"] != before
            return False

        await until("another one has begun", is_another)
        await regions.alone(HOME)
        after = (await regions.status(HOME))["incarnation"]
        await until("it serves", lambda: is_served(call))
        assert (await call.make("survives", "after"))["x-isthmus-replicated"] == "false"
    finally:
        await regions.system.heal()
    await regions.together()
    assert (await call.make("survives", "after"))["x-isthmus-confirmed-by"] == OTHER
    item = await regions.item(HOME, KIND, "survives")
    assert item.vv == {f"{HOME}.{before}": 1, f"{HOME}.{after}": 1}
    assert regions.system.pids(HOME)[f"{HOME}-api"] == pid
    await regions.level()


async def test_what_nobody_confirms_in_time_is_said_to_be_stored_here(
    regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await a_key(regions)
    async with second_api(regions, promise_timeout_s=0.2) as (server, url):
        # As if the reports of the other region were on their way for longer than that.
        monkeypatch.setattr(server._promises, "heard", lambda *_: None)
        call, said = Caller(regions, key, url=url), ""

        async def is_refused() -> bool:
            nonlocal said
            try:
                answer = await call.make("unconfirmed")
            except call.errors.ServiceUnavailableException as error:
                said = error.response["Error"]["Message"]
                return True
            assert answer["x-isthmus-replicated"] == "false", "a busy machine was alone meanwhile"
            return False

        await until("it is refused", is_refused)
    assert "stored in this region" in said
    assert (await regions.item(HOME, KIND, "unconfirmed")).lives
    assert (await Caller(regions, key).make("unconfirmed"))["x-isthmus-confirmed-by"] == OTHER
