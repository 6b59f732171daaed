"""Things registered one by one and in bulk, on regions whose processes are killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key, second_api
from botocore.exceptions import ClientError, HTTPClientError
from made_certificates import identity, request
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.local.system import BUCKET

pytestmark = pytest.mark.asyncio(loop_scope="module")
LINES = 200
ROLE = "arn:aws:iam::000000000000:role/r"
CSR = request()
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}],
}
BODY = json.dumps(
    {
        "Parameters": {"Name": {"Type": "String"}, "CSR": {"Type": "String", "Default": CSR}},
        "Resources": {
            "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Name"}}},
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {"CertificateSigningRequest": {"Ref": "CSR"}},
            },
            "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": POLICY}},
        },
    }
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), lease_s=2.0) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calls(regions: Regions) -> dict[str, Caller]:
    key = await a_key(regions)
    return {region: Caller(regions, key, region) for region in (HOME, OTHER)}


async def ask(call: Caller, operation: str, **parameters: Any) -> dict[str, Any]:
    """Call an operation, again where the process was waiting for its CPU: then nothing is done."""
    answers: list[dict[str, Any]] = []

    async def is_answered() -> bool:
        try:
            answers.append(await call(operation, **parameters))
        except call.errors.ServiceUnavailableException as error:
            if "catching up" not in str(error):
                raise
        return bool(answers)

    await until(f"{operation} is answered", is_answered)
    return answers[0]


async def start(regions: Regions, call: Caller, file: str, lines: list[Any]) -> str:
    """Start a task on a file of these lines; returns its id."""
    written = "".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines)
    (regions.system.bucket(HOME) / file).write_text(written)
    asked = {"inputFileBucket": BUCKET, "inputFileKey": file, "roleArn": ROLE}
    made = await ask(call, "start_thing_registration_task", templateBody=BODY, **asked)
    return str(made["taskId"])


async def described(call: Caller, task: str) -> dict[str, Any]:
    return await ask(call, "describe_thing_registration_task", taskId=task)


async def ended(call: Caller, task: str, status: str) -> dict[str, Any]:
    async def is_so() -> bool:
        return bool((await described(call, task))["status"] == status)

    await until(f"the task is {status}", is_so, within_s=120)
    return await described(call, task)


def ids(arns: list[str]) -> set[str]:
    """What ARNs name, whichever region has written them."""
    return {each.rpartition("/")[2] for each in arns}


async def report(call: Caller, task: str, kind: str) -> list[dict[str, Any]]:
    asked = {"taskId": task, "reportType": kind}
    (url,) = (await ask(call, "list_thing_registration_task_reports", **asked))["resourceLinks"]
    text = await asyncio.to_thread(Path(urlsplit(url).path).read_text)
    return [json.loads(line) for line in text.splitlines()]


async def test_a_thing_is_registered_and_is_in_both_regions(
    regions: Regions, calls: dict[str, Caller]
) -> None:
    made = await ask(
        calls[HOME], "register_thing", templateBody=BODY, parameters={"Name": "single"}
    )
    headers = made["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-isthmus-confirmed-by"] == OTHER
    found = await ask(calls[OTHER], "list_thing_principals", thingName="single")
    assert ids(found["principals"]) == ids([made["resourceArns"]["certificate"]])


async def test_a_key_that_makes_things_cannot_make_policies_by_a_template(
    regions: Regions, calls: dict[str, Caller]
) -> None:
    call = Caller(regions, await a_key(regions, "provisioner"))
    asked = {"templateBody": BODY, "parameters": {"Name": "by-provisioner"}}
    with pytest.raises(ClientError, match=r"AccessDenied.*iot:CreatePolicy"):
        await ask(call, "register_thing", **asked)
    file = {"inputFileBucket": BUCKET, "inputFileKey": "none", "roleArn": ROLE}
    with pytest.raises(ClientError, match=r"AccessDenied.*iot:CreatePolicy"):
        await ask(call, "start_thing_registration_task", templateBody=BODY, **file)
    await ask(calls[HOME], "create_policy", policyName="p", policyDocument=json.dumps(POLICY))
    body = json.loads(BODY)
    body["Resources"]["policy"]["Properties"] = {"PolicyName": "p"}
    await ask(call, "register_thing", **asked | {"templateBody": json.dumps(body)})


async def test_a_task_is_completed_though_its_process_is_killed_in_the_middle(
    regions: Regions, calls: dict[str, Caller]
) -> None:
    bad = {3: "{", 50: {"Other": "x"}, 51: "", 90: {"Name": "no good"}, 199: ["x"]}
    lines = [bad.get(n, {"Name": f"bulk-{n}"}) for n in range(LINES)]
    task = await start(regions, calls[HOME], "bulk.jsonl", lines)

    async def is_half_way() -> bool:
        return bool(0 < (await described(calls[HOME], task))["percentageProgress"] < 100)

    await until("it is under way", is_half_way)
    await regions.kill_part(HOME, "api")
    # The other region is asked: this one is not there yet, and says the same when it is.
    found = await ended(calls[OTHER], task, "Completed")
    good = LINES - len(bad)
    counts = {"successCount": good, "failureCount": len(bad) - 1, "percentageProgress": 100}
    assert counts.items() <= found.items()
    results = await report(calls[OTHER], task, "RESULTS")
    assert [each["lineNumber"] - 1 for each in results] == [n for n in range(LINES) if n not in bad]
    errors = await report(calls[OTHER], task, "ERRORS")
    assert [each["lineNumber"] - 1 for each in errors] == [3, 50, 90, 199]
    assert {each["errorCode"] for each in errors} == {"InvalidRequestException"}
    for each in results[:: LINES // 10]:
        response = each["response"]
        name = response["resourceArns"]["thing"].rpartition("/")[2]
        assert name == f"bulk-{each['lineNumber'] - 1}"
        found = await ask(calls[OTHER], "list_thing_principals", thingName=name)
        assert ids([response["resourceArns"]["certificate"]]) <= ids(found["principals"])
        certificate_id = identity(response["certificatePem"])
        found = await ask(calls[OTHER], "describe_certificate", certificateId=certificate_id)
        assert found["certificateDescription"]["status"] == "ACTIVE"
    pages = await ask(calls[OTHER], "list_things", maxResults=250)
    names = {each["thingName"] for each in pages["things"]}
    assert {f"bulk-{n}" for n in range(LINES) if n not in bad} <= names


async def test_a_task_is_taken_over_from_a_frozen_process_which_spoils_nothing_when_it_thaws(
    regions: Regions, calls: dict[str, Caller]
) -> None:
    lines = [{"Name": f"taken-{n}"} for n in range(LINES)]
    key = await a_key(regions)
    task = await start(regions, calls[HOME], "taken.jsonl", lines)

    async def is_half_way() -> bool:
        return bool(0 < (await described(calls[HOME], task))["percentageProgress"] < 100)

    await until("it is under way", is_half_way)
    regions.signal(HOME, "api", signal.SIGSTOP)
    try:
        async with second_api(regions) as (_, url):
            await ended(Caller(regions, key, url=url), task, "Completed")
    finally:
        regions.signal(HOME, "api", signal.SIGCONT)

    async def is_served() -> bool:
        # The client may have a connection that was closed meanwhile.
        with contextlib.suppress(HTTPClientError):
            return bool(await described(calls[HOME], task))
        return False

    await until("the first one serves again", is_served)
    # It holds the next one, so it has given this one up.
    again = await start(regions, calls[HOME], "again.jsonl", lines[:1])
    await ended(calls[HOME], again, "Completed")
    assert (await described(calls[HOME], task))["successCount"] == LINES
    results = await report(calls[HOME], task, "RESULTS")
    assert [each["lineNumber"] for each in results] == list(range(1, LINES + 1))


async def test_a_task_is_stopped_from_the_other_region(
    regions: Regions, calls: dict[str, Caller]
) -> None:
    lines = [{"Name": f"stopped-{n}"} for n in range(20 * LINES)]
    task = await start(regions, calls[HOME], "stopped.jsonl", lines)

    async def is_begun() -> bool:
        return bool((await described(calls[OTHER], task))["successCount"])

    async def is_known() -> bool:
        found = await ask(calls[OTHER], "list_thing_registration_tasks")
        return task in found["taskIds"]

    await until("the other region knows it", is_known)
    await until("it is under way", is_begun)
    await ask(calls[OTHER], "stop_thing_registration_task", taskId=task)
    found = await ended(calls[OTHER], task, "Cancelled")
    assert 0 < found["successCount"] < len(lines)
    assert len(await report(calls[HOME], task, "RESULTS")) == found["successCount"]


async def test_a_task_whose_file_has_gone_when_it_is_its_turn_fails_and_says_why(
    regions: Regions, calls: dict[str, Caller]
) -> None:
    lines = [{"Name": f"first-{n}"} for n in range(20 * LINES)]
    first = await start(regions, calls[HOME], "first.jsonl", lines)
    task = await start(regions, calls[HOME], "gone.jsonl", [{"Name": "gone"}])
    (regions.system.bucket(HOME) / "gone.jsonl").unlink()
    await ask(calls[HOME], "stop_thing_registration_task", taskId=first)
    found = await ended(calls[HOME], task, "Failed")
    assert "No such file" in found["message"]
