"""Messages over the API: published as a device does, and what topics retain."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from aws_asking import exchange, refusal
from aws_region import AwsRegion
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.session import PAYLOAD_MAX_BYTES
from isthmus.wire.packets import Publish
from isthmus.wire.properties import PublishProperties

INVALID = "InvalidRequestException"
PAIRS = [{"deviceName": "alpha"}, {"deviceCnt": "45"}]
#: Making a client takes longer than all that a test asks of it.
REGION = AwsRegion()
DATA = REGION.client("iot-data")


@pytest.fixture
def client(region):
    return region.client("iot-data")


def test_a_message_is_given_to_a_gateway_with_all_that_came_with_it(region, client):
    client.publish(topic="a/b", payload=b"1")
    client.publish(
        topic="a/ä b",
        qos=1,
        payload=b"\xff",
        contentType="text/plain",
        responseTopic="r",
        messageExpiry=9,
        correlationData=base64.b64encode(b"\0").decode(),
        payloadFormatIndicator="UTF8_DATA",
        userProperties=json.dumps(PAIRS),
    )
    client.publish(topic="a")
    pairs = (("deviceName", "alpha"), ("deviceCnt", "45"))
    properties = PublishProperties(1, 9, "r", b"\0", "text/plain", pairs)
    assert region.gateway.taken == [
        (Publish("a/b", b"1"), ""),
        (Publish("a/ä b", b"\xff", 1, properties=properties), ""),
        (Publish("a", b""), ""),
    ]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"topic": "a/#"}, INVALID),
        ({"topic": "$aws/things/a/shadow/update"}, INVALID),
        ({"qos": 2}, INVALID),
        ({"payload": b"x" * (PAYLOAD_MAX_BYTES + 1)}, "RequestEntityTooLargeException"),
        ({"correlationData": "?"}, INVALID),
        ({"correlationData": "é"}, INVALID),
        ({"payloadFormatIndicator": "ELSE"}, INVALID),
        ({"userProperties": '{"a": "b"}'}, INVALID),
        ({"userProperties": '[{"a": 1}]'}, INVALID),
        ({"userProperties": '["a"]'}, INVALID),
        ({"userProperties": "no JSON"}, INVALID),
    ],
)
def test_what_is_wrong_is_refused(region, client, wrong, code):
    assert refusal(client.publish, **{"topic": "a", **wrong})[0] == code
    assert region.gateway.taken == []


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists) | st.text())
def test_whatever_user_properties_are_is_answered(given_properties):
    given_json = json.dumps(given_properties)
    for text in (given_json, json.dumps(given_json)):
        with contextlib.suppress(DATA.exceptions.InvalidRequestException):
            DATA.publish(topic="a", userProperties=text)


def test_what_a_topic_retains_is_shown_until_it_expires(region, client):
    assert refusal(client.get_retained_message, topic="a/b")[0] == "ResourceNotFoundException"
    client.publish(
        topic="a/b",
        qos=1,
        retain=True,
        payload=b"\xff",
        messageExpiry=10,
        userProperties=json.dumps(PAIRS),
    )
    found = client.get_retained_message(topic="a/b")
    del found["ResponseMetadata"]
    properties = found.pop("userProperties")
    assert json.loads(properties) == PAIRS
    assert found == {
        "topic": "a/b",
        "payload": b"\xff",
        "qos": 1,
        "lastModifiedTime": region.now_ms,
    }
    region.now_ms += 10_000
    assert refusal(client.get_retained_message, topic="a/b")[0] == "ResourceNotFoundException"
    client.publish(topic="a/b", retain=True, payload=b"2")
    assert "userProperties" not in client.get_retained_message(topic="a/b")
    client.publish(topic="a/b", retain=True)
    assert refusal(client.get_retained_message, topic="a/b")[0] == "ResourceNotFoundException"


def listed(client, **asked):
    found, token = [], {}
    while True:
        page = client.list_retained_messages(**asked, **token)
        found += [(each["topic"], each["payloadSize"]) for each in page["retainedTopics"]]
        if "nextToken" not in page:
            return found
        token = {"nextToken": page["nextToken"]}


def test_what_is_retained_is_listed_by_topic_in_pages(region, client):
    for number in (3, 1, 2, 10):
        client.publish(topic=f"t/{number}", retain=True, payload=b"x" * number)
    client.publish(topic="t/2", retain=True)
    assert listed(client) == listed(client, maxResults=1) == [("t/1", 1), ("t/10", 10), ("t/3", 3)]
    other = AwsRegion("us-east-1")
    exchange(region, other)
    assert listed(other.client("iot-data"), maxResults=2) == listed(client)
    assert refusal(client.list_retained_messages, maxResults=201)[0] == INVALID
