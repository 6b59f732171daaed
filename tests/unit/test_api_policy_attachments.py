"""Policies attached over the API, listed from both ends, and contested by another region."""

from __future__ import annotations

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion
from made_certificates import new_ca
from test_api_policies import ONE

PREFIX = "arn:aws:iot:eu-west-1:123456789012:"
GROUP = f"{PREFIX}thinggroup/g:1"
CA = new_ca()


def certificate(client):
    return client.register_certificate_without_ca(certificatePem=CA.sign())["certificateArn"]


def create(client, *names):
    for name in names:
        client.create_policy(policyName=name, policyDocument=ONE)


def policies(client, target, **more):
    found = client.list_attached_policies(target=target, **more)["policies"]
    return [each["policyName"] for each in found]


def targets(client, policy="p"):
    return client.list_targets_for_policy(policyName=policy)["targets"]


@pytest.mark.parametrize("kind", ["cert", "group"])
def test_a_policy_is_attached_and_detached(region, client, kind):
    create(client, "p")
    client.create_thing_group(thingGroupName="g:1")
    target = certificate(client) if kind == "cert" else GROUP
    for there in (True, False):
        call = client.attach_policy if there else client.detach_policy
        call(policyName="p", target=target)
        assert policies(client, target) == (["p"] if there else [])
        assert targets(client) == ([target] if there else [])
        count = writes(region)
        call(policyName="p", target=target)
        assert writes(region) == count
    shown = client.attach_policy(policyName="p", target=target.replace("eu-west-1", "us-east-1"))
    assert shown["ResponseMetadata"]["HTTPStatusCode"] == 200
    listed = client.list_attached_policies(target=target)["policies"]
    assert listed == [{"policyName": "p", "policyArn": f"{PREFIX}policy/p"}]
    assert refusal(client.delete_policy, policyName="p")[0] == "DeleteConflictException"
    client.detach_policy(policyName="p", target=target)
    client.delete_policy(policyName="p")


def test_the_older_operations_do_the_same_for_certificates(client):
    create(client, "p")
    client.create_thing_group(thingGroupName="g:1")
    target = certificate(client)
    client.attach_principal_policy(policyName="p", principal=target)
    client.attach_policy(policyName="p", target=GROUP)
    found = client.list_principal_policies(principal=target)["policies"]
    assert [each["policyName"] for each in found] == ["p"]
    assert client.list_policy_principals(policyName="p")["principals"] == [target]
    assert targets(client) == [target, GROUP]
    client.detach_principal_policy(policyName="p", principal=target)
    assert client.list_policy_principals(policyName="p")["principals"] == []
    for call in (client.attach_principal_policy, client.detach_principal_policy):
        refused = refusal(call, policyName="p", principal=GROUP)
        assert refused[0] == "InvalidRequestException"


@pytest.mark.parametrize(
    "wrong",
    [
        "us-east-1:12345678-1234-1234-1234-123456789012",
        "",
        "x" * 5000,
        f"{PREFIX}thing/t",
        GROUP.replace("eu-west-1", "ap-south-1"),
        GROUP.replace("123456789012", "210987654321"),
    ],
)
def test_what_cannot_have_policies_is_refused(region, client, wrong):
    create(client, "p")
    count = writes(region)
    for call in (client.attach_policy, client.detach_policy):
        code, message = refusal(call, policyName="p", target=wrong)
        assert code == "InvalidRequestException"
        assert "certificate" in message
    assert writes(region) == count


def test_what_is_not_there_is_not_found_and_need_not_be_detached(region, client):
    gone = f"{PREFIX}cert/{'0' * 64}"
    create(client, "p")
    target = certificate(client)
    count = writes(region)
    for name, end in (("p", gone), ("q", target)):
        refused = refusal(client.attach_policy, policyName=name, target=end)
        assert refused[0] == "ResourceNotFoundException"
        client.detach_policy(policyName=name, target=end)
    for call, asked in (
        (client.list_attached_policies, {"target": gone}),
        (client.list_principal_policies, {"principal": gone}),
        (client.list_targets_for_policy, {"policyName": "q"}),
        (client.list_policy_principals, {"policyName": "q"}),
    ):
        assert refusal(call, **asked)[0] == "ResourceNotFoundException"
    assert writes(region) == count


@pytest.mark.parametrize(("kind", "most"), [("cert", 10), ("group", 2)])
def test_there_is_a_limit_of_policies(client, kind, most):
    names = [f"p{number:02}" for number in range(most + 1)]
    create(client, *names)
    client.create_thing_group(thingGroupName="g:1")
    target = certificate(client) if kind == "cert" else GROUP
    for name in names[:most]:
        client.attach_policy(policyName=name, target=target)
    refused = refusal(client.attach_policy, policyName=names[most], target=target)
    assert refused[0] == "LimitExceededException"
    client.attach_policy(policyName=names[0], target=target)
    client.detach_policy(policyName=names[0], target=target)
    client.attach_policy(policyName=names[most], target=target)


def test_lists_come_in_pages(client):
    names = [f"p{number}" for number in range(5)]
    create(client, *names)
    ends = sorted(certificate(client) for _ in range(5))
    for name in names:
        client.attach_policy(policyName=name, target=ends[0])
    for end in ends:
        client.attach_policy(policyName="p0", target=end)

    def all_of(operation, member, **asked):
        pages = client.get_paginator(operation).paginate(**asked, PaginationConfig={"PageSize": 2})
        return pages.build_full_result()[member]

    shown = [{"policyName": name, "policyArn": f"{PREFIX}policy/{name}"} for name in names]
    assert all_of("list_attached_policies", "policies", target=ends[0]) == shown
    assert all_of("list_principal_policies", "policies", principal=ends[0]) == shown
    assert all_of("list_targets_for_policy", "targets", policyName="p0") == ends
    assert all_of("list_policy_principals", "principals", policyName="p0") == ends


def test_a_group_has_the_policies_of_the_groups_that_it_is_in(client):
    create(client, "p", "q", "r")
    client.create_thing_group(thingGroupName="g:1")
    client.create_thing_group(thingGroupName="h", parentGroupName="g:1")
    below = f"{PREFIX}thinggroup/h"
    for name, target in (("p", GROUP), ("q", GROUP), ("q", below), ("r", below)):
        client.attach_policy(policyName=name, target=target)
    assert policies(client, below) == ["q", "r"]
    assert policies(client, below, recursive=True) == ["p", "q", "r"]
    assert policies(client, below, recursive=True, pageSize=1) == ["p"]
    assert policies(client, GROUP, recursive=True) == ["p", "q"]


def test_detached_here_and_attached_there_at_once_it_denies_and_does_not_allow():
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    here, there = eu.client(), us.client()
    create(here, "p")
    target = certificate(here)
    here.attach_policy(policyName="p", target=target)
    exchange(eu, us)
    here.detach_policy(policyName="p", target=target)
    there.detach_policy(policyName="p", target=target)
    there.attach_policy(policyName="p", target=target)
    exchange(eu, us)
    principal = target.rsplit("/", 1)[1]
    for region, client in ((eu, here), (us, there)):
        assert policies(client, target) == ["p"]
        assert [each.contested for each in region.store.view.policies(principal)] == [True]
    here.attach_policy(policyName="p", target=target)
    exchange(eu, us)
    for region in (eu, us):
        assert [each.contested for each in region.store.view.policies(principal)] == [False]
