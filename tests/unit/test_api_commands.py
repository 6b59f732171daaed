"""Commands over the API."""

from __future__ import annotations

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

HOUR_MS = 3_600_000
ARN = "arn:aws:iot:eu-west-1:123456789012:command"
OPEN = {"content": b'{"door": "open"}', "contentType": "application/json"}
INVALID, CONFLICT = "ValidationException", "ConflictException"
MISSING = "ResourceNotFoundException"


def described(client, name="open"):
    found = client.get_command(commandId=name)
    del found["ResponseMetadata"]
    return found


def names(client, **parameters):
    pages = client.get_paginator("list_commands").paginate(
        PaginationConfig={"PageSize": 2}, **parameters
    )
    return [each["commandId"] for page in pages for each in page["commands"]]


def test_a_command_is_created_described_and_updated(region, client):
    made = client.create_command(commandId="open", payload=OPEN, displayName="Open")
    assert (made["commandId"], made["commandArn"]) == ("open", f"{ARN}/open")
    created_ms, region.now_ms = region.now_ms, region.now_ms + HOUR_MS
    updated = client.update_command(commandId="open", description="the door")
    assert (updated["displayName"], updated["description"]) == ("Open", "the door")
    found = described(client)
    times = [found.pop(each).timestamp() * 1000 for each in ("createdAt", "lastUpdatedAt")]
    assert times == [created_ms, region.now_ms]
    assert found == {
        "commandId": "open",
        "commandArn": f"{ARN}/open",
        "namespace": "AWS-IoT",
        "displayName": "Open",
        "description": "the door",
        "payload": OPEN,
        "deprecated": False,
        "pendingDeletion": False,
    }
    count = writes(region)
    client.update_command(commandId="open", description="the door", deprecated=False)
    assert writes(region) == count


def test_a_payload_without_a_type_is_any_bytes(client):
    client.create_command(commandId="open", payload={"content": b"\x00\xff"})
    payload = {"content": b"\x00\xff", "contentType": "application/octet-stream"}
    assert described(client)["payload"] == payload


def test_a_command_is_created_once(region, client):
    client.create_command(commandId="open", payload=OPEN)
    count = writes(region)
    with pytest.raises(client.exceptions.ConflictException) as refused:
        client.create_command(commandId="open", payload=OPEN)
    assert refused.value.response["resourceId"] == "open"
    assert writes(region) == count


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "payload.content"),
        ({"payload": {"contentType": "a/b"}}, "payload.content"),
        ({"payload": {"content": b"x" * (32 * 1024 + 1)}}, "of 32768"),
        ({"payload": {"content": b"x", "contentType": "json"}}, "type/subtype"),
        ({"payload": {"content": b"x", "contentType": "a/"}}, "type/subtype"),
        ({"payload": {"content": b"x", "contentType": "a/\u00e4"}}, "type/subtype"),
        ({"payload": {"content": b"x", "contentType": "a/\n"}}, "type/subtype"),
        ({"payload": {"content": b"x", "contentType": f"a/{'b' * 255}"}}, "type/subtype"),
        ({"payload": OPEN, "namespace": "AWS-IoT-FleetWise"}, "namespace"),
        ({"payload": OPEN, "payloadTemplate": "{}"}, "payloadTemplate"),
        ({"payload": OPEN, "mandatoryParameters": [{"name": "a"}]}, "mandatoryParameters"),
        ({"payload": OPEN, "roleArn": f"arn:aws:iam::{'1' * 12}:role/r"}, "roleArn"),
        (
            {"payload": OPEN, "preprocessor": {"awsJsonSubstitution": {"outputFormat": "JSON"}}},
            "preprocessor",
        ),
    ],
)
def test_what_could_not_be_sent_is_refused_by_name(region, client, wrong, told):
    code, message = refusal(client.create_command, commandId="open", **wrong)
    assert (code, told in message) == (INVALID, True), message
    assert writes(region) == 0


def test_a_deprecated_command_is_restored_before_it_is_edited(region, client):
    client.create_command(commandId="open", payload=OPEN)
    assert client.update_command(commandId="open", deprecated=True)["deprecated"] is True
    assert described(client)["deprecated"] is True
    assert refusal(client.update_command, commandId="open", description="x")[0] == CONFLICT
    client.update_command(commandId="open", description="x", deprecated=False)
    assert (described(client)["deprecated"], described(client)["description"]) == (False, "x")


def test_a_deleted_command_is_gone_when_no_execution_can_run_any_more(region, client):
    client.create_command(commandId="open", payload=OPEN, displayName="old")
    assert client.delete_command(commandId="open")["statusCode"] == 202
    region.now_ms += 12 * HOUR_MS - 1
    assert described(client)["pendingDeletion"] is True
    assert names(client) == []
    assert client.delete_command(commandId="open")["statusCode"] == 202
    assert refusal(client.update_command, commandId="open", deprecated=True)[0] == CONFLICT
    assert refusal(client.create_command, commandId="open", payload=OPEN)[0] == CONFLICT
    region.now_ms += 1
    for operation in (client.get_command, client.update_command):
        assert refusal(operation, commandId="open")[0] == MISSING
    assert refusal(client.delete_command, commandId="open")[0] == INVALID
    client.create_command(commandId="open", payload={"content": b"new"})
    assert names(client) == ["open"]
    assert described(client)["payload"]["content"] == b"new"
    assert "displayName" not in described(client)


def test_what_was_deprecated_for_that_long_is_deleted_at_once(region, client):
    client.create_command(commandId="open", payload=OPEN)
    client.update_command(commandId="open", deprecated=True)
    region.now_ms += 6 * HOUR_MS
    client.update_command(commandId="open", deprecated=True)
    region.now_ms += 6 * HOUR_MS
    assert client.delete_command(commandId="open")["statusCode"] == 204
    assert refusal(client.get_command, commandId="open")[0] == MISSING


def test_commands_are_listed_by_creation_in_pages(region, client):
    for name in ("c", "a", "b"):
        region.now_ms += 1
        client.create_command(commandId=name, payload=OPEN)
    assert names(client) == ["b", "a", "c"]
    assert names(client, sortOrder="ASCENDING") == ["c", "a", "b"]
    assert names(client, namespace="AWS-IoT") == ["b", "a", "c"]
    assert names(client, namespace="AWS-IoT-FleetWise") == []
    assert names(client, commandParameterName="a") == []


def test_a_command_has_tags(client):
    arn = client.create_command(
        commandId="open", payload=OPEN, tags=[{"Key": "colour", "Value": "red"}]
    )["commandArn"]
    client.tag_resource(resourceArn=arn, tags=[{"Key": "size", "Value": "s"}])
    tags = client.list_tags_for_resource(resourceArn=arn)["tags"]
    assert {each["Key"]: each["Value"] for each in tags} == {"colour": "red", "size": "s"}


def test_what_regions_change_of_a_command_at_once_is_all_changed(region, client):
    other = AwsRegion("us-east-1")
    client.create_command(commandId="open", payload=OPEN)
    exchange(region, other)
    client.update_command(commandId="open", description="x")
    other.client().update_command(commandId="open", deprecated=True)
    exchange(region, other)
    for each in (region, other):
        found = described(each.client())
        assert (found["description"], found["deprecated"]) == ("x", True)


def test_a_command_that_one_region_deletes_while_another_restores_it_goes(region, client):
    other = AwsRegion("us-east-1")
    client.create_command(commandId="open", payload=OPEN)
    client.update_command(commandId="open", deprecated=True)
    exchange(region, other)
    client.delete_command(commandId="open")
    other.client().update_command(commandId="open", deprecated=False)
    exchange(region, other)
    assert [described(each.client())["pendingDeletion"] for each in (region, other)] == [True] * 2
