"""What is published by no connection is what a device could have published, and is stored so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import publishing
from isthmus.core.dialect import AWS
from isthmus.core.message_properties import EXPIRY_MAX_S, refuse_properties
from isthmus.core.session import PAYLOAD_MAX_BYTES, Session, Store
from isthmus.errors import InputError, MalformedPacket
from isthmus.wire import mqtt, mqtt5
from isthmus.wire.packets import LEVEL_5, Connect, Publish
from isthmus.wire.properties import PublishProperties

TEXT = st.text("a\0é/+#", max_size=9)
PROPERTIES = st.builds(
    PublishProperties,
    payload_format=st.sampled_from([None, 0, 1]),
    message_expiry_s=st.none() | st.integers(0, 2**32 - 1),
    response_topic=st.none() | TEXT,
    correlation_data=st.sampled_from([None, b"", b"x", b"x" * 9000]),
    content_type=st.none() | TEXT | st.just("x" * 300),
    user_properties=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    subscription_ids=st.just(()),
).filter(lambda found: found != PublishProperties())  # as nobody reads them
MESSAGES = st.builds(
    Publish,
    TEXT | st.text("a/", max_size=20) | st.just("$aws/events/x"),
    st.binary(max_size=50),
    st.integers(0, 1),
    retain=st.booleans(),
    dup=st.just(False),
    packet_id=st.just(0),
    # Of which none is empty: then there are none, by either way.
    properties=st.none() | PROPERTIES.filter(lambda each: each != PublishProperties()),
)


class Anything:
    def allows(self, action, resource):
        return True, ""


def as_a_device(message):
    """What is stored of a device's PUBLISH; None where that is refused."""
    decoder = mqtt.ServerDecoder(1024 * 1024)
    decoder.feed(mqtt5.encode(Connect("device", level=LEVEL_5)))
    raw = mqtt5.encode(message._replace(packet_id=message.qos))
    try:
        (packet,) = decoder.feed(raw)
    except MalformedPacket:
        return None
    session = Session("device", Anything(), 60, level=LEVEL_5)
    (action, *_) = session.handle(packet)
    if not isinstance(action, Store):
        return None
    return action.publish._replace(packet_id=0)


def as_asked(message):
    try:
        return publishing.checked(message)
    except InputError:
        return None


@given(MESSAGES)
def test_a_message_is_taken_if_a_device_could_have_published_it(message):
    found, expected = as_asked(message), as_a_device(message)
    response = message.properties.response_topic if message.properties else None
    if expected is not None and response and not AWS.takes_topic(response):
        # Of a device that is its own business.
        assert found is None
    else:
        assert found == expected


@pytest.mark.parametrize(
    "message",
    [
        Publish("a", b"x" * (PAYLOAD_MAX_BYTES + 1)),
        Publish("$aws/things/a/shadow/update", b""),
        Publish("a/+", b""),
        Publish("", b""),
        Publish("a/" * 8, b""),
        Publish("a", b"", properties=PublishProperties(response_topic="a/#")),
        Publish("a", b"", properties=PublishProperties(content_type="\0")),
        Publish("a", b"", properties=PublishProperties(user_properties=(("a", "b" * 9000),))),
    ],
)
def test_what_no_device_could_publish_is_refused(message):
    with pytest.raises(InputError):
        publishing.checked(message)


def test_an_expiry_is_brought_within_bounds():
    given_s = PublishProperties(message_expiry_s=EXPIRY_MAX_S + 1)
    assert publishing.checked(Publish("a", b"", properties=given_s)).properties == (
        PublishProperties(message_expiry_s=EXPIRY_MAX_S)
    )
    assert refuse_properties(given_s) is None


def test_no_client_is_called_so():
    assert publishing.source("id", "key").client.startswith("$")
