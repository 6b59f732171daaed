"""MQTT 5 on real sockets against a real region: paho, and our codec where paho is too polite."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import paho.mqtt.client as paho
import pytest
import pytest_asyncio
from mqtt_wire import Wire, Wire5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from regions import HOME, OTHER, Regions, two_regions, until
from second_gateway import Second, second_gateway

from isthmus.protocol import Route
from isthmus.wire import mqtt5
from isthmus.wire.mqtt5 import ReasonCode
from isthmus.wire.properties import PublishProperties

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWER_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), aws_api=False) as started:
        yield started


class Peer:
    """A paho client, and what its callbacks were told, in the order of the events."""

    def __init__(self, regions: Regions, name: str, client_id: str, version: int) -> None:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=version, reconnect_on_failure=False
        )
        identity = regions.identity(name)
        files = (str(identity.certificate), str(identity.key))
        client.tls_set(str(regions.system.pki.ca_file), *files)
        self.client = client
        loop, self._heard = asyncio.get_running_loop(), asyncio.Queue[tuple[str, Any]]()

        def tell(what: str, heard: object) -> None:
            loop.call_soon_threadsafe(self._heard.put_nowait, (what, heard))

        client.on_connect = lambda *said: tell("connected", said[3:])
        client.on_disconnect = lambda *said: tell("disconnected", said[3].value)
        client.on_subscribe = lambda *said: tell("subscribed", [each.value for each in said[3]])
        client.on_publish = lambda *said: tell("acknowledged", said[2])
        client.on_message = lambda *said: tell("message", said[2])

    async def hears(self, what: str) -> Any:
        """The next event, which must be of this kind."""
        async with asyncio.timeout(ANSWER_S):
            kind, heard = await self._heard.get()
        assert kind == what, (kind, heard)
        return heard

    async def subscribe(self, topic_filter: str, **options: Any) -> None:
        if options:
            self.client.subscribe(topic_filter, options=SubscribeOptions(qos=1, **options))
        else:
            self.client.subscribe(topic_filter, 1)
        assert await self.hears("subscribed") == [1]

    async def publish(self, topic: str, payload: bytes, **properties: Any) -> None:
        """Publish at QoS 1, and wait for the PUBACK."""
        said = theirs(**properties) if properties else None
        number = self.client.publish(topic, payload, 1, properties=said).mid
        assert await self.hears("acknowledged") == number


def theirs(packet_type: int = PacketTypes.PUBLISH, **said: Any) -> Properties:
    written = Properties(packet_type)
    for name, value in said.items():
        setattr(written, name, value)
    return written


@asynccontextmanager
async def peer(
    regions: Regions,
    name: str,
    *,
    version: int = paho.MQTTv5,
    client_id: str | None = None,
    keep_alive_s: int = 60,
) -> AsyncIterator[Peer]:
    """A connected paho client; ``connack`` holds its reason code and properties."""
    found = Peer(regions, name, name if client_id is None else client_id, version)
    found.client.connect_async(*regions.place(HOME), keepalive=keep_alive_s)
    found.client.loop_start()
    try:
        found.connack = await found.hears("connected")
        assert found.connack[0].value == 0
        yield found
    finally:
        found.client.disconnect()
        found.client.loop_stop()


@asynccontextmanager
async def wire(regions: Regions, name: str, gateway: Second | None = None) -> AsyncIterator[Wire5]:
    """A TLS connection without its CONNECT yet."""
    place = regions.place(HOME)
    if gateway:
        place = gateway.config.mqtt.host, gateway.config.mqtt.port
    tls = regions.tls(regions.identity(name))
    opened = await Wire5.open(*place, tls, regions.system.hostname(HOME))
    try:
        yield opened
    finally:
        await opened.abort()


async def rows_of(regions: Regions, region: str, name: str, count: int, *, raw: bool) -> list[Any]:
    await until(
        f"the lake of {region} has {count} of {name}",
        lambda: len(regions.lake(region, name, raw=True)) >= count,
    )
    return regions.lake(region, name, raw=raw)


# What a device does


async def test_paho_is_told_what_is_there_and_what_is_not(regions: Regions) -> None:
    name = await regions.device("asks-for-little")
    async with peer(regions, name, keep_alive_s=5) as found:
        granted = found.connack[1]
        assert granted.ServerKeepAlive == 30
        assert granted.MaximumQoS == 1
        assert (granted.ReceiveMaximum, granted.TopicAliasMaximum) == (100, 8)
        assert granted.MaximumPacketSize == 146 * 1024
        assert granted.SessionExpiryInterval == 0
        # It is only said of what is not there, section 3.2.2.3.13.
        assert not hasattr(granted, "SharedSubscriptionAvailable")
        assert granted.SubscriptionIdentifierAvailable == 0


async def test_a_client_without_a_name_is_given_one(regions: Regions) -> None:
    name = await regions.who_may("nameless", "iot:*")
    async with peer(regions, name, client_id="") as found:
        assigned = found.connack[1].AssignedClientIdentifier
        await found.publish("any/topic", b"x")
    (row,) = await rows_of(regions, HOME, assigned, 1, raw=False)
    assert row.client == assigned != name


async def test_a_message_reaches_another_client_with_its_properties(regions: Regions) -> None:
    talker = await regions.who_may("talks-5", "iot:*")
    listener = await regions.who_may("listens-5", "iot:*")
    pairs = [("k", "v"), ("k", ""), ("unit", "°C")]
    async with peer(regions, talker) as talking, peer(regions, listener) as listening:
        await listening.subscribe("five/requests")
        await talking.subscribe("five/answers")
        await talking.publish(
            "five/requests",
            b'{"t": 1}',
            ContentType="application/json",
            ResponseTopic="five/answers",
            CorrelationData=b"\0\xff",
            PayloadFormatIndicator=1,
            MessageExpiryInterval=3600,
            UserProperty=pairs,
        )
        request = await listening.hears("message")
        assert (request.payload, request.qos) == (b'{"t": 1}', 1)
        assert request.properties.UserProperty == pairs
        assert request.properties.ContentType == "application/json"
        assert request.properties.PayloadFormatIndicator == 1
        assert 3500 < request.properties.MessageExpiryInterval <= 3600
        # The answer goes where the request says, with what it came with.
        await listening.publish(
            request.properties.ResponseTopic,
            b"done",
            CorrelationData=request.properties.CorrelationData,
        )
        answer = await talking.hears("message")
        assert (answer.topic, answer.payload) == ("five/answers", b"done")
        assert answer.properties.CorrelationData == b"\0\xff"
    for region in (HOME, OTHER):
        (row,) = await rows_of(regions, region, talker, 1, raw=False)
        assert (row.content_type, row.response_topic) == ("application/json", "five/answers")
        assert base64.b64decode(row.correlation_data_base64) == b"\0\xff"
        assert row.user_properties == tuple(pairs)


async def test_both_versions_talk_to_each_other(regions: Regions) -> None:
    old = await regions.who_may("speaks-3-1-1", "iot:*")
    new = await regions.who_may("speaks-5", "iot:*")
    async with (
        peer(regions, old, version=paho.MQTTv311) as three,
        peer(regions, new) as five,
    ):
        await three.subscribe("both/to-3")
        await five.subscribe("both/to-5")
        await five.publish("both/to-3", b"from 5", ContentType="text/plain")
        assert (await three.hears("message")).payload == b"from 5"
        await three.publish("both/to-5", b"from 3")
        heard = await five.hears("message")
        assert (heard.payload, heard.properties.isEmpty()) == (b"from 3", True)


async def test_a_client_does_not_hear_itself_where_it_does_not_want_to(regions: Regions) -> None:
    name = await regions.who_may("talks-to-itself", "iot:*")
    other = await regions.device("talks-to-it")
    topic = regions.topic(other)
    async with peer(regions, name) as found, regions.client(HOME, other) as talking:
        await found.subscribe(topic, noLocal=True)
        await found.publish(topic, b"its own")
        await talking.publish(topic, b"another's")
        assert (await found.hears("message")).payload == b"another's"
        # With a second subscription that matches it does, once.
        await found.subscribe("vehicles/+/telemetry")
        found.client.publish(topic, b"heard", 1)
        heard = {(await found._heard.get())[0] for _ in range(2)}
        assert heard == {"acknowledged", "message"}


async def test_the_identity_of_a_message_collapses_its_repeats_in_the_lake(
    regions: Regions,
) -> None:
    name = await regions.device("repeats-itself")
    topic = regions.topic(name)
    for number, identity in enumerate(("one", "two", "one")):
        async with peer(regions, name) as found:
            payload = json.dumps({"attempt": number}).encode()
            await found.publish(topic, payload, UserProperty=[("isthmus-id", identity)])
    for region in (HOME, OTHER):
        raw = await rows_of(regions, region, name, 3, raw=True)
        assert [row.id for row in raw] == ["one", "two", "one"]
        # No two payloads are equal: nothing but the identity tells the repeat.
        assert [row.id for row in regions.lake(region, name)] == ["one", "two"]
        assert raw[2].maybe_dup_of == raw[0].position


async def test_a_topic_alias_stands_for_its_topic(regions: Regions) -> None:
    name = await regions.device("abbreviates")
    topic = regions.topic(name)
    async with wire(regions, name) as found:
        assert await found.connect(name) == 0
        first = mqtt5.encode_publish(topic, b"1", qos=1, packet_id=1, topic_alias=8)
        second = mqtt5.encode_publish("", b"2", qos=1, packet_id=2, topic_alias=8)
        found.writer.write(first + second)
        assert [(await found.expect(mqtt5.Puback)).packet_id for _ in range(2)] == [1, 2]
        found.writer.write(mqtt5.encode_publish(topic, b"3", qos=1, packet_id=3, topic_alias=9))
        assert await found.closed() == [mqtt5.Disconnect(ReasonCode.TOPIC_ALIAS_INVALID)]
    rows = await rows_of(regions, HOME, name, 2, raw=True)
    assert [(row.topic, row.payload) for row in rows] == [(topic, "1"), (topic, "2")]


# Why a connection ends


async def test_a_second_connection_takes_over_and_the_first_is_told(regions: Regions) -> None:
    name = await regions.device("twice-5")
    async with peer(regions, name) as older, peer(regions, name) as newer:
        assert await older.hears("disconnected") == ReasonCode.SESSION_TAKEN_OVER
        await newer.publish(regions.topic(name), b"x")


async def test_a_denied_publish_is_told_and_not_stored(regions: Regions) -> None:
    name, other = await regions.device("goes-too-far"), await regions.device("its-neighbour")
    async with peer(regions, name) as found:
        found.client.publish(regions.topic(other), b"denied", 1)
        assert await found.hears("disconnected") == ReasonCode.NOT_AUTHORIZED
    async with peer(regions, name) as found:
        await found.publish(regions.topic(name), b"allowed")
    (row,) = await rows_of(regions, HOME, name, 1, raw=True)
    assert row.payload == "allowed"


async def test_who_is_revoked_is_told_and_then_refused(regions: Regions) -> None:
    name = await regions.device("revoked-5")
    async with peer(regions, name) as found:
        await regions.operator.revoke(HOME, regions.identity(name).certificate_id)
        assert await found.hears("disconnected") == ReasonCode.NOT_AUTHORIZED
    async with wire(regions, name) as found:
        assert await found.connect(name) == ReasonCode.NOT_AUTHORIZED
        assert await found.closed() == []


async def test_whose_rights_change_is_told(regions: Regions) -> None:
    name = await regions.who_may("unwelcome-5", "iot:*")
    async with peer(regions, name) as found:
        await regions.who_may(name, "iot:Publish")
        assert await found.hears("disconnected") == ReasonCode.NOT_AUTHORIZED


REFUSED: dict[str, tuple[mqtt5.Packet, ReasonCode]] = {
    "QoS 2": (mqtt5.Publish("{}", b"", 2, packet_id=1), ReasonCode.QOS_NOT_SUPPORTED),
    "a long identity": (
        mqtt5.Publish(
            "{}", b"", properties=PublishProperties(user_properties=(("isthmus-id", "x" * 129),))
        ),
        ReasonCode.QUOTA_EXCEEDED,
    ),
    "a second CONNECT": (mqtt5.Connect("again", level=5), ReasonCode.PROTOCOL_ERROR),
    "a packet of servers": (mqtt5.Pingresp(), ReasonCode.PROTOCOL_ERROR),
    "a subscription identifier": (
        mqtt5.Subscribe(1, (mqtt5.Filter("t"),), mqtt5.SubscribeProperties(1)),
        ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_not_supported_is_told_and_never_acknowledged(
    regions: Regions, case: str
) -> None:
    name = await regions.device("wants-too-much-5")
    packet, code = REFUSED[case]
    if isinstance(packet, mqtt5.Publish):
        packet = packet._replace(topic=regions.topic(name))
    async with wire(regions, name) as found:
        assert await found.connect(name) == 0
        found.send(packet)
        assert await found.closed() == [mqtt5.Disconnect(code)]
    assert regions.lake(HOME, name) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x30\xff\xff\xff\x7f", ReasonCode.PACKET_TOO_LARGE),
        (b"\x36\x00", ReasonCode.MALFORMED_PACKET),
        (b"\xe0\x01\x7f", ReasonCode.MALFORMED_PACKET),
    ],
)
async def test_what_cannot_be_read_is_told(regions: Regions, data: bytes, code: int) -> None:
    name = await regions.device("mumbles")
    async with wire(regions, name) as found:
        assert await found.connect(name) == 0
        found.writer.write(data)
        assert await found.closed() == [mqtt5.Disconnect(code)]


async def test_a_subscription_that_is_not_allowed_leaves_the_others(regions: Regions) -> None:
    name = await regions.device("shares")
    async with wire(regions, name) as found:
        assert await found.connect(name) == 0
        shared = f"$share/g/{regions.topic(name)}"
        codes = await found.subscribe(shared, regions.topic(name), "vehicles/other/#")
        assert codes == (0x87, 0, 0x87)


async def test_a_gateway_says_why_it_lets_its_clients_go(regions: Regions) -> None:
    names = [await regions.device(f"let-go-{n}") for n in range(3)]
    silent, drained, stopped = names
    async with second_gateway(regions) as gateway:

        async def connected(name: str) -> Wire:
            async def connects() -> bool:
                opened.append(await stack.enter_async_context(wire(regions, name, gateway)))
                return await opened[-1].connect(name) == 0

            opened: list[Wire] = []
            await until("the second gateway admits it", connects)
            return opened[-1]

        async with contextlib.AsyncExitStack() as stack:
            found = await connected(silent)
            gateway.look(1.5 * 1200 + 1)
            assert await found.closed() == [mqtt5.Disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT)]

            found = await connected(drained)
            await gateway._drain(Route(regions.system.stable_name, 1, OTHER))
            assert await found.closed() == [mqtt5.Disconnect(ReasonCode.USE_ANOTHER_SERVER)]

            found = await connected(stopped)
            await gateway.stop()
            assert await found.closed() == [mqtt5.Disconnect(ReasonCode.SERVER_SHUTTING_DOWN)]


@pytest.mark.parametrize(("code", "is_published"), [(0x00, False), (0x04, True)])
async def test_a_will_has_its_properties_and_may_be_asked_for(
    regions: Regions, code: int, is_published: bool
) -> None:
    name = await regions.device(f"leaves-with-{code}")
    topic = regions.topic(name, "gone")
    properties = PublishProperties(content_type="text/plain", user_properties=(("why", "left"),))
    will = mqtt5.Will(topic, b"gone", 1, delay_s=5, properties=properties)
    async with wire(regions, name) as found:
        assert await found.connect(name, will=will) == 0
        found.send(mqtt5.Disconnect(code))
        assert await found.closed() == []
    async with wire(regions, name) as found:
        assert await found.connect(name) == 0
        await found.publish(regions.topic(name), b"last")
    rows = await rows_of(regions, HOME, name, 1 + is_published, raw=True)
    wills = [row for row in rows if row.topic == topic]
    assert len(wills) == is_published
    for row in wills:
        assert (row.content_type, row.user_properties) == ("text/plain", (("why", "left"),))
