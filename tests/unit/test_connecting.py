"""CONNECT: who may begin a session in either version, and what CONNACK says of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt_sessions import Rights, sent

from isthmus.core import connecting
from isthmus.core.connecting import (
    Refusal,
    accept,
    authorize_connect,
    begin,
    check_connect,
)
from isthmus.core.dialect import AWS
from isthmus.core.session import OUTGOING_IN_FLIGHT_MAX
from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt3, mqtt5, packets
from isthmus.wire.packets import LEVEL_3, LEVEL_5, Connack, Connect, Will
from isthmus.wire.properties import ConnackProperties, ConnectProperties, PublishProperties
from isthmus.wire.reason_codes import CONNACK_CODES, ReasonCode

LEVELS = pytest.mark.parametrize("level", [LEVEL_3, LEVEL_5])


def check(client_id: str = "car-1", **fields):
    return check_connect(Connect(client_id, **fields), "assigned-1")


def told(refusal: Refusal, level: int) -> Connack:
    (answer,) = sent(refusal.answer(level), level)
    return answer


def granted(connect: Connect, *, is_assigned: bool = False) -> ConnackProperties:
    (answer,) = sent(accept(connect, is_assigned=is_assigned), LEVEL_5)
    assert (answer.session_present, answer.return_code) == (False, 0)
    return answer.properties


# Who may begin


@LEVELS
@pytest.mark.parametrize("client_id", ["x" * 129, "é" * 65, "$car"])
def test_a_client_id_that_is_not_ours_to_serve_is_refused(client_id, level):
    found = check(client_id, level=level)
    assert isinstance(found, Refusal)
    assert told(found, level).return_code == {LEVEL_3: 2, LEVEL_5: 0x85}[level]


def test_a_client_without_a_name_is_given_one_in_mqtt_5_and_refused_in_3_1_1():
    refused = check("")
    assert isinstance(refused, Refusal)
    assert told(refused, LEVEL_3).return_code == 2
    found = check("", level=LEVEL_5)
    assert found.client_id == "assigned-1"
    assert granted(found, is_assigned=True).assigned_client_id == "assigned-1"
    assert granted(check(level=LEVEL_5)).assigned_client_id is None


@pytest.mark.parametrize(
    ("fields", "lasts_s"),
    [
        ({"level": LEVEL_3, "clean_session": True}, 0),
        ({"level": LEVEL_3, "clean_session": False}, 3600),
        ({"level": LEVEL_5, "clean_session": False}, 0),
        ({"level": LEVEL_5, "properties": ConnectProperties(session_expiry_s=60)}, 60),
        ({"level": LEVEL_5, "properties": ConnectProperties(session_expiry_s=2**32 - 1)}, 3600),
    ],
)
def test_a_session_lasts_as_long_as_asked_within_what_is_granted(fields, lasts_s):
    session = begin(check(**fields), Rights(), 3600)
    assert (session.expiry_s, session.expiry_max_s) == (lasts_s, 3600)


@LEVELS
@pytest.mark.parametrize(
    ("will", "code"),
    [
        (Will("t", b"", qos=2), 0x9B),
        (Will("$aws/events/presence/disconnected/car-2", b""), 0x90),
        (Will("x" * 257, b""), 0x90),
        (Will("a/" * 8 + "b", b""), 0x90),
    ],
)
def test_a_will_that_could_not_be_published_is_refused(will, code, level):
    found = check(will=will, level=level)
    assert isinstance(found, Refusal)
    assert told(found, level).return_code == {LEVEL_3: 5, LEVEL_5: code}[level]


@pytest.mark.parametrize(
    "properties",
    [
        PublishProperties(content_type="x" * 257),
        PublishProperties(correlation_data=bytes(8 * 1024 + 1)),
        PublishProperties(user_properties=(("k", "v" * 8 * 1024),)),
        PublishProperties(user_properties=(("isthmus-id", "x" * 129),)),
    ],
)
def test_a_will_carries_no_more_than_a_message(properties):
    found = check(will=Will("t", b"", properties=properties), level=LEVEL_5)
    assert isinstance(found, Refusal)
    assert told(found, LEVEL_5).return_code == ReasonCode.QUOTA_EXCEEDED


def test_a_will_keeps_its_properties_and_an_expiry_within_bounds():
    properties = PublishProperties(message_expiry_s=0, content_type="text/plain")
    will = check(will=Will("t", b"", properties=properties), level=LEVEL_5).will
    assert will.properties == properties._replace(message_expiry_s=1)


def test_extended_authentication_is_refused_by_its_name():
    asked = ConnectProperties(authentication_method="SCRAM")
    assert told(check(level=LEVEL_5, properties=asked), LEVEL_5).return_code == 0x8C


def test_a_client_that_takes_hardly_any_bytes_is_refused_and_any_other_can_read_its_connack():
    asked = ConnectProperties(max_packet_bytes=AWS.client_packet_min_bytes - 1)
    assert told(check(level=LEVEL_5, properties=asked), LEVEL_5).return_code == 0x97
    asked = asked._replace(max_packet_bytes=AWS.client_packet_min_bytes)
    found = check("x" * 128, level=LEVEL_5, properties=asked)
    assert len(accept(found, is_assigned=True)) <= AWS.client_packet_min_bytes


@LEVELS
def test_the_first_packet_is_a_connect(level):
    with pytest.raises(MalformedPacket, match="Pingreq"):
        check_connect(packets.Pingreq(), "")
    connect = Connect("car-1", will=Will("t", b"", qos=1), level=level)
    assert check_connect(connect, "") == connect


@pytest.mark.parametrize(
    ("denied", "will", "refused"),
    [
        ("", None, False),
        ("iot:Connect client/car-1", None, True),
        ("iot:Publish topic/t", None, False),
        ("iot:Publish topic/t", Will("t", b""), True),
    ],
)
def test_a_principal_may_connect_as_this_client_and_with_this_will(denied, will, refused):
    rights = Rights(denied) if denied else Rights()
    found = authorize_connect(Connect("car-1", will=will), rights)
    assert (found is not None) == refused
    if found:
        assert "denied" in found.reason
        assert (told(found, LEVEL_3).return_code, told(found, LEVEL_5).return_code) == (5, 0x87)


@pytest.mark.parametrize(
    "code",
    [
        ReasonCode.SERVER_BUSY,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.CONNECTION_RATE_EXCEEDED,
    ],
)
def test_who_is_refused_for_now_is_told_why_in_mqtt_5_and_else_just_closed(code):
    found = Refusal(code, "too much", is_passing=True)
    assert found.answer(LEVEL_3) == b""
    assert told(found, LEVEL_5).return_code == code


@pytest.mark.parametrize("level", [LEVEL_3, LEVEL_5])
def test_a_region_that_is_not_ready_says_nothing_that_could_keep_a_client_away(level):
    found = Refusal(ReasonCode.SERVER_UNAVAILABLE, "catching-up", is_passing=True)
    assert found.answer(level) == b""


WILLS = st.builds(
    Will,
    st.sampled_from(["t", "$aws/x", "x" * 300]),
    st.binary(max_size=3),
    st.integers(0, 2),
    st.booleans(),
    st.integers(0, 9),
    st.none() | st.builds(PublishProperties, content_type=st.sampled_from(["", "x" * 257])),
)


@given(
    st.builds(
        Connect,
        st.text(max_size=3),
        st.booleans(),
        st.integers(0, 65_535),
        st.none() | WILLS,
        level=st.sampled_from([LEVEL_3, LEVEL_5]),
        properties=st.none()
        | st.builds(
            ConnectProperties,
            max_packet_bytes=st.none() | st.integers(1, 2_000),
            receive_max=st.integers(1, 65_535),
            authentication_method=st.sampled_from([None, None, None, "m"]),
        ),
    )
)
def test_every_connect_is_answered_by_a_connack_that_its_version_can_read(connect):
    found = check_connect(connect, "assigned-1")
    if isinstance(found, Refusal):
        answer = told(found, connect.level)
        assert answer.return_code in (range(1, 6) if connect.level == LEVEL_3 else CONNACK_CODES)
        assert answer.return_code
        return
    found_session = begin(found, Rights())
    assert 1 <= found_session.receive_max <= OUTGOING_IN_FLIGHT_MAX
    data = accept(found, is_assigned=not connect.client_id)
    (answer,) = sent(data, connect.level)
    assert answer.return_code == 0
    assert len(data) <= (found_session.max_packet_bytes or len(data))


# What is granted


def test_connack_names_what_is_there_and_what_is_not():
    assert granted(Connect("car-1", keep_alive_s=60, level=LEVEL_5)) == ConnackProperties(
        session_expiry_s=0,
        receive_max=100,
        qos_max=1,
        max_packet_bytes=connecting.PACKET_MAX_BYTES,
        topic_alias_max=8,
        wildcards_available=True,
        subscription_ids_available=False,
        shared_available=True,
    )


def test_a_connack_of_3_1_1_is_what_it_always_was():
    assert accept(Connect("car-1"), is_assigned=False) == mqtt3.encode(Connack(False, 0))


@pytest.mark.parametrize(
    ("asked_s", "limit_s", "told_s"),
    [
        (0, 1800, 1200),
        (1, 45, 30),
        (30, 45, None),
        (60, 90, None),
        (1200, 1800, None),
        (65_535, 1800, 1200),
    ],
)
def test_keep_alive_is_bounded_as_on_aws_and_mqtt_5_is_told(asked_s, limit_s, told_s):
    assert AWS.keep_alive_limit_s(asked_s) == limit_s
    connect = Connect("car-1", keep_alive_s=asked_s, level=LEVEL_5)
    assert begin(connect, Rights()).keep_alive_s == limit_s
    assert granted(connect).server_keep_alive_s == told_s


def test_a_session_begins_with_what_the_client_takes():
    asked = ConnectProperties(session_expiry_s=9, receive_max=7, max_packet_bytes=600)
    will = Will("t", b"gone")
    found = begin(Connect("car-1", will=will, level=LEVEL_5, properties=asked), Rights(), 3600)
    assert (found.client_id, found.level, found.will) == ("car-1", LEVEL_5, will)
    assert (found.receive_max, found.max_packet_bytes, found.expiry_s) == (7, 600, 9)
    assert found.codec is mqtt5
    assert begin(Connect("car-1"), Rights()).codec is mqtt3
