"""Commands for thing groups over the API: each thing has its execution, whatever is cut off."""

from __future__ import annotations

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion
from hypothesis import given, settings
from hypothesis import strategies as st
from test_api_command_executions import connect, listed, own, report, say_when_offline, start
from test_api_crashes import Died, die_after

from isthmus.aws import group_executions
from isthmus.core.command_executions import ExecutionStatus

ACCOUNT = "arn:aws:iot:eu-west-1:123456789012"
OPEN, FLOOR = f"{ACCOUNT}:command/open", f"{ACCOUNT}:thinggroup/floor"
NAMES = ("fan", "lamp", "pump")


def furnished(region):
    """A region with a group, one below it, and things in both."""
    client = region.client()
    client.create_command(commandId="open", payload={"content": b"x", "contentType": "a/b"})
    client.create_thing_group(thingGroupName="floor")
    client.create_thing_group(thingGroupName="room", parentGroupName="floor")
    for name, group in zip(NAMES, ("floor", "room", "room"), strict=True):
        client.create_thing(thingName=name)
        client.add_thing_to_thing_group(thingName=name, thingGroupName=group)
    return client


@pytest.fixture
def client(region):
    return furnished(region)


@pytest.fixture
def jobs(region):
    return region.client("iot-jobs-data")


def shown(client, key, target=FLOOR):
    return client.get_command_execution(executionId=key, targetArn=target, includeResult=True)


def counts(client, key):
    return {name: int(each["S"]) for name, each in shown(client, key)["result"].items()}


def parts(client, key=""):
    """By thing, the executions that those of a group are, or this one."""
    pages = client.get_paginator("list_command_executions").paginate(
        targetArn=FLOOR, PaginationConfig={"PageSize": 50}
    )
    found = [
        (each["targetArn"].partition("/")[2], each["executionId"])
        for page in pages
        for each in page["commandExecutions"]
        if each["executionId"].startswith(key)
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_each_thing_in_a_group_and_below_it_has_an_execution(region, client, jobs):
    key = start(jobs, FLOOR, executionTimeoutSeconds=60)
    found = parts(client)
    assert tuple(sorted(found)) == NAMES
    assert all(each.startswith(key) and len(each) <= 64 for each in found.values())
    for name, each in found.items():
        one = shown(client, each, f"{ACCOUNT}:thing/{name}")
        assert (one["status"], one["executionTimeoutSeconds"]) == ("CREATED", 60)
    whole = shown(client, key)
    assert (whole["targetArn"], whole["status"], whole["result"]) == (
        FLOOR,
        "CREATED",
        {"CREATED": {"S": "3"}},
    )
    assert sorted(listed(client, commandArn=OPEN)) == sorted(found.values())
    plain = client.get_command_execution(executionId=key, targetArn=FLOOR)
    assert "result" not in plain


def test_a_groups_status_is_that_of_its_things(region, client, jobs):
    key = start(jobs, FLOOR)
    found = parts(client)
    for name, said, expected in (
        ("fan", "IN_PROGRESS", "IN_PROGRESS"),
        ("fan", "SUCCEEDED", "IN_PROGRESS"),
        ("lamp", "SUCCEEDED", "IN_PROGRESS"),
        ("pump", "REJECTED", "REJECTED"),
    ):
        report(region, found[name], ExecutionStatus(said))
        assert shown(client, key)["status"] == expected
    assert counts(client, key) == {"SUCCEEDED": 2, "REJECTED": 1}
    assert shown(client, key)["completedAt"].timestamp() * 1000 == region.now_ms
    late = start(jobs, FLOOR)
    region.now_ms += 10_000
    assert (shown(client, late)["status"], counts(client, late)) == ("TIMED_OUT", {"TIMED_OUT": 3})
    assert "completedAt" not in shown(client, late)


def test_what_cannot_be_started_for_a_group_is_refused_and_nothing_written(
    region, client, jobs, monkeypatch
):
    client.create_thing_group(thingGroupName="empty")
    count = writes(region)
    monkeypatch.setattr(group_executions, "THINGS_MAX", 2)
    for target, error, told in (
        (f"{ACCOUNT}:thinggroup/none", "ResourceNotFoundException", "none does not exist"),
        (f"{ACCOUNT}:thinggroup/empty", "ValidationException", "no thing in the group empty"),
        (FLOOR, "ValidationException", "more than 2 things"),
    ):
        asked = {"targetArn": target, "commandArn": OPEN}
        code, message = refusal(jobs.start_command_execution, **asked)
        assert (code, told in message, writes(region)) == (error, True, count)
    start(jobs, f"{ACCOUNT}:thinggroup/room")


def test_a_thing_that_cannot_be_sent_it_holds_up_no_other(region, client, jobs, monkeypatch):
    monkeypatch.setattr("isthmus.aws.commanded.PENDING_MAX", 1)
    start(jobs, f"{ACCOUNT}:thing/lamp")
    connect(region, "fan", own(client, "fan"))
    connect(region, "lamp", own(client, "lamp"))
    say_when_offline(jobs, "refuse")
    key = start(jobs, FLOOR)
    assert counts(client, key) == {"CREATED": 1, "REJECTED": 2}
    reasons = {
        name: shown(client, each, f"{ACCOUNT}:thing/{name}").get("statusReason")
        for name, each in parts(client).items()
    }
    assert {name: reason and reason["reasonCode"] for name, reason in reasons.items()} == {
        "fan": None,
        "lamp": "$TOO_MANY_WAIT",
        "pump": "$NOT_CONNECTED",
    }


def test_once_it_was_begun_for_all_nothing_is_begun_under_its_token(region, client, jobs):
    key = start(jobs, FLOOR, clientToken="t")
    client.create_thing(thingName="new")
    client.add_thing_to_thing_group(thingName="new", thingGroupName="room")
    count = writes(region)
    assert start(jobs, FLOOR, clientToken="t") == key
    assert (writes(region), "new" in parts(client)) == (count, False)
    another = {"targetArn": FLOOR, "commandArn": OPEN, "executionTimeoutSeconds": 11}
    code, _ = refusal(jobs.start_command_execution, clientToken="t", **another)
    assert code == "ConflictException"


def test_what_was_begun_stays_as_it_is_while_the_rest_is_begun(region, client, jobs, monkeypatch):
    monkeypatch.setattr("isthmus.aws.commanded.PENDING_MAX", 1)
    put = region.store.log.put
    die_after(region, 2)
    with pytest.raises(Died):
        start(jobs, FLOOR, clientToken="t")
    region.store.log.put = put
    assert len(parts(client)) == 1
    key = start(jobs, FLOOR, clientToken="t")
    assert counts(client, key) == {"CREATED": 3}, "it does not wait behind itself"


def test_a_groups_execution_is_deleted_with_those_of_its_things(region, client, jobs):
    key = start(jobs, FLOOR)
    named = {"executionId": key, "targetArn": FLOOR}
    for each in parts(client).values():
        assert refusal(client.delete_command_execution, **named)[0] == "ConflictException"
        report(region, each, ExecutionStatus.SUCCEEDED)
    client.delete_command_execution(**named)
    assert parts(client) == {}
    assert refusal(client.get_command_execution, **named)[0] == "ResourceNotFoundException"


class Pair:
    """Two regions that know of one group; each call has a token of its own."""

    def __init__(self):
        self.regions = AwsRegion(), AwsRegion("us-east-1")
        self.clients = furnished(self.regions[0]), self.regions[1].client()
        self.jobs = [each.client("iot-jobs-data") for each in self.regions]
        self.calls = 0
        exchange(*self.regions)


@pytest.fixture(scope="module")
def pair():
    return Pair()


@given(st.integers(0, 5), st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_what_was_cut_off_is_completed_under_the_same_token_in_any_region(
    pair, count, is_heard_of, is_elsewhere
):
    pair.calls += 1
    token, (one, other) = f"t{pair.calls}", pair.regions
    put = one.store.log.put
    die_after(one, count)
    try:
        start(pair.jobs[0], FLOOR, clientToken=token)
    except Died:
        assert count < 5
    one.store.log.put = put
    if is_heard_of:
        exchange(one, other)
    key = start(pair.jobs[is_elsewhere], FLOOR, clientToken=token)
    exchange(one, other)
    found = [parts(client, key=key) for client in pair.clients]
    assert tuple(sorted(found[0])) == NAMES
    assert found[0] == found[1]
    assert [counts(client, key) for client in pair.clients] == [{"CREATED": 3}] * 2
