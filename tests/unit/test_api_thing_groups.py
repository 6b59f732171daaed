"""Static thing groups over the API."""

from __future__ import annotations

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

INVALID, NOT_FOUND = "InvalidRequestException", "ResourceNotFoundException"


def create(client, name, parent=None, **more):
    more |= {"parentGroupName": parent} if parent else {}
    return client.create_thing_group(thingGroupName=name, **more)


def properties(description="a site", **attributes):
    payload = {"attributePayload": {"attributes": attributes}}
    return {"thingGroupProperties": {"thingGroupDescription": description, **payload}}


def described(client, name):
    found = client.describe_thing_group(thingGroupName=name)
    del found["ResponseMetadata"]
    return found


def groups(client, **parameters):
    pages = client.get_paginator("list_thing_groups").paginate(
        PaginationConfig={"PageSize": 2}, **parameters
    )
    return [each["groupName"] for page in pages for each in page["thingGroups"]]


def arn(name):
    return f"arn:aws:iot:eu-west-1:123456789012:thinggroup/{name}"


def test_a_group_is_created_in_another_and_described(region, client):
    create(client, "world")
    create(client, "eu", "world")
    made = create(client, "berlin", "eu", **properties(zone="1", none=""))
    found = described(client, "berlin")
    created = found["thingGroupMetadata"].pop("creationDate")
    assert created.timestamp() * 1000 == region.now_ms
    assert found == {
        "thingGroupName": "berlin",
        "thingGroupId": made["thingGroupId"],
        "thingGroupArn": arn("berlin"),
        "version": 1,
        "thingGroupProperties": properties(zone="1")["thingGroupProperties"],
        "thingGroupMetadata": {
            "parentGroupName": "eu",
            "rootToParentThingGroups": [
                {"groupName": name, "groupArn": arn(name)} for name in ("world", "eu")
            ],
        },
    }
    root = described(client, "world")["thingGroupMetadata"]
    assert (root.get("parentGroupName"), root["rootToParentThingGroups"]) == (None, [])


def test_the_same_group_may_be_created_again_and_another_may_not(region, client):
    create(client, "world")
    made, count = create(client, "eu", "world", **properties(a="1")), writes(region)
    again = create(client, "eu", "world", **properties(a="1"))
    assert (again["thingGroupId"], writes(region)) == (made["thingGroupId"], count)
    for parent, other in (
        ("world", properties(a="2")),
        ("world", properties("another", a="1")),
        (None, properties(a="1")),
        ("world", properties(a="1") | {"tags": [{"Key": "k", "Value": "v"}]}),
    ):
        with pytest.raises(client.exceptions.ResourceAlreadyExistsException) as refused:
            create(client, "eu", parent, **other)
        response = refused.value.response
        assert response["resourceId"] == made["thingGroupId"]
        assert response["resourceArn"] == made["thingGroupArn"]
        assert response["Error"]["Message"] == (
            "Thing group eu already exists in current account with different properties"
        )


def test_a_parent_must_be_there_and_seven_groups_may_be_in_each_other(client):
    assert refusal(create, client=client, name="eu", parent="world") == (
        INVALID,
        "Thing group world does not exist",
    )
    create(client, "1")
    for depth in range(2, 8):
        create(client, str(depth), str(depth - 1))
    assert refusal(create, client=client, name="8", parent="7")[0] == INVALID


def test_a_group_has_a_hundred_children(client):
    create(client, "world")
    for number in range(100):
        create(client, f"c{number}", "world")
    assert refusal(create, client=client, name="one-more", parent="world")[0] == INVALID
    client.delete_thing_group(thingGroupName="c0")
    create(client, "one-more", "world")


def test_a_group_is_updated_where_its_version_is_the_expected_one(region, client):
    create(client, "eu", **properties(a="1", b="2"))

    def update(expected=None, merge=False, description=None, **attributes):
        given = {"attributePayload": {"attributes": attributes, "merge": merge}}
        given |= {"thingGroupDescription": description} if description else {}
        more = {"expectedVersion": expected} if expected else {}
        return client.update_thing_group(thingGroupName="eu", thingGroupProperties=given, **more)[
            "version"
        ]

    assert update(expected=1, merge=True, a="", c="3") == 2
    assert (
        described(client, "eu")["thingGroupProperties"]
        == (properties(b="2", c="3")["thingGroupProperties"])
    )
    assert update(description="new", d="4") == 3
    assert (
        described(client, "eu")["thingGroupProperties"]
        == (properties("new", d="4")["thingGroupProperties"])
    )
    count = writes(region)
    assert (update(d="4"), writes(region)) == (3, count)
    assert refusal(update, expected=2, d="5") == (
        "VersionConflictException",
        "The version for thing group eu does not match the expected version.",
    )
    assert refusal(update, **{f"a{n}": "x" for n in range(51)})[0] == INVALID
    client.update_thing_group(thingGroupName="eu", thingGroupProperties={})
    assert described(client, "eu")["version"] == 3
    assert refusal(client.update_thing_group, thingGroupName="no", thingGroupProperties={}) == (
        NOT_FOUND,
        "Thing group no does not exist",
    )
    assert refusal(client.describe_thing_group, thingGroupName="no")[0] == NOT_FOUND


def test_a_group_with_groups_in_it_is_not_deleted(region, client):
    create(client, "eu")
    create(client, "berlin", "eu")
    assert refusal(client.delete_thing_group, thingGroupName="eu") == (
        INVALID,
        "Cannot delete thing group : eu when there are still child groups attached to it",
    )
    code, _ = refusal(client.delete_thing_group, thingGroupName="berlin", expectedVersion=2)
    assert code == "VersionConflictException"
    client.delete_thing_group(thingGroupName="berlin", expectedVersion=1)
    client.delete_thing_group(thingGroupName="eu")
    count = writes(region)
    client.delete_thing_group(thingGroupName="eu")
    assert (groups(client), writes(region)) == ([], count)


def test_groups_are_listed_by_parent_and_beginning_in_pages(client):
    for name, parent in (
        ("a", None),
        ("b", None),
        ("a1", "a"),
        ("a2", "a"),
        ("z", "a1"),
        ("a3", "z"),
        ("b1", "b"),
    ):
        create(client, name, parent)
    assert groups(client) == ["a", "a1", "a2", "a3", "b", "b1", "z"]
    assert groups(client, namePrefixFilter="a") == ["a", "a1", "a2", "a3"]
    assert groups(client, recursive=False) == ["a", "b"]
    assert groups(client, parentGroup="a") == ["a1", "z", "a3", "a2"]
    assert groups(client, parentGroup="a", recursive=True) == ["a1", "z", "a3", "a2"]
    assert groups(client, parentGroup="a", recursive=False) == ["a1", "a2"]
    assert groups(client, parentGroup="a", recursive=False, namePrefixFilter="a2") == ["a2"]
    assert groups(client, parentGroup="a", namePrefixFilter="a") == ["a1", "a3", "a2"]
    assert groups(client, parentGroup="b1") == []
    assert refusal(client.list_thing_groups, parentGroup="no")[0] == NOT_FOUND


def test_a_page_goes_on_where_the_group_at_its_end_has_gone(client):
    for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "a")):
        create(client, name, parent)
    page = client.list_thing_groups(parentGroup="a", maxResults=2)
    assert [each["groupName"] for each in page["thingGroups"]] == ["b", "c"]
    for name in ("c", "b"):
        client.delete_thing_group(thingGroupName=name)
    page = client.list_thing_groups(parentGroup="a", nextToken=page["nextToken"])
    assert [each["groupName"] for each in page["thingGroups"]] == ["d"]


def pair(region):
    other = AwsRegion("us-east-1")
    exchange(region, other)
    return region.client(), other, other.client()


def test_of_two_parents_given_at_once_the_earlier_one_is_the_groups(region):
    for name in ("one", "two"):
        create(region.client(), name)
    here, other, there = pair(region)
    other.now_ms += 10
    region.now_ms += 20
    create(here, "g", "one", **properties("here"))
    create(there, "g", "two", **properties("there"))
    exchange(region, other)
    assert region.store.view.digest == other.store.view.digest
    for client in (here, there):
        found = described(client, "g")
        assert found["thingGroupMetadata"]["parentGroupName"] == "two"
        assert found["thingGroupProperties"]["thingGroupDescription"] == "here"
        assert groups(client, parentGroup="one") == []
        assert groups(client, parentGroup="two") == ["g"]


def test_a_group_whose_parent_was_deleted_elsewhere_at_once_is_in_none(region):
    create(region.client(), "eu")
    here, other, there = pair(region)
    here.delete_thing_group(thingGroupName="eu")
    create(there, "berlin", "eu")
    exchange(region, other)
    create(here, "eu")
    assert described(here, "berlin")["thingGroupMetadata"]["rootToParentThingGroups"] == []
    assert groups(here, parentGroup="eu") == []
    assert groups(here) == ["berlin", "eu"]
    create(here, "berlin")
