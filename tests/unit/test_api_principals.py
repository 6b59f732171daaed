"""Principals of things over the API."""

from __future__ import annotations

import asyncio

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

from isthmus.core import registry
from isthmus.core.registry import CERTIFICATE, Writer

IDS = tuple(each * 64 for each in "abcd")
ARNS = tuple(f"arn:aws:iot:eu-west-1:123456789012:cert/{each}" for each in IDS)
EXCLUSIVE, NON_EXCLUSIVE = "EXCLUSIVE_THING", "NON_EXCLUSIVE_THING"


def change(region, key, what, **named):
    def changed(item):
        return what(item, Writer(region.clock, region.now_ms), **named)

    asyncio.run(region.store.update(CERTIFICATE, key, changed))


@pytest.fixture
def region():
    made = AwsRegion()
    for each in IDS:
        change(made, each, registry.register_certificate, pem="pem", active=True)
    for name in ("t", "t:u", "u"):
        made.client().create_thing(thingName=name)
    return made


def paged(client, operation, key, **parameters):
    """What is on all pages of a list, two on each."""
    pages = client.get_paginator(operation).paginate(PaginationConfig={"PageSize": 2}, **parameters)
    return [each for page in pages for each in page[key]]


def principals(client, thing):
    return paged(client, "list_thing_principals", "principals", thingName=thing)


def things(client, principal):
    return paged(client, "list_principal_things", "things", principal=principal)


def how(client, principal):
    found = client.list_principal_things_v2(principal=principal)["principalThingObjects"]
    return {each["thingName"]: each["thingPrincipalType"] for each in found}


def test_what_is_attached_is_listed_from_both_ends(client):
    for arn in ARNS[:3]:
        client.attach_thing_principal(thingName="t", principal=arn)
    for name in ("t:u", "u"):
        client.attach_thing_principal(thingName=name, principal=ARNS[0])
    assert principals(client, "t") == list(ARNS[:3])
    assert principals(client, "t:u") == [ARNS[0]]
    assert things(client, ARNS[0]) == ["t", "t:u", "u"]
    assert things(client, ARNS[3]) == []
    client.detach_thing_principal(thingName="t", principal=ARNS[1])
    assert principals(client, "t") == [ARNS[0], ARNS[2]]
    assert things(client, ARNS[1]) == []


def test_an_arn_of_another_region_of_the_system_means_the_same(client):
    client.attach_thing_principal(
        thingName="t", principal=ARNS[0].replace("eu-west-1", "us-east-1")
    )
    assert principals(client, "t") == [ARNS[0]]


def test_again_is_no_write(region, client):
    client.attach_thing_principal(thingName="t", principal=ARNS[0])
    count = writes(region)
    client.attach_thing_principal(thingName="t", principal=ARNS[0])
    client.detach_thing_principal(thingName="u", principal=ARNS[0])
    assert writes(region) == count
    client.detach_thing_principal(thingName="t", principal=ARNS[0])
    count = writes(region)
    client.detach_thing_principal(thingName="t", principal=ARNS[0])
    assert writes(region) == count


def test_what_is_not_there_is_refused(client):
    unknown = ARNS[0].replace("a" * 64, "e" * 64)
    not_found = "ResourceNotFoundException"
    for operation in (client.attach_thing_principal, client.detach_thing_principal):
        assert refusal(operation, thingName="no", principal=ARNS[0])[0] == not_found
        assert refusal(operation, thingName="t", principal=unknown)[0] == not_found
    for operation in (client.list_principal_things, client.list_principal_things_v2):
        assert refusal(operation, principal=unknown)[0] == not_found
    assert refusal(client.list_thing_principals, thingName="no") == (
        not_found,
        "Failed to list principals for thing no because the thing does not exist in your account",
    )
    assert refusal(client.list_thing_principals_v2, thingName="no")[0] == not_found


@pytest.mark.parametrize(
    "principal",
    [
        "x",
        "arn:aws:iot:eu-west-1:123456789012:thing/t",
        "arn:aws:iot:eu-west-1:999999999999:cert/" + "a" * 64,
        "arn:aws:iot:eu-west-9:123456789012:cert/" + "a" * 64,
    ],
)
def test_what_is_no_principal_of_ours_is_invalid(client, principal):
    for operation in (client.attach_thing_principal, client.detach_thing_principal):
        code, _ = refusal(operation, thingName="t", principal=principal)
        assert code == "InvalidRequestException"
    assert refusal(client.list_principal_things, principal=principal)[0] == (
        "InvalidRequestException"
    )


def test_a_thing_with_principals_is_not_deleted(client):
    client.attach_thing_principal(thingName="t", principal=ARNS[0])
    assert refusal(client.delete_thing, thingName="t") == (
        "InvalidRequestException",
        "Cannot delete. Thing t is still attached to one or more principals",
    )
    client.detach_thing_principal(thingName="t", principal=ARNS[0])
    client.delete_thing(thingName="t")


def test_an_exclusive_principal_has_one_thing(client):
    exclusive = {"principal": ARNS[0], "thingPrincipalType": EXCLUSIVE}
    client.attach_thing_principal(thingName="t", **exclusive)
    client.attach_thing_principal(thingName="t", **exclusive)
    client.attach_thing_principal(thingName="t", principal=ARNS[0])
    assert how(client, ARNS[0]) == {"t": EXCLUSIVE}
    for kind in ({}, {"thingPrincipalType": EXCLUSIVE}, {"thingPrincipalType": NON_EXCLUSIVE}):
        code, _ = refusal(client.attach_thing_principal, thingName="u", principal=ARNS[0], **kind)
        assert code == "InvalidRequestException"
    client.attach_thing_principal(
        thingName="t", principal=ARNS[0], thingPrincipalType=NON_EXCLUSIVE
    )
    client.attach_thing_principal(thingName="u", principal=ARNS[0])
    assert how(client, ARNS[0]) == {"t": NON_EXCLUSIVE, "u": NON_EXCLUSIVE}
    code, _ = refusal(client.attach_thing_principal, thingName="u", **exclusive)
    assert code == "InvalidRequestException"
    client.detach_thing_principal(thingName="t", principal=ARNS[0])
    client.attach_thing_principal(thingName="u", **exclusive)
    assert how(client, ARNS[0]) == {"u": EXCLUSIVE}


def test_a_thing_may_have_several_exclusive_principals_and_lists_them_by_type(client):
    for arn, kind in zip(ARNS, (EXCLUSIVE, NON_EXCLUSIVE, EXCLUSIVE, NON_EXCLUSIVE), strict=True):
        client.attach_thing_principal(thingName="t", principal=arn, thingPrincipalType=kind)
    asked = {"operation": "list_thing_principals_v2", "key": "thingPrincipalObjects"}
    found = paged(client, **asked, thingName="t")
    assert [each["thingPrincipalType"] for each in found] == [EXCLUSIVE, NON_EXCLUSIVE] * 2
    found = paged(client, **asked, thingName="t", thingPrincipalType=EXCLUSIVE)
    assert [each["principal"] for each in found] == [ARNS[0], ARNS[2]]
    asked = {"operation": "list_principal_things_v2", "key": "principalThingObjects"}
    assert paged(client, **asked, principal=ARNS[0], thingPrincipalType=NON_EXCLUSIVE) == []


def pair(region):
    other = AwsRegion("us-east-1")
    exchange(region, other)
    return region.client(), other, other.client()


def test_two_things_that_were_given_one_principal_exclusively_at_once_both_have_it(region):
    here, other, there = pair(region)
    exclusive = {"principal": ARNS[0], "thingPrincipalType": EXCLUSIVE}
    here.attach_thing_principal(thingName="t", **exclusive)
    there.attach_thing_principal(thingName="u", **exclusive)
    exchange(region, other)
    for client in (here, there):
        assert how(client, ARNS[0]) == {"t": NON_EXCLUSIVE, "u": NON_EXCLUSIVE}
    here.detach_thing_principal(thingName="u", principal=ARNS[0])
    assert how(here, ARNS[0]) == {"t": EXCLUSIVE}


def test_an_attachment_is_exclusive_where_all_who_made_it_at_once_say_so(region):
    here, other, there = pair(region)
    exclusive = {"principal": ARNS[0], "thingPrincipalType": EXCLUSIVE}
    here.attach_thing_principal(thingName="t", **exclusive)
    there.attach_thing_principal(thingName="t", principal=ARNS[0])
    exchange(region, other)
    assert how(here, ARNS[0]) == how(there, ARNS[0]) == {"t": NON_EXCLUSIVE}
    here.attach_thing_principal(thingName="t", **exclusive)
    exchange(region, other)
    assert how(here, ARNS[0]) == how(there, ARNS[0]) == {"t": EXCLUSIVE}


def test_what_was_detached_elsewhere_at_once_is_not_listed_until_it_is_attached_again(region):
    here, other, there = pair(region)
    here.attach_thing_principal(thingName="t", principal=ARNS[0])
    exchange(region, other)
    here.detach_thing_principal(thingName="t", principal=ARNS[0])
    there.attach_thing_principal(thingName="t", principal=ARNS[0], thingPrincipalType=EXCLUSIVE)
    exchange(region, other)
    assert principals(here, "t") == things(there, ARNS[0]) == []
    assert region.store.view.things(IDS[0]) == ()
    there.attach_thing_principal(thingName="t", principal=ARNS[0])
    exchange(region, other)
    assert principals(here, "t") == [ARNS[0]]
    assert region.store.view.things(IDS[0]) == ("t",)


def test_another_life_of_either_end_has_nothing_attached(region):
    here, other, there = pair(region)
    here.delete_thing(thingName="t")
    there.attach_thing_principal(thingName="t", principal=ARNS[0])
    there.attach_thing_principal(thingName="u", principal=ARNS[1])
    exchange(region, other)
    here.create_thing(thingName="t")
    change(region, IDS[1], registry.delete)
    change(region, IDS[1], registry.register_certificate, pem="pem", active=True)
    assert (principals(here, "t"), principals(here, "u")) == ([], [])
    assert (things(here, ARNS[0]), things(here, ARNS[1])) == ([], [])
    here.attach_thing_principal(thingName="t", principal=ARNS[1])
    assert principals(here, "t") == [ARNS[1]]
