"""Every packet of MQTT 5 for hypothesis, and one rich example of each kind."""

from __future__ import annotations

from hypothesis import strategies as st

from isthmus.wire import mqtt5, reason_codes
from isthmus.wire.mqtt5 import Filter, ReasonCode

IDS = st.integers(1, 0xFFFF)
QOS = st.integers(0, 2)
WORDS = st.integers(0, 0xFFFF)
LONGS = st.integers(0, 0xFFFFFFFF)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
TOPICS = st.text(
    st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=30
)
PLAIN_FILTERS = TOPICS.filter(lambda topic: not topic.startswith("$share/"))
FILTERS = st.one_of(PLAIN_FILTERS, st.sampled_from(["#", "+", "a/+/b/#", "$share/g/+/x", "/+"]))
PAYLOADS = st.one_of(st.binary(max_size=60), st.sampled_from([b"x" * 16_400, b"y" * 127]))
USER = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)


def maybe(values):
    return st.none() | values


def properties(kind, **fields):
    """Properties that say something, or None."""
    assert fields.keys() == set(kind._fields)
    return st.builds(kind, **fields).map(lambda each: None if each == kind() else each)


AUTHENTICATION = {"authentication_method": TEXT, "authentication_data": maybe(st.binary())}
MESSAGE = {
    "payload_format": maybe(st.integers(0, 1)),
    "message_expiry_s": maybe(LONGS),
    "response_topic": maybe(TOPICS),
    "correlation_data": maybe(st.binary(max_size=30)),
    "content_type": maybe(TEXT),
    "user_properties": USER,
}
OF_PUBLISH = properties(
    mqtt5.PublishProperties,
    **MESSAGE,
    subscription_ids=st.lists(st.integers(1, 268_435_455), max_size=3).map(tuple),
)
OF_WILL = properties(mqtt5.PublishProperties, **MESSAGE, subscription_ids=st.just(()))
OF_ACK = properties(mqtt5.AckProperties, reason=maybe(TEXT), user_properties=USER)
OF_CONNECT = properties(
    mqtt5.ConnectProperties,
    session_expiry_s=LONGS,
    receive_max=st.integers(1, 0xFFFF),
    max_packet_bytes=maybe(st.integers(1, 0xFFFFFFFF)),
    topic_alias_max=WORDS,
    request_response_info=st.booleans(),
    request_problem_info=st.booleans(),
    **AUTHENTICATION,
    user_properties=USER,
)
OF_CONNACK = properties(
    mqtt5.ConnackProperties,
    session_expiry_s=maybe(LONGS),
    receive_max=st.integers(1, 0xFFFF),
    qos_max=QOS,
    retain_available=st.booleans(),
    max_packet_bytes=maybe(st.integers(1, 0xFFFFFFFF)),
    assigned_client_id=maybe(TEXT),
    topic_alias_max=WORDS,
    reason=maybe(TEXT),
    wildcards_available=st.booleans(),
    subscription_ids_available=st.booleans(),
    shared_available=st.booleans(),
    server_keep_alive_s=maybe(WORDS),
    response_info=maybe(TEXT),
    server_reference=maybe(TEXT),
    **AUTHENTICATION,
    user_properties=USER,
)
OF_SUBSCRIBE = properties(
    mqtt5.SubscribeProperties,
    subscription_id=maybe(st.integers(1, 268_435_455)),
    user_properties=USER,
)
OF_DISCONNECT = properties(
    mqtt5.DisconnectProperties,
    session_expiry_s=maybe(LONGS),
    reason=maybe(TEXT),
    server_reference=maybe(TEXT),
    user_properties=USER,
)
OF_AUTH = properties(
    mqtt5.AuthProperties, **AUTHENTICATION, reason=maybe(TEXT), user_properties=USER
)
OF_UNSUBSCRIBE = properties(mqtt5.UnsubscribeProperties, user_properties=USER)
WILLS = st.builds(mqtt5.Will, TOPICS, st.binary(max_size=50), QOS, st.booleans(), LONGS, OF_WILL)
WANTED = st.one_of(
    st.builds(Filter, FILTERS, QOS, st.just(False), st.booleans(), QOS),
    st.builds(Filter, PLAIN_FILTERS, QOS, st.just(True), st.booleans(), QOS),
)


def codes_of(allowed):
    return st.sampled_from(sorted(allowed.values()))


def some_codes(allowed):
    return st.lists(codes_of(allowed), min_size=1, max_size=5).map(tuple)


PUBLISHES = st.one_of(
    st.builds(
        mqtt5.Publish,
        *(TOPICS, PAYLOADS, st.just(0), st.booleans(), st.just(False), st.just(0), OF_PUBLISH),
    ),
    st.builds(
        mqtt5.Publish,
        *(TOPICS, PAYLOADS, st.integers(1, 2), st.booleans(), st.booleans(), IDS, OF_PUBLISH),
    ),
)
PACKETS = st.one_of(
    PUBLISHES,
    st.builds(mqtt5.Puback, IDS, codes_of(reason_codes.PUBACK_CODES), OF_ACK),
    st.builds(mqtt5.Pubrec, IDS, codes_of(reason_codes.PUBREC_CODES), OF_ACK),
    st.builds(mqtt5.Pubrel, IDS, codes_of(reason_codes.PUBREL_CODES), OF_ACK),
    st.builds(mqtt5.Pubcomp, IDS, codes_of(reason_codes.PUBCOMP_CODES), OF_ACK),
    st.builds(
        mqtt5.Connect,
        client_id=TEXT,
        clean_session=st.booleans(),
        keep_alive_s=WORDS,
        will=maybe(WILLS),
        username=maybe(TEXT),
        password=maybe(st.binary(max_size=30)),
        level=st.just(5),
        properties=OF_CONNECT,
    ),
    st.builds(mqtt5.Connack, st.booleans(), st.just(ReasonCode.SUCCESS), OF_CONNACK),
    st.builds(mqtt5.Connack, st.just(False), codes_of(reason_codes.CONNACK_CODES), OF_CONNACK),
    st.builds(
        mqtt5.Subscribe, IDS, st.lists(WANTED, min_size=1, max_size=4).map(tuple), OF_SUBSCRIBE
    ),
    st.builds(mqtt5.Suback, IDS, some_codes(reason_codes.SUBACK_CODES), OF_ACK),
    st.builds(
        mqtt5.Unsubscribe, IDS, st.lists(FILTERS, min_size=1, max_size=4).map(tuple), OF_UNSUBSCRIBE
    ),
    st.builds(mqtt5.Unsuback, IDS, some_codes(reason_codes.UNSUBACK_CODES), OF_ACK),
    st.sampled_from([mqtt5.Pingreq(), mqtt5.Pingresp(), mqtt5.Auth(ReasonCode.SUCCESS)]),
    st.builds(mqtt5.Disconnect, codes_of(reason_codes.DISCONNECT_CODES), OF_DISCONNECT),
    st.builds(mqtt5.Auth, codes_of(reason_codes.AUTH_CODES), OF_AUTH),
)

_USER = (("k", "v"), ("k", ""))
_MESSAGE = mqtt5.PublishProperties(1, 60, "re", b"\x01\x02", "text/plain", _USER)
#: One of each kind, with every property that it can have.
EXAMPLES = (
    mqtt5.Connect(
        client_id="c1",
        clean_session=False,
        keep_alive_s=60,
        will=mqtt5.Will("w/t", b"gone", 1, True, 5, _MESSAGE),
        username="u",
        password=b"p",
        level=5,
        properties=mqtt5.ConnectProperties(10, 20, 4096, 8, True, False, "m", b"d", _USER),
    ),
    mqtt5.Connack(
        False,
        ReasonCode.NOT_AUTHORIZED,
        mqtt5.ConnackProperties(
            *(10, 20, 1, False, 4096, "made-up", 8, "why", False, False, False, 30, "ri", "ref"),
            *("m", b"d", _USER),
        ),
    ),
    mqtt5.Publish(
        "a/b", b"payload", 1, True, True, 7, _MESSAGE._replace(subscription_ids=(1, 300))
    ),
    mqtt5.Publish("a/b", b"payload"),
    mqtt5.Puback(7),
    mqtt5.Puback(7, ReasonCode.QUOTA_EXCEEDED),
    *(
        kind(7, ReasonCode.SUCCESS, mqtt5.AckProperties("why", _USER))
        for kind in (mqtt5.Puback, mqtt5.Pubrec, mqtt5.Pubrel, mqtt5.Pubcomp)
    ),
    mqtt5.Subscribe(
        7,
        (Filter("a/#", 1, True, True, 2), Filter("$share/g/b", 0)),
        mqtt5.SubscribeProperties(300, _USER),
    ),
    mqtt5.Suback(7, (ReasonCode.GRANTED_QOS_1, ReasonCode.NOT_AUTHORIZED)),
    mqtt5.Unsubscribe(7, ("a/#", "b"), mqtt5.UnsubscribeProperties(_USER)),
    mqtt5.Unsuback(7, (ReasonCode.SUCCESS, ReasonCode.NO_SUBSCRIPTION_EXISTED)),
    mqtt5.Pingreq(),
    mqtt5.Pingresp(),
    mqtt5.Disconnect(),
    mqtt5.Disconnect(
        ReasonCode.SESSION_TAKEN_OVER, mqtt5.DisconnectProperties(0, "why", "ref", _USER)
    ),
    mqtt5.Auth(ReasonCode.CONTINUE_AUTHENTICATION, mqtt5.AuthProperties("m", b"d", "why", _USER)),
)


def typed(packets):
    """Tuples compare equal across types; packets and properties must not."""
    return [(type(each), each, type(getattr(each, "properties", None))) for each in packets]
