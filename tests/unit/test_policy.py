"""Policies decide as AWS documents it; ``test_policy_oracle`` asks a second evaluator too."""

from __future__ import annotations

import gc
import json
import time
import weakref

import pytest

from isthmus.core.policy import Attached, Authorizer, Decision
from isthmus.core.policy_context import Context
from isthmus.core.policy_document import parse
from isthmus.errors import InputError

CERTIFICATE = "ab" * 32
CONTEXT = Context(
    client_id="v1",
    source_ip="192.0.2.7",
    certificate_id=CERTIFICATE,
    account="123456789012",
    regions=frozenset({"eu", "eu-central-1", "us", "us-east-1"}),
    thing_name="v1",
    thing_type="car",
    attributes={"Market": "EU", "Unsafe": "a*b", "Empty": ""},
    is_attached=True,
)
STRANGER = Context(
    client_id="v1",
    source_ip="192.0.2.7",
    certificate_id=CERTIFICATE,
    account="123456789012",
    regions=CONTEXT.regions,
)


def arn(suffix, region="eu-central-1", account="123456789012"):
    return f"arn:aws:iot:{region}:{account}:{suffix}"


def statement(resource="*", action="iot:*", effect="Allow", **more):
    return {"Effect": effect, "Action": action, "Resource": resource} | more


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def decide(*statements, action="iot:Publish", on="topic/a", context=CONTEXT) -> Decision:
    attached = [Attached("p", (parse(document(*statements)),))]
    return Authorizer(attached, context).allows(action, on)


# ---- matching


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("topic/a", "topic/a", True),
        ("topic/a", "topic/a/b", False),
        ("topic/a", "topic/A", False),
        ("topic/*", "topic/a/b/c", True),
        ("topic/*", "topic/", True),
        ("topic/*/c", "topic/a/b/c", True),
        ("topic/*/c", "topic/c", False),
        ("topic/a?", "topic/ab", True),
        ("topic/a?", "topic/a", False),
        ("topic/a?", "topic/abc", False),
        ("topic/?", "topic//", True),
        ("topic/*a*b", "topic/xaxbxb", True),
        ("topic/*a*b", "topic/xbxa", False),
        ("topic/a*", "topic/a\nb", True),
        ("topic/*b", "topic/a\nb", True),
        ("topic/a", "topic/a\n", False),
        ("topic/*a", "topic/a\n", False),
        ("topicfilter/a/+/b", "topicfilter/a/+/b", True),
        ("topicfilter/a/+/b", "topicfilter/a/x/b", False),
        ("topicfilter/a/#", "topicfilter/a/#", True),
        ("topicfilter/a/#", "topicfilter/a/b", False),
        ("topicfilter/a/*", "topicfilter/a/#", True),
        ("topic/a.b", "topic/axb", False),
        ("topic/${*}", "topic/*", True),
        ("topic/${*}", "topic/a", False),
        ("topic/${?}", "topic/a", False),
        ("topic/${$}{iot:ClientId}", "topic/${iot:ClientId}", True),
        ("topic/$aws/x", "topic/$aws/x", True),
        ("*", "topic/a", True),
        ("topic/**", "topic/a", True),
    ],
)
def test_wildcards_cross_slashes_and_mqtt_wildcards_are_literal(pattern, text, matches):
    assert decide(statement(arn(pattern)), on=text).allowed is matches


@pytest.mark.parametrize(
    ("resource", "matches"),
    [
        ("*", True),
        (arn("topic/a", region="eu-central-1"), True),
        (arn("topic/a", region="us-east-1"), True),
        (arn("topic/a", region="eu"), True),
        (arn("topic/a", region="us-*"), True),
        (arn("topic/a", region="*"), True),
        (arn("topic/a", region="ap-south-1"), False),
        (arn("topic/a", account="*"), True),
        (arn("topic/a", account="999999999999"), False),
        ("arn:aws-cn:iot:eu:123456789012:topic/a", True),
        ("arn:elsewhere:iot:eu:123456789012:topic/a", False),
        ("arn:aws:greengrass:eu:123456789012:topic/a", False),
        ("arn:*:*:*:*:*", True),
    ],
)
def test_an_arn_names_any_region_of_the_system_and_its_account(resource, matches):
    assert decide(statement(resource)).allowed is matches


@pytest.mark.parametrize(
    ("action", "matches"),
    [
        ("iot:Publish", True),
        ("iot:publish", True),
        ("iot:Pub*", True),
        ("iot:*", True),
        ("*", True),
        ("iot:P?blish", True),
        ("iot:RetainPublish", False),
        ("iot:Pub", False),
        ("iotdata:Publish", False),
        (["iot:Connect", "iot:Publish"], True),
        (["iot:Connect", "iot:Receive"], False),
    ],
)
def test_actions(action, matches):
    assert decide(statement(action=action)).allowed is matches


def test_not_action_and_not_resource_mean_everything_else():
    other = {"Effect": "Allow", "NotAction": ["iot:Connect"], "NotResource": [arn("topic/secret*")]}
    assert decide(other).allowed
    assert not decide(other, action="iot:Connect").allowed
    assert not decide(other, on="topic/secret/x").allowed


# ---- variables


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("topic/${iot:ClientId}", "topic/v1"),
        ("topic/${iot:clientid}/*", "topic/v1/x"),
        ("topic/${aws:SourceIp}", "topic/192.0.2.7"),
        ("topic/${iot:CertificateId}", f"topic/{CERTIFICATE}"),
        ("topic/*/${iot:Connection.Thing.ThingName}", "topic/dt/v1"),
        ("topic/${iot:Connection.Thing.ThingTypeName}", "topic/car"),
        ("topic/${iot:Connection.Thing.Attributes[Market]}/x", "topic/EU/x"),
        ("topic/a${iot:Connection.Thing.Attributes[Empty]}b", "topic/ab"),
        ("topic/${iot:Connection.Thing.IsAttached}", "topic/true"),
    ],
)
def test_variables_are_the_sessions_own_values(pattern, text):
    assert decide(statement(arn(pattern)), on=text).allowed
    other = Context("w2", "::2", "cd" * 32, CONTEXT.account, CONTEXT.regions, "w2", "bus")
    assert not decide(statement(arn(pattern)), on=text, context=other).allowed


@pytest.mark.parametrize(
    "variable",
    [
        "iot:Connection.Thing.Attributes[Missing]",
        "iot:Connection.Thing.Attributes[market]",
        "iot:Connection.Thing.Attributes[Unsafe]",
    ],
)
def test_what_cannot_be_substituted_matches_nothing(variable):
    hole = arn(f"topic/${{{variable}}}*")
    for topic in ("topic/a", "topic/", f"topic/${{{variable}}}", "topic/a*b"):
        assert not decide(statement(hole), on=topic).allowed
        assert decide(statement(), statement(hole, effect="Deny"), on=topic).allowed


@pytest.mark.parametrize("client_id", ["*", "a*", "a$b", "a+", "a?", "#", "x" * 1025])
def test_a_client_cannot_widen_a_policy_by_its_name(client_id):
    context = Context(client_id, "::1", CERTIFICATE, "1", frozenset({"eu"}))
    mine = statement(arn("topic/${iot:ClientId}*", account="1", region="eu"))
    for topic in ("topic/other", f"topic/{client_id}"):
        assert not decide(mine, on=topic, context=context).allowed


def test_a_long_and_regular_expression_like_value_is_plain_text():
    context = Context("a.(b)|" + "x" * 1000, "::1", CERTIFICATE, "1", frozenset({"eu"}))
    mine = statement(arn("topic/*/${iot:ClientId}/?", account="1", region="eu"))
    assert decide(mine, on=f"topic/q/{context.client_id}/1", context=context).allowed
    assert not decide(mine, on="topic/q/aX(b)|/1", context=context).allowed


def test_the_unresolved_in_a_negated_form_never_grants_and_still_denies():
    own = arn("topic/${iot:Connection.Thing.ThingName}/*")
    but_own = {"Action": "iot:*", "NotResource": [own]}
    assert decide({"Effect": "Allow"} | but_own, on="topic/x").allowed
    assert not decide({"Effect": "Allow"} | but_own, on="topic/x", context=STRANGER).allowed
    both = (statement(), {"Effect": "Deny"} | but_own)
    assert decide(*both, on="topic/v1/x").allowed
    assert not decide(*both, on="topic/v1/x", context=STRANGER).allowed


# ---- conditions


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"Bool": {"iot:Connection.Thing.IsAttached": ["true"]}}, True),
        ({"Bool": {"iot:Connection.Thing.IsAttached": True}}, True),
        ({"Bool": {"iot:Connection.Thing.IsAttached": "False"}}, False),
        ({"StringEquals": {"iot:ClientId": "v1"}}, True),
        ({"StringEquals": {"IOT:clientid": ["v2", "v1"]}}, True),
        ({"StringEquals": {"iot:ClientId": "v*"}}, False),
        ({"StringLike": {"iot:ClientId": "v*"}}, True),
        ({"StringLike": {"iot:ClientId": "?"}}, False),
        ({"StringEquals": {"iot:ClientId": "${iot:Connection.Thing.ThingName}"}}, True),
        ({"StringEquals": {"iot:Connection.Thing.Attributes[Market]": "EU"}}, True),
        ({"StringEquals": {"iot:Connection.Thing.Attributes[Nope]": "EU"}}, False),
        ({"StringNotEquals": {"iot:Connection.Thing.Attributes[Nope]": "EU"}}, True),
        ({"StringNotEquals": {"iot:ClientId": ["v2", "v3"]}}, True),
        ({"StringNotEquals": {"iot:ClientId": ["v2", "v1"]}}, False),
        ({"StringEquals": {"iot:ClientId": "v1", "aws:SourceIp": "10.0.0.1"}}, False),
        ({"StringEquals": {"iot:ClientId": "v1"}, "StringLike": {"aws:SourceIp": "192.*"}}, True),
        ({"StringLike": {"iot:Connection.Thing.ThingTypeName": ["bus", "c?r"]}}, True),
        ({}, True),
    ],
)
def test_conditions(condition, holds):
    assert decide(statement(Condition=condition)).allowed is holds
    denied = decide(statement(), statement(effect="Deny", Condition=condition))
    assert denied.allowed is not holds


def test_an_unresolved_variable_in_a_condition_never_grants_and_a_negated_one_still_denies():
    thing = "${iot:Connection.Thing.ThingName}"
    equal = {"StringEquals": {"iot:ClientId": thing}}
    differs = {"StringNotEquals": {"iot:ClientId": thing}}
    assert not decide(statement(Condition=equal), context=STRANGER).allowed
    assert not decide(statement(Condition=differs), context=STRANGER).allowed
    deny = statement(effect="Deny", Condition=differs)
    assert decide(statement(), deny).allowed
    assert not decide(statement(), deny, context=STRANGER).allowed


# ---- evaluation


def test_an_explicit_deny_wins_and_the_reason_names_the_statement():
    allow = statement(Sid="All")
    deny = statement(arn("topic/secret/*"), effect="Deny")
    assert decide(allow, deny) == (True, "policy 'p', statement 'All' allows it")
    assert decide(allow, deny, on="topic/secret/x") == (
        False,
        "policy 'p', statement 1 denies it",
    )
    assert decide(allow | {"Action": "iot:Connect"}) == (
        False,
        "no statement allows iot:Publish here",
    )


def test_nothing_attached_allows_nothing():
    decision = Authorizer([], CONTEXT).allows("iot:Connect", "client/v1")
    assert decision == (False, "no statement allows iot:Connect here (no policy is attached)")


def test_a_subscribe_deny_does_not_stop_a_wider_filter_but_receive_does():
    deny = statement(
        [arn("topicfilter/a/secret/*"), arn("topic/a/secret/*")],
        ["iot:Subscribe", "iot:Receive"],
        "Deny",
    )
    assert decide(statement(), deny, action="iot:Subscribe", on="topicfilter/a/#").allowed
    assert not decide(statement(), deny, action="iot:Receive", on="topic/a/secret/x").allowed


def test_all_concurrent_default_versions_must_allow():
    wide, narrow = parse(document(statement())), parse(document(statement(arn("topic/a"))))
    both = Authorizer([Attached("p", (wide, narrow))], CONTEXT)
    assert both.allows("iot:Publish", "topic/a").allowed
    decision = both.allows("iot:Publish", "topic/b")
    assert not decision.allowed
    assert "policy 'p' has 2 default versions" in decision.reason
    other = Attached("q", (parse(document(statement(arn("topic/b")))),))
    assert (
        Authorizer([Attached("p", (wide, narrow)), other], CONTEXT)
        .allows("iot:Publish", "topic/b")
        .allowed
    )


def test_a_deny_in_any_concurrent_default_version_counts():
    wide = parse(document(statement()))
    strict = parse(document(statement(), statement(arn("topic/b"), effect="Deny")))
    for documents in ((wide, strict), (strict, wide)):
        authorizer = Authorizer([Attached("p", documents), Attached("q", (wide,))], CONTEXT)
        assert authorizer.allows("iot:Publish", "topic/a").allowed
        assert not authorizer.allows("iot:Publish", "topic/b").allowed


def test_a_contested_attachment_only_denies():
    both = parse(document(statement(), statement(arn("topic/b"), effect="Deny")))
    contested = Attached("p", (both,), is_contested=True)
    alone = Authorizer([contested], CONTEXT).allows("iot:Publish", "topic/a")
    assert not alone.allowed
    assert "policy 'p' is contested" in alone.reason
    other = Attached("q", (parse(document(statement())),))
    together = Authorizer([contested, other], CONTEXT)
    assert together.allows("iot:Publish", "topic/a").allowed
    assert not together.allows("iot:Publish", "topic/b").allowed


def test_a_policy_without_any_version_allows_nothing():
    assert not Authorizer([Attached("p", ())], CONTEXT).allows("iot:Publish", "topic/a").allowed


def test_cached_decisions_stay_correct_and_bounded():
    mine = statement(arn("topic/a?"))
    authorizer = Authorizer([Attached("p", (parse(document(mine)),))], CONTEXT)
    for _ in range(2):
        for number in range(1000):
            topic = f"topic/a{number}"
            assert authorizer.allows("iot:Publish", topic).allowed is (number < 10)
            assert authorizer.allows("iot:Receive", topic).allowed is (number < 10)
    assert authorizer._decide.cache_info().currsize <= 64


def test_a_session_leaves_nothing_behind_without_the_collector():
    policy = parse(document(statement()))

    class Watched(Attached):
        __slots__ = ("__weakref__",)

    class Thing(dict):
        pass

    attributes = Thing()
    context = Context("v1", "::1", "c", "1", frozenset(), attributes=attributes)
    attached = Watched("p", (policy,))
    seen = [weakref.ref(attached), weakref.ref(attributes)]
    gc.disable()
    try:
        authorizer = Authorizer([attached], context)
        authorizer.allows("iot:Publish", "topic/a")
        rules = weakref.ref(authorizer._decide)
        del authorizer, attached, context, attributes
        assert [each() for each in [*seen, rules]] == [None, None, None]
    finally:
        gc.enable()


def test_no_topic_can_make_matching_slow():
    stars = statement(arn("topic/" + "*a?" * 80 + "*b"))
    started = time.perf_counter()
    assert not decide(stars, on="topic/" + "a" * 256 + "c").allowed
    assert time.perf_counter() - started < 5


# ---- parsing


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "not JSON"),
        (b"\xff{}", "not JSON"),
        ("[" * 1500, "not JSON"),
        ("[]", "the policy is []"),
        ('{"Version":"2012-10-17"}', "Statement is missing"),
        ('{"Statement":[]}', "Version is missing"),
        ('{"Version":"2008-10-17","Statement":[]}', "Version is '2008-10-17'"),
        ('{"Version":"2012-10-17","Statement":[]}', "Statement is []"),
        ('{"Version":"2012-10-17","Statement":["x"]}', "Statement[0] is 'x'"),
        ('{"Version":"2012-10-17","Version":"2012-10-17"}', "'Version' twice"),
        ('{"Version":"2012-10-17","Id":1,"Statement":[]}', "Id is 1"),
        (document(statement()).replace('"Effect"', '"Effect":"Deny","Effect"'), "'Effect' twice"),
        (document(statement(Principal="*")), "'Principal', which is not evaluated"),
        (document(statement(effect="allow")), "Statement[0].Effect is 'allow'"),
        (document(statement(), statement(effect=None)), "Statement[1].Effect is missing"),
        (document({"Effect": "Allow", "Resource": "*"}), "neither of Action and NotAction"),
        (document(statement(NotAction="*")), "both of Action and NotAction"),
        (document({"Effect": "Allow", "Action": "*"}), "neither of Resource"),
        (document(statement(NotResource="*")), "both of Resource"),
        (document(statement(action=[])), "Statement[0].Action is an empty list"),
        (document(statement(action="Publish")), "Statement[0].Action is 'Publish'"),
        (document(statement(action=["iot:Publish", 7])), "Statement[0].Action is 7"),
        (document(statement(action="iot:${iot:ClientId}")), "Statement[0].Action is"),
        (document(statement([])), "Statement[0].Resource is an empty list"),
        (document(statement("topic/a")), "Statement[0].Resource is 'topic/a'"),
        (document(statement("arn:aws:iot:eu:1:")), "Statement[0].Resource is"),
        (document(statement("arn:aws:iot:*")), "Statement[0].Resource is"),
        (document(statement("arn:aws:iot:${iot:ClientId}:1:topic/a")), "Statement[0].Resource"),
        (document(statement(arn("topic/${iot:ClientId"))), "without its closing brace"),
        (document(statement(arn("topic/${iot:Certificate.Subject.Locality}"))), "Locality"),
        (document(statement(arn("topic/${iot:Certificate.AvailableKeys}"))), "is no text"),
        (document(statement(arn("topic/${iot:LastWillTopic}"))), "is no text"),
        (document(statement(arn("topic/${}"))), "'' is not a key"),
        (document(statement(arn("\ud800"))), "Statement[0].Resource is 'arn"),
        (document(statement(Sid=["x"])), "Statement[0].Sid is ['x']"),
        (document(statement(Condition=[])), "Statement[0].Condition is []"),
        (document(statement(Condition={"DateEquals": {}})), "'DateEquals', which is not evaluated"),
        (
            document(statement(Condition={"ForSome:StringEquals": {}})),
            "'ForSome:StringEquals', which is not evaluated",
        ),
        *(
            (document(statement(Condition={operator: {key: value}})), f"{key}: {names}")
            for operator, key, value, names in [
                ("StringEquals", "iot:ConnectAttributes", "LastWill", "the key has any number"),
                ("StringLike", "iot:Certificate.Subject.Title.List", "a", "the key has any number"),
                ("ForAnyValue:Null", "iot:ClientId", "true", "Null is for a key as a whole"),
                ("ArnEquals", "iot:ClientId", "a", "the operator is not for this key"),
                ("IpAddress", "iot:ClientId", "10.0.0.1", "the operator is not for this key"),
                ("Bool", "iot:LastWillTopic", "true", "the key is an ARN"),
                ("StringEqualsIgnoreCase", "iot:LastWillTopic", "a", "the key is an ARN"),
            ]
        ),
        *(
            (document(statement(Condition={operator: {key: value}})), f"{key} is {names}")
            for operator, key, value, names in [
                ("StringEquals", "iot:LastWillTopic", "x", "'x'"),
                ("StringEquals", "iot:LastWillTopic", "*", "'*'"),
                ("IpAddress", "aws:SourceIp", "10.0.0", "['10.0.0']"),
                ("Null", "iot:ClientId", ["true", "false"], "['true', 'false']"),
                ("Null", "iot:ClientId", "maybe", "'maybe'"),
            ]
        ),
        (
            document(statement(Condition={"StringEquals": {"iot:ClientId": []}})),
            "Condition.StringEquals.iot:ClientId is an empty list",
        ),
        (
            document(statement(Condition={"Bool": {"iot:Connection.Thing.IsAttached": "yes"}})),
            "Condition.Bool.iot:Connection.Thing.IsAttached is 'yes'",
        ),
    ],
)
def test_a_refused_document_says_what_and_where(text, names):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert names in str(caught.value)


def test_the_length_limit_does_not_count_whitespace():
    room = 2048 - len("".join(document(statement(arn("topic/"))).split()))
    fits = document(statement(arn("topic/" + "x" * room)))
    parse(fits.replace(" ", " " * 1000))
    with pytest.raises(InputError, match="2049 characters without whitespace"):
        parse(document(statement(arn("topic/" + "x" * (room + 1)))))
    with pytest.raises(InputError, match="whitespace included"):
        parse(fits + " " * 500_000)


def test_one_statement_needs_no_list_and_bytes_are_text():
    text = json.dumps({"Version": "2012-10-17", "Id": "x", "Statement": statement()})
    assert parse(text) == parse(text.encode())
