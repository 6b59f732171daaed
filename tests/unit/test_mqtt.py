"""One listener, two versions: which one a client speaks, and what is said to it in which."""

from __future__ import annotations

import pytest

from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt, mqtt3, mqtt5
from isthmus.wire.malformed import UnsupportedProtocol
from isthmus.wire.mqtt5 import ReasonCode

V3 = mqtt3.encode(mqtt3.Connect("c3")) + mqtt3.encode_publish("a", b"x", qos=1, packet_id=7)
V5 = mqtt5.encode(mqtt5.Connect("c5", level=5)) + mqtt5.encode_publish(
    "a", b"x", qos=1, packet_id=7, topic_alias=1
)


@pytest.mark.parametrize(("data", "level"), [(V3, 4), (V5, 5)])
def test_the_connect_names_the_version_wherever_it_is_split(data, level):
    for split in range(len(data) + 1):
        decoder = mqtt.ServerDecoder(topic_alias_max=8)
        connect, publish = decoder.feed(data[:split]) + decoder.feed(data[split:])
        assert decoder.level == connect.level == level
        assert connect.client_id == f"c{level - (level == 4)}"
        assert publish == mqtt5.Publish("a", b"x", 1, packet_id=7)


def test_it_is_unknown_until_the_level_has_come():
    assert [mqtt.protocol_level(V5[:size]) for size in range(12)] == [0] * 9 + [5] * 3
    long = b"\x10\xff\xff\x01\x00\x04MQTT\x05"
    assert [mqtt.protocol_level(long[:size]) for size in range(12)] == [0] * 11 + [5]


@pytest.mark.parametrize(
    ("name", "level"), [(b"MQTT", 3), (b"MQTT", 6), (b"MQTT", 0x85), (b"MQIsdp", 3), (b"MQIsdp", 5)]
)
def test_another_version_is_told_apart(name, level):
    decoder = mqtt.ServerDecoder()
    with pytest.raises(UnsupportedProtocol) as raised:
        decoder.feed(b"\x10\x20\x00" + bytes((len(name),)) + name + bytes((level,)))
    assert (raised.value.level, raised.value.reason_code) == (level, 0x84)
    with pytest.raises(MalformedPacket, match="what follows"):
        decoder.feed(V5)


@pytest.mark.parametrize(
    "data",
    [
        b"\xc0",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1",
        b"\x11",
        b"\x10\x00",
        b"\x10\x09",
        b"\x10\xff\xff\xff\xff",
        b"\x10\x20\x00\x05",
        b"\x10\x20\x00\x04HTTP\x05",
        b"\x10\x20\x01",
    ],
)
def test_what_is_no_connect_is_refused_as_soon_as_it_can_be_told(data):
    with pytest.raises(MalformedPacket):
        mqtt.ServerDecoder().feed(data)
    decoder = mqtt.ServerDecoder()
    with pytest.raises(MalformedPacket):
        [decoder.feed(data[index : index + 1]) for index in range(len(data))]


def test_another_client_is_told_what_it_can_read():
    said = mqtt.farewell(UnsupportedProtocol("MQIsdp", 3), level=0, accepted=False)
    assert said == b"\x20\x02\x00\x01"
    said = mqtt.farewell(UnsupportedProtocol("MQTT", 6), level=0, accepted=False)
    assert said == b"\x20\x03\x00\x84\x00"


def test_mqtt_5_is_told_why_and_mqtt_3_is_not():
    error = mqtt5.PacketTooLarge()
    assert mqtt.farewell(error, level=4, accepted=True) == b""
    assert mqtt.farewell(error, level=5, accepted=False) == b"\x20\x03\x00\x95\x00"
    assert mqtt.farewell(error, level=5, accepted=True) == b"\xe0\x01\x95"
    assert mqtt.farewell(MalformedPacket(), level=5, accepted=True) == b"\xe0\x01\x81"


@pytest.mark.parametrize("code", [each for each in ReasonCode if each >= 0x80])
def test_every_reason_has_a_return_code_in_mqtt_3(code):
    (answer,) = mqtt3.Decoder().feed(mqtt.CODECS[4].encode(mqtt3.Connack(False, code)))
    assert 1 <= answer.return_code <= 5
    (answer,) = mqtt3.Decoder().feed(mqtt.CODECS[4].encode(mqtt3.Suback(1, (0, code))))
    assert answer.codes == (0, mqtt3.SUBSCRIPTION_REFUSED)


def test_mqtt_3_never_says_the_opposite_of_what_is_meant():
    """A PUBACK of MQTT 3.1.1 is a promise, whatever the reason in it was to be."""
    with pytest.raises(MalformedPacket, match="cannot refuse"):
        mqtt3.encode_puback(1, ReasonCode.QUOTA_EXCEEDED)
    with pytest.raises(MalformedPacket):
        mqtt3.encode(mqtt5.Disconnect(ReasonCode.SESSION_TAKEN_OVER))
    with pytest.raises(MalformedPacket):
        mqtt3.encode(mqtt5.Auth())


def test_mqtt_3_leaves_out_what_it_has_no_room_for():
    said = mqtt5.PublishProperties(content_type="text/plain")
    publish = mqtt5.Publish("a", b"x", 1, packet_id=7, properties=said)
    assert mqtt3.Decoder().feed(mqtt3.encode(publish)) == [publish._replace(properties=None)]
    assert mqtt3.encode_puback(7, ReasonCode.NO_MATCHING_SUBSCRIBERS) == mqtt3.encode_puback(7)
