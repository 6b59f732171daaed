"""Connections over the API: who is there, who is to go, and what they subscribe to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import dismissals, sessions
from isthmus.core.dismissals import DISMISSAL, Dismissal
from isthmus.core.presence import Present, Word
from isthmus.core.session import Granted
from isthmus.core.sessions import SESSION, Hold, Left, Owner

ABSENT = "ResourceNotFoundException"
#: Making a client takes longer than all that a test asks of it.
REGION = AwsRegion()
DATA = REGION.client("iot-data")
INDEXED = {"thingIndexingMode": "REGISTRY", "thingConnectivityIndexingMode": "STATUS"}
ENDS = {"sourceIp": "192.0.2.1", "sourcePort": 999, "targetIp": "192.0.2.2", "targetPort": 8883}


@pytest.fixture
def data(region):
    return region.client("iot-data")


def connect(region, version=5, client="lamp", **ended):
    present = Present(
        f"s{version}", 1000 + version, "c" * 64, "192.0.2.1", 999, "192.0.2.2", 8883, 60, 0
    )
    word = Word(client, version, "us", "g", present, has_ended=bool(ended), **ended)
    region.services.roster.take(word)


def begin(region, epoch, filters, **left):
    """A session that lasts, and how its client left if it did."""
    hold = Hold("lamp", epoch, "eu", f"connection-{epoch}")
    owner = Owner(region="eu", gateway="g", turn=0, level=4, expiry_s=3600, places={})
    asyncio.run(region.store.merge(hold.claim(owner, begins=True)))
    asyncio.run(region.store.merge(hold.change(filters)))
    if left:
        asyncio.run(region.store.merge(hold.leave(Left(expiry_s=3600, places={}, **left))))


def state(region):
    return sessions.read(region.store.get(SESSION, "lamp"))


# Who is there


def test_a_connection_is_described_in_whichever_region_it_is(region, data):
    connect(region)
    found = data.get_connection(clientId="lamp")
    del found["ResponseMetadata"]
    assert found == {
        "clientId": "lamp",
        "connected": True,
        "connectedSince": 1005,
        "keepAliveDuration": 60,
        "cleanSession": True,
        "sessionExpiry": 0,
    }
    asked = data.get_connection(clientId="lamp", includeSocketInformation=True)
    assert ENDS.items() <= asked.items()


def test_a_connection_that_ended_says_when_and_why(region, data):
    connect(region, ended_ms=2000, reason="CONNECTION_LOST")
    found = data.get_connection(clientId="lamp")
    assert found["connected"] is False
    assert (found["disconnectedSince"], found["disconnectReason"]) == (2000, "CONNECTION_LOST")
    assert "connectedSince" not in found


def test_the_thing_of_a_connection_is_named_where_its_certificate_is_attached(region, data):
    client = region.client()
    made = client.create_keys_and_certificate(setAsActive=True)
    client.create_thing(thingName="lamp")
    present = Present("s", 1, made["certificateId"])
    region.services.roster.take(Word("lamp", 1, "eu", "g", present))
    assert "thingName" not in data.get_connection(clientId="lamp")
    client.attach_thing_principal(thingName="lamp", principal=made["certificateArn"])
    found = data.get_connection(clientId="lamp")
    assert found["thingName"] == "lamp"
    # A gateway of an older release did not say on what they agreed.
    assert "keepAliveDuration" not in found
    assert "cleanSession" not in found


def test_a_session_whose_client_is_forgotten_is_known_until_it_is_over(region, data):
    begin(region, 1, {}, at_ms=region.now_ms - 1)
    found = data.get_connection(clientId="lamp")
    assert (found["connected"], found["cleanSession"], found["sessionExpiry"]) == (
        False,
        False,
        3600,
    )
    region.now_ms += 3_600_000
    assert refusal(data.get_connection, clientId="lamp")[0] == ABSENT


@pytest.mark.parametrize("operation", ["get_connection", "delete_connection", "list_subscriptions"])
def test_of_a_stranger_nothing_is_known(data, operation):
    assert refusal(getattr(data, operation), clientId="nobody")[0] == ABSENT
    assert refusal(getattr(data, operation), clientId="$aws")[0] == "InvalidRequestException"


# As things


def test_the_connectivity_of_a_thing_is_that_of_the_client_called_like_it(region, client):
    def asked(**more):
        found = client.get_thing_connectivity_data(thingName="lamp", **more)
        del found["ResponseMetadata"]
        return found

    client.create_thing(thingName="lamp")
    assert refusal(asked)[0] == ABSENT
    client.update_indexing_configuration(
        thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"}
    )
    assert refusal(asked)[0] == "InvalidRequestException"
    client.update_indexing_configuration(thingIndexingConfiguration=INDEXED)
    assert asked() == {"thingName": "lamp", "connected": False, "disconnectReason": "UNKNOWN"}
    connect(region)
    terms = {"keepAliveDuration": 60, "cleanSession": True, "sessionExpiry": 0}
    assert asked() == {
        "thingName": "lamp",
        "connected": True,
        "timestamp": datetime.fromtimestamp(1.005, UTC),
        "disconnectReason": "NONE",
        "clientId": "lamp",
        **terms,
    }
    assert ENDS.items() <= asked(includeSocketInformation=True).items()
    connect(region, ended_ms=2000, reason="CLIENT_ERROR")
    ended = asked()
    assert (ended["connected"], ended["disconnectReason"]) == (False, "CLIENT_ERROR")
    assert ended["timestamp"] == datetime.fromtimestamp(2, UTC)
    assert refusal(client.get_thing_connectivity_data, thingName="none")[0] == ABSENT


# Who is to go


def test_the_connection_that_is_known_is_dismissed_and_no_other(region, data):
    connect(region)
    data.delete_connection(clientId="lamp", cleanSession=True)
    assert dismissals.read(region.store.get(DISMISSAL, "lamp")) == Dismissal("s5", cleans=True)
    count = writes(region)
    data.delete_connection(clientId="lamp", cleanSession=True)
    assert writes(region) == count
    connect(region, 6)
    data.delete_connection(clientId="lamp", preventWillMessage=True)
    assert dismissals.read(region.store.get(DISMISSAL, "lamp")) == Dismissal("s6", silences=True)


def test_the_session_of_who_is_away_is_taken_away_and_its_will_withheld(region, data):
    begin(region, 1, {}, at_ms=region.now_ms - 1, will_at_ms=region.now_ms + 1)
    count = writes(region)
    data.delete_connection(clientId="lamp")
    assert writes(region) == count
    data.delete_connection(clientId="lamp", preventWillMessage=True)
    assert (state(region).left.will_at_ms, state(region).left.expiry_s) == (None, 3600)
    data.delete_connection(clientId="lamp", cleanSession=True)
    assert state(region).is_over(region.now_ms)
    assert refusal(data.delete_connection, clientId="lamp")[0] == ABSENT


@given(st.booleans(), st.booleans(), st.booleans())
def test_who_comes_back_in_one_region_while_another_takes_his_session_keeps_it(
    cleans, silences, is_heard_first
):
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    begin(eu, 1, {"a": Granted(1)}, at_ms=eu.now_ms - 1, will_at_ms=eu.now_ms + 1)
    exchange(eu, us)
    request = {"clientId": "lamp", "cleanSession": cleans, "preventWillMessage": silences}
    asked = us.client("iot-data")
    asked.delete_connection(**request)
    if is_heard_first:
        exchange(eu, us)
    begin(eu, 2, {"b": Granted(1)})
    exchange(eu, us)
    assert eu.store.get(SESSION, "lamp") == us.store.get(SESSION, "lamp")
    assert (state(us).left, list(state(us).filters)) == (None, ["b"])


def test_whose_coming_is_not_known_yet_is_asked_for_again(region, data):
    begin(region, 1, {})
    with pytest.raises(Exception, match="comes or goes"):
        data.delete_connection(clientId="lamp", cleanSession=True)
    # Nothing is asked of the session.
    data.delete_connection(clientId="lamp")


# What they subscribe to


def listed(client, **asked):
    filters, token = [], {}
    while True:
        page = client.list_subscriptions(clientId="lamp", **asked, **token)
        filters += [(each["topicFilter"], each["qos"]) for each in page["subscriptions"]]
        if "nextToken" not in page:
            return filters
        token = {"nextToken": page["nextToken"]}


@given(st.dictionaries(st.text("ab/+#é", min_size=1), st.integers(0, 1), max_size=30))
def test_subscriptions_are_listed_in_pages_whoever_knows_them(filters):
    region, data = REGION, DATA
    connect(region)
    region.services.filters["s5"] = filters
    assert listed(data) == listed(data, maxResults=7) == sorted(filters.items())
    assert len(data.list_subscriptions(clientId="lamp")["subscriptions"]) == min(20, len(filters))


def test_of_a_session_that_lasts_no_gateway_is_asked(region, data):
    connect(region)
    begin(region, 1, {"b": Granted(0), "a": Granted(1)})
    assert listed(data) == [("a", 1), ("b", 0)]


def test_a_session_that_lasts_has_subscriptions_while_its_client_is_away(region, data):
    begin(region, 1, {"a": Granted(1), "b": None}, at_ms=region.now_ms - 1)
    assert listed(data) == [("a", 1)]
    connect(region, client="other", ended_ms=9, reason="CLIENT_ERROR")
    assert refusal(data.list_subscriptions, clientId="other")[0] == ABSENT
