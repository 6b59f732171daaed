"""Tags over the API, of every resource here that may have them."""

from __future__ import annotations

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

INVALID = "InvalidRequestException"
CREATE = {
    "thingtype": ("create_thing_type", "thingTypeName"),
    "thinggroup": ("create_thing_group", "thingGroupName"),
    "billinggroup": ("create_billing_group", "billingGroupName"),
}


def pairs(tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def arn(kind, name="r"):
    return f"arn:aws:iot:eu-west-1:123456789012:{kind}/{name}"


def create(client, kind="thingtype", **more):
    operation, member = CREATE[kind]
    getattr(client, operation)(**{member: "r"}, **more)
    return arn(kind)


def tags(client, resource):
    pages = client.get_paginator("list_tags_for_resource").paginate(resourceArn=resource)
    return {each["Key"]: each["Value"] for page in pages for each in page["tags"]}


@pytest.mark.parametrize("kind", CREATE)
def test_tags_are_given_at_creation_and_later_and_removed(region, client, kind):
    resource = create(client, kind, tags=[*pairs({"a": "1", "b": "2"}), {"Key": "empty"}])
    assert tags(client, resource) == {"a": "1", "b": "2", "empty": ""}
    client.tag_resource(resourceArn=resource, tags=pairs({"b": "3", "c d:/=+-@é": "x"}))
    assert tags(client, resource) == {"a": "1", "b": "3", "c d:/=+-@é": "x", "empty": ""}
    client.untag_resource(resourceArn=resource, tagKeys=["a", "empty", "none"])
    assert tags(client, resource) == {"b": "3", "c d:/=+-@é": "x"}
    count = writes(region)
    client.tag_resource(resourceArn=resource, tags=pairs({"b": "3"}))
    client.untag_resource(resourceArn=resource, tagKeys=["a"])
    assert writes(region) == count


def test_a_resource_has_fifty_tags_and_lists_them_in_pages(region, client):
    resource = create(client, tags=pairs({f"{n:02}": "x" for n in range(49)}))
    client.tag_resource(resourceArn=resource, tags=pairs({"49": "x"}))
    assert list(tags(client, resource)) == [f"{n:02}" for n in range(50)]
    count = writes(region)
    for more in ({"50": "x"}, {f"{n}": "x" for n in range(51)}):
        code, _ = refusal(client.tag_resource, resourceArn=resource, tags=pairs(more))
        assert code == "LimitExceededException"
    client.tag_resource(resourceArn=resource, tags=pairs({"49": "x"}))
    many = pairs({f"{n}": "x" for n in range(51)})
    assert refusal(client.create_billing_group, billingGroupName="g", tags=many)[0] == INVALID
    assert writes(region) == count


@pytest.mark.parametrize(
    "given",
    [[{"Key": "a", "Value": "1"}] * 2, pairs({"aws:x": "1"}), [{"Value": "1"}], pairs({"": "1"})],
)
def test_tags_that_may_not_be_are_refused(region, client, given):
    resource = create(client)
    count = writes(region)
    assert refusal(client.tag_resource, resourceArn=resource, tags=given)[0] == INVALID
    assert refusal(client.create_thing_type, thingTypeName="t", tags=given)[0] == INVALID
    assert writes(region) == count


def test_what_has_no_tags_or_is_not_there_is_refused(client):
    client.create_thing(thingName="t")
    for resource, expected in (
        (arn("thing", "t"), INVALID),
        ("x", INVALID),
        (arn("thingtype").replace("123456789012", "999999999999"), INVALID),
        (arn("thingtype"), "ResourceNotFoundException"),
    ):
        assert refusal(client.tag_resource, resourceArn=resource, tags=[])[0] == expected
        assert refusal(client.untag_resource, resourceArn=resource, tagKeys=["a"])[0] == expected
        assert refusal(client.list_tags_for_resource, resourceArn=resource)[0] == expected


def test_tags_of_an_earlier_life_are_gone(client):
    resource = create(client, "billinggroup", tags=pairs({"a": "1"}))
    client.delete_billing_group(billingGroupName="r")
    assert tags(client, create(client, "billinggroup")) == {}
    client.tag_resource(resourceArn=resource, tags=pairs({"b": "2"}))
    assert tags(client, resource) == {"b": "2"}


def test_two_regions_that_tag_at_once_keep_both(region):
    other = AwsRegion("us-east-1")
    resource = create(region.client(), tags=pairs({"a": "0", "b": "0"}))
    exchange(region, other)
    other.now_ms += 5
    region.client().tag_resource(resourceArn=resource, tags=pairs({"a": "1", "b": "1"}))
    other.client().tag_resource(resourceArn=resource, tags=pairs({"b": "2", "c": "2"}))
    exchange(region, other)
    for each in (region, other):
        assert tags(each.client(), resource) == {"a": "1", "b": "2", "c": "2"}
