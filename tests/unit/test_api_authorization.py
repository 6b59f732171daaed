"""What a principal may do, as the API tells it: the same that gateways decide."""

from __future__ import annotations

import json

import pytest
from aws_asking import exchange, refusal
from aws_region import ACCOUNT, AwsRegion
from hypothesis import given, settings
from hypothesis import strategies as st
from made_certificates import new_ca

from isthmus.core.permissions import Permissions

PREFIX = "arn:aws:iot:eu-west-1:123456789012:"
CERTIFICATE = new_ca().sign()


def document(effect="Allow", action="iot:Publish", on="topic/a", **more):
    statement = {"Effect": effect, "Action": action, "Resource": f"{PREFIX}{on}", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def principal(client):
    made = client.register_certificate_without_ca(certificatePem=CERTIFICATE, status="ACTIVE")
    return made["certificateArn"]


def attach(client, target, **documents):
    for name, text in documents.items():
        client.create_policy(policyName=name, policyDocument=text)
        client.attach_policy(policyName=name, target=target)


def asked(action="PUBLISH", *on):
    return {"actionType": action, "resources": [f"{PREFIX}{each}" for each in on or ("topic/a",)]}


def test(client, principal, *infos, **more):
    found = client.test_authorization(
        principal=principal, authInfos=list(infos or [asked()]), **more
    )
    return found["authResults"]


test.__test__ = False


def names(policies):
    assert all(each["policyArn"] == f"{PREFIX}policy/{each['policyName']}" for each in policies)
    return [each["policyName"] for each in policies]


def test_the_answer_names_who_allows_and_who_denies(client, principal):
    attach(client, principal, allows=document(), other=document(on="topic/b"))
    (found,) = test(client, principal)
    assert found["authInfo"] == asked()
    assert found["authDecision"] == "ALLOWED"
    assert names(found["allowed"]["policies"]) == ["allows"]
    assert found["denied"] == {"implicitDeny": {"policies": []}, "explicitDeny": {"policies": []}}
    assert found["missingContextValues"] == []
    (found,) = test(client, principal, asked("PUBLISH", "topic/c"))
    assert found["authDecision"] == "IMPLICIT_DENY"
    assert names(found["allowed"]["policies"]) == []
    assert names(found["denied"]["implicitDeny"]["policies"]) == ["allows", "other"]
    attach(client, principal, denies=document("Deny", on="*"))
    (found,) = test(client, principal)
    assert found["authDecision"] == "EXPLICIT_DENY"
    assert names(found["denied"]["explicitDeny"]["policies"]) == ["denies"]
    assert names(found["allowed"]["policies"]) == ["allows"]


def test_all_resources_must_be_allowed_and_every_question_is_answered(client, principal):
    attach(client, principal, p=document())
    found = test(
        client,
        principal,
        asked("PUBLISH", "topic/a", "topic/b"),
        asked("PUBLISH", "topic/a"),
        asked("SUBSCRIBE", "topicfilter/a"),
        asked("RECEIVE", "topic/a"),
        asked("CONNECT", "client/a"),
    )
    assert [each["authDecision"] for each in found] == [
        "IMPLICIT_DENY",
        "ALLOWED",
        *["IMPLICIT_DENY"] * 3,
    ]


@pytest.mark.parametrize(
    ("action", "name", "on"),
    [
        ("PUBLISH", "iot:Publish", "topic/a"),
        ("SUBSCRIBE", "iot:Subscribe", "topicfilter/a/+"),
        ("RECEIVE", "iot:Receive", "topic/a"),
        ("CONNECT", "iot:Connect", "client/a"),
    ],
)
def test_actions_are_those_of_policies(client, principal, action, name, on):
    attach(client, principal, p=document(action=name, on=on))
    (found,) = test(client, principal, asked(action, on))
    assert found["authDecision"] == "ALLOWED"


def test_policies_are_added_and_left_out(client, principal):
    attach(client, principal, p=document("Deny"))
    client.create_policy(policyName="q", policyDocument=document())
    (found,) = test(client, principal, policyNamesToSkip=["p", "nobody"], policyNamesToAdd=["q"])
    assert found["authDecision"] == "ALLOWED"
    (found,) = test(client, principal, policyNamesToAdd=["q"])
    assert found["authDecision"] == "EXPLICIT_DENY"
    refused = refusal(
        client.test_authorization,
        principal=principal,
        authInfos=[asked()],
        policyNamesToAdd=["nobody"],
    )
    assert refused[0] == "ResourceNotFoundException"
    found = client.test_authorization(authInfos=[asked()], policyNamesToAdd=["q"])
    assert found["authResults"][0]["authDecision"] == "ALLOWED"


def test_what_is_not_known_of_the_client_is_told(client, principal):
    condition = {"StringEquals": {"aws:SourceIp": "${iot:CertificateId}${iot:ClientId}"}}
    text = document(on="topic/${iot:Connection.Thing.ThingName}/${iot:Connection.Thing.ThingName}")
    attach(client, principal, p=text, q=document(Condition=condition))
    (found,) = test(client, principal)
    assert found["missingContextValues"] == [
        "aws:SourceIp",
        "iot:ClientId",
        "iot:Connection.Thing.ThingName",
    ]
    client.create_thing(thingName="t")
    client.attach_thing_principal(thingName="t", principal=principal)
    (found,) = test(client, principal, asked("PUBLISH", "topic/t/t"), clientId="t")
    assert found["authDecision"] == "ALLOWED"
    assert found["missingContextValues"] == ["aws:SourceIp"]
    (found,) = test(client, principal, asked("CONNECT", "client/t"))
    assert found["missingContextValues"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"authInfos": [{"resources": ["*"]}]},
        {"authInfos": [asked() | {"resources": ["*"]}]},
        {"authInfos": [asked() | {"resources": [f"{PREFIX}topic/a".replace("eu", "ap")]}]},
        {"authInfos": []},
        {"authInfos": [asked()] * 11},
        {"cognitoIdentityPoolId": "x"},
        {"principal": "us-east-1:x"},
        {"principal": f"{PREFIX}thinggroup/g"},
    ],
)
def test_wrong_questions_are_refused(client, principal, wrong):
    question = {"principal": principal, "authInfos": [asked()], **wrong}
    assert refusal(client.test_authorization, **question)[0] == "InvalidRequestException"


def test_who_is_not_there_is_not_found(client):
    gone = f"{PREFIX}cert/{'0' * 64}"
    for call, more in (
        (client.test_authorization, {"authInfos": [asked()]}),
        (client.get_effective_policies, {}),
    ):
        refused = refusal(call, principal=gone, **more)
        assert refused[0] == "ResourceNotFoundException"
    refused = refusal(client.get_effective_policies, thingName="t")
    assert refused[0] == "ResourceNotFoundException"
    assert refusal(client.get_effective_policies)[0] == "InvalidRequestException"


# Effective policies


def effective(client, **asked):
    found = client.get_effective_policies(**asked)["effectivePolicies"]
    return [(each["policyName"], each["policyDocument"]) for each in found]


def test_policies_of_a_principal_and_of_the_groups_of_a_thing_are_effective(client, principal):
    texts = {name: document(on=f"topic/{name}") for name in "pqr"}
    attach(client, principal, p=texts["p"])
    client.create_thing_group(thingGroupName="g")
    client.create_thing_group(thingGroupName="h", parentGroupName="g")
    attach(client, f"{PREFIX}thinggroup/g", q=texts["q"])
    attach(client, f"{PREFIX}thinggroup/h", r=texts["r"])
    client.create_thing(thingName="t")
    client.add_thing_to_thing_group(thingGroupName="h", thingName="t")
    of_thing = [("q", texts["q"]), ("r", texts["r"])]
    assert effective(client, principal=principal) == [("p", texts["p"])]
    assert effective(client, thingName="t") == of_thing
    assert effective(client, principal=principal, thingName="t") == [("p", texts["p"]), *of_thing]
    (found,) = test(client, principal, asked("PUBLISH", "topic/q"), clientId="t")
    assert found["authDecision"] == "IMPLICIT_DENY"
    client.attach_thing_principal(thingName="t", principal=principal)
    (found,) = test(client, principal, asked("PUBLISH", "topic/q"), clientId="t")
    assert found["authDecision"] == "ALLOWED"


def test_of_defaults_chosen_at_once_both_are_effective_and_both_must_allow():
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    here, there = eu.client(), us.client()
    made = here.register_certificate_without_ca(certificatePem=CERTIFICATE)
    principal = made["certificateArn"]
    attach(here, principal, p=document())
    exchange(eu, us)
    wider, other = document(on="topic/*"), document(on="topic/b")
    for client, text in ((here, wider), (there, other)):
        client.create_policy_version(policyName="p", policyDocument=text, setAsDefault=True)
    exchange(eu, us)
    assert effective(there, principal=principal) == sorted([("p", wider), ("p", other)])
    verdicts = [
        test(there, principal, asked("PUBLISH", topic))[0]["authDecision"]
        for topic in ("topic/a", "topic/b")
    ]
    assert verdicts == ["IMPLICIT_DENY", "ALLOWED"]


# Against what gateways ask

REGION = AwsRegion()
CLIENT = REGION.client()
PRINCIPAL = CLIENT.register_certificate_without_ca(certificatePem=CERTIFICATE)["certificateArn"]
STATEMENTS = st.lists(
    st.builds(
        document,
        st.sampled_from(["Allow", "Allow", "Deny"]),
        st.sampled_from(["iot:Publish", "iot:*", "iot:Subscribe"]),
        st.sampled_from(["topic/a", "topic/*", "topic/${iot:ClientId}", "topic/b"]),
    ),
    max_size=3,
)


@given(STATEMENTS, st.sampled_from(["a", "b", "c"]), st.sampled_from(["a", "b"]))
@settings(deadline=None, max_examples=60)
def test_a_gateway_decides_the_same(texts, topic, client_id):
    held = [f"p{number}" for number in range(len(texts))]
    attach(CLIENT, PRINCIPAL, **dict(zip(held, texts, strict=True)))
    try:
        (found,) = test(CLIENT, PRINCIPAL, asked("PUBLISH", f"topic/{topic}"), clientId=client_id)
        permissions = Permissions(ACCOUNT, REGION.naming.regions, REGION.store.view)
        gateway = permissions.of(PRINCIPAL.rsplit("/", 1)[1], client_id, "192.0.2.1")
        decision = gateway.allows("iot:Publish", f"topic/{topic}")
        assert (found["authDecision"] == "ALLOWED") == decision.allowed
        assert (found["authDecision"] == "EXPLICIT_DENY") == ("denies it" in decision.reason)
    finally:
        for name in held:
            CLIENT.detach_policy(policyName=name, target=PRINCIPAL)
            CLIENT.delete_policy(policyName=name)
