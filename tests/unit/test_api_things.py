"""Things over the API: what is answered, what is refused, and what two regions make of them."""

from __future__ import annotations

import asyncio

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

from isthmus.core import registry
from isthmus.core.things import THING


def test_a_thing_is_created_described_and_deleted(region, client):
    made = client.create_thing(
        thingName="t:1", attributePayload={"attributes": {"site": "a", "empty": ""}}
    )
    assert made["thingArn"] == "arn:aws:iot:eu-west-1:123456789012:thing/t:1"
    found = client.describe_thing(thingName="t:1")
    assert found.pop("ResponseMetadata")["HTTPStatusCode"] == 200
    assert found == {
        "defaultClientId": "t:1",
        "thingName": "t:1",
        "thingId": made["thingId"],
        "thingArn": made["thingArn"],
        "attributes": {"site": "a"},
        "version": 1,
    }
    client.delete_thing(thingName="t:1")
    assert refusal(client.describe_thing, thingName="t:1") == (
        "ResourceNotFoundException",
        "Thing t:1 does not exist",
    )
    assert client.list_things()["things"] == []


def test_creating_the_same_thing_again_writes_nothing(region, client):
    wanted = {"thingName": "t", "attributePayload": {"attributes": {"a": "1"}}}
    made, count = client.create_thing(**wanted), writes(region)
    again = client.create_thing(**wanted)
    assert again["thingId"] == made["thingId"]
    assert writes(region) == count


def test_another_thing_of_that_name_is_refused_and_named(client):
    made = client.create_thing(thingName="t")
    with pytest.raises(client.exceptions.ResourceAlreadyExistsException) as refused:
        client.create_thing(thingName="t", attributePayload={"attributes": {"a": "1"}})
    assert refused.value.response["resourceId"] == made["thingId"]
    assert refused.value.response["resourceArn"] == made["thingArn"]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({}, {"a": "1", "b": "2"}),
        ({"attributes": {"c": "3"}}, {"c": "3"}),
        ({"attributes": {}}, {}),
        ({"attributes": {"a": ""}}, {}),
        ({"attributes": {"a": "x"}, "merge": True}, {"a": "x", "b": "2"}),
        ({"attributes": {"a": ""}, "merge": True}, {"b": "2"}),
        ({"attributes": {}, "merge": True}, {"a": "1", "b": "2"}),
    ],
)
def test_attributes_are_replaced_or_merged(client, payload, expected):
    client.create_thing(thingName="t", attributePayload={"attributes": {"a": "1", "b": "2"}})
    client.update_thing(thingName="t", attributePayload=payload)
    assert client.describe_thing(thingName="t")["attributes"] == expected


def test_an_update_that_changes_nothing_is_no_version(region, client):
    client.create_thing(thingName="t", attributePayload={"attributes": {"a": "1"}})
    count = writes(region)
    client.update_thing(thingName="t", attributePayload={"attributes": {"a": "1"}})
    assert (client.describe_thing(thingName="t")["version"], writes(region)) == (1, count)


def test_a_version_that_is_not_the_present_one_is_refused(client):
    client.create_thing(thingName="t")
    change = {"attributePayload": {"attributes": {"a": "1"}}}
    client.update_thing(thingName="t", expectedVersion=1, **change)
    expected = (
        "VersionConflictException",
        "The version for thing t does not match the expected version.",
    )
    assert refusal(client.update_thing, thingName="t", expectedVersion=1, **change) == expected
    assert refusal(client.delete_thing, thingName="t", expectedVersion=1) == expected
    client.delete_thing(thingName="t", expectedVersion=2)


def test_what_is_not_there_cannot_be_updated_and_need_not_be_deleted(region, client):
    assert refusal(client.update_thing, thingName="t")[0] == "ResourceNotFoundException"
    client.delete_thing(thingName="t", expectedVersion=5)
    assert writes(region) == 0


def many(count, length=1):
    return {f"a{n}": "x" * length for n in range(count)}


def test_a_thing_without_a_type_has_three_attributes(client):
    expected = (
        "InvalidRequestException",
        "4 attributes are more than 3, as a thing without a type may have",
    )
    payload = {"attributes": many(4)}
    assert refusal(client.create_thing, thingName="t", attributePayload=payload) == expected
    client.create_thing(thingName="t", attributePayload={"attributes": many(3)})
    payload = {"attributes": {"b": "1"}, "merge": True}
    assert refusal(client.update_thing, thingName="t", attributePayload=payload) == expected


def test_what_was_stored_otherwise_may_shrink_and_not_grow(region, client):
    def put(item):
        return registry.put_thing(item, registry.Writer(region.clock, 1), many(5))

    asyncio.run(region.store.update(THING, "t", put))
    client.update_thing(thingName="t", attributePayload={"attributes": {"a0": ""}, "merge": True})
    assert len(client.describe_thing(thingName="t")["attributes"]) == 4
    payload = {"attributes": {"b": "1"}, "merge": True}
    assert refusal(client.update_thing, thingName="t", attributePayload=payload)[0] == (
        "InvalidRequestException"
    )


def names(client, **parameters):
    """The names on all pages of ListThings."""
    pages = client.get_paginator("list_things").paginate(**parameters)
    return [thing["thingName"] for page in pages for thing in page["things"]]


def test_things_are_listed_in_pages_and_by_attribute(client):
    sites = {"a": "north", "b": "north-west", "c": "south", "d": "north"}
    for name, site in sites.items():
        client.create_thing(thingName=name, attributePayload={"attributes": {"site": site}})
    client.create_thing(thingName="e")
    pages = {"PaginationConfig": {"PageSize": 2}}
    assert names(client, **pages) == ["a", "b", "c", "d", "e"]
    assert names(client, attributeName="site", attributeValue="north", **pages) == ["a", "d"]
    prefix = {"attributeName": "site", "attributeValue": "nor", "usePrefixAttributeValue": True}
    assert names(client, **prefix, **pages) == ["a", "d", "b"]
    assert names(client, attributeName="site", **pages) == ["a", "d", "b", "c"]
    assert names(client, attributeName="other", **pages) == []
    assert refusal(client.list_things, attributeValue="north")[0] == "InvalidRequestException"
    assert client.list_things()["things"][0] == {
        "thingName": "a",
        "thingArn": "arn:aws:iot:eu-west-1:123456789012:thing/a",
        "attributes": {"site": "north"},
        "version": 1,
    }


def test_two_regions_that_create_a_thing_at_once_have_one_with_what_both_said():
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    us.now_ms += 5
    eu.client().create_thing(thingName="t", attributePayload={"attributes": {"a": "1", "b": "1"}})
    us.client().create_thing(thingName="t", attributePayload={"attributes": {"b": "2", "c": "2"}})
    first = eu.client().describe_thing(thingName="t")["thingId"]
    exchange(eu, us)
    assert eu.store.view.digest == us.store.view.digest
    for region in (eu, us):
        found = region.client().describe_thing(thingName="t")
        assert found["attributes"] == {"a": "1", "b": "2", "c": "2"}
        assert (found["version"], found["thingId"]) == (2, first)
        assert names(region.client(), attributeName="b", attributeValue="2") == ["t"]
        assert names(region.client(), attributeName="b", attributeValue="1") == []


def test_a_thing_that_is_created_again_inherits_nothing_and_is_another_one(client):
    made = client.create_thing(thingName="t", attributePayload={"attributes": {"a": "1"}})
    client.delete_thing(thingName="t")
    again = client.create_thing(thingName="t")
    assert again["thingId"] != made["thingId"]
    assert client.describe_thing(thingName="t")["attributes"] == {}
    assert names(client, attributeName="a") == []


def test_what_was_written_elsewhere_before_a_life_began_is_not_of_it():
    """The region that created the thing again had not seen it."""
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    eu.client().create_thing(thingName="t")
    exchange(eu, us)
    us.now_ms += 5
    us.client().update_thing(thingName="t", attributePayload={"attributes": {"a": "1"}})
    eu.now_ms += 10
    eu.client().delete_thing(thingName="t")
    eu.client().create_thing(thingName="t")
    exchange(eu, us)
    for region in (eu, us):
        assert region.client().describe_thing(thingName="t")["attributes"] == {}
        assert names(region.client(), attributeName="a") == []
