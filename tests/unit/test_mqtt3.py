"""The MQTT 3.1.1 codec: round trips, chunks, limits, and what the standard calls malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt3

IDS = st.integers(1, 0xFFFF)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
TOPICS = st.text(
    st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=60
)
FILTERS = st.one_of(TOPICS, st.sampled_from(["#", "+", "a/+/b/#", "/+"]))
PAYLOADS = st.one_of(st.binary(max_size=300), st.sampled_from([b"x" * 16_400, b"y" * 127]))
QOS = st.integers(0, 2)
# Only what MQTT 3.1.1 has room for: hypothesis would fill in a named tuple's defaults.
PLAIN = {"properties": st.none()}
WANTED = st.tuples(FILTERS, QOS).map(lambda pair: mqtt3.Filter(*pair))
WILLS = st.builds(mqtt3.Will, TOPICS, st.binary(max_size=50), QOS, st.booleans())


def connect(credentials, **fields):
    username, password = credentials
    return mqtt3.Connect(username=username, password=password, **fields)


CREDENTIALS = st.one_of(
    st.just((None, None)), st.tuples(TEXT, st.one_of(st.none(), st.binary(max_size=50)))
)
PACKETS = st.one_of(
    st.builds(
        mqtt3.Publish,
        TOPICS,
        PAYLOADS,
        st.just(0),
        st.booleans(),
        st.just(False),
        st.just(0),
        **PLAIN,
    ),
    st.builds(
        mqtt3.Publish,
        TOPICS,
        PAYLOADS,
        st.integers(1, 2),
        st.booleans(),
        st.booleans(),
        IDS,
        **PLAIN,
    ),
    IDS.map(mqtt3.Puback),
    st.builds(
        connect,
        CREDENTIALS,
        client_id=TEXT,
        clean_session=st.booleans(),
        keep_alive_s=st.integers(0, 0xFFFF),
        will=st.one_of(st.none(), WILLS),
    ),
    st.builds(mqtt3.Connack, st.booleans(), st.just(0)),
    st.builds(mqtt3.Connack, st.just(False), st.integers(1, 5)),
    st.builds(mqtt3.Subscribe, IDS, st.lists(WANTED, min_size=1).map(tuple)),
    st.builds(mqtt3.Suback, IDS, st.lists(st.sampled_from([0, 1, 2, 0x80]), min_size=1).map(tuple)),
    st.builds(mqtt3.Unsubscribe, IDS, st.lists(FILTERS, min_size=1).map(tuple)),
    *(st.builds(kind, IDS) for kind in (mqtt3.Unsuback, mqtt3.Pubrec, mqtt3.Pubrel, mqtt3.Pubcomp)),
    st.sampled_from([mqtt3.Pingreq(), mqtt3.Pingresp(), mqtt3.Disconnect()]),
)


def typed(packets):
    """Tuples compare equal across types; packets must not."""
    return [(type(packet), packet) for packet in packets]


def feed_in_chunks(decoder, data, sizes):
    packets = []
    for size in sizes:
        packets += decoder.feed(data[:size])
        data = data[size:]
    return packets + decoder.feed(data)


@given(PACKETS)
def test_what_was_written_is_read(packet):
    assert typed(mqtt3.Decoder().feed(mqtt3.encode(packet))) == typed([packet])


@given(
    st.lists(PACKETS, max_size=6),
    st.lists(st.integers(0, 40)),
    st.sampled_from([bytes, memoryview]),
)
def test_any_chunks_give_the_same_packets(packets, sizes, kind):
    data = b"".join(map(mqtt3.encode, packets))
    decoder = mqtt3.Decoder()
    assert typed(feed_in_chunks(decoder, kind(data), sizes)) == typed(packets)
    assert decoder.pending_bytes == 0


@given(PACKETS)
def test_byte_by_byte_is_the_same(packet):
    data = mqtt3.encode(packet)
    decoder = mqtt3.Decoder()
    found = [each for index in range(len(data)) for each in decoder.feed(data[index : index + 1])]
    assert typed(found) == typed([packet])


PLAUSIBLE = st.one_of(
    st.binary(max_size=100),
    st.tuples(PACKETS, st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4)).map(
        lambda mutation: mutate(*mutation)
    ),
)


def mutate(packet, changes):
    data = bytearray(mqtt3.encode(packet))
    for position, byte in changes:
        data[position % len(data)] = byte
    return bytes(data)


@given(st.lists(PLAUSIBLE, max_size=6))
def test_any_bytes_are_packets_or_malformed_and_never_kept_beyond_the_limit(chunks):
    decoder = mqtt3.Decoder(max_packet_bytes=64)
    try:
        for chunk in chunks:
            for packet in decoder.feed(chunk):
                assert len(mqtt3.encode(packet)) <= 64
            assert decoder.pending_bytes < 64
    except MalformedPacket:
        with pytest.raises(MalformedPacket, match="what follows"):
            decoder.feed(b"\xc0\x00")


@given(st.binary(max_size=60), st.lists(st.integers(0, 10)))
def test_the_same_bytes_are_refused_in_any_chunks(data, sizes):
    assert outcome(data, []) == outcome(data, sizes)


def outcome(data, sizes):
    try:
        feed_in_chunks(mqtt3.Decoder(), data, sizes)
    except MalformedPacket as error:
        return str(error)
    return "packets"


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return len(raw).to_bytes(2, "big") + raw


def packet(first, *parts):
    body = b"".join(parts)
    return bytes((first, len(body))) + body


def connect_bytes(flags, *payload, name="MQTT", level=4):
    return packet(0x10, text(name), bytes((level, flags, 0, 60)), *payload)


ID = b"\x00\x07"
MALFORMED = {
    "2.2.1 type 0": b"\x00\x00",
    "2.2.1 type 15": b"\xf0\x00",
    "2.2.3 length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "[MQTT-1.5.3-1] not UTF-8": packet(0x30, text(b"a\xff")),
    "[MQTT-1.5.3-1] surrogate": packet(0x30, text(b"\xed\xa0\x80")),
    "[MQTT-1.5.3-1] overlong": packet(0x30, text(b"\xc0\xaf")),
    "[MQTT-1.5.3-2] U+0000 in a topic": packet(0x30, text("a\0b")),
    "[MQTT-1.5.3-2] U+0000 in a client id": connect_bytes(2, text("a\0")),
    "[MQTT-2.2.2-2] CONNECT flags": b"\x11" + connect_bytes(2, text("a"))[1:],
    "[MQTT-2.2.2-2] CONNACK flags": packet(0x21, b"\0\0"),
    "[MQTT-2.2.2-2] PUBACK flags": packet(0x42, ID),
    "[MQTT-2.2.2-2] PUBREC flags": packet(0x51, ID),
    "[MQTT-3.6.1-1] PUBREL flags": packet(0x60, ID),
    "[MQTT-2.2.2-2] PUBCOMP flags": packet(0x71, ID),
    "[MQTT-3.8.1-1] SUBSCRIBE flags": packet(0x80, ID, text("a"), b"\0"),
    "[MQTT-2.2.2-2] SUBACK flags": packet(0x91, ID, b"\0"),
    "[MQTT-3.10.1-1] UNSUBSCRIBE flags": packet(0xA0, ID, text("a")),
    "[MQTT-2.2.2-2] UNSUBACK flags": packet(0xB1, ID),
    "[MQTT-2.2.2-2] PINGREQ flags": b"\xc1\x00",
    "[MQTT-2.2.2-2] PINGRESP flags": b"\xd8\x00",
    "[MQTT-3.14.1-1] DISCONNECT flags": b"\xe2\x00",
    "[MQTT-2.3.1-1] PUBLISH id 0": packet(0x32, text("a"), b"\0\0"),
    "[MQTT-2.3.1-1] PUBACK id 0": packet(0x40, b"\0\0"),
    "[MQTT-2.3.1-1] SUBSCRIBE id 0": packet(0x82, b"\0\0", text("a"), b"\0"),
    "[MQTT-2.3.1-1] UNSUBSCRIBE id 0": packet(0xA2, b"\0\0", text("a")),
    "[MQTT-3.1.2-1] protocol name": connect_bytes(2, text("a"), name="HTTP"),
    "[MQTT-3.1.2-2] level 5": connect_bytes(2, text("a"), level=5),
    "[MQTT-3.1.2-3] reserved flag": connect_bytes(3, text("a")),
    "[MQTT-3.1.2-11] will QoS without will": connect_bytes(0x0A, text("a")),
    "[MQTT-3.1.2-15] will retain without will": connect_bytes(0x22, text("a")),
    "[MQTT-3.1.2-14] will QoS 3": connect_bytes(0x1E, text("a"), text("t"), text("")),
    "[MQTT-3.1.2-22] password without user name": connect_bytes(0x42, text("a"), text("p")),
    "[MQTT-3.1.3-1] no will payload": connect_bytes(0x06, text("a"), text("t")),
    "[MQTT-3.1.3-10] will topic with a wildcard": connect_bytes(6, text("a"), text("+"), text("")),
    "[MQTT-3.1.3-11] user name not UTF-8": connect_bytes(0x82, text("a"), text(b"\xff")),
    "CONNECT without client id": connect_bytes(2),
    "CONNECT with bytes after its end": connect_bytes(2, text("a"), b"x"),
    "[MQTT-3.2.2-4] refused with a session": packet(0x20, b"\x01\x05"),
    "3.2.2.1 reserved CONNACK flags": packet(0x20, b"\x02\x00"),
    "3.2.2.3 reserved return code": packet(0x20, b"\x00\x06"),
    "[MQTT-3.3.1-2] DUP with QoS 0": packet(0x38, text("a")),
    "[MQTT-3.3.1-4] QoS 3": packet(0x36, text("a"), ID),
    "[MQTT-3.3.2-2] topic with #": packet(0x30, text("a/#")),
    "[MQTT-3.3.2-2] topic with +": packet(0x30, text("+")),
    "[MQTT-4.7.3-1] empty topic": packet(0x30, text("")),
    "PUBLISH without topic": packet(0x30, b"\0"),
    "PUBLISH topic beyond its end": packet(0x30, b"\0\x05a"),
    "PUBLISH without id": packet(0x32, text("a"), b"\0"),
    "PUBACK too short": packet(0x40, b"\x01"),
    "PUBACK with bytes after its end": packet(0x40, ID, b"x"),
    "[MQTT-3.8.3-1] filter not UTF-8": packet(0x82, ID, text(b"\xff"), b"\0"),
    "[MQTT-3.8.3-3] SUBSCRIBE without filter": packet(0x82, ID),
    "[MQTT-3.8.3-4] QoS 3": packet(0x82, ID, text("a"), b"\x03"),
    "[MQTT-3.8.3-4] reserved QoS bits": packet(0x82, ID, text("a"), b"\x11"),
    "SUBSCRIBE without QoS": packet(0x82, ID, text("a")),
    "[MQTT-4.7.1-2] # not last": packet(0x82, ID, text("#/a"), b"\0"),
    "[MQTT-4.7.1-3] + beside text": packet(0x82, ID, text("a+"), b"\0"),
    "[MQTT-4.7.3-1] empty filter": packet(0x82, ID, text(""), b"\0"),
    "[MQTT-3.9.3-2] reserved SUBACK code": packet(0x90, ID, b"\x03"),
    "SUBACK without code": packet(0x90, ID),
    "[MQTT-3.10.3-2] UNSUBSCRIBE without filter": packet(0xA2, ID),
    "UNSUBACK with bytes after its end": packet(0xB0, ID, b"x"),
    "PINGREQ with a body": b"\xc0\x01x",
    "PINGRESP with a body": b"\xd0\x01x",
    "DISCONNECT with a body": b"\xe0\x01x",
}


@pytest.mark.parametrize("following", [b"", b"\xc0\x00" * 4], ids=["alone", "followed"])
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed(data, following):
    with pytest.raises(MalformedPacket) as raised:
        mqtt3.Decoder().feed(data + following)
    assert not isinstance(raised.value, mqtt3.PacketTooLarge)


@pytest.mark.parametrize(
    ("name", "level"), [("MQTT", 5), ("MQTT", 0x84), ("MQIsdp", 3), ("MQIsdp", 4)]
)
def test_another_version_is_told_apart(name, level):
    with pytest.raises(mqtt3.UnsupportedProtocol) as raised:
        mqtt3.Decoder().feed(connect_bytes(2, b"anything", name=name, level=level))
    assert raised.value.level == level


def test_a_packet_that_will_be_too_large_is_refused_by_its_header():
    decoder = mqtt3.Decoder(max_packet_bytes=100)
    assert decoder.feed(mqtt3.encode_publish("a", b"x" * 95))
    with pytest.raises(mqtt3.PacketTooLarge):
        decoder.feed(mqtt3.encode_publish("a", b"x" * 96)[:2])
    with pytest.raises(mqtt3.PacketTooLarge):
        mqtt3.Decoder(max_packet_bytes=100).feed(b"\x30\xff\xff\xff\x7f")


def test_an_illegal_first_byte_is_refused_before_its_body_comes():
    with pytest.raises(MalformedPacket, match=r"MQTT-2.2.2-2"):
        mqtt3.Decoder().feed(b"\x83\x50")


def test_a_byte_order_mark_is_kept():
    """[MQTT-1.5.3-3]"""
    assert mqtt3.Decoder().feed(packet(0x30, text("\ufeffa")))[0].topic == "\ufeffa"


def test_the_wire_format_is_the_standards():
    assert mqtt3.encode_puback(0x1234) == b"\x40\x02\x12\x34"
    assert mqtt3.encode_connack(True, 0) == b"\x20\x02\x01\x00"
    assert mqtt3.encode(mqtt3.Connect("c", keep_alive_s=10)) == (
        b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01c"
    )
    assert mqtt3.encode_publish("a/b", b"hi", qos=1, dup=True, retain=True, packet_id=10) == (
        b"\x3b\x09\x00\x03a/b\x00\x0ahi"
    )
    assert (
        mqtt3.encode_subscribe(10, (mqtt3.Filter("a/b", 1),)) == b"\x82\x08\x00\x0a\x00\x03a/b\x01"
    )
    assert mqtt3.encode_suback(10, (1, 0x80)) == b"\x90\x04\x00\x0a\x01\x80"


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_remaining_lengths_at_their_edges(size):
    """Table 2.4 of the standard."""
    data = mqtt3.encode_publish("a", b"x" * max(0, size - 3))
    decoder = mqtt3.Decoder(max_packet_bytes=3_000_000)
    assert len(decoder.feed(data)[0].payload) == max(0, size - 3)


@pytest.mark.parametrize(
    "write",
    [
        lambda: mqtt3.encode_publish("x" * 65_536, b""),
        lambda: mqtt3.encode(mqtt3.Connect("x" * 65_536)),
        lambda: mqtt3.encode(mqtt3.Connect("x", password=b"no user name")),
        lambda: mqtt3.encode_publish("x", bytes(268_435_456)),
    ],
)
def test_what_mqtt_has_no_room_for_is_not_written(write):
    with pytest.raises(MalformedPacket):
        write()
