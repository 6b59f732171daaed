"""Event configurations, role aliases and topic rules over the API, also of two regions at once."""

from __future__ import annotations

import contextlib

import pytest
from aws_asking import exchange, overtake, refusal, writes
from aws_region import AwsRegion
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import resource
from isthmus.core.settings import ROLE_ALIAS, TOPIC_RULE

PREFIX = "arn:aws:iot:eu-west-1:123456789012:"
ROLE = "arn:aws:iam::123456789012:role/r"
ACTIONS = [{"republish": {"roleArn": ROLE, "topic": "b"}}]
PAYLOAD = {"sql": "SELECT * FROM 'a/+'", "actions": ACTIONS}
#: Making one takes longer than all that a test asks of it.
CLIENT = AwsRegion().client()


def pair():
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    return eu, us, eu.client(), us.client()


# Event configurations


def enabled(client):
    found = client.describe_event_configurations()["eventConfigurations"]
    assert len(found) == 11
    return {name for name, each in found.items() if each["Enabled"]}


def enable(client, **wanted):
    client.update_event_configurations(
        eventConfigurations={name: {"Enabled": each} for name, each in wanted.items()}
    )


def test_events_are_off_until_they_are_enabled(region, client):
    assert enabled(client) == set()
    assert "creationDate" not in client.describe_event_configurations()
    client.update_event_configurations(eventConfigurations={"THING": {}})
    client.update_event_configurations()
    assert writes(region) == 0
    enable(client, THING=True, JOB=False)
    assert enabled(client) == {"THING"}
    count = writes(region)
    enable(client, THING=True)
    assert writes(region) == count
    region.now_ms += 1000
    enable(client, POLICY=True)
    assert enabled(client) == {"THING", "POLICY"}
    found = client.describe_event_configurations()
    created, modified = found["creationDate"], found["lastModifiedDate"]
    assert (modified - created).total_seconds() == 1
    refused = refusal(client.update_event_configurations, eventConfigurations={"X": {}})
    assert refused[0] == "InvalidRequestException"


def test_events_enabled_in_two_regions_at_once_are_all_enabled():
    eu, us, here, there = pair()
    enable(here, THING=True)
    enable(there, JOB=True)
    exchange(eu, us)
    assert enabled(here) == enabled(there) == {"THING", "JOB"}


# Role aliases


def test_a_role_alias_is_created_described_updated_and_deleted(region, client):
    made = client.create_role_alias(roleAlias="a", roleArn=ROLE)
    shown = {"roleAlias": "a", "roleAliasArn": f"{PREFIX}rolealias/a"}
    assert made.items() >= shown.items()
    found = client.describe_role_alias(roleAlias="a")["roleAliasDescription"]
    created = found.pop("creationDate")
    assert created.timestamp() * 1000 == region.now_ms
    assert found == {
        **shown,
        "roleArn": ROLE,
        "owner": "123456789012",
        "credentialDurationSeconds": 3600,
        "lastModifiedDate": created,
    }
    client.update_role_alias(roleAlias="a", credentialDurationSeconds=900)
    found = client.describe_role_alias(roleAlias="a")["roleAliasDescription"]
    assert (found["roleArn"], found["credentialDurationSeconds"]) == (ROLE, 900)
    count = writes(region)
    client.update_role_alias(roleAlias="a", credentialDurationSeconds=900)
    assert writes(region) == count
    client.delete_role_alias(roleAlias="a")
    assert client.list_role_aliases()["roleAliases"] == []


def test_a_role_alias_is_created_once_and_only_what_is_there_is_found(region, client):
    for call in (client.describe_role_alias, client.update_role_alias, client.delete_role_alias):
        assert refusal(call, roleAlias="a") == (
            "ResourceNotFoundException",
            "Role alias a does not exist",
        )
    overtake(
        region, ROLE_ALIAS, "a", lambda *at: resource.put(*at, registers={"roleArn": "x"}, maps={})
    )
    refused = refusal(client.create_role_alias, roleAlias="a", roleArn=ROLE)
    assert refused[0] == "ResourceAlreadyExistsException"


def test_role_aliases_are_listed_by_name_in_pages(client):
    for name in "cab":
        client.create_role_alias(roleAlias=name, roleArn=ROLE)
    pages = client.get_paginator("list_role_aliases")
    for ascending, expected in ((True, list("abc")), (False, list("cba"))):
        found = pages.paginate(ascendingOrder=ascending, PaginationConfig={"PageSize": 2})
        assert found.build_full_result()["roleAliases"] == expected


def test_what_regions_change_of_an_alias_at_once_is_all_changed():
    eu, us, here, there = pair()
    here.create_role_alias(roleAlias="a", roleArn=ROLE)
    exchange(eu, us)
    here.update_role_alias(roleAlias="a", roleArn=f"{ROLE}2")
    there.update_role_alias(roleAlias="a", credentialDurationSeconds=900)
    exchange(eu, us)
    for client in (here, there):
        found = client.describe_role_alias(roleAlias="a")["roleAliasDescription"]
        assert (found["roleArn"], found["credentialDurationSeconds"]) == (f"{ROLE}2", 900)


# Topic rules


def test_a_rule_is_created_read_replaced_switched_and_deleted(region, client):
    client.create_topic_rule(ruleName="r", topicRulePayload=PAYLOAD, tags="a=b&c=")
    found = client.get_topic_rule(ruleName="r")
    assert found["ruleArn"] == f"{PREFIX}rule/r"
    rule = found["rule"]
    assert rule.pop("createdAt").timestamp() * 1000 == region.now_ms
    defaults = {"ruleDisabled": False, "awsIotSqlVersion": "2015-10-08"}
    assert rule == {**PAYLOAD, **defaults, "ruleName": "r"}
    tags = client.list_tags_for_resource(resourceArn=found["ruleArn"])["tags"]
    assert tags == [{"Key": "a", "Value": "b"}, {"Key": "c", "Value": ""}]
    for switch, is_disabled in (
        (client.disable_topic_rule, True),
        (client.enable_topic_rule, False),
    ):
        switch(ruleName="r")
        assert client.get_topic_rule(ruleName="r")["rule"]["ruleDisabled"] is is_disabled
        count = writes(region)
        switch(ruleName="r")
        assert writes(region) == count
    other = {
        "sql": 'select x from "b/#" where x > 1',
        "actions": [],
        "ruleDisabled": True,
        "awsIotSqlVersion": "2016-03-23",
        "errorAction": ACTIONS[0],
        "description": "d",
    }
    client.replace_topic_rule(ruleName="r", topicRulePayload=other)
    rule = client.get_topic_rule(ruleName="r")["rule"]
    del rule["createdAt"]
    assert rule == {**other, "ruleName": "r"}
    client.delete_topic_rule(ruleName="r")
    assert client.list_topic_rules()["rules"] == []


def test_a_rule_that_is_not_there_may_not_be_seen(client):
    asked = {"ruleName": "r"}
    for call, more in (
        (client.get_topic_rule, {}),
        (client.replace_topic_rule, {"topicRulePayload": PAYLOAD}),
        (client.enable_topic_rule, {}),
        (client.disable_topic_rule, {}),
        (client.delete_topic_rule, {}),
    ):
        assert refusal(call, **asked, **more) == (
            "UnauthorizedException",
            "Access to topic rule 'r' was denied",
        )


def test_a_rule_is_created_once(region, client):
    overtake(region, TOPIC_RULE, "r", lambda *at: resource.put(*at, registers={}, maps={}))
    refused = refusal(client.create_topic_rule, ruleName="r", topicRulePayload=PAYLOAD)
    assert refused[0] == "ResourceAlreadyExistsException"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"sql": ""}, "SqlParseException"),
        ({"sql": "SELECT *"}, "SqlParseException"),
        ({"sql": "SELECTION * FROM 'a'"}, "SqlParseException"),
        ({"sql": "SELECT * FROM a"}, "SqlParseException"),
        ({"sql": "SELECT * FROM ''"}, "SqlParseException"),
        ({"sql": "SELECT * FROM 'a#'"}, "SqlParseException"),
        ({"awsIotSqlVersion": "1"}, "InvalidRequestException"),
        ({"actions": [{}]}, "InvalidRequestException"),
        ({"actions": ACTIONS * 11}, "InvalidRequestException"),
        ({"actions": [ACTIONS[0] | {"lambda": {"functionArn": "f"}}]}, "InvalidRequestException"),
        ({"errorAction": {}}, "InvalidRequestException"),
        ({"description": "x" * 256 * 1024}, "InvalidRequestException"),
    ],
)
def test_what_could_never_be_executed_is_refused(region, client, wrong, error):
    asked = {"ruleName": "r", "topicRulePayload": PAYLOAD | wrong}
    assert refusal(client.create_topic_rule, **asked)[0] == error
    assert writes(region) == 0
    client.create_topic_rule(ruleName="r", topicRulePayload=PAYLOAD)
    assert refusal(client.replace_topic_rule, **asked)[0] == error


@given(st.text() | st.builds("SELECT {} FROM '{}'".format, st.text(), st.text()))
def test_no_sql_makes_anything_but_a_rule_or_that_error(sql):
    with contextlib.suppress(CLIENT.exceptions.SqlParseException):
        CLIENT.create_topic_rule(ruleName="r", topicRulePayload={"sql": sql, "actions": []})
        assert CLIENT.get_topic_rule(ruleName="r")["rule"]["sql"] == sql
        assert len(CLIENT.list_topic_rules()["rules"]) == 1
        CLIENT.delete_topic_rule(ruleName="r")


def test_rules_are_listed_by_name_in_pages_and_by_what_they_are(client):
    for name, topic in (("b", "a/+"), ("a", "b/#"), ("c", "a/b")):
        payload = PAYLOAD | {"sql": f"SELECT * FROM '{topic}'", "ruleDisabled": name == "c"}
        client.create_topic_rule(ruleName=name, topicRulePayload=payload)
    pages = client.get_paginator("list_topic_rules")
    for asked, expected in (
        ({}, "abc"),
        ({"topic": "a/b"}, "bc"),
        ({"topic": "a/+"}, "b"),
        ({"topic": ""}, "abc"),
        ({"ruleDisabled": True}, "c"),
        ({"ruleDisabled": False}, "ab"),
    ):
        found = pages.paginate(**asked, PaginationConfig={"PageSize": 1}).build_full_result()
        assert "".join(each["ruleName"] for each in found["rules"]) == expected
    first = client.list_topic_rules()["rules"][0]
    del first["createdAt"]
    assert first == {
        "ruleArn": f"{PREFIX}rule/a",
        "ruleName": "a",
        "topicPattern": "b/#",
        "ruleDisabled": False,
    }


def test_of_rules_replaced_at_once_one_stands_whole_and_a_switch_beside_it():
    eu, us, here, there = pair()
    here.create_topic_rule(ruleName="r", topicRulePayload=PAYLOAD)
    exchange(eu, us)
    other = {"sql": "SELECT 1 FROM 'x'", "actions": []}
    here.replace_topic_rule(ruleName="r", topicRulePayload=other)
    there.disable_topic_rule(ruleName="r")
    exchange(eu, us)
    for client in (here, there):
        rule = client.get_topic_rule(ruleName="r")["rule"]
        assert (rule["sql"], rule["actions"]) == (other["sql"], [])
        assert rule["ruleDisabled"] is True
