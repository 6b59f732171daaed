"""Provisioning templates over the API, also of two regions at once."""

from __future__ import annotations

import contextlib
import json

import pytest
from aws_asking import exchange, overtake, refusal, writes
from aws_region import AwsRegion
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import policies, provisioning_templates
from isthmus.core.provisioning_templates import (
    PROVISIONING_TEMPLATE,
    PROVISIONING_TEMPLATE_VERSION,
)

ROLE = "arn:aws:iam::123456789012:role/r"
ARN = "arn:aws:iot:eu-west-1:123456789012:provisioningtemplate/t"
HOOK = {"payloadVersion": "2020-04-01", "targetArn": "arn:aws:lambda:eu-west-1:1:function:f"}
NAME = {"templateName": "t"}
MISSING = ("ResourceNotFoundException", "Provisioning template t does not exist")


def body(thing="lamp", **properties):
    resources = {"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": thing}}}
    if properties:
        resources["certificate"] = {"Type": "AWS::IoT::Certificate", "Properties": properties}
    return json.dumps({"Resources": resources})


def create(client, **more):
    asked = {"templateBody": body("1"), "provisioningRoleArn": ROLE}
    return client.create_provisioning_template(**NAME, **asked | more)


def add(client, thing, *, is_default=False):
    made = client.create_provisioning_template_version(
        **NAME, templateBody=body(thing), setAsDefault=is_default
    )
    return made["versionId"]


def clean(output):
    return {name: value for name, value in output.items() if name != "ResponseMetadata"}


def versions(client):
    listed = client.list_provisioning_template_versions(**NAME)["versions"]
    return [(each["versionId"], each["isDefaultVersion"]) for each in listed]


def pair():
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    return eu, us, eu.client(), us.client()


def test_a_template_is_created_described_updated_and_deleted(region, client):
    tags = [{"Key": "a", "Value": "b"}]
    made = clean(create(client, description="d", preProvisioningHook=HOOK, tags=tags))
    named = {"templateArn": ARN, "templateName": "t"}
    assert made == {**named, "defaultVersionId": 1}
    found = clean(client.describe_provisioning_template(**NAME))
    created = found.pop("creationDate")
    assert created.timestamp() * 1000 == region.now_ms
    assert found == {
        **named,
        "description": "d",
        "enabled": False,
        "type": "FLEET_PROVISIONING",
        "provisioningRoleArn": ROLE,
        "preProvisioningHook": HOOK,
        "defaultVersionId": 1,
        "templateBody": body("1"),
        "lastModifiedDate": created,
    }
    assert client.list_tags_for_resource(resourceArn=ARN)["tags"] == tags
    region.now_ms += 1000
    client.update_provisioning_template(**NAME, enabled=True, removePreProvisioningHook=True)
    count = writes(region)
    client.update_provisioning_template(**NAME, enabled=True, removePreProvisioningHook=True)
    assert writes(region) == count
    found = client.describe_provisioning_template(**NAME)
    assert (found["enabled"], found["description"]) == (True, "d")
    assert "preProvisioningHook" not in found
    assert (found["lastModifiedDate"] - created).total_seconds() == 1
    client.delete_provisioning_template(**NAME)
    assert client.list_provisioning_templates()["templates"] == []
    assert refusal(client.describe_provisioning_template, **NAME) == MISSING
    ended = region.store.get(PROVISIONING_TEMPLATE_VERSION, policies.version_key("t", 1, body("1")))
    assert ended.vv
    assert not ended.lives


def test_what_is_not_there_is_not_found(client):
    asked = NAME | {"versionId": 1}
    for call, parameters in (
        (client.describe_provisioning_template, NAME),
        (client.update_provisioning_template, NAME | {"defaultVersionId": 1}),
        (client.update_provisioning_template, NAME),
        (client.delete_provisioning_template, NAME),
        (client.create_provisioning_template_version, NAME | {"templateBody": body()}),
        (client.describe_provisioning_template_version, asked),
        (client.delete_provisioning_template_version, asked),
        (client.list_provisioning_template_versions, NAME),
    ):
        assert refusal(call, **parameters) == MISSING
    create(client)
    missing = ("ResourceNotFoundException", "Provisioning template t has no version 2")
    for call, parameters in (
        (client.update_provisioning_template, NAME | {"defaultVersionId": 2}),
        (client.describe_provisioning_template_version, NAME | {"versionId": 2}),
        (client.delete_provisioning_template_version, NAME | {"versionId": 2}),
    ):
        assert refusal(call, **parameters) == missing


def test_a_template_is_created_once(region, client):
    key = policies.version_key("t", 1, "other")

    def first(item, writer):
        return provisioning_templates.create(item, writer, key, {}, {})

    overtake(region, PROVISIONING_TEMPLATE, "t", first)
    assert refusal(lambda: create(client))[0] == "ResourceAlreadyExistsException"
    assert refusal(lambda: create(client))[0] == "ResourceAlreadyExistsException"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{}", "templateBody: the template: there is no Resources"),
        (
            body(1),
            "templateBody: Resources.thing.Properties.ThingName: "
            "1 is not a text, and no function that gives it",
        ),
        (
            body(CertificateSigningRequest="c"),
            "A template for fleet provisioning names its certificate by CertificateId only",
        ),
    ],
)
def test_what_no_device_could_be_provisioned_by_is_refused(region, client, given, said):
    refused = ("InvalidRequestException", said)
    assert refusal(lambda: create(client, templateBody=given)) == refused
    assert writes(region) == 0
    create(client)
    count = writes(region)
    more = client.create_provisioning_template_version
    assert refusal(more, **NAME, templateBody=given) == refused
    assert writes(region) == count


def test_a_template_for_just_in_time_may_have_certificates_from_anywhere(client):
    create(client, templateBody=body(CertificateSigningRequest="c"), type="JITP")
    assert client.describe_provisioning_template(**NAME)["type"] == "JITP"


def test_a_hook_is_set_or_removed(client):
    create(client)
    asked = NAME | {"preProvisioningHook": HOOK, "removePreProvisioningHook": True}
    assert refusal(client.update_provisioning_template, **asked)[0] == "InvalidRequestException"


def test_templates_are_listed_by_name_in_pages(client):
    for name in "cab":
        client.create_provisioning_template(
            templateName=name, templateBody=body(), provisioningRoleArn=ROLE
        )
    pages = client.get_paginator("list_provisioning_templates")
    found = pages.paginate(PaginationConfig={"PageSize": 2}).build_full_result()["templates"]
    assert [each["templateName"] for each in found] == list("abc")
    assert not found[0]["enabled"]


# Versions


def test_versions_are_made_chosen_read_and_deleted(region, client):
    create(client)
    region.now_ms += 1000
    made = clean(client.create_provisioning_template_version(**NAME, templateBody=body("2")))
    expected = {"templateArn": ARN, "templateName": "t", "versionId": 2, "isDefaultVersion": False}
    assert made == expected
    assert add(client, "3", is_default=True) == 3
    assert versions(client) == [(1, False), (2, False), (3, True)]
    assert client.describe_provisioning_template(**NAME)["templateBody"] == body("3")
    client.update_provisioning_template(**NAME, defaultVersionId=2)
    count = writes(region)
    found = clean(client.describe_provisioning_template_version(**NAME, versionId=2))
    assert found.pop("creationDate").timestamp() * 1000 == region.now_ms
    assert found == {"versionId": 2, "isDefaultVersion": True, "templateBody": body("2")}
    asked = NAME | {"versionId": 2}
    refused = refusal(client.delete_provisioning_template_version, **asked)
    assert refused[0] == "DeleteConflictException"
    assert refusal(client.delete_provisioning_template, **NAME)[0] == "DeleteConflictException"
    assert writes(region) == count
    client.delete_provisioning_template_version(**NAME, versionId=1)
    client.delete_provisioning_template_version(**NAME, versionId=3)
    assert versions(client) == [(2, True)]
    assert add(client, "4") == 4


def test_there_are_five_versions_at_most(client):
    create(client)
    for thing in "2345":
        add(client, thing)
    assert refusal(lambda: add(client, "6"))[0] == "VersionsLimitExceededException"
    pages = client.get_paginator("list_provisioning_template_versions")
    found = pages.paginate(**NAME, PaginationConfig={"PageSize": 2}).build_full_result()
    assert [each["versionId"] for each in found["versions"]] == [1, 2, 3, 4, 5]


def test_of_defaults_chosen_at_once_the_highest_is_the_default_in_both_regions():
    eu, us, here, there = pair()
    create(here)
    exchange(eu, us)
    add(here, "here", is_default=True)
    add(there, "there", is_default=True)
    there.update_provisioning_template(**NAME, description="d")
    exchange(eu, us)
    found = [clean(each.describe_provisioning_template(**NAME)) for each in (here, there)]
    assert found[0]["templateBody"] == found[1]["templateBody"]
    assert found[0]["defaultVersionId"] == found[1]["defaultVersionId"] == 3
    assert found[0]["description"] == "d"
    assert versions(here) == versions(there) == [(1, False), (2, False), (3, True)]
    # What gave way is a version like any other, unless it is chosen.
    there.update_provisioning_template(**NAME, defaultVersionId=2)
    here.delete_provisioning_template_version(**NAME, versionId=1)
    exchange(eu, us)
    assert versions(here) == versions(there) == [(2, True), (3, False)]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["eu", "us"]),
        st.sampled_from(["create", "add", "default", "choose", "remove", "delete", "exchange"]),
        st.integers(1, 6),
    ),
    max_size=12,
)


def step(client, what, number):
    asked = NAME | {"versionId": number}
    match what:
        case "create":
            create(client, templateBody=body(f"{number}"))
        case "add" | "default":
            add(client, f"{number}", is_default=what == "default")
        case "choose":
            client.update_provisioning_template(**NAME, defaultVersionId=number)
        case "remove":
            client.delete_provisioning_template_version(**asked)
        case "delete":
            client.delete_provisioning_template(**NAME)


#: Making clients takes longer than all that they are asked.
REGIONS = {name: AwsRegion(name) for name in ("eu-west-1", "us-east-1")}
CLIENTS = {"eu": REGIONS["eu-west-1"].client(), "us": REGIONS["us-east-1"].client()}


@given(STEPS)
@settings(max_examples=30, deadline=None)
def test_a_template_that_is_there_has_one_default_with_its_body_whatever_was_done_at_once(steps):
    for name, region in REGIONS.items():
        region.store = AwsRegion(name).store
    eu, us = REGIONS.values()
    for name, what, number in [*steps, ("eu", "exchange", 1), ("eu", "exchange", 1)]:
        if what == "exchange":
            exchange(eu, us)
        else:
            errors = CLIENTS[name].exceptions
            with contextlib.suppress(
                errors.ResourceNotFoundException,
                errors.ResourceAlreadyExistsException,
                errors.DeleteConflictException,
                errors.VersionsLimitExceededException,
            ):
                step(CLIENTS[name], what, number)
        for client in CLIENTS.values():
            for template in client.list_provisioning_templates()["templates"]:
                assert template["templateName"] == "t"
                listed = versions(client)
                assert sum(is_default for _, is_default in listed) == 1
                assert client.describe_provisioning_template(**NAME)["templateBody"]
    states = [
        clean(client.describe_provisioning_template(**NAME)) | {"versions": versions(client)}
        for client in CLIENTS.values()
        if client.list_provisioning_templates()["templates"]
    ]
    assert [each | {"templateArn": ""} for each in states[:1]] == [
        each | {"templateArn": ""} for each in states[1:]
    ]
