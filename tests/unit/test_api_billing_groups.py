"""Billing groups over the API, and the things in them."""

from __future__ import annotations

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

INVALID, NOT_FOUND = "InvalidRequestException", "ResourceNotFoundException"


def create(client, name, description=None):
    given = {"billingGroupDescription": description} if description else {}
    return client.create_billing_group(billingGroupName=name, billingGroupProperties=given)


def paged(client, operation, key, **parameters):
    pages = client.get_paginator(operation).paginate(PaginationConfig={"PageSize": 2}, **parameters)
    return [each for page in pages for each in page[key]]


def things(client, group):
    return paged(client, "list_things_in_billing_group", "things", billingGroupName=group)


def group_of(client, thing):
    return client.describe_thing(thingName=thing).get("billingGroupName")


def add(client, thing, group):
    client.add_thing_to_billing_group(thingName=thing, billingGroupName=group)


def remove(client, thing, group):
    client.remove_thing_from_billing_group(thingName=thing, billingGroupName=group)


def test_a_group_is_created_described_updated_and_deleted(region, client):
    made = create(client, "north", "all of it")
    found = client.describe_billing_group(billingGroupName="north")
    del found["ResponseMetadata"]
    created = found["billingGroupMetadata"].pop("creationDate")
    assert created.timestamp() * 1000 == region.now_ms
    assert found == {
        "billingGroupName": "north",
        "billingGroupId": made["billingGroupId"],
        "billingGroupArn": "arn:aws:iot:eu-west-1:123456789012:billinggroup/north",
        "version": 1,
        "billingGroupProperties": {"billingGroupDescription": "all of it"},
        "billingGroupMetadata": {},
    }
    new = {"billingGroupName": "north", "billingGroupProperties": {"billingGroupDescription": "b"}}
    assert client.update_billing_group(**new, expectedVersion=1)["version"] == 2
    assert client.update_billing_group(**new)["version"] == 2
    conflict = (
        "VersionConflictException",
        "The version for billing group north does not match the expected version.",
    )
    assert refusal(client.update_billing_group, **new, expectedVersion=1) == conflict
    assert refusal(client.delete_billing_group, billingGroupName="north", expectedVersion=1) == (
        conflict
    )
    client.delete_billing_group(billingGroupName="north", expectedVersion=2)
    count = writes(region)
    client.delete_billing_group(billingGroupName="north")
    assert writes(region) == count
    assert refusal(client.update_billing_group, **new)[0] == NOT_FOUND
    assert refusal(client.describe_billing_group, billingGroupName="north")[0] == NOT_FOUND
    assert refusal(things, client=client, group="north")[0] == NOT_FOUND


def test_the_same_group_may_be_created_again_and_another_may_not(region, client):
    made, count = create(client, "north", "a"), writes(region)
    assert create(client, "north", "a")["billingGroupId"] == made["billingGroupId"]
    assert writes(region) == count
    with pytest.raises(client.exceptions.ResourceAlreadyExistsException) as refused:
        create(client, "north", "b")
    assert refused.value.response["resourceArn"] == made["billingGroupArn"]


def test_groups_are_listed_by_how_they_begin(client):
    for name in ("a", "b1", "b2", "b3", "c"):
        create(client, name)
    found = paged(client, "list_billing_groups", "billingGroups", namePrefixFilter="b")
    assert [each["groupName"] for each in found] == ["b1", "b2", "b3"]
    assert found[0]["groupArn"].endswith(":billinggroup/b1")
    assert len(paged(client, "list_billing_groups", "billingGroups")) == 5


def test_a_thing_is_in_one_group_at_most(region, client):
    for name in ("north", "south"):
        create(client, name)
    for name in ("a", "b", "c"):
        client.create_thing(thingName=name, billingGroupName="north")
    client.create_thing(thingName="a", billingGroupName="north")
    assert refusal(client.create_thing, thingName="a")[0] == "ResourceAlreadyExistsException"
    assert things(client, "north") == ["a", "b", "c"]
    add(client, "b", "south")
    assert (things(client, "north"), things(client, "south")) == (["a", "c"], ["b"])
    assert group_of(client, "b") == "south"
    count = writes(region)
    add(client, "b", "south")
    remove(client, "b", "north")
    assert writes(region) == count
    remove(client, "b", "south")
    assert (group_of(client, "b"), things(client, "south")) == (None, [])


def test_either_end_is_given_by_name_or_by_arn_and_must_be_there(client):
    create(client, "north")
    client.create_thing(thingName="a")
    arns = {
        "thingArn": "arn:aws:iot:us-east-1:123456789012:thing/a",
        "billingGroupArn": "arn:aws:iot:eu-west-1:123456789012:billinggroup/north",
    }
    client.add_thing_to_billing_group(**arns)
    assert things(client, "north") == ["a"]
    for operation in (client.add_thing_to_billing_group, client.remove_thing_from_billing_group):
        assert refusal(operation, thingName="a")[0] == INVALID
        assert refusal(operation, billingGroupName="north")[0] == INVALID
        assert refusal(operation, thingName="no", billingGroupName="north")[0] == NOT_FOUND
        assert refusal(operation, thingName="a", billingGroupName="no")[0] == NOT_FOUND
    client.remove_thing_from_billing_group(**arns)
    assert things(client, "north") == []
    assert refusal(client.create_thing, thingName="b", billingGroupName="no") == (
        NOT_FOUND,
        "Billing group no does not exist",
    )


def test_a_group_that_is_created_again_has_no_things(region, client):
    other = AwsRegion("us-east-1")
    create(client, "north")
    client.create_thing(thingName="a", billingGroupName="north")
    exchange(region, other)
    client.delete_billing_group(billingGroupName="north")
    other.client().create_thing(thingName="b", billingGroupName="north")
    exchange(region, other)
    assert group_of(client, "a") is None
    create(client, "north")
    assert things(client, "north") == []
    assert (group_of(client, "a"), group_of(client, "b")) == (None, None)


def test_of_two_groups_given_at_once_the_later_one_stands(region):
    here, other = region.client(), AwsRegion("us-east-1")
    for name in ("north", "south"):
        create(here, name)
    here.create_thing(thingName="a")
    exchange(region, other)
    there = other.client()
    other.now_ms += 5
    add(here, "a", "north")
    add(there, "a", "south")
    exchange(region, other)
    for client in (here, there):
        assert group_of(client, "a") == "south"
        assert (things(client, "north"), things(client, "south")) == ([], ["a"])
