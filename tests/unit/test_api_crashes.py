"""An API process that dies between two writes of one operation: all of it was done, or nothing."""

from __future__ import annotations

import json

import pytest
from aws_region import AwsRegion
from botocore import xform_name
from made_certificates import new_ca

CERTIFICATE = new_ca().sign()


class Died(BaseException):
    """The process is gone, and nothing is answered."""


def document(topic):
    statement = {
        "Effect": "Allow",
        "Action": "iot:Publish",
        "Resource": f"arn:aws:iot:eu-west-1:123456789012:topic/{topic}",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def die_after(region, count):
    """Let so many writes through, and no more."""
    log, left = region.store.log, count
    put = log.put

    async def dies(item, revision):
        nonlocal left
        if not left:
            raise Died
        left -= 1
        return await put(item, revision)

    log.put = dies


def begun():
    """A region with something to change."""
    region = AwsRegion()
    client = region.client()
    client.create_thing_group(thingGroupName="g")
    client.create_thing(thingName="t")
    client.add_thing_to_thing_group(thingName="t", thingGroupName="g")
    for name in ("p", "q"):
        client.create_policy(policyName=name, policyDocument=document("1"))
    client.create_policy_version(policyName="p", policyDocument=document("2"))
    made = client.register_certificate_without_ca(certificatePem=CERTIFICATE)
    client.attach_policy(policyName="p", target=made["certificateArn"])
    return region, made["certificateId"]


def shown(region):
    """What clients see of it, from every end."""
    client = region.client()
    policies = {}
    for each in client.list_policies()["policies"]:
        named = {"policyName": each["policyName"]}
        policies[each["policyName"]] = (
            client.get_policy(**named)["policyDocument"],
            [
                (
                    version["isDefaultVersion"],
                    client.get_policy_version(**named, policyVersionId=version["versionId"])[
                        "policyDocument"
                    ],
                )
                for version in client.list_policy_versions(**named)["policyVersions"]
            ],
            client.list_targets_for_policy(**named)["targets"],
        )
    certificates = {
        each["certificateArn"]: (
            each["status"],
            client.list_attached_policies(target=each["certificateArn"])["policies"],
        )
        for each in client.list_certificates()["certificates"]
    }
    things = {
        each["thingName"]: client.list_thing_groups_for_thing(thingName=each["thingName"])[
            "thingGroups"
        ]
        for each in client.list_things()["things"]
    }
    members = client.list_things_in_thing_group(thingGroupName="g")["things"]
    return policies, certificates, things, members


WRITES = {
    "CreatePolicy": {"policyName": "n", "policyDocument": document("n")},
    "CreatePolicyVersion": {
        "policyName": "p",
        "policyDocument": document("3"),
        "setAsDefault": True,
    },
    "SetDefaultPolicyVersion": {"policyName": "p", "policyVersionId": "2"},
    "DeletePolicyVersion": {"policyName": "p", "policyVersionId": "2"},
    "DeletePolicy": {"policyName": "q"},
    "DeleteThing": {"thingName": "t"},
    "DeleteCertificate": {"forceDelete": True},
}


@pytest.mark.parametrize("operation", WRITES)
def test_what_died_half_way_is_shown_as_done_or_as_not_begun(operation):
    def call(region, certificate_id):
        parameters = dict(WRITES[operation])
        if operation == "DeleteCertificate":
            parameters["certificateId"] = certificate_id
        getattr(region.client(), xform_name(operation))(**parameters)

    region, certificate_id = begun()
    before = shown(region)
    call(region, certificate_id)
    after = shown(region)
    assert before != after
    for writes in (0, 1):
        region, certificate_id = begun()
        die_after(region, writes)
        with pytest.raises(Died):
            call(region, certificate_id)
        assert shown(region) in (before, after)


def test_a_thing_that_is_created_again_after_a_crash_is_in_no_group():
    region, _ = begun()
    put = region.store.log.put
    die_after(region, 1)
    with pytest.raises(Died):
        region.client().delete_thing(thingName="t")
    region.store.log.put = put
    region.client().create_thing(thingName="t")
    *_, things, members = shown(region)
    assert (things, members) == ({"t": []}, [])
