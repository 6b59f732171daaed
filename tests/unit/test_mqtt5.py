"""The MQTT 5 codec: round trips, chunks, limits, and what the standard calls malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt5_packets import EXAMPLES, PACKETS, TOPICS, typed

from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt, mqtt5
from isthmus.wire.mqtt5 import Filter, ReasonCode
from isthmus.wire.properties import PROPERTIES_MAX_BYTES

MALFORMED, PROTOCOL = ReasonCode.MALFORMED_PACKET, ReasonCode.PROTOCOL_ERROR


def decode(data, **limits):
    return mqtt5.Decoder(**limits).feed(data)


# Round trips


@given(PACKETS)
def test_what_was_written_is_read(packet):
    assert typed(decode(mqtt5.encode(packet))) == typed([packet])


@pytest.mark.parametrize("packet", EXAMPLES, ids=lambda each: type(each).__name__)
def test_the_examples_are_read_as_written(packet):
    assert typed(decode(mqtt5.encode(packet))) == typed([packet])


def test_there_is_an_example_of_every_kind_and_of_every_property():
    assert {type(each) for each in EXAMPLES} == set(mqtt5.Packet.__args__)
    said = [each.properties for each in EXAMPLES if getattr(each, "properties", None)]
    for kind in {type(each) for each in said}:
        fullest = next(each for each in said if type(each) is kind)
        silent = [name for name in kind._fields if getattr(fullest, name) == getattr(kind(), name)]
        assert silent == []


# Chunks


@given(
    st.lists(PACKETS, max_size=5),
    st.lists(st.integers(0, 60)),
    st.sampled_from([bytes, bytearray, memoryview]),
)
def test_any_chunks_give_the_same_packets(packets, sizes, kind):
    data = b"".join(map(mqtt5.encode, packets))
    decoder = mqtt5.Decoder()
    assert typed(feed_in_chunks(decoder, kind(data), sizes)) == typed(packets)
    assert decoder.pending_bytes == 0


def feed_in_chunks(decoder, data, sizes):
    packets = []
    for size in sizes:
        packets += decoder.feed(data[:size])
        data = data[size:]
    return packets + decoder.feed(data)


def test_every_split_point_gives_the_same_packets():
    data = b"".join(map(mqtt5.encode, EXAMPLES))
    for split in range(len(data) + 1):
        decoder = mqtt5.Decoder()
        found = decoder.feed(data[:split]) + decoder.feed(data[split:])
        assert typed(found) == typed(EXAMPLES)
        server = mqtt.ServerDecoder()
        assert typed(server.feed(data[:split]) + server.feed(data[split:])) == typed(EXAMPLES)


def test_byte_by_byte_is_the_same():
    data = b"".join(map(mqtt5.encode, EXAMPLES))
    decoder = mqtt5.Decoder()
    found = [each for index in range(len(data)) for each in decoder.feed(data[index : index + 1])]
    assert typed(found) == typed(EXAMPLES)


# What is not MQTT


def outcome(data, sizes=(), **limits):
    """Packets that mean the same when written again, or a refusal with a code; nothing else."""
    decoder = mqtt5.Decoder(topic_alias_max=8, **limits)
    try:
        packets = feed_in_chunks(decoder, data, sizes)
    except MalformedPacket as error:
        reason = f"{error}: {ReasonCode(error.reason_code).name}"
        with pytest.raises(MalformedPacket, match="what follows"):
            decoder.feed(b"\xc0\x00")
        return reason
    for packet in packets:
        assert typed(decode(mqtt5.encode(packet))) == typed([packet])
    return typed(packets)


@given(st.binary(max_size=80), st.lists(st.integers(0, 10)))
def test_arbitrary_bytes_are_packets_or_malformed_in_any_chunks(data, sizes):
    whole, chunked = outcome(data), outcome(data, sizes)
    assert whole == chunked


@given(st.sampled_from([*mqtt5.Decoder._readers, 0x30, 0x32, 0x3B]), st.binary(max_size=60))
def test_arbitrary_bodies_are_packets_or_malformed(first, body):
    outcome(bytes((first, len(body))) + body)


@given(st.lists(st.integers(0x00, 0x2F), max_size=4), st.binary(max_size=20), st.integers(0, 3))
def test_arbitrary_properties_are_read_or_malformed(identifiers, tail, missing):
    written = b"".join(bytes((each,)) + tail for each in identifiers)
    body = b"\x00\x01a" + bytes((max(0, len(written) - missing),)) + written
    outcome(bytes((0x30, len(body))) + body)


@given(PACKETS, st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4))
def test_mutated_packets_are_packets_or_malformed(packet, changes):
    data = bytearray(mqtt5.encode(packet))
    for position, byte in changes:
        data[position % len(data)] = byte
    outcome(bytes(data))


@pytest.mark.parametrize("packet", EXAMPLES, ids=lambda each: type(each).__name__)
def test_every_byte_may_lie_and_so_every_length(packet):
    data = mqtt5.encode(packet)
    for position, byte in enumerate(data):
        for lie in {0, 1, byte - 1, byte + 1, byte ^ 0x80, 0x7F, 0x80, 0xFF}:
            outcome(data[:position] + bytes((lie & 0xFF,)) + data[position + 1 :])


@pytest.mark.parametrize("packet", EXAMPLES, ids=lambda each: type(each).__name__)
def test_every_packet_that_ends_early_or_late_is_refused_or_means_something_else(packet):
    data = mqtt5.encode(packet)
    start = 2 if data[1] < 0x80 else 3
    body = data[start:]
    for length in range(len(body)):
        assert outcome(frame(data[0], body[:length])) != typed([packet])
    open_ended = isinstance(packet, mqtt5.Publish | mqtt5.Suback | mqtt5.Unsuback)
    if not open_ended and getattr(packet, "properties", None):
        assert isinstance(outcome(frame(data[0], body + b"\x00")), str)


def frame(first, body):
    if len(body) < 0x80:
        return bytes((first, len(body))) + body
    return bytes((first, len(body) & 0x7F | 0x80, len(body) >> 7)) + body


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return len(raw).to_bytes(2, "big") + raw


def packet(first, *parts):
    return frame(first, b"".join(parts))


def props(*parts):
    body = b"".join(parts)
    return bytes((len(body),)) + body


NONE = b"\x00"
ID = b"\x00\x07"
A = text("a")


def publish(*written, first=0x30, topic=A, payload=b""):
    return packet(first, topic, ID if first & 6 else b"", props(*written), payload)


def connect(flags=2, *payload, written=NONE, name="MQTT", level=5):
    return packet(0x10, text(name), bytes((level, flags, 0, 60)), written, *(payload or (A,)))


def subscribe(options=b"\x01", topic_filter=A, written=NONE):
    return packet(0x82, ID, written, topic_filter, options)


REFUSED = {
    "2.1.2 type 0": (b"\x00\x00", MALFORMED),
    "1.5.5 length of five bytes": (b"\x30\xff\xff\xff\xff\x01", MALFORMED),
    "[MQTT-1.5.5-1] length longer than needed": (b"\xc0\x80\x00", MALFORMED),
    "[MQTT-1.5.5-1] property length longer than needed": (
        packet(0x30, A, b"\x80\x00"),
        MALFORMED,
    ),
    "1.5.5 property length of five bytes": (packet(0x30, A, b"\xff\xff\xff\xff\x01"), MALFORMED),
    "[MQTT-1.5.4-1] not UTF-8": (publish(topic=text(b"a\xff")), MALFORMED),
    "[MQTT-1.5.4-1] surrogate": (publish(topic=text(b"\xed\xa0\x80")), MALFORMED),
    "[MQTT-1.5.4-1] overlong": (publish(topic=text(b"\xc0\xaf")), MALFORMED),
    "[MQTT-1.5.4-2] U+0000": (publish(topic=text("a\0b")), MALFORMED),
    "[MQTT-1.5.4-1] in a user property": (publish(b"\x26", A, text(b"\xff")), MALFORMED),
    "[MQTT-1.5.4-2] in a user property": (publish(b"\x26", text("\0"), A), MALFORMED),
    "[MQTT-1.5.4-1] in a content type": (publish(b"\x03", text(b"\xff")), MALFORMED),
    **{
        f"[MQTT-2.1.3-1] flags of 0x{first ^ wrong:02x}": (bytes((first ^ wrong, 0)), MALFORMED)
        for first in mqtt5.Decoder._readers
        for wrong in (1, 2, 4, 8)
    },
    "[MQTT-3.3.1-4] QoS 3": (publish(first=0x36), MALFORMED),
    "[MQTT-3.3.1-2] DUP with QoS 0": (publish(first=0x38), MALFORMED),
    "[MQTT-2.2.1-3] id 0": (packet(0x32, A, b"\0\0", NONE), MALFORMED),
    "PUBACK id 0": (packet(0x40, b"\0\0"), MALFORMED),
    "long PUBACK id 0": (packet(0x40, b"\0\0\0\0"), MALFORMED),
    "2.2.2.2 unknown property": (publish(b"\x7f\0"), MALFORMED),
    "2.2.2.2 property of another packet": (publish(b"\x13\0\1"), MALFORMED),
    "2.2.2.2 topic alias in a will": (
        connect(6, A, props(b"\x23\0\1"), A, A),
        MALFORMED,
    ),
    "2.2.2.2 subscription identifier in a will": (connect(6, A, props(b"\x0b\1"), A, A), MALFORMED),
    "properties longer than the packet": (packet(0x30, A, b"\x20\x23\0\1"), MALFORMED),
    "a property beyond the properties": (packet(0x30, A, b"\x02\x23\0\1"), MALFORMED),
    "a string beyond the properties": (publish(b"\x03\0\3a", payload=b"bcdef"), MALFORMED),
    "a string's length beyond the packet": (publish(b"\x03\0"), MALFORMED),
    "a number beyond the properties": (publish(b"\x02\0\0", payload=b"bcdef"), MALFORMED),
    "a property of no value": (publish(b"\x02"), MALFORMED),
    "3.3.2.3.2 format twice": (publish(b"\1\1\1\1"), PROTOCOL),
    "3.3.2.3.2 format 2": (publish(b"\1\2"), PROTOCOL),
    "3.3.2.3.3 expiry twice": (publish(b"\2\0\0\0\1" * 2), PROTOCOL),
    "3.3.2.3.4 alias twice": (publish(b"\x23\0\1" * 2), PROTOCOL),
    "[MQTT-3.3.2-8] alias 0": (publish(b"\x23\0\0"), ReasonCode.TOPIC_ALIAS_INVALID),
    "[MQTT-3.3.2-9] alias above": (publish(b"\x23\0\x09"), ReasonCode.TOPIC_ALIAS_INVALID),
    "3.3.2.3.4 unknown alias": (publish(b"\x23\0\1", topic=text("")), PROTOCOL),
    "3.3.2.1 neither topic nor alias": (publish(topic=text("")), PROTOCOL),
    "[MQTT-3.3.2-14] response topic with +": (publish(b"\x08", text("+")), MALFORMED),
    "empty response topic": (publish(b"\x08", text("")), MALFORMED),
    "3.3.2.3.8 subscription identifier 0": (publish(b"\x0b\0"), PROTOCOL),
    "[MQTT-3.3.2-2] topic with #": (publish(topic=text("a/#")), MALFORMED),
    "[MQTT-3.3.2-2] aliased topic with +": (publish(b"\x23\0\1", topic=text("+")), MALFORMED),
    "PUBLISH without topic": (packet(0x30, b"\0"), MALFORMED),
    "PUBLISH topic beyond its end": (packet(0x30, b"\0\5a"), MALFORMED),
    "PUBLISH without id": (packet(0x32, A, b"\0"), MALFORMED),
    "PUBLISH without properties": (packet(0x30, A), MALFORMED),
    "QoS 1 PUBLISH without properties": (packet(0x32, A, ID), MALFORMED),
    "[MQTT-3.1.2-1] name": (connect(name="HTTP"), MALFORMED),
    "[MQTT-3.1.2-2] level 4": (connect(level=4), ReasonCode.UNSUPPORTED_PROTOCOL_VERSION),
    "[MQTT-3.1.2-2] level 6": (connect(level=6), ReasonCode.UNSUPPORTED_PROTOCOL_VERSION),
    "[MQTT-3.1.2-3] reserved flag": (connect(3), MALFORMED),
    "[MQTT-3.1.2-11] will QoS without will": (connect(0x0A), MALFORMED),
    "[MQTT-3.1.2-13] will retain without will": (connect(0x22), MALFORMED),
    "[MQTT-3.1.2-12] will QoS 3": (connect(0x1E, A, NONE, A, A), MALFORMED),
    "3.1.2.11.2 session expiry twice": (
        connect(written=props(b"\x11\0\0\0\1" * 2)),
        PROTOCOL,
    ),
    "3.1.2.11.3 receive maximum 0": (connect(written=props(b"\x21\0\0")), PROTOCOL),
    "3.1.2.11.4 maximum packet size 0": (connect(written=props(b"\x27\0\0\0\0")), PROTOCOL),
    "3.1.2.11.6 response information 2": (connect(written=props(b"\x19\2")), PROTOCOL),
    "3.1.2.11.7 problem information 2": (connect(written=props(b"\x17\2")), PROTOCOL),
    "3.1.2.11.10 data without method": (connect(written=props(b"\x16", A)), PROTOCOL),
    "CONNECT without properties": (packet(0x10, text("MQTT"), b"\5\2\0\0"), MALFORMED),
    "CONNECT without client id": (packet(0x10, text("MQTT"), b"\5\2\0\0\0"), MALFORMED),
    "CONNECT with a will and no properties": (connect(6, A), MALFORMED),
    "[MQTT-3.1.3-11] will topic with #": (connect(6, A, NONE, text("#"), A), MALFORMED),
    "[MQTT-3.1.3-12] user name not UTF-8": (connect(0x82, A, text(b"\xff")), MALFORMED),
    "CONNECT with bytes after its end": (connect(2, A, b"x"), MALFORMED),
    "[MQTT-3.2.2-1] CONNACK flags": (packet(0x20, b"\2\0", NONE), MALFORMED),
    "[MQTT-3.2.2-6] refused with a session": (packet(0x20, b"\1\x87", NONE), PROTOCOL),
    "[MQTT-3.2.2-8] CONNACK code": (packet(0x20, b"\0\1", NONE), MALFORMED),
    "3.2.2.3.4 maximum QoS 2": (packet(0x20, b"\0\0", props(b"\x24\2")), PROTOCOL),
    "CONNACK of MQTT 3.1.1": (b"\x20\x02\0\0", MALFORMED),
    "[MQTT-3.4.2-1] PUBACK code": (packet(0x40, ID, b"\1"), MALFORMED),
    "PUBACK with bytes after its end": (packet(0x40, ID, b"\0\0x"), MALFORMED),
    "PUBACK too short": (packet(0x40, b"\1"), MALFORMED),
    "3.4.2.2.2 reason twice": (packet(0x40, ID, b"\0", props(b"\x1f", A, b"\x1f", A)), PROTOCOL),
    "[MQTT-3.6.2-1] PUBREL code": (packet(0x62, ID, b"\x10"), MALFORMED),
    "[MQTT-3.8.3-2] SUBSCRIBE without filter": (packet(0x82, ID, NONE), PROTOCOL),
    "3.8.3.1 QoS 3": (subscribe(b"\3"), PROTOCOL),
    "3.8.3.1 retain handling 3": (subscribe(b"\x30"), PROTOCOL),
    "[MQTT-3.8.3-5] bit 6": (subscribe(b"\x40"), MALFORMED),
    "[MQTT-3.8.3-5] bit 7": (subscribe(b"\x80"), MALFORMED),
    "[MQTT-3.8.3-4] no local and shared": (subscribe(b"\4", text("$share/g/a")), PROTOCOL),
    "3.8.2.1.2 subscription identifier 0": (subscribe(written=props(b"\x0b\0")), PROTOCOL),
    "3.8.2.1.2 subscription identifier twice": (subscribe(written=props(b"\x0b\1" * 2)), PROTOCOL),
    "SUBSCRIBE without options": (subscribe(b""), MALFORMED),
    "[MQTT-4.7.1-1] # not last": (subscribe(topic_filter=text("#/a")), MALFORMED),
    "[MQTT-4.7.1-2] + beside text": (subscribe(topic_filter=text("a+")), MALFORMED),
    "[MQTT-4.7.3-1] empty filter": (subscribe(topic_filter=text("")), MALFORMED),
    **{
        f"[MQTT-4.8.2-1] {bad}": (subscribe(topic_filter=text(bad)), MALFORMED)
        for bad in ("$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#")
    },
    "SUBACK without code": (packet(0x90, ID, NONE), PROTOCOL),
    "[MQTT-3.9.3-2] SUBACK code": (packet(0x90, ID, NONE, b"\3"), MALFORMED),
    "[MQTT-3.10.3-2] UNSUBSCRIBE without filter": (packet(0xA2, ID, NONE), PROTOCOL),
    "[MQTT-3.11.3-2] UNSUBACK code": (packet(0xB0, ID, NONE, b"\1"), MALFORMED),
    "UNSUBACK of MQTT 3.1.1": (packet(0xB0, ID), MALFORMED),
    "PINGREQ with a body": (b"\xc0\1x", MALFORMED),
    "PINGRESP with a body": (b"\xd0\1x", MALFORMED),
    "[MQTT-3.14.2-1] DISCONNECT code": (b"\xe0\1\x01", MALFORMED),
    "DISCONNECT with bytes after its end": (b"\xe0\3\0\0x", MALFORMED),
    "[MQTT-3.15.2-1] AUTH code": (packet(0xF0, b"\1", NONE), MALFORMED),
    "3.15.2.2.2 AUTH without method": (packet(0xF0, b"\x18", NONE), PROTOCOL),
    "3.15.2.1 AUTH without property length": (packet(0xF0, b"\x18"), MALFORMED),
}


@pytest.mark.parametrize("following", [b"", b"\xc0\x00" * 4], ids=["alone", "followed"])
@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED)
def test_refused(data, code, following):
    with pytest.raises(MalformedPacket) as raised:
        decode(data + following, topic_alias_max=8)
    assert raised.value.reason_code == code


@pytest.mark.parametrize("code", [each for each in range(256) if each not in set(ReasonCode)])
def test_a_number_that_is_no_reason_code_is_refused_everywhere(code):
    raw = bytes((code,))
    for data in (
        *(packet(first, ID, raw) for first in (0x40, 0x50, 0x62, 0x70)),
        *(packet(first, ID, NONE, raw) for first in (0x90, 0xB0)),
        *(packet(0x20, b"\0", raw, NONE), packet(0xE0, raw), packet(0xF0, raw, NONE)),
    ):
        with pytest.raises(MalformedPacket):
            decode(data)


# Limits


def test_a_packet_that_will_be_too_large_is_refused_by_its_header():
    decoder = mqtt5.Decoder(max_packet_bytes=100)
    assert decoder.feed(mqtt5.encode_publish("a", b"x" * 94))
    with pytest.raises(mqtt5.PacketTooLarge) as raised:
        decoder.feed(mqtt5.encode_publish("a", b"x" * 95)[:2])
    assert raised.value.reason_code == ReasonCode.PACKET_TOO_LARGE
    with pytest.raises(mqtt5.PacketTooLarge):
        decode(b"\x30\xff\xff\xff\x7f", max_packet_bytes=100)
    with pytest.raises(mqtt5.PacketTooLarge):
        mqtt.ServerDecoder(max_packet_bytes=100).feed(b"\x10\xff\x7f\x00\x04MQTT\x05")


def test_properties_are_bounded_before_they_are_read():
    """A packet of empty ones would else be forty milliseconds of work, before anybody is known."""
    pairs = tuple(("", "") for _ in range(PROPERTIES_MAX_BYTES // 5))
    fitting = mqtt5.PublishProperties(user_properties=pairs)
    assert decode(mqtt5.encode_publish("a", b"", properties=fitting))
    above = mqtt5.PublishProperties(user_properties=(*pairs, ("", "")))
    with pytest.raises(mqtt5.PacketTooLarge, match="properties of"):
        decode(mqtt5.encode_publish("a", b"", properties=above))


@given(st.lists(st.binary(max_size=100), max_size=6))
def test_never_more_than_the_limit_is_kept(chunks):
    for decoder in (mqtt5.Decoder(64), mqtt.ServerDecoder(64)):
        try:
            for chunk in chunks:
                decoder.feed(chunk)
                assert decoder.pending_bytes < 64
        except MalformedPacket:
            assert decoder.pending_bytes < 64


def test_an_illegal_first_byte_is_refused_before_its_body_comes():
    with pytest.raises(MalformedPacket, match=r"2\.1\.3-1"):
        decode(b"\x83\x50")


@pytest.mark.parametrize("size", [4, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_remaining_lengths_at_their_edges(size):
    """Table 1-1 of the standard."""
    data = mqtt5.encode_publish("a", b"x" * (size - 4))
    assert len(decode(data, max_packet_bytes=3_000_000)[0].payload) == size - 4


@pytest.mark.parametrize(
    "write",
    [
        lambda: mqtt5.encode_publish("x" * 65_536, b""),
        lambda: mqtt5.encode(mqtt5.Connect("x" * 65_536)),
        lambda: mqtt5.encode_publish("x", bytes(268_435_456)),
        lambda: mqtt5.encode_puback(1, 0, mqtt5.AckProperties("x" * 65_536)),
    ],
)
def test_what_mqtt_has_no_room_for_is_not_written(write):
    with pytest.raises(MalformedPacket):
        write()


# Topic aliases


def test_an_alias_stands_for_the_topic_it_came_with_last():
    """Section 3.3.2.3.4."""
    wire = [("a", 1), ("", 1), ("b", 2), ("", 1), ("", 2), ("c", 1), ("", 1), ("d", 0), ("", 2)]
    data = b"".join(mqtt5.encode_publish(topic, b"", topic_alias=alias) for topic, alias in wire)
    topics = [each.topic for each in decode(data, topic_alias_max=2)]
    assert topics == ["a", "a", "b", "a", "b", "c", "c", "d", "b"]
    assert all(each.properties is None for each in decode(data, topic_alias_max=2))


@given(TOPICS, st.integers(1, 8))
def test_an_alias_is_no_part_of_the_message(topic, alias):
    said = mqtt5.PublishProperties(message_expiry_s=1)
    data = mqtt5.encode_publish(topic, b"x", properties=said, topic_alias=alias)
    assert decode(data, topic_alias_max=8) == [mqtt5.Publish(topic, b"x", properties=said)]


def test_a_malformed_topic_does_not_become_an_alias_or_the_last_topic():
    decoder = mqtt5.Decoder(topic_alias_max=1)
    with pytest.raises(MalformedPacket):
        decoder.feed(publish(b"\x23\0\1", topic=text("#")))
    assert decoder._aliases == {}


# The standard's own bytes


def test_the_wire_format_is_the_standards():
    # Section 3.1.2.12, figure 3-6: the variable header of a CONNECT.
    packet = mqtt5.Connect(
        *("c", True, 10, mqtt5.Will("t", b"w", 1), "u", b"p", 5),
        mqtt5.ConnectProperties(session_expiry_s=10),
    )
    assert mqtt5.encode(packet) == (
        b"\x10\x20\x00\x04MQTT\x05\xce\x00\x0a\x05\x11\x00\x00\x00\x0a"
        b"\x00\x01c\x00\x00\x01t\x00\x01w\x00\x01u\x00\x01p"
    )
    # Section 3.3.2.4, figure 3-9: of a PUBLISH.
    assert mqtt5.encode_publish("a/b", b"", qos=1, packet_id=10) == (
        b"\x32\x08\x00\x03a/b\x00\x0a\x00"
    )
    # Section 3.8.3, figures 3-20 to 3-22: a SUBSCRIBE.
    assert mqtt5.encode_subscribe(10, (Filter("a/b", 1), Filter("c/d", 2))) == (
        b"\x82\x0f\x00\x0a\x00\x00\x03a/b\x01\x00\x03c/d\x02"
    )
    # Section 3.10.3, figure 3-30: an UNSUBSCRIBE.
    assert mqtt5.encode_unsubscribe(10, ("a/b", "c/d")) == (
        b"\xa2\x0d\x00\x0a\x00\x00\x03a/b\x00\x03c/d"
    )


def test_what_may_be_left_out_is_left_out_and_read_either_way():
    """Sections 3.4.2.1, 3.14.2.1 and 3.15.2.1."""
    assert mqtt5.encode_puback(0x1234) == b"\x40\x02\x12\x34"
    assert mqtt5.encode_puback(7, 0x97) == b"\x40\x03\x00\x07\x97"
    assert mqtt5.encode_disconnect() == b"\xe0\x00"
    assert mqtt5.encode_disconnect(0x8E) == b"\xe0\x01\x8e"
    assert mqtt5.encode(mqtt5.Auth()) == b"\xf0\x00"
    assert mqtt5.encode_connack(True, 0) == b"\x20\x03\x01\x00\x00"
    for short in (b"\x40\x02\0\7", b"\x40\x03\0\7\0", b"\x40\x04\0\7\0\0"):
        assert decode(short) == [mqtt5.Puback(7)]
    for short in (b"\xe0\x00", b"\xe0\x01\0", b"\xe0\x02\0\0"):
        assert decode(short) == [mqtt5.Disconnect()]


def test_strings_are_the_standards():
    """Section 1.5.4: figure 1-2, and a byte order mark is kept [MQTT-1.5.4-3]."""
    assert decode(b"\x30\x08\x00\x05A\xf0\xaa\x9b\x94\x00")[0].topic == "A\U0002a6d4"
    assert decode(publish(topic=text("\ufeffa")))[0].topic == "\ufeffa"


def test_what_says_no_more_than_absence_is_absence():
    said = props(b"\x21\xff\xff", b"\x11\0\0\0\0", b"\x17\1")
    assert decode(connect(written=said))[0].properties is None


def test_an_empty_client_id_and_a_password_alone_are_mqtt_5():
    """Sections 3.1.3.1 [MQTT-3.1.3-6] and 3.1.2.9."""
    (packet,) = decode(connect(0x42, text(""), text(b"token")))
    assert (packet.client_id, packet.username, packet.password) == ("", None, b"token")


def test_user_properties_keep_their_order_and_repetitions():
    """[MQTT-3.3.2-18]"""
    pairs = (("b", "1"), ("a", "2"), ("b", "1"))
    data = mqtt5.encode_publish("t", b"", properties=mqtt5.PublishProperties(user_properties=pairs))
    assert decode(data)[0].properties.user_properties == pairs
