"""Policies over the API: what is answered, what is refused, and what two regions make of them."""

from __future__ import annotations

import json

import pytest
from aws_asking import exchange, overtake, refusal, writes
from aws_region import AwsRegion
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import policies
from isthmus.core.registry import POLICY, POLICY_VERSION


def document(*topics, effect="Allow"):
    resources = [f"arn:aws:iot:eu-west-1:123456789012:topic/{each}" for each in topics]
    statement = {"Effect": effect, "Action": "iot:Publish", "Resource": resources}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


ONE, TWO, THREE = document("1"), document("2"), document("3")
#: Making one takes longer than all that a test asks of it.
CLIENT = AwsRegion().client()
ARN = "arn:aws:iot:eu-west-1:123456789012:policy/p"


def clean(output):
    return {name: value for name, value in output.items() if name != "ResponseMetadata"}


def versions(client):
    listed = client.list_policy_versions(policyName="p")["policyVersions"]
    return [(each["versionId"], each["isDefaultVersion"]) for each in listed]


def documents(region):
    return {
        item.register("document")
        for item in region.store.view.of_kind(POLICY_VERSION)
        if item.lives
    }


def test_a_policy_is_created_read_and_deleted(region, client):
    made = clean(client.create_policy(policyName="p", policyDocument=ONE))
    shown = {"policyName": "p", "policyArn": ARN}
    assert made == {**shown, "policyDocument": ONE, "policyVersionId": "1"}
    found = clean(client.get_policy(policyName="p"))
    created = found.pop("creationDate")
    assert created.timestamp() * 1000 == region.now_ms
    assert found.pop("lastModifiedDate") == created
    assert len(generation := found.pop("generationId")) == 36
    assert found == {**shown, "policyDocument": ONE, "defaultVersionId": "1"}
    assert client.list_policies()["policies"] == [shown]
    version = clean(client.get_policy_version(policyName="p", policyVersionId="1"))
    assert version == {
        **shown,
        "policyDocument": ONE,
        "policyVersionId": "1",
        "isDefaultVersion": True,
        "creationDate": created,
        "lastModifiedDate": created,
        "generationId": generation,
    }
    client.delete_policy(policyName="p")
    assert client.list_policies()["policies"] == []
    assert documents(region) == set()
    client.create_policy(policyName="p", policyDocument=TWO)
    assert client.get_policy(policyName="p")["generationId"] != generation
    assert versions(client) == [("1", True)]


def test_a_policy_has_tags(client):
    tags = [{"Key": "a", "Value": "b"}]
    client.create_policy(policyName="p", policyDocument=ONE, tags=tags)
    assert client.list_tags_for_resource(resourceArn=ARN)["tags"] == tags
    client.create_policy_version(policyName="p", policyDocument=TWO, setAsDefault=True)
    assert client.list_tags_for_resource(resourceArn=ARN)["tags"] == tags
    client.untag_resource(resourceArn=ARN, tagKeys=["a"])
    assert client.list_tags_for_resource(resourceArn=ARN)["tags"] == []
    assert client.get_policy(policyName="p")["policyDocument"] == TWO


def test_whatever_is_not_there_is_not_found(client):
    asked = {"policyName": "p", "policyVersionId": "1"}
    for call, parameters in (
        (client.get_policy, {"policyName": "p"}),
        (client.get_policy_version, asked),
        (client.list_policy_versions, {"policyName": "p"}),
        (client.create_policy_version, {"policyName": "p", "policyDocument": ONE}),
        (client.set_default_policy_version, asked),
        (client.delete_policy_version, asked),
        (client.delete_policy, {"policyName": "p"}),
    ):
        code, message = refusal(call, **parameters)
        assert (code, message) == ("ResourceNotFoundException", "Policy p does not exist")
    client.create_policy(policyName="p", policyDocument=ONE)
    for wanted in ("2", "01", "9" * 1000):
        asked = {"policyName": "p", "policyVersionId": wanted}
        for call in (
            client.get_policy_version,
            client.set_default_policy_version,
            client.delete_policy_version,
        ):
            assert refusal(call, **asked)[0] == "ResourceNotFoundException"


def test_a_policy_that_is_there_is_not_created_again(region, client):
    client.create_policy(policyName="p", policyDocument=ONE)
    count = writes(region)
    for text in (ONE, TWO):
        with pytest.raises(client.exceptions.ResourceAlreadyExistsException) as refused:
            client.create_policy(policyName="p", policyDocument=text)
        assert refused.value.response["resourceArn"] == ARN
    assert writes(region) == count


def test_who_is_second_is_refused_though_nobody_was_there_when_he_looked(region, client):
    key = policies.version_key("p", 1, TWO)
    overtake(region, POLICY, "p", lambda item, writer: policies.put(item, writer, key))
    refused = refusal(client.create_policy, policyName="p", policyDocument=ONE)
    assert refused[0] == "ResourceAlreadyExistsException"
    for number in range(3):
        client.create_policy_version(policyName="p", policyDocument=document(str(number)))
    fifth = policies.version_key("p", 5, ONE)
    overtake(region, POLICY, "p", lambda item, writer: policies.add_version(item, writer, fifth))
    refused = refusal(client.create_policy_version, policyName="p", policyDocument=TWO)
    assert refused[0] == "VersionsLimitExceededException"
    assert len(versions(client)) == 5


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", ONE.replace("Allow", "Maybe"), "x" * 3000])
def test_what_is_not_a_document_is_refused_and_nothing_is_written(region, client, text):
    assert refusal(client.create_policy, policyName="p", policyDocument=text)[0] == (
        "MalformedPolicyException"
    )
    assert writes(region) == 0
    client.create_policy(policyName="p", policyDocument=ONE)
    count = writes(region)
    refused = refusal(client.create_policy_version, policyName="p", policyDocument=text)
    assert refused[0] == "MalformedPolicyException"
    assert writes(region) == count


@given(st.text(max_size=60) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_no_text_makes_anything_but_a_policy_or_that_error(text):
    try:
        CLIENT.create_policy(policyName="p", policyDocument=text)
    except CLIENT.exceptions.MalformedPolicyException:
        return
    CLIENT.delete_policy(policyName="p")


def test_versions_are_numbered_and_one_is_the_default(client):
    client.create_policy(policyName="p", policyDocument=ONE)
    made = clean(client.create_policy_version(policyName="p", policyDocument=TWO))
    assert made == {
        "policyArn": ARN,
        "policyDocument": TWO,
        "policyVersionId": "2",
        "isDefaultVersion": False,
    }
    asked = {"policyName": "p", "policyDocument": THREE, "setAsDefault": True}
    assert client.create_policy_version(**asked)["isDefaultVersion"] is True
    assert versions(client) == [("3", True), ("2", False), ("1", False)]
    assert client.get_policy(policyName="p")["policyDocument"] == THREE
    client.set_default_policy_version(policyName="p", policyVersionId="1")
    assert versions(client) == [("3", False), ("2", False), ("1", True)]
    assert client.get_policy(policyName="p")["defaultVersionId"] == "1"


def test_a_sixth_version_is_refused_and_a_deleted_number_stays_free(region, client):
    client.create_policy(policyName="p", policyDocument=document("1"))
    for number in range(2, 6):
        client.create_policy_version(policyName="p", policyDocument=document(str(number)))
    count = writes(region)
    refused = refusal(client.create_policy_version, policyName="p", policyDocument=document("6"))
    assert refused[0] == "VersionsLimitExceededException"
    assert writes(region) == count
    client.delete_policy_version(policyName="p", policyVersionId="5")
    made = client.create_policy_version(policyName="p", policyDocument=document("6"))
    assert made["policyVersionId"] == "6"
    assert [number for number, _ in versions(client)] == ["6", "4", "3", "2", "1"]
    assert len(documents(region)) == 5


def test_what_is_in_use_is_not_deleted(client):
    client.create_policy(policyName="p", policyDocument=ONE)
    asked = {"policyName": "p", "policyVersionId": "1"}
    assert refusal(client.delete_policy_version, **asked)[0] == "DeleteConflictException"
    client.create_policy_version(policyName="p", policyDocument=TWO)
    assert refusal(client.delete_policy, policyName="p")[0] == "DeleteConflictException"
    client.delete_policy_version(policyName="p", policyVersionId="2")
    client.delete_policy(policyName="p")


def test_policies_are_listed_in_pages_in_the_order_of_their_creation(region, client):
    names = ["z", "a", "m", "b", "y"]
    for name in names:
        region.now_ms += 1
        client.create_policy(policyName=name, policyDocument=ONE)
    pages = client.get_paginator("list_policies")
    for ascending, expected in ((True, names), (False, names[::-1])):
        listed = pages.paginate(ascendingOrder=ascending, PaginationConfig={"PageSize": 2})
        found = [each["policyName"] for each in listed.build_full_result()["policies"]]
        assert found == expected
    assert [each["policyName"] for each in client.list_policies()["policies"]] == names[::-1]
    code, _ = refusal(client.list_policies, marker="AAAA")
    assert code == "InvalidRequestException"


def pair():
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    return eu, us, eu.client(), us.client()


def test_defaults_chosen_at_once_are_all_shown_until_one_is_chosen():
    eu, us, here, there = pair()
    here.create_policy(policyName="p", policyDocument=ONE)
    exchange(eu, us)
    here.create_policy_version(policyName="p", policyDocument=TWO, setAsDefault=True)
    there.create_policy_version(policyName="p", policyDocument=THREE, setAsDefault=True)
    exchange(eu, us)
    for client in (here, there):
        assert versions(client) == [("3", True), ("2", True), ("1", False)]
        asked = {"policyName": "p", "policyVersionId": "2"}
        assert refusal(client.delete_policy_version, **asked)[0] == "DeleteConflictException"
    assert here.get_policy(policyName="p")["defaultVersionId"] == "3"
    found = [
        here.get_policy_version(policyName="p", policyVersionId=number)["policyDocument"]
        for number in "123"
    ]
    assert sorted(found) == sorted([ONE, TWO, THREE])
    there.set_default_policy_version(policyName="p", policyVersionId="2")
    exchange(eu, us)
    assert versions(here) == [("3", False), ("2", True), ("1", False)]


def test_a_policy_deleted_here_and_created_there_has_its_document():
    eu, us, here, there = pair()
    here.create_policy(policyName="p", policyDocument=ONE)
    exchange(eu, us)
    here.delete_policy(policyName="p")
    there.delete_policy(policyName="p")
    there.create_policy(policyName="p", policyDocument=ONE)
    exchange(eu, us)
    for client in (here, there):
        assert client.get_policy(policyName="p")["policyDocument"] == ONE
