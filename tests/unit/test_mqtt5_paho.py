"""The MQTT 5 codec against paho, which most devices use: each reads what the other one writes."""

from __future__ import annotations

import socket

import pytest
from hypothesis import assume, given
from mqtt5_packets import EXAMPLES, OF_CONNACK, OF_CONNECT, OF_DISCONNECT, OF_PUBLISH
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode as PahoCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from isthmus.wire import mqtt, mqtt5, properties, reason_codes
from isthmus.wire.mqtt5 import Filter, ReasonCode

#: Our fields by paho's names, which are the standard's without spaces.
NAMES = {
    "AssignedClientIdentifier": "assigned_client_id",
    "AuthenticationData": "authentication_data",
    "AuthenticationMethod": "authentication_method",
    "ContentType": "content_type",
    "CorrelationData": "correlation_data",
    "MaximumPacketSize": "max_packet_bytes",
    "MaximumQoS": "qos_max",
    "MessageExpiryInterval": "message_expiry_s",
    "PayloadFormatIndicator": "payload_format",
    "ReasonString": "reason",
    "ReceiveMaximum": "receive_max",
    "RequestProblemInformation": "request_problem_info",
    "RequestResponseInformation": "request_response_info",
    "ResponseInformation": "response_info",
    "ResponseTopic": "response_topic",
    "RetainAvailable": "retain_available",
    "ServerKeepAlive": "server_keep_alive_s",
    "ServerReference": "server_reference",
    "SessionExpiryInterval": "session_expiry_s",
    "SharedSubscriptionAvailable": "shared_available",
    "SubscriptionIdentifier": "subscription_ids",
    "SubscriptionIdentifierAvailable": "subscription_ids_available",
    "TopicAliasMaximum": "topic_alias_max",
    "UserProperty": "user_properties",
    "WildcardSubscriptionAvailable": "wildcards_available",
}


class Peer(paho.Client):
    """A paho client on one end of a socket pair, and our server's words on the other."""

    def __init__(self, ours, theirs):
        super().__init__(
            CallbackAPIVersion.VERSION2, "c1", protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        self.ours, self.theirs = ours, theirs
        self.decoder = mqtt.ServerDecoder(topic_alias_max=8)
        self.heard = []
        self.on_connect = lambda *said: self.heard.append(said[2:])
        self.on_message = lambda *said: self.heard.append(said[2])
        self.on_subscribe = self.on_unsubscribe = lambda *said: self.heard.append(said[3:])
        self.on_publish = self.on_disconnect = lambda *said: self.heard.append(said[3:])

    def _create_socket(self):
        return self.theirs

    def says(self):
        """What it has sent; one packet."""
        while self.want_write():
            self.loop_write()
        (packet,) = self.decoder.feed(self.ours.recv(65_536))
        return packet

    def hears(self, packet):
        """What its callbacks were told of a packet of ours."""
        self.ours.sendall(mqtt5.encode(packet))
        self.loop_read()
        heard, self.heard = self.heard, []
        return heard


@pytest.fixture
def peer():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Peer(ours, theirs)


@pytest.fixture
def connected(peer):
    peer.connect("isthmus", keepalive=60)
    peer.says()
    peer.hears(mqtt5.Connack(False, ReasonCode.SUCCESS))
    return peer


def theirs(packet_type, **said):
    written = Properties(packet_type)
    for name, value in said.items():
        setattr(written, name, value)
    return written


def said_by(theirs, kind):
    """Paho's properties as ours."""
    values = {}
    for name, field in NAMES.items():
        if hasattr(theirs, name):
            value = getattr(theirs, name)
            if isinstance(value, list):
                value = tuple(value)
            elif isinstance(kind._field_defaults.get(field), bool):
                value = bool(value)
            values[field] = value
    return kind(**values)


def test_a_connect_with_everything(peer):
    peer.username_pw_set("u", "p")
    will = theirs(
        *(PacketTypes.WILLMESSAGE,),
        WillDelayInterval=5,
        MessageExpiryInterval=60,
        PayloadFormatIndicator=1,
        ContentType="text/plain",
        ResponseTopic="re",
        CorrelationData=b"\1\2",
        UserProperty=[("k", "v"), ("k", "")],
    )
    peer.will_set("w/t", b"gone", qos=1, retain=True, properties=will)
    said = theirs(
        *(PacketTypes.CONNECT,),
        SessionExpiryInterval=10,
        ReceiveMaximum=20,
        MaximumPacketSize=4096,
        TopicAliasMaximum=8,
        RequestResponseInformation=1,
        RequestProblemInformation=0,
        AuthenticationMethod="m",
        AuthenticationData=b"d",
        UserProperty=[("k", "v"), ("k", "")],
    )
    peer.connect("isthmus", keepalive=60, clean_start=False, properties=said)
    assert peer.says() == EXAMPLES[0]
    assert peer.decoder.level == 5


def test_a_connack_with_everything(peer):
    peer.connect("isthmus")
    peer.says()
    ours = EXAMPLES[1].properties
    ((flags, code, said),) = peer.hears(mqtt5.Connack(True, ReasonCode.SUCCESS, ours))
    assert flags.session_present
    assert code == 0
    assert said_by(said, mqtt5.ConnackProperties) == ours


#: Section 3.2.2.2 allows it in CONNACK, for a will; paho's table forgets it.
NOT_PAHOS = {ReasonCode.PAYLOAD_FORMAT_INVALID}


@pytest.mark.parametrize(
    "code", [each for each in reason_codes.CONNACK_CODES.values() if each and each not in NOT_PAHOS]
)
def test_a_connection_is_refused_for_the_reason_that_was_said(peer, code):
    peer.connect("isthmus")
    peer.says()
    heard = peer.hears(mqtt5.Connack(False, code))
    assert heard[0][1].value == code


def test_subscriptions(connected):
    options = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True, retainHandling=2)
    said = theirs(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=300, UserProperty=("k", "v"))
    wanted = [("a/#", options), ("$share/g/b", SubscribeOptions(qos=0))]
    connected.subscribe(wanted, properties=said)
    assert connected.says() == mqtt5.Subscribe(
        1,
        (Filter("a/#", 1, True, True, 2), Filter("$share/g/b")),
        mqtt5.SubscribeProperties(300, (("k", "v"),)),
    )
    answer = mqtt5.Suback(1, (1, 0x87), mqtt5.AckProperties("no", (("k", "v"),)))
    ((codes, heard),) = connected.hears(answer)
    assert [each.value for each in codes] == [1, 0x87]
    assert said_by(heard, mqtt5.AckProperties) == answer.properties
    connected.unsubscribe(["a/#", "b"])
    assert connected.says() == mqtt5.Unsubscribe(2, ("a/#", "b"))
    ((codes, _),) = connected.hears(mqtt5.Unsuback(2, (0, 0x11)))
    assert [each.value for each in codes] == [0, 0x11]


def test_a_publish_of_theirs_and_its_puback(connected):
    message = EXAMPLES[0].will.properties
    said = theirs(
        *(PacketTypes.PUBLISH,),
        MessageExpiryInterval=60,
        PayloadFormatIndicator=1,
        ContentType="text/plain",
        ResponseTopic="re",
        CorrelationData=b"\1\2",
        TopicAlias=3,
        UserProperty=[("k", "v"), ("k", "")],
    )
    connected.publish("a/b", b"x", qos=1, retain=True, properties=said)
    assert connected.says() == mqtt5.Publish("a/b", b"x", 1, True, False, 1, message)
    refusal = mqtt5.AckProperties("too much", (("k", "v"),))
    ((code, heard),) = connected.hears(mqtt5.Puback(1, ReasonCode.QUOTA_EXCEEDED, refusal))
    assert code.value == ReasonCode.QUOTA_EXCEEDED
    assert said_by(heard, mqtt5.AckProperties) == refusal
    short = theirs(PacketTypes.PUBLISH, TopicAlias=3)
    connected.publish("a/b", b"y", qos=1, properties=short)
    assert connected.says() == mqtt5.Publish("a/b", b"y", 1, packet_id=2)
    ((code, _),) = connected.hears(mqtt5.Puback(2))
    assert code.value == 0


def test_a_publish_of_ours_and_their_puback(connected):
    ours = EXAMPLES[2]
    (heard,) = connected.hears(ours)
    assert (heard.topic, heard.payload, heard.qos, heard.mid) == ("a/b", b"payload", 1, 7)
    assert (heard.retain, heard.dup) == (True, True)
    assert said_by(heard.properties, mqtt5.PublishProperties) == ours.properties
    assert connected.says() == mqtt5.Puback(7)


def test_pings_and_both_ways_to_leave(connected):
    connected._send_pingreq()
    assert connected.says() == mqtt5.Pingreq()
    assert connected.hears(mqtt5.Pingresp()) == []
    said = theirs(PacketTypes.DISCONNECT, SessionExpiryInterval=0, ReasonString="bye")
    connected.disconnect(PahoCode(PacketTypes.DISCONNECT, identifier=4), said)
    expected = mqtt5.DisconnectProperties(session_expiry_s=0, reason="bye")
    assert connected.says() == mqtt5.Disconnect(ReasonCode.DISCONNECT_WITH_WILL, expected)


def test_they_are_told_why_they_are_closed(connected):
    ours = mqtt5.Disconnect(
        ReasonCode.SESSION_TAKEN_OVER, mqtt5.DisconnectProperties(reason="another one")
    )
    heard = connected.hears(ours)
    assert heard[0][0].value == ReasonCode.SESSION_TAKEN_OVER
    assert heard[0][1].ReasonString == "another one"


@pytest.mark.parametrize(
    ("packet_type", "allowed"),
    [
        (PacketTypes.CONNACK, reason_codes.CONNACK_CODES),
        (PacketTypes.PUBACK, reason_codes.PUBACK_CODES),
        (PacketTypes.PUBREC, reason_codes.PUBREC_CODES),
        (PacketTypes.PUBREL, reason_codes.PUBREL_CODES),
        (PacketTypes.PUBCOMP, reason_codes.PUBCOMP_CODES),
        (PacketTypes.SUBACK, reason_codes.SUBACK_CODES),
        (PacketTypes.UNSUBACK, reason_codes.UNSUBACK_CODES),
        (PacketTypes.DISCONNECT, reason_codes.DISCONNECT_CODES),
        (PacketTypes.AUTH, reason_codes.AUTH_CODES),
    ],
)
def test_the_tables_of_reason_codes_agree(packet_type, allowed):
    table = PahoCode(PacketTypes.CONNACK).names
    known = {
        number
        for number, names in table.items()
        for kinds in names.values()
        if packet_type in kinds
    }
    assert set(allowed) - known <= (NOT_PAHOS if packet_type == PacketTypes.CONNACK else set())
    assert known <= set(allowed)


@pytest.mark.parametrize(
    ("packet_type", "strategy", "kind"),
    [
        (PacketTypes.CONNECT, OF_CONNECT, mqtt5.ConnectProperties),
        (PacketTypes.CONNACK, OF_CONNACK, mqtt5.ConnackProperties),
        (PacketTypes.PUBLISH, OF_PUBLISH, mqtt5.PublishProperties),
        (PacketTypes.DISCONNECT, OF_DISCONNECT, mqtt5.DisconnectProperties),
    ],
    ids=["CONNECT", "CONNACK", "PUBLISH", "DISCONNECT"],
)
def test_any_properties_of_ours_are_read_by_them(packet_type, strategy, kind):
    @given(strategy)
    def check(ours):
        assume(ours is not None)
        # paho takes this number of four bytes for a variable byte integer.
        assume((getattr(ours, "max_packet_bytes", 0) or 0) <= 268_435_455)
        written = properties.write_properties(ours)
        read, size = Properties(packet_type).unpack(written)
        assert size == len(written)
        assert said_by(read, kind) == ours

    check()
