"""Thing types over the API, and things that have one."""

from __future__ import annotations

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

MINUTE_MS = 60_000
PROPERTIES = {
    "thingTypeDescription": "a lamp",
    "searchableAttributes": ["site", "serial"],
    "mqtt5Configuration": {
        "propagatingAttributes": [{"userPropertyKey": "s", "thingAttribute": "site"}]
    },
}


def described(client, name="lamp"):
    found = client.describe_thing_type(thingTypeName=name)
    del found["ResponseMetadata"]
    return found


def type_of(client, thing="t"):
    return client.describe_thing(thingName=thing).get("thingTypeName")


def test_a_type_is_created_described_and_updated(region, client):
    made = client.create_thing_type(thingTypeName="lamp", thingTypeProperties=PROPERTIES)
    found = described(client)
    created = found["thingTypeMetadata"].pop("creationDate")
    assert created.timestamp() * 1000 == region.now_ms
    assert found == {
        "thingTypeName": "lamp",
        "thingTypeId": made["thingTypeId"],
        "thingTypeArn": "arn:aws:iot:eu-west-1:123456789012:thingtype/lamp",
        "thingTypeProperties": PROPERTIES,
        "thingTypeMetadata": {"deprecated": False},
    }
    client.update_thing_type(
        thingTypeName="lamp", thingTypeProperties={"thingTypeDescription": "two lamps"}
    )
    expected = PROPERTIES | {"thingTypeDescription": "two lamps"}
    assert described(client)["thingTypeProperties"] == expected


def test_the_same_type_may_be_created_again_and_another_may_not(region, client):
    made = client.create_thing_type(thingTypeName="lamp", thingTypeProperties=PROPERTIES)
    count = writes(region)
    again = client.create_thing_type(thingTypeName="lamp", thingTypeProperties=PROPERTIES)
    assert (again["thingTypeId"], writes(region)) == (made["thingTypeId"], count)
    with pytest.raises(client.exceptions.ResourceAlreadyExistsException) as refused:
        client.create_thing_type(thingTypeName="lamp")
    assert refused.value.response["resourceId"] == made["thingTypeId"]
    assert refused.value.response["resourceArn"] == made["thingTypeArn"]
    tagged = {"thingTypeProperties": PROPERTIES, "tags": [{"Key": "a", "Value": "1"}]}
    assert refusal(client.create_thing_type, thingTypeName="lamp", **tagged)[0] == (
        "ResourceAlreadyExistsException"
    )


@pytest.mark.parametrize(
    "properties",
    [
        {"searchableAttributes": ["a", "b", "c", "d"]},
        {"mqtt5Configuration": {"propagatingAttributes": [{"userPropertyKey": "s"}]}},
        {"mqtt5Configuration": {"propagatingAttributes": [{"thingAttribute": "s"}]}},
        {
            "mqtt5Configuration": {
                "propagatingAttributes": [{"userPropertyKey": "s", "thingAttribute": "s"}] * 21
            }
        },
    ],
)
def test_properties_out_of_bounds_are_refused(region, client, properties):
    for operation in (client.create_thing_type, client.update_thing_type):
        code, _ = refusal(operation, thingTypeName="lamp", thingTypeProperties=properties)
        assert code == "InvalidRequestException"
    assert writes(region) == 0


def test_a_type_is_given_by_creation_and_by_update_and_taken_away(client):
    for name in ("lamp", "pump"):
        client.create_thing_type(thingTypeName=name)
    client.create_thing(thingName="t", thingTypeName="lamp")
    assert type_of(client) == "lamp"
    client.create_thing(thingName="t", thingTypeName="lamp")
    for other in ({}, {"thingTypeName": "pump"}):
        assert refusal(client.create_thing, thingName="t", **other)[0] == (
            "ResourceAlreadyExistsException"
        )
    client.update_thing(thingName="t", thingTypeName="pump")
    assert type_of(client) == "pump"
    client.update_thing(thingName="t", removeThingType=True)
    assert type_of(client) is None
    both = {"thingTypeName": "pump", "removeThingType": True}
    assert refusal(client.update_thing, thingName="t", **both)[0] == "InvalidRequestException"
    for operation in (client.create_thing, client.update_thing):
        assert refusal(operation, thingName="t", thingTypeName="none")[0] in (
            "ResourceNotFoundException",
            "ResourceAlreadyExistsException",
        )
    assert refusal(client.create_thing, thingName="u", thingTypeName="none") == (
        "ResourceNotFoundException",
        "Thing type none does not exist",
    )


def test_with_a_type_there_are_fifty_attributes_and_they_keep_it(client):
    client.create_thing_type(thingTypeName="lamp")
    payload = {"attributes": {f"a{n}": "x" for n in range(50)}}
    client.create_thing(thingName="t", thingTypeName="lamp", attributePayload=payload)
    one_more = {"attributes": {"b": "x"}, "merge": True}
    invalid = "InvalidRequestException"
    assert refusal(client.update_thing, thingName="t", attributePayload=one_more)[0] == invalid
    assert refusal(client.update_thing, thingName="t", removeThingType=True)[0] == invalid
    client.update_thing(
        thingName="t", removeThingType=True, attributePayload={"attributes": {"b": "x"}}
    )
    assert type_of(client) is None


def test_fifty_of_the_longest_attributes_are_less_than_aws_allows_in_all(client):
    client.create_thing_type(thingTypeName="lamp")
    attributes = {f"{n:0128}": "x" * 800 for n in range(50)}
    assert sum(len(name) + len(value) for name, value in attributes.items()) < 47 * 1024
    client.create_thing(
        thingName="t", thingTypeName="lamp", attributePayload={"attributes": attributes}
    )
    assert client.describe_thing(thingName="t")["attributes"] == attributes


def test_a_deprecated_type_is_kept_and_not_taken(region, client):
    client.create_thing_type(thingTypeName="lamp")
    client.create_thing(thingName="old", thingTypeName="lamp")
    client.create_thing(thingName="other")
    client.deprecate_thing_type(thingTypeName="lamp")
    deprecated = region.now_ms
    region.now_ms += MINUTE_MS
    count = writes(region)
    client.deprecate_thing_type(thingTypeName="lamp")
    found = described(client)["thingTypeMetadata"]
    assert (found["deprecated"], writes(region)) == (True, count)
    assert found["deprecationDate"].timestamp() * 1000 == deprecated
    assert refusal(client.create_thing, thingName="new", thingTypeName="lamp") == (
        "InvalidRequestException",
        "Can not create new thing with depreated thing type:lamp",
    )
    assert refusal(client.update_thing, thingName="other", thingTypeName="lamp") == (
        "InvalidRequestException",
        "Can not update a thing to use deprecated thing type: lamp",
    )
    client.create_thing(thingName="old", thingTypeName="lamp")
    client.update_thing(thingName="old", thingTypeName="lamp")
    assert type_of(client, "old") == "lamp"
    client.deprecate_thing_type(thingTypeName="lamp", undoDeprecate=True)
    assert described(client)["thingTypeMetadata"].get("deprecationDate") is None
    client.create_thing(thingName="new", thingTypeName="lamp")


def test_a_type_is_deleted_five_minutes_after_its_deprecation_and_without_things(region, client):
    client.create_thing_type(thingTypeName="lamp")
    client.create_thing(thingName="t", thingTypeName="lamp")
    code, _ = refusal(client.delete_thing_type, thingTypeName="lamp")
    assert code == "InvalidRequestException"
    client.deprecate_thing_type(thingTypeName="lamp")
    region.now_ms += 5 * MINUTE_MS - 1
    code, message = refusal(client.delete_thing_type, thingTypeName="lamp")
    assert code == "InvalidRequestException"
    assert "Please wait for 5 minutes after deprecation and then retry" in message
    region.now_ms += 1
    assert "while things are of it" in refusal(client.delete_thing_type, thingTypeName="lamp")[1]
    client.delete_thing(thingName="t")
    client.delete_thing_type(thingTypeName="lamp")
    for operation in (
        client.describe_thing_type,
        client.update_thing_type,
        client.deprecate_thing_type,
        client.delete_thing_type,
    ):
        assert refusal(operation, thingTypeName="lamp") == (
            "ResourceNotFoundException",
            "Thing type lamp does not exist",
        )


def test_types_are_listed_by_how_they_begin_and_things_by_their_type(client):
    for name in ("a", "b", "ba", "c"):
        client.create_thing_type(thingTypeName=name)
        for thing in ("1", "2", "3"):
            attributes = {"attributes": {"n": thing}}
            client.create_thing(
                thingName=f"{name}{thing}", thingTypeName=name, attributePayload=attributes
            )

    def found(operation, **parameters):
        pages = client.get_paginator(operation).paginate(
            PaginationConfig={"PageSize": 2}, **parameters
        )
        return [page[key] for page in pages for key in page if key.startswith("thing")]

    types = [each for page in found("list_thing_types") for each in page]
    assert [each["thingTypeName"] for each in types] == ["a", "b", "ba", "c"]
    assert types[0] == {k: v for k, v in described(client, "a").items() if k != "thingTypeId"}
    types = [each for page in found("list_thing_types", thingTypeName="b") for each in page]
    assert [each["thingTypeName"] for each in types] == ["b", "ba"]
    things = [each for page in found("list_things", thingTypeName="b") for each in page]
    assert [(each["thingName"], each["thingTypeName"]) for each in things] == [
        ("b1", "b"),
        ("b2", "b"),
        ("b3", "b"),
    ]
    both = {"thingTypeName": "b", "attributeName": "n", "attributeValue": "2"}
    assert [each["thingName"] for page in found("list_things", **both) for each in page] == ["b2"]
    assert client.list_things(thingTypeName="none")["things"] == []


def test_a_type_that_is_created_again_has_no_things(region, client):
    """A thing got the type in one region while it was deleted in another."""
    other = AwsRegion("us-east-1")
    client.create_thing_type(thingTypeName="lamp")
    client.create_thing(thingName="t")
    exchange(region, other)
    client.deprecate_thing_type(thingTypeName="lamp")
    region.now_ms += 5 * MINUTE_MS
    client.delete_thing_type(thingTypeName="lamp")
    other.client().update_thing(thingName="t", thingTypeName="lamp")
    exchange(region, other)
    assert type_of(client) is None
    client.create_thing_type(thingTypeName="lamp")
    assert type_of(client) is None
    assert client.list_things(thingTypeName="lamp")["things"] == []
    client.update_thing(thingName="t", thingTypeName="lamp")
    assert type_of(client) == "lamp"
    assert [each["thingName"] for each in client.list_things(thingTypeName="lamp")["things"]] == [
        "t"
    ]


def test_a_type_that_two_regions_created_at_once_lists_each_thing_once(region, client):
    other = AwsRegion("us-east-1")
    for each in (region, other):
        each.client().create_thing_type(thingTypeName="lamp")
        name = each.naming.region
        each.client().create_thing(thingName=name, thingTypeName="lamp")
    exchange(region, other)
    client.create_thing(thingName="both", thingTypeName="lamp")
    exchange(region, other)
    assert described(client)["thingTypeId"] == described(other.client())["thingTypeId"]
    for each in (region, other):
        found = each.client().list_things(thingTypeName="lamp")["things"]
        assert [thing["thingName"] for thing in found] == ["both", "eu-west-1", "us-east-1"]
        assert type_of(each.client(), "both") == "lamp"
