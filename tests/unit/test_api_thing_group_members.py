"""Things in static groups over the API, from both ends."""

from __future__ import annotations

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

from isthmus.core import memberships
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import THING, Writer

INVALID, NOT_FOUND = "InvalidRequestException", "ResourceNotFoundException"
GROUPS = {"eu": None, "berlin": "eu", "paris": "eu", "north": "berlin", "us": None, "lamps": None}


@pytest.fixture
def region():
    made = AwsRegion()
    client = made.client()
    for name, parent in GROUPS.items():
        more = {"parentGroupName": parent} if parent else {}
        client.create_thing_group(thingGroupName=name, **more)
    for name in ("a", "b", "c", "d"):
        client.create_thing(thingName=name)
    return made


def add(client, thing, group):
    client.add_thing_to_thing_group(thingName=thing, thingGroupName=group)


def remove(client, thing, group):
    client.remove_thing_from_thing_group(thingName=thing, thingGroupName=group)


def move(client, thing, add=(), remove=()):
    client.update_thing_groups_for_thing(
        thingName=thing, thingGroupsToAdd=list(add), thingGroupsToRemove=list(remove)
    )


def things(client, group, **parameters):
    pages = client.get_paginator("list_things_in_thing_group").paginate(
        thingGroupName=group, PaginationConfig={"PageSize": 2}, **parameters
    )
    return [each for page in pages for each in page["things"]]


def groups(client, thing):
    pages = client.get_paginator("list_thing_groups_for_thing").paginate(
        thingName=thing, PaginationConfig={"PageSize": 1}
    )
    return [each["groupName"] for page in pages for each in page["thingGroups"]]


def test_membership_is_listed_from_both_ends(client):
    for thing, group in (("a", "eu"), ("a", "lamps"), ("b", "eu"), ("c", "eu"), ("d", "north")):
        add(client, thing, group)
    assert things(client, "eu") == ["a", "b", "c"]
    assert things(client, "eu", recursive=True) == ["a", "b", "c", "d"]
    assert things(client, "berlin") == []
    assert things(client, "berlin", recursive=True) == ["d"]
    assert groups(client, "a") == ["eu", "lamps"]
    found = client.list_thing_groups_for_thing(thingName="d")["thingGroups"]
    expected = "arn:aws:iot:eu-west-1:123456789012:thinggroup/north"
    assert found == [{"groupName": "north", "groupArn": expected}]
    remove(client, "a", "eu")
    assert (things(client, "eu"), groups(client, "a")) == (["b", "c"], ["lamps"])


def test_a_page_below_goes_on_where_it_ended(client):
    for thing, group in (("a", "us"), ("b", "paris"), ("c", "north"), ("d", "berlin")):
        add(client, thing, group)
    add_all = [things(client, "eu", recursive=True), things(client, "us", recursive=True)]
    assert add_all == [["d", "c", "b"], ["a"]]
    page = client.list_things_in_thing_group(thingGroupName="eu", recursive=True, maxResults=1)
    remove(client, "d", "berlin")
    rest = client.list_things_in_thing_group(
        thingGroupName="eu", recursive=True, nextToken=page["nextToken"]
    )
    assert (page["things"], rest["things"]) == (["d"], ["c", "b"])


def test_a_page_below_goes_on_past_a_group_that_is_elsewhere_now(client):
    for thing, group in (("a", "north"), ("b", "paris")):
        add(client, thing, group)
    asked = {"thingGroupName": "eu", "recursive": True}
    page = client.list_things_in_thing_group(**asked, maxResults=1)
    assert page["things"] == ["a"]
    client.delete_thing_group(thingGroupName="north")
    client.create_thing_group(thingGroupName="north", parentGroupName="us")
    add(client, "c", "north")
    rest = client.list_things_in_thing_group(**asked, nextToken=page["nextToken"])
    assert rest["things"] == ["b"]


def test_membership_is_no_part_of_the_things_version_and_again_is_no_write(region, client):
    add(client, "a", "eu")
    count = writes(region)
    add(client, "a", "eu")
    remove(client, "b", "eu")
    move(client, "a", ["eu"], ["us"])
    move(client, "a")
    assert writes(region) == count
    assert client.describe_thing(thingName="a")["version"] == 1


def test_either_end_is_given_by_name_by_arn_or_by_both(client):
    arns = {
        "thingArn": "arn:aws:iot:us-east-1:123456789012:thing/a",
        "thingGroupArn": "arn:aws:iot:eu-west-1:123456789012:thinggroup/eu",
    }
    client.add_thing_to_thing_group(**arns)
    client.add_thing_to_thing_group(**arns, thingName="a", thingGroupName="eu")
    assert things(client, "eu") == ["a"]
    for operation in (client.add_thing_to_thing_group, client.remove_thing_from_thing_group):
        assert refusal(operation, **arns, thingName="b")[0] == INVALID
        assert refusal(operation, thingName="a") == (
            INVALID,
            "Both thingGroupArn and thingGroupName are empty. Need to specify at least one of them",
        )
        wrong = arns | {"thingArn": arns["thingGroupArn"]}
        assert refusal(operation, **wrong)[0] == INVALID
    client.remove_thing_from_thing_group(**arns)
    assert things(client, "eu") == []
    assert refusal(client.update_thing_groups_for_thing)[0] == INVALID


def test_what_is_not_there_is_refused(client):
    for operation in (add, remove):
        assert refusal(operation, client=client, thing="a", group="no") == (
            NOT_FOUND,
            "Thing group no does not exist",
        )
        assert refusal(operation, client=client, thing="no", group="eu")[0] == NOT_FOUND
    assert refusal(move, client=client, thing="no")[0] == NOT_FOUND
    assert refusal(move, client=client, thing="a", add=["no"])[0] == NOT_FOUND
    assert refusal(move, client=client, thing="a", remove=["no"])[0] == NOT_FOUND
    assert refusal(things, client=client, group="no")[0] == NOT_FOUND
    assert refusal(groups, client=client, thing="no")[0] == NOT_FOUND


def test_a_thing_is_in_one_group_of_a_hierarchy_and_moves_within_it(client):
    add(client, "a", "berlin")
    for other in ("eu", "paris", "north"):
        assert refusal(add, client=client, thing="a", group=other)[0] == INVALID
    move(client, "a", add=["paris"], remove=["berlin"])
    assert groups(client, "a") == ["paris"]
    assert refusal(move, client=client, thing="b", add=["berlin", "paris"])[0] == INVALID


def test_a_thing_is_in_ten_groups(client):
    for number in range(11):
        client.create_thing_group(thingGroupName=f"g{number:02}")
    for number in range(10):
        add(client, "a", f"g{number:02}")
    assert refusal(add, client=client, thing="a", group="g10")[0] == INVALID
    move(client, "a", add=["g10"], remove=["g00"])
    assert len(groups(client, "a")) == 10


def test_of_what_was_deleted_nothing_is_inherited(region, client):
    for thing in ("a", "b"):
        add(client, thing, "lamps")
    client.delete_thing(thingName="a")
    assert things(client, "lamps") == ["b"]
    client.create_thing(thingName="a")
    assert (groups(client, "a"), things(client, "lamps")) == ([], ["b"])
    (life,) = region.store.get("thing-group", "lamps").lives
    client.delete_thing_group(thingGroupName="lamps")
    assert groups(client, "b") == []
    client.create_thing_group(thingGroupName="lamps")
    assert (groups(client, "b"), things(client, "lamps")) == ([], [])
    add(client, "b", "lamps")
    assert things(client, "lamps") == ["b"]
    assert region.store.catalogue.count("thing-by-group", "lamps", life) == 0


def test_a_thing_that_is_gone_is_in_no_list_of_the_catalogue(region, client):
    add(client, "a", "lamps")
    client.delete_thing(thingName="a")
    (life,) = region.store.get("thing-group", "lamps").lives
    assert region.store.catalogue.count("thing-by-group", "lamps", life) == 0


def test_who_leaves_late_takes_no_later_life_with_it(region, client):
    """A thing that is deleted leaves its groups in a second write."""
    add(client, "a", "lamps")
    store, writer = region.store, Writer(region.clock, region.now_ms)
    before = store.get(MEMBERSHIPS, "a")
    client.delete_thing(thingName="a")
    client.create_thing(thingName="a")
    add(client, "a", "us")
    thing, now = store.get(THING, "a"), store.get(MEMBERSHIPS, "a")
    assert memberships.left(now, writer, thing) is now
    left = memberships.left(before, writer, thing)
    assert (memberships.groups(left, thing), list(memberships.listed(left))) == ([], [])


def pair(region):
    other = AwsRegion("us-east-1")
    exchange(region, other)
    return region.client(), other, other.client()


def test_what_is_added_while_it_is_removed_elsewhere_stays(region):
    here, other, there = pair(region)
    add(here, "a", "lamps")
    exchange(region, other)
    remove(here, "a", "lamps")
    add(here, "a", "lamps")
    remove(there, "a", "lamps")
    exchange(region, other)
    assert things(here, "lamps") == things(there, "lamps") == ["a"]
    remove(there, "a", "lamps")
    exchange(region, other)
    assert things(here, "lamps") == things(there, "lamps") == []


def test_a_thing_that_came_into_two_groups_of_a_hierarchy_at_once_is_listed_once(region):
    here, other, there = pair(region)
    add(here, "a", "north")
    add(there, "a", "paris")
    exchange(region, other)
    assert groups(here, "a") == groups(there, "a") == ["north", "paris"]
    assert things(here, "eu", recursive=True) == ["a"]
    assert things(here, "berlin", recursive=True) == things(here, "paris") == ["a"]
    remove(here, "a", "north")
    assert things(here, "eu", recursive=True) == ["a"]


def test_a_membership_of_an_earlier_life_is_void(region):
    here, other, there = pair(region)
    here.delete_thing_group(thingGroupName="lamps")
    here.delete_thing(thingName="b")
    add(there, "a", "lamps")
    add(there, "b", "us")
    exchange(region, other)
    here.create_thing_group(thingGroupName="lamps")
    here.create_thing(thingName="b")
    assert (things(here, "lamps"), things(here, "us")) == ([], [])
    assert (groups(here, "a"), groups(here, "b")) == ([], [])
