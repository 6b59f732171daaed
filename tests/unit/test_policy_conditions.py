"""Conditions on what a CONNECT asks for and on certificates: the developer guide's own examples."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_policy import CONTEXT, arn, decide, document, statement

from isthmus.core.permissions import Permissions
from isthmus.core.policy_context import Asked
from isthmus.core.view import View

WILL = "my/lastwill/topicName"
PLAIN, KEPT = Asked(), Asked(is_persistent=True)
WITH_WILL, BOTH = Asked(will_topic=WILL), Asked(is_persistent=True, will_topic=WILL)
ALL = (PLAIN, KEPT, WITH_WILL, BOTH)
ATTRIBUTES = "iot:ConnectAttributes"


def asks(quantified, *names, effect="Allow"):
    condition = {quantified: {ATTRIBUTES: list(names)}}
    return statement(action="iot:Connect", effect=effect, Condition=condition)


def connects(*statements):
    """Which of ALL may connect."""
    return [
        asked
        for asked in ALL
        if decide(
            *statements,
            action="iot:Connect",
            on="client/v1",
            context=replace(CONTEXT, asked=asked),
        ).allowed
    ]


ANYBODY = statement(action="iot:Connect")
OWN_WILL = statement(
    action="iot:Connect", Condition={"ArnEquals": {"iot:LastWillTopic": arn(f"topic/{WILL}")}}
)
NOT_KEPT = asks("ForAnyValue:StringEquals", "PersistentConnect", effect="Deny")


@pytest.mark.parametrize(
    ("statements", "who"),
    [
        ([asks("ForAllValues:StringEquals", "PersistentConnect")], [PLAIN, KEPT]),
        ([asks("ForAllValues:StringNotEquals", "PersistentConnect")], [PLAIN, WITH_WILL]),
        ([ANYBODY, NOT_KEPT], [PLAIN, WITH_WILL]),
        ([asks("ForAllValues:StringEquals", "PersistentConnect", "LastWill")], list(ALL)),
        ([asks("ForAllValues:StringEquals", "LastWill")], [PLAIN, WITH_WILL]),
        ([asks("ForAllValues:StringEquals")], [PLAIN]),
        ([asks("ForAnyValue:StringEquals", "PersistentConnect")], [KEPT, BOTH]),
        (
            [
                asks("ForAllValues:StringEquals", "PersistentConnect", "LastWill"),
                asks("ForAllValues:StringEquals", "PersistentConnect", effect="Deny"),
                asks("ForAllValues:StringEquals", "LastWill", effect="Deny"),
                asks("ForAllValues:StringEquals", effect="Deny"),
            ],
            [BOTH],
        ),
        ([NOT_KEPT, asks("ForAllValues:StringEquals", "LastWill")], [PLAIN, WITH_WILL]),
        ([OWN_WILL], [WITH_WILL, BOTH]),
        ([OWN_WILL, NOT_KEPT], [WITH_WILL]),
    ],
)
def test_connect_policies_of_the_guide(statements, who):
    assert connects(*statements) == who


@pytest.mark.parametrize(
    ("operator", "value", "holds"),
    [
        ("ArnLike", arn("topic/my/*"), True),
        ("ArnEquals", arn("topic/my/*/topicNam?", region="us-east-1"), True),
        ("ArnEquals", arn("topic/my/*", region="mars-1"), False),
        ("ArnEquals", arn("topic/my/*", account="9"), False),
        ("ArnNotEquals", arn("topic/my/*"), False),
        ("ArnNotLike", arn("topic/other"), True),
        ("StringLike", arn("topic/my/*"), True),
        ("StringLike", "*", True),
        ("StringEquals", arn(f"topic/{WILL}"), True),
        ("StringEquals", arn(f"topic/{WILL}", region="us"), True),
        ("StringEquals", arn("topic/my/*"), False),
        ("StringEquals", arn(f"topic/{WILL}", region="*"), False),
        ("StringNotEquals", arn(f"topic/{WILL}"), False),
        ("ArnEquals", arn("topic/${iot:ClientId}"), False),
    ],
)
def test_the_wills_topic_is_an_arn_of_any_of_our_regions(operator, value, holds):
    given = statement(action="iot:Connect", Condition={operator: {"iot:LastWillTopic": value}})
    assert (WITH_WILL in connects(given)) is holds
    assert (PLAIN in connects(given)) is ("Not" in operator)


def test_what_a_connect_asks_for_is_known_for_connect_only():
    context = replace(CONTEXT, asked=BOTH)
    for_will = statement(Condition={"ForAnyValue:StringEquals": {ATTRIBUTES: "LastWill"}})
    assert decide(for_will, action="iot:Connect", context=context).allowed
    assert decide(for_will, action="iot:connect", context=context).allowed
    assert not decide(for_will, action="iot:Publish", context=context).allowed
    denied = statement(effect="Deny", Condition={"Null": {"iot:LastWillTopic": "false"}})
    assert not decide(statement(), denied, action="iot:Connect", context=context).allowed
    assert decide(statement(), denied, action="iot:Publish", context=context).allowed


# ---- certificates

NAMES = {
    "iot:Certificate.Subject.CommonName": ("first", "second"),
    "iot:Certificate.Subject.Organization": ("Example Corp", "AnyCompany"),
    "iot:Certificate.Issuer.CommonName": ("a*b",),
    "iot:Certificate.Subject.Title": tuple("123456"),
    "iot:Certificate.SerialNumber": ("10525622389124227206",),
}
CERTIFIED = replace(CONTEXT, certificate_names=lambda: NAMES)
SUBJECT = "iot:Certificate.Subject"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (f"{SUBJECT}.CommonName", "first"),
        ("IOT:certificate.subject.COMMONNAME", "first"),
        # "A one-based index. For example, Country.1 is replaced by the second country name."
        (f"{SUBJECT}.CommonName.1", "second"),
        (f"{SUBJECT}.CommonName.2", None),
        (f"{SUBJECT}.CommonName.7", None),
        (f"{SUBJECT}.Title.4", "5"),
        (f"{SUBJECT}.Title.5", None),
        (f"{SUBJECT}.Surname", None),
        ("iot:Certificate.Issuer.CommonName", None),
        ("iot:Certificate.SerialNumber", "10525622389124227206"),
    ],
)
def test_a_certificates_names_are_variables(variable, value):
    given = statement(arn(f"topic/${{{variable}}}"))
    assert decide(given, on=f"topic/{value}", context=CERTIFIED).allowed is (value is not None)
    assert not decide(given, on="topic/other", context=CERTIFIED).allowed


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {f"{SUBJECT}.CommonName.1": "second"}}, True),
        ({"ForAnyValue:StringEquals": {f"{SUBJECT}.CommonName.List": "second"}}, True),
        ({"ForAllValues:StringEquals": {f"{SUBJECT}.CommonName.List": "second"}}, False),
        (
            {
                "ForAllValues:StringEquals": {
                    f"{SUBJECT}.Organization.List": ["Example Corp", "AnyCompany"]
                }
            },
            True,
        ),
        ({"ForAnyValue:StringEquals": {f"{SUBJECT}.Title.List": "5"}}, True),
        ({"ForAnyValue:StringEquals": {f"{SUBJECT}.Title.List": "6"}}, False),
        ({"ForAnyValue:StringEquals": {f"{SUBJECT}.Surname.List": "x"}}, False),
        ({"ForAllValues:StringEquals": {f"{SUBJECT}.Surname.List": "x"}}, True),
        ({"StringEqualsIgnoreCase": {f"{SUBJECT}.CommonName": "FIRST"}}, True),
        ({"StringNotEqualsIgnoreCase": {f"{SUBJECT}.CommonName": "FIRST"}}, False),
        ({"StringNotLike": {f"{SUBJECT}.CommonName": "f*"}}, False),
        ({"Null": {f"{SUBJECT}.CommonName": "false", "iot:Certificate.SerialNumber": False}}, True),
        ({"Null": {f"{SUBJECT}.Surname": "true"}}, True),
        ({"Null": {f"{SUBJECT}.Surname": "false"}}, False),
        (
            {"ForAnyValue:StringEquals": {"iot:Certificate.AvailableKeys": f"{SUBJECT}.Title"}},
            True,
        ),
    ],
)
def test_conditions_on_certificates(condition, holds):
    assert decide(statement(Condition=condition), context=CERTIFIED).allowed is holds


def test_a_certificate_is_read_only_for_policies_that_ask_for_its_names():
    read = []

    def names():
        read.append(1)
        return NAMES

    context = replace(CONTEXT, certificate_names=names)
    named = statement(arn(f"topic/${{{SUBJECT}.CommonName}}/${{{SUBJECT}.Title}}"), "iot:Publish")
    assert decide(statement(action="iot:Connect"), named, action="iot:Connect", context=context)
    assert read == []
    assert decide(statement(), named, on="topic/first/1", context=context).allowed
    assert read == [1]


# ---- addresses


@pytest.mark.parametrize(
    ("operator", "value", "address", "holds"),
    [
        ("IpAddress", "192.0.2.0/24", "192.0.2.7", True),
        ("IpAddress", ["10.0.0.0/8", "192.0.2.7"], "192.0.2.7", True),
        ("IpAddress", "10.0.0.0/8", "192.0.2.7", False),
        ("NotIpAddress", "10.0.0.0/8", "192.0.2.7", True),
        ("IpAddress", "192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("IpAddress", "2001:db8::/32", "2001:db8::1", True),
        ("IpAddress", "2001:db8::/32", "192.0.2.7", False),
        ("IpAddress", "0.0.0.0/0", "", False),
        ("IpAddress", "0.0.0.0/0", None, False),
        ("NotIpAddress", "0.0.0.0/0", None, True),
    ],
)
def test_addresses_are_in_ranges(operator, value, address, holds):
    given = statement(Condition={operator: {"aws:SourceIp": value}})
    assert decide(given, context=replace(CONTEXT, source_ip=address)).allowed is holds


def test_a_policy_of_another_release_denies_everything():
    later = json.loads(document(statement()))
    later["Statement"][0]["Condition"] = {"MoonPhase": {"iot:ClientId": "full"}}
    said = []
    permissions = Permissions("1", frozenset({"eu"}), View(), said.append)
    (statement_,) = permissions._parse(json.dumps(later)).statements
    assert not statement_.is_allow
    assert "'MoonPhase', which is not evaluated here" in said[0]
