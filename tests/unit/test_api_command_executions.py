"""Executions of commands over the API: what is started, listed, told and deleted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

from isthmus.aws import models, old_executions
from isthmus.aws.handlers.command_executions import LOOKED_MAX
from isthmus.aws.requests import Call
from isthmus.core import command_executions
from isthmus.core.command_executions import COMMAND_EXECUTION, ExecutionStatus, Report
from isthmus.core.presence import Present, Word
from isthmus.core.registry import Writer

ACCOUNT = "arn:aws:iot:eu-west-1:123456789012"
OPEN, LAMP = f"{ACCOUNT}:command/open", f"{ACCOUNT}:thing/lamp"
HOUR_MS = 3_600_000
INVALID, CONFLICT = "ValidationException", "ConflictException"
MISSING = "ResourceNotFoundException"


@pytest.fixture
def client(client):
    client.create_command(commandId="open", payload={"content": b"x", "contentType": "a/b"})
    client.create_thing(thingName="lamp")
    return client


@pytest.fixture
def jobs(region):
    return region.client("iot-jobs-data")


def start(jobs, target=LAMP, command=OPEN, **more):
    made = jobs.start_command_execution(targetArn=target, commandArn=command, **more)
    return made["executionId"]


def described(client, key, target=LAMP, **more):
    found = client.get_command_execution(executionId=key, targetArn=target, **more)
    del found["ResponseMetadata"]
    return found


def report(region, key, status, **more):
    """Have the device say something."""
    writer, said = Writer(region.clock, region.now_ms), Report(status=status, **more)

    def change(item):
        return command_executions.report(item, writer, said)

    asyncio.run(region.store.update(COMMAND_EXECUTION, key, change))


def own(client, *things):
    """The principal of a certificate that is attached to these things."""
    made = client.create_keys_and_certificate(setAsActive=True)
    for name in things:
        client.attach_thing_principal(thingName=name, principal=made["certificateArn"])
    return made["certificateId"]


def connect(region, name, principal="", version=0, *, has_ended=False):
    present = Present("session", 1, principal, "192.0.2.1")
    region.services.roster.take(Word(name, version, "eu", "g", present, has_ended))


def listed(client, **parameters):
    pages = client.get_paginator("list_command_executions").paginate(
        PaginationConfig={"PageSize": 2}, **parameters
    )
    return [each["executionId"] for page in pages for each in page["commandExecutions"]]


def test_an_execution_is_started_and_described(region, client, jobs):
    key = start(jobs)
    found = described(client, key)
    kept_ms = found.pop("timeToLive").timestamp() * 1000 - region.now_ms
    assert kept_ms == 30 * 24 * HOUR_MS
    times = {found.pop(each) for each in ("createdAt", "startedAt", "lastUpdatedAt")}
    assert {each.timestamp() * 1000 for each in times} == {region.now_ms}
    assert found == {
        "executionId": key,
        "commandArn": OPEN,
        "targetArn": LAMP,
        "status": "CREATED",
        "executionTimeoutSeconds": 10,
    }


def test_what_nobody_answers_in_time_has_timed_out(region, client, jobs):
    key = start(jobs, executionTimeoutSeconds=60)
    region.now_ms += 59_999
    assert described(client, key)["status"] == "CREATED"
    region.now_ms += 1
    found = described(client, key)
    assert (found["status"], found["statusReason"]) == (
        "TIMED_OUT",
        {"reasonCode": "$NO_RESPONSE_FROM_DEVICE"},
    )
    assert "completedAt" not in found
    named = {"executionId": key, "targetArn": LAMP}
    region.now_ms += 12 * HOUR_MS - 1
    assert refusal(client.delete_command_execution, **named)[0] == CONFLICT
    region.now_ms += 1
    client.delete_command_execution(**named)
    assert refusal(client.get_command_execution, **named)[0] == MISSING


def test_executions_are_removed_by_themselves_the_oldest_first(region, client, jobs, monkeypatch):
    monkeypatch.setattr(old_executions, "DUE_MAX", 2)
    service = models.service(models.IOT)
    call = Call(service, service.operations["DeleteCommandExecution"], {})

    def end():
        context = region.context(call)
        found = old_executions.due(context, is_alone=False)
        return [
            key for key in found if asyncio.run(old_executions.end(context, key, is_alone=True))
        ]

    keys = []
    for _ in range(4):
        keys.append(start(jobs))
        region.now_ms += HOUR_MS
    report(region, keys[2], ExecutionStatus.SUCCEEDED)
    until = described(client, keys[2])["timeToLive"].timestamp() * 1000
    region.now_ms = int(until)
    assert end() == keys[:2], "as many as one look ends"
    assert end() == []
    region.now_ms += 1
    assert end() == [keys[2]]
    assert listed(client, targetArn=LAMP) == [keys[3]]
    context = region.context(call)
    assert not asyncio.run(old_executions.end(context, keys[3], is_alone=False))


def test_what_the_device_says_is_told_and_its_result_if_asked_for(region, client, jobs):
    key = start(jobs)
    region.now_ms += 1
    report(region, key, ExecutionStatus.IN_PROGRESS, reason_code="BEGUN", reason="now")
    found = described(client, key)
    assert (found["status"], found["statusReason"]["reasonCode"]) == ("IN_PROGRESS", "BEGUN")
    region.now_ms += HOUR_MS
    result = {"on": {"b": True}, "is": {"s": "open"}, "raw": {"bin": "AP8="}}
    report(region, key, ExecutionStatus.SUCCEEDED, result=result)
    found = described(client, key)
    assert (found["status"], "result" in found, "statusReason" in found) == (
        "SUCCEEDED",
        False,
        False,
    )
    assert found["completedAt"].timestamp() * 1000 == region.now_ms
    assert found["lastUpdatedAt"] == found["completedAt"]
    assert described(client, key, includeResult=True)["result"] == {
        "on": {"B": True},
        "is": {"S": "open"},
        "raw": {"BIN": b"\x00\xff"},
    }


def test_under_one_token_there_is_one_execution_in_whichever_region(region, client, jobs):
    other = AwsRegion("us-east-1")
    exchange(region, other)
    key = start(jobs, clientToken="t")
    count = writes(region)
    assert start(jobs, clientToken="t") == key
    assert writes(region) == count
    assert start(other.client("iot-jobs-data"), clientToken="t") == key
    exchange(region, other)
    assert listed(client, targetArn=LAMP) == listed(other.client(), targetArn=LAMP) == [key]
    another = {"targetArn": LAMP, "commandArn": OPEN, "executionTimeoutSeconds": 11}
    assert refusal(jobs.start_command_execution, clientToken="t", **another)[0] == CONFLICT
    assert start(jobs, clientToken="u") != key


def test_requests_without_a_token_are_each_their_own(region, client, jobs):
    # The token that botocore makes up is taken out again.
    jobs.meta.events.register(
        "before-parameter-build", lambda params, **_: params.pop("clientToken", None)
    )
    assert start(jobs) != start(jobs)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"targetArn": f"{ACCOUNT}:thing/none"}, MISSING),
        ({"targetArn": f"{ACCOUNT}:thinggroup/g"}, MISSING),
        ({"targetArn": f"{ACCOUNT}:policy/p"}, INVALID),
        ({"targetArn": f"{ACCOUNT}:client/a/b"}, INVALID),
        ({"targetArn": f"{ACCOUNT}:client/+"}, INVALID),
        ({"targetArn": f"{ACCOUNT}:client/$a"}, INVALID),
        ({"targetArn": f"{ACCOUNT}:client/{'a' * 129}"}, INVALID),
        ({"targetArn": "lamp"}, INVALID),
        ({"commandArn": f"{ACCOUNT}:command/none"}, MISSING),
        ({"commandArn": LAMP}, INVALID),
        ({"executionTimeoutSeconds": 12 * 3600 + 1}, INVALID),
        ({"parameters": {"a": {"S": "b"}}}, INVALID),
    ],
)
def test_what_cannot_be_started_is_refused(region, client, jobs, wrong, error):
    count = writes(region)
    asked = {"targetArn": LAMP, "commandArn": OPEN} | wrong
    assert refusal(jobs.start_command_execution, **asked)[0] == error
    assert writes(region) == count


def test_a_command_that_is_deprecated_or_being_deleted_is_not_started(client, jobs):
    asked = {"targetArn": LAMP, "commandArn": OPEN}
    client.update_command(commandId="open", deprecated=True)
    assert refusal(jobs.start_command_execution, **asked)[0] == INVALID
    client.update_command(commandId="open", deprecated=False)
    key = start(jobs)
    client.delete_command(commandId="open")
    assert refusal(jobs.start_command_execution, **asked)[0] == INVALID
    assert described(client, key)["status"] == "CREATED"


def say_when_offline(jobs, value):
    def add(request, **_):
        request.headers["x-isthmus-when-offline"] = value

    jobs.meta.events.register("before-sign", add)


def test_who_is_offline_is_refused_if_the_caller_says_so(region, client, jobs):
    say_when_offline(jobs, "refuse")
    count = writes(region)
    asked = {"targetArn": LAMP, "commandArn": OPEN, "clientToken": "t"}
    code, message = refusal(jobs.start_command_execution, **asked)
    assert (code, writes(region)) == (CONFLICT, count)
    assert message == "The thing lamp is not connected"
    principal = own(client, "lamp")
    connect(region, "lamp", principal)
    key = start(jobs, clientToken="t")
    connect(region, "lamp", principal, 1, has_ended=True)
    assert refusal(jobs.start_command_execution, **asked | {"clientToken": "u"})[0] == CONFLICT
    connect(region, "lamp", own(client), 2)
    assert refusal(jobs.start_command_execution, **asked | {"clientToken": "u"})[0] == CONFLICT
    start(jobs, target=f"{ACCOUNT}:client/lamp")
    assert start(jobs, clientToken="t") == key, "sent again it is the same, whoever has gone since"


def test_what_is_to_be_done_offline_is_one_of_two(client, jobs):
    say_when_offline(jobs, "wait")
    asked = {"targetArn": LAMP, "commandArn": OPEN}
    code, message = refusal(jobs.start_command_execution, **asked)
    assert (code, "x-isthmus-when-offline" in message) == (INVALID, True)


def test_so_many_wait_for_one_device_and_what_timed_out_is_not_counted(
    region, client, jobs, monkeypatch
):
    monkeypatch.setattr("isthmus.aws.commanded.PENDING_MAX", 2)
    keys = [start(jobs) for _ in range(2)]
    asked = {"targetArn": LAMP, "commandArn": OPEN}
    assert refusal(jobs.start_command_execution, **asked)[0] == "ServiceQuotaExceededException"
    start(jobs, target=f"{ACCOUNT}:client/lamp")
    report(region, keys[0], ExecutionStatus.IN_PROGRESS)
    start(jobs)
    assert refusal(jobs.start_command_execution, **asked)[0] == "ServiceQuotaExceededException"
    region.now_ms += 10_001
    start(jobs)


def test_executions_are_listed_by_command_or_device(region, client, jobs):
    client.create_command(commandId="shut", payload={"content": b"y"})
    shut, pump = f"{ACCOUNT}:command/shut", f"{ACCOUNT}:client/pump"
    keys = []
    for command, target in ((OPEN, LAMP), (shut, LAMP), (OPEN, pump), (OPEN, LAMP)):
        region.now_ms += 60_000
        keys.append(start(jobs, target, command))
    a, b, c, d = keys
    assert listed(client, commandArn=OPEN) == [d, c, a]
    assert listed(client, targetArn=LAMP) == [d, b, a]
    assert listed(client, targetArn=pump) == [c]
    assert listed(client, targetArn=LAMP, sortOrder="ASCENDING") == [a, b, d]
    assert listed(client, targetArn=LAMP, namespace="AWS-IoT-FleetWise") == []
    assert listed(client, targetArn=LAMP, status="TIMED_OUT") == [b, a]
    report(region, b, ExecutionStatus.FAILED)
    assert listed(client, targetArn=LAMP, status="FAILED") == [b]
    for wrong in (
        {},
        {"targetArn": LAMP, "commandArn": OPEN},
        {"targetArn": LAMP, "startedTimeFilter": {"after": "soon"}},
        {"targetArn": LAMP, "startedTimeFilter": {}, "completedTimeFilter": {}},
    ):
        assert refusal(client.list_command_executions, **wrong)[0] == INVALID


def test_executions_are_listed_by_when_they_started_or_completed(region, client, jobs):
    def minute():
        at = datetime.fromtimestamp(region.now_ms / 1000, UTC)
        return at.strftime("%Y-%m-%dT%H:%M")

    region.now_ms -= region.now_ms % 60_000
    times, keys = [], []
    for _ in range(4):
        region.now_ms += 60_000
        times.append(minute())
        keys.append(start(jobs))
    a, b, c, d = keys
    between = {"after": times[1], "before": times[3]}
    for order, expected in (("DESCENDING", [c, b]), ("ASCENDING", [b, c])):
        found = listed(client, targetArn=LAMP, startedTimeFilter=between, sortOrder=order)
        assert found == expected
    report(region, c, ExecutionStatus.SUCCEEDED)
    region.now_ms += 60_000
    report(region, a, ExecutionStatus.SUCCEEDED)
    assert listed(client, targetArn=LAMP, completedTimeFilter={"after": minute()}) == [a]
    assert listed(client, targetArn=LAMP, completedTimeFilter={"before": minute()}) == [c]
    assert listed(client, targetArn=LAMP, completedTimeFilter={"after": times[0]}) == [c, a]
    offset = {"after": f"{times[3]}+00:00"}
    assert listed(client, targetArn=LAMP, startedTimeFilter=offset) == [d]
    assert b not in listed(client, targetArn=LAMP, startedTimeFilter=offset)


def test_a_page_looks_at_so_many_and_goes_on_behind_them(region, client, jobs, monkeypatch):
    assert LOOKED_MAX > 100
    monkeypatch.setattr("isthmus.aws.handlers.command_executions.LOOKED_MAX", 2)
    keys = [start(jobs) for _ in range(5)]
    report(region, keys[0], ExecutionStatus.FAILED)
    page = client.list_command_executions(targetArn=LAMP, status="CREATED", maxResults=100)
    assert len(page["commandExecutions"]) <= 2
    assert page["nextToken"]
    assert listed(client, targetArn=LAMP, status="FAILED") == [keys[0]]


def test_an_ended_execution_is_deleted_and_only_by_its_device_found(region, client, jobs):
    key = start(jobs)
    pump = f"{ACCOUNT}:client/pump"
    named = {"executionId": key, "targetArn": LAMP}
    assert refusal(client.get_command_execution, executionId=key, targetArn=pump)[0] == MISSING
    report(region, key, ExecutionStatus.TIMED_OUT)
    wrong = {"executionId": key, "targetArn": pump}
    assert refusal(client.delete_command_execution, **wrong)[0] == INVALID
    client.delete_command_execution(**named)
    assert refusal(client.get_command_execution, **named)[0] == MISSING
    assert refusal(client.delete_command_execution, **named)[0] == INVALID
    assert listed(client, targetArn=LAMP) == []
