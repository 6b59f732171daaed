"""What MQTT 5 adds to the state machine: reasons, limits of both sides, properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt_sessions import Rights, said, sent
from mqtt_sessions import session as any_session

from isthmus.core.dialect import AWS
from isthmus.core.message_properties import (
    CONTENT_TYPE_MAX_BYTES,
    CORRELATION_MAX_BYTES,
    EXPIRY_MAX_S,
    IDENTITY_MAX_BYTES,
    IDENTITY_PROPERTY,
    USER_PROPERTIES_MAX_BYTES,
    has_expired,
    identity_of,
    remaining,
)
from isthmus.core.session import (
    OUTGOING_IN_FLIGHT_MAX,
    OUTGOING_QUEUED_MAX,
    OUTGOING_QUEUED_MAX_BYTES,
    PAYLOAD_MAX_BYTES,
    RECEIVE_MAX,
    Close,
    Granted,
    Join,
    Leave,
    Recall,
    Session,
    Store,
)
from isthmus.wire import mqtt, mqtt5, packets
from isthmus.wire.packets import LEVEL_3, LEVEL_5, Disconnect, Filter, Publish
from isthmus.wire.properties import (
    DisconnectProperties,
    PublishProperties,
    SubscribeProperties,
)
from isthmus.wire.reason_codes import ReasonCode

REQUEST = PublishProperties(
    payload_format=1,
    response_topic="cars/1/answers",
    correlation_data=b"\0\1",
    content_type="application/json",
    user_properties=(("k", "v"), ("k", ""), ("", "w")),
)


def session(*denied: str, **fields) -> Session:
    return any_session(*denied, level=LEVEL_5, **fields)


def ended(actions) -> int:
    """The code of the DISCONNECT with which, and with nothing else, a connection is ended."""
    send, close = actions
    assert isinstance(close, Close)
    (packet,) = said([send])
    assert isinstance(packet, Disconnect)
    return packet.code


def with_properties(**fields) -> Publish:
    return Publish("t", b"x", 1, packet_id=1, properties=PublishProperties(**fields))


# What ends a connection, and with which code


@pytest.mark.parametrize(
    ("publish", "code"),
    [
        (Publish("t", b"", 2, packet_id=1), ReasonCode.QOS_NOT_SUPPORTED),
        (Publish("t", b"x" * (PAYLOAD_MAX_BYTES + 1)), ReasonCode.PACKET_TOO_LARGE),
        (Publish("a/" * 8 + "b", b""), ReasonCode.TOPIC_NAME_INVALID),
        (Publish("x" * 257, b""), ReasonCode.TOPIC_NAME_INVALID),
        (Publish("$aws/things/car-1/jobs/get", b""), ReasonCode.TOPIC_NAME_INVALID),
        (Publish("secret", b"", 1, packet_id=1), ReasonCode.NOT_AUTHORIZED),
        (with_properties(subscription_ids=(1,)), ReasonCode.PROTOCOL_ERROR),
        (
            with_properties(content_type="x" * (CONTENT_TYPE_MAX_BYTES + 1)),
            ReasonCode.QUOTA_EXCEEDED,
        ),
        (
            with_properties(correlation_data=bytes(CORRELATION_MAX_BYTES + 1)),
            ReasonCode.QUOTA_EXCEEDED,
        ),
        (
            with_properties(user_properties=(("k", "v"), ("k", "v" * USER_PROPERTIES_MAX_BYTES))),
            ReasonCode.QUOTA_EXCEEDED,
        ),
        (
            with_properties(user_properties=((IDENTITY_PROPERTY, "x" * (IDENTITY_MAX_BYTES + 1)),)),
            ReasonCode.QUOTA_EXCEEDED,
        ),
    ],
)
def test_a_publish_that_is_refused_is_told_why_and_never_acknowledged(publish, code):
    each = session("secret")
    assert ended(each.handle(publish)) == code
    assert each.owed == 0


@pytest.mark.parametrize(
    "packet",
    [
        packets.Connect("car-1", level=LEVEL_5),
        packets.Connack(False, 0),
        packets.Suback(1, (0,)),
        packets.Unsuback(1, (0,)),
        packets.Pingresp(),
        packets.Pubrec(1),
        packets.Pubrel(1),
        packets.Pubcomp(1),
        packets.Auth(),
    ],
)
def test_a_packet_that_no_client_may_send_here_is_a_protocol_error(packet):
    each = session()
    assert ended(each.handle(packet)) == ReasonCode.PROTOCOL_ERROR


def test_3_1_1_has_no_word_for_why():
    old = any_session(level=LEVEL_3)
    (action,) = old.handle(Publish("t", b"", 2, packet_id=1))
    assert isinstance(action, Close)
    assert old.farewell(ReasonCode.SESSION_TAKEN_OVER) == b""


@pytest.mark.parametrize(
    "code",
    [
        ReasonCode.SESSION_TAKEN_OVER,
        ReasonCode.KEEP_ALIVE_TIMEOUT,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.USE_ANOTHER_SERVER,
        ReasonCode.SERVER_SHUTTING_DOWN,
        ReasonCode.SERVER_BUSY,
    ],
)
def test_a_gateway_can_say_why_it_closes(code):
    assert sent(session().farewell(code), LEVEL_5) == [Disconnect(code)]


def test_what_is_malformed_is_told_by_disconnect_or_before_connack_by_connack():
    decoder = mqtt.ServerDecoder(topic_alias_max=8)
    connect = mqtt5.encode(packets.Connect("car-1", level=LEVEL_5))
    alias = mqtt5.encode_publish("t", b"", topic_alias=9)
    assert decoder.feed(connect)
    with pytest.raises(mqtt5.TopicAliasInvalid) as error:
        decoder.feed(alias)
    (packet,) = sent(mqtt.farewell(error.value, level=5, accepted=True), LEVEL_5)
    assert packet == Disconnect(ReasonCode.TOPIC_ALIAS_INVALID)
    # CONNACK has no code for an alias: a client may send it without waiting for CONNACK.
    with pytest.raises(mqtt5.TopicAliasInvalid) as error:
        mqtt.ServerDecoder(topic_alias_max=8).feed(connect + alias)
    (packet,) = sent(mqtt.farewell(error.value, level=5, accepted=False), LEVEL_5)
    assert packet == packets.Connack(False, ReasonCode.PROTOCOL_ERROR)
    (packet,) = sent(mqtt.farewell(mqtt5.PacketTooLarge("large"), level=5, accepted=True), LEVEL_5)
    assert packet == Disconnect(ReasonCode.PACKET_TOO_LARGE)


# Leaving


@pytest.mark.parametrize(
    ("code", "leaves_will"), [(0x00, False), (0x04, True), (0x80, True), (0x93, True)]
)
def test_a_will_is_discarded_only_by_a_normal_disconnection(code, leaves_will):
    each = session(will=packets.Will("t", b"gone"))
    (action,) = each.handle(Disconnect(code))
    assert isinstance(action, Close)
    assert (each.will is not None) == leaves_will


def test_a_session_expiry_cannot_be_asked_for_on_the_way_out():
    leaving = Disconnect(0, DisconnectProperties(session_expiry_s=5))
    will = packets.Will("t", b"gone")
    each = session(will=will)
    assert ended(each.handle(leaving)) == ReasonCode.PROTOCOL_ERROR
    assert each.will is will
    asked = session(will=will, expiry_s=60, expiry_max_s=4)
    (action,) = asked.handle(leaving)
    assert isinstance(action, Close)
    assert asked.will is None
    assert asked.expiry_s == 4
    (action,) = session().handle(Disconnect(0, DisconnectProperties(session_expiry_s=0)))
    assert isinstance(action, Close)


# Subscribing


@pytest.mark.parametrize(
    ("topic_filter", "code"),
    [
        ("secret/#", ReasonCode.NOT_AUTHORIZED),
        ("$aws/#", ReasonCode.TOPIC_FILTER_INVALID),
        ("$share", ReasonCode.TOPIC_FILTER_INVALID),
        ("x" * 257, ReasonCode.TOPIC_FILTER_INVALID),
        ("a/" * 8 + "b", ReasonCode.TOPIC_FILTER_INVALID),
        ("$share/g", ReasonCode.TOPIC_FILTER_INVALID),
        ("$share/g/$aws/x", ReasonCode.TOPIC_FILTER_INVALID),
        ("$share/g/" + "a/" * 8 + "b", ReasonCode.TOPIC_FILTER_INVALID),
        ("$share/secret/t", ReasonCode.NOT_AUTHORIZED),
    ],
)
def test_a_filter_that_is_refused_says_why_and_the_others_hold(topic_filter, code):
    each = session("secret")
    actions = each.handle(packets.Subscribe(1, (Filter(topic_filter, 1), Filter("t", 2))))
    assert [each for each in actions if isinstance(each, Join)] == [Join("t", Granted(1))]
    assert said(actions) == [packets.Suback(1, (code, 1))]


@pytest.mark.parametrize("expiry_s", [0, 60])
def test_others_must_know_who_shares_before_that_is_said(expiry_s):
    each = session(expiry_s=expiry_s)
    join, remember = each.handle(packets.Subscribe(1, (Filter("$share/g/t", 1),)))
    assert join == Join("$share/g/t", Granted(1))
    assert remember.filters == {"$share/g/t": Granted(1)}
    # Nothing that is retained comes with it, section 4.8.2.
    assert said(remember.then) == [packets.Suback(1, (1,))]
    leave, remember = each.handle(packets.Unsubscribe(2, ("$share/g/t",)))
    assert leave == Leave("$share/g/t", Granted(1))
    assert remember.filters == {"$share/g/t": None}
    assert said(remember.then) == [packets.Unsuback(2, (0,))]


def test_too_many_filters_are_a_quota():
    each = session()
    filters = tuple(Filter(f"f{n}") for n in range(AWS.filters_per_subscribe_max + 1))
    (answer,) = said(each.handle(packets.Subscribe(1, filters)))
    assert answer.codes == (0,) * AWS.filters_per_subscribe_max + (ReasonCode.QUOTA_EXCEEDED,)
    for number in range(AWS.subscriptions_max + 1):
        (answer,) = said(each.handle(packets.Subscribe(1, (Filter(f"f{number}"),))))
    assert answer.codes == (ReasonCode.QUOTA_EXCEEDED,)
    # A new one is one too many; one that is there may be changed.
    (answer,) = said(each.handle(packets.Subscribe(1, (Filter("f0", 1),))))
    assert answer.codes == (1,)


def test_subscription_identifiers_end_the_connection():
    each = session()
    packet = packets.Subscribe(1, (Filter("t"),), SubscribeProperties(subscription_id=7))
    assert ended(each.handle(packet)) == ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
    assert each.subscriptions == {}
    named = packets.Subscribe(1, (Filter("t"),), SubscribeProperties(user_properties=(("k", "v"),)))
    assert said(each.handle(named)) == [packets.Suback(1, (0,))]


def test_no_local_is_part_of_what_is_granted():
    each = session()
    wanted = (Filter("a", 1, no_local=True), Filter("b"))
    actions = each.handle(packets.Subscribe(1, wanted))
    assert actions[:2] == [Join("a", Granted(1, no_local=True)), Join("b", Granted(0))]


def test_unsubscribing_says_for_each_filter_whether_it_was_there():
    each = session()
    each.handle(packets.Subscribe(1, (Filter("a"),)))
    (answer,) = said(each.handle(packets.Unsubscribe(2, ("a", "never"))))
    assert answer == packets.Unsuback(2, (0, ReasonCode.NO_SUBSCRIPTION_EXISTED))


# Limits of both sides


def test_more_publishes_in_flight_than_granted_end_the_connection():
    each = session()
    tickets = []
    for number in range(1, RECEIVE_MAX + 1):
        (action,) = each.handle(Publish("t", b"", 1, packet_id=number))
        tickets.append(action.ticket)
    # QoS 0 takes no part in it, section 3.3.4.
    (action,) = each.handle(Publish("t", b""))
    assert isinstance(action, Store)
    tickets[0].kept = True
    each.answers()
    (action,) = each.handle(Publish("t", b"", 1, packet_id=1))
    assert isinstance(action, Store)
    over = each.handle(Publish("t", b"", 1, packet_id=101))
    assert ended(over) == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


def test_a_client_of_3_1_1_was_told_no_such_limit():
    each = any_session(level=LEVEL_3)
    for number in range(1, 2 * RECEIVE_MAX):
        (action,) = each.handle(Publish("t", b"", 1, packet_id=number))
        assert isinstance(action, Store)


@given(st.integers(1, 5), st.lists(st.one_of(st.just("deliver"), st.integers(1, 5)), max_size=40))
def test_no_more_is_sent_unacknowledged_than_the_client_takes(receive_max, steps):
    each = session(receive_max=receive_max)
    unacknowledged: list[int] = []
    arrived: list[int] = []
    handed_over = 0
    for step in steps:
        if step == "deliver":
            actions = each.deliver(Publish("t", b"%d" % handed_over, 1))
            handed_over += 1
        elif unacknowledged:
            packet_id = unacknowledged.pop(step % len(unacknowledged))
            # A refusal is an answer too, section 4.3.2.
            code = ReasonCode.UNSPECIFIED_ERROR if step % 2 else 0
            actions = each.handle(packets.Puback(packet_id, code))
        else:
            continue
        for packet in said(actions):
            unacknowledged.append(packet.packet_id)
            arrived.append(int(packet.payload))
        assert len(unacknowledged) <= receive_max
    assert arrived == list(range(len(arrived)))
    assert len(arrived) == handed_over or len(unacknowledged) == receive_max


def test_a_message_larger_than_the_client_takes_is_as_if_it_had_been_sent():
    each = session(max_packet_bytes=20)
    fits = Publish("t", b"x" * 12, 1)
    (action,) = each.deliver(fits)
    assert len(action.data) == 20
    assert each.deliver(Publish("t", b"x" * 13, 1)) == []
    assert each.deliver(Publish("t", b"x" * 15, 0)) == []
    assert each.deliver(fits._replace(properties=PublishProperties(content_type="x"))) == []
    # None of them is waited for.
    (action,) = each.deliver(fits)
    assert len(each._in_flight) == 2


def test_one_that_waits_and_is_too_large_does_not_hold_up_those_behind_it():
    each = session(max_packet_bytes=20, receive_max=1)
    each.deliver(Publish("t", b"1", 1))
    for payload in (b"x" * 100, b"x" * 100, b"2"):
        assert each.deliver(Publish("t", payload, 1)) == []
    (packet,) = said(each.handle(packets.Puback(1)))
    assert packet.payload == b"2"


def test_an_answer_larger_than_the_client_takes_is_not_sent():
    each = session(max_packet_bytes=512)
    filters = tuple(Filter(f"{n}") for n in range(600))
    actions = each.handle(packets.Subscribe(1, filters))
    assert [type(each) for each in actions] == [*[Join] * 8, *[Recall] * 8]


def test_a_client_that_acknowledges_too_slowly_is_told_so():
    each = session()
    for _ in range(OUTGOING_IN_FLIGHT_MAX + OUTGOING_QUEUED_MAX):
        each.deliver(Publish("t", b"", 1))
    assert ended(each.deliver(Publish("t", b"", 1))) == ReasonCode.QUOTA_EXCEEDED


def test_what_waits_is_counted_with_its_properties():
    each = session(receive_max=1)
    each.deliver(Publish("t", b"", 1))
    pairs = (("", ""),) * 10_000
    heavy = Publish("t", b"", 1, properties=PublishProperties(user_properties=pairs))
    waiting = 0
    while not (actions := each.deliver(heavy)):
        waiting += 1
        assert waiting <= OUTGOING_QUEUED_MAX_BYTES / len(pairs)
    assert ended(actions) == ReasonCode.QUOTA_EXCEEDED


# Properties


def test_a_request_and_its_answer_keep_everything_that_they_carry():
    publish = Publish("cars/1/requests", b"{}", 1, packet_id=9, properties=REQUEST)
    (store,) = session().handle(publish)
    assert store.publish == publish
    for qos in (0, 1):
        copy = store.publish._replace(qos=qos, packet_id=0)
        (packet,) = said(session().deliver(copy))
        assert (packet.properties, packet.payload, packet.qos) == (REQUEST, b"{}", qos)


def test_a_subscriber_of_3_1_1_gets_the_message_without_its_properties():
    (action,) = any_session(level=LEVEL_3).deliver(Publish("t", b"x", properties=REQUEST))
    assert sent(action.data, LEVEL_3) == [Publish("t", b"x")]


@pytest.mark.parametrize(
    "properties",
    [
        PublishProperties(content_type="x" * CONTENT_TYPE_MAX_BYTES),
        PublishProperties(correlation_data=bytes(CORRELATION_MAX_BYTES)),
        PublishProperties(user_properties=(("k", "v" * (USER_PROPERTIES_MAX_BYTES - 1)),)),
        PublishProperties(user_properties=((IDENTITY_PROPERTY, "x" * IDENTITY_MAX_BYTES),)),
    ],
)
def test_as_much_as_is_allowed_is_stored(properties):
    (store,) = session().handle(Publish("t", b"", properties=properties))
    assert store.publish.properties == properties


def test_the_identity_is_the_first_user_property_of_its_name():
    assert IDENTITY_PROPERTY == "isthmus-id"
    pairs = (("other", "x"), (IDENTITY_PROPERTY, "a"), (IDENTITY_PROPERTY, "b"))
    assert identity_of(PublishProperties(user_properties=pairs)) == "a"
    assert identity_of(PublishProperties(user_properties=(("Isthmus-Id", "a"),))) == ""
    assert identity_of(PublishProperties()) == identity_of(None) == ""


def test_the_topic_of_an_alias_is_what_rights_are_asked_for():
    rights = Rights("topic/secret")
    decoder = mqtt5.Decoder(topic_alias_max=8)
    each = Session("car-1", rights, 45.0, level=LEVEL_5)
    data = mqtt5.encode_publish("open", b"1", topic_alias=1)
    data += mqtt5.encode_publish("", b"2", topic_alias=1)
    stored = [each.handle(packet) for packet in decoder.feed(data)]
    assert [store.publish.topic for (store,) in stored] == ["open", "open"]
    data = mqtt5.encode_publish("secret", b"3", topic_alias=1)
    (packet,) = decoder.feed(data)
    assert ended(each.handle(packet)) == ReasonCode.NOT_AUTHORIZED


# Expiry


@pytest.mark.parametrize(
    ("asked_s", "stored_s"),
    [(None, None), (0, 1), (1, 1), (60, 60), (EXPIRY_MAX_S + 1, EXPIRY_MAX_S), (2**32 - 1, 604800)],
)
def test_an_expiry_is_bounded_as_on_aws(asked_s, stored_s):
    (store,) = session().handle(with_properties(message_expiry_s=asked_s))
    assert store.publish.properties.message_expiry_s == stored_s


@pytest.mark.parametrize("qos", [0, 1])
def test_an_expiry_is_forwarded_without_the_time_that_has_passed(qos):
    message = Publish("t", b"x", qos, properties=PublishProperties(message_expiry_s=10))
    for age_ms, left_s in ((0, 10), (999, 10), (1_000, 9), (9_999, 1), (-5_000, 10)):
        (packet,) = said(session().deliver(message, 50_000, 50_000 + age_ms))
        assert packet.properties.message_expiry_s == left_s
    for age_ms in (10_000, 10_001, 10**9):
        assert session().deliver(message, 50_000, 50_000 + age_ms) == []


def test_what_has_waited_for_the_client_is_older_when_it_leaves():
    each = session(receive_max=1)
    each.deliver(Publish("t", b"first", 1), 0, 0)
    for payload, expiry_s in ((b"short", 3), (b"long", 30), (b"ever", None)):
        properties = PublishProperties(message_expiry_s=expiry_s)
        assert each.deliver(Publish("t", payload, 1, properties=properties), 1_000, 2_000) == []
    (packet,) = said(each.handle(packets.Puback(1), 6_000))
    assert (packet.payload, packet.properties.message_expiry_s) == (b"long", 25)
    (packet,) = said(each.handle(packets.Puback(packet.packet_id), 10**9))
    assert packet.payload == b"ever"


@given(st.none() | st.integers(0, 100), st.integers(-10, 110))
def test_nothing_leaves_past_its_expiry_and_nothing_gains_time(expiry_s, age_s):
    found = remaining(PublishProperties(message_expiry_s=expiry_s), age_s)
    assert has_expired(found) == (expiry_s is not None and expiry_s - max(age_s, 0) <= 0)
    if expiry_s is not None:
        assert found.message_expiry_s <= expiry_s
    assert remaining(None, age_s) is None
    assert not has_expired(None)
