"""Real clients on real sockets against a real region: who gets in, and what they may do there."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import paho.mqtt.client as paho
import psutil
import pytest
import pytest_asyncio
from certificates import Strange
from mqtt_wire import CLOSED, Wire
from paho.mqtt.enums import CallbackAPIVersion
from regions import HOME, OTHER, Regions, two_regions, until
from second_gateway import second_gateway, standard_gateway

from isthmus.local import bring_up
from isthmus.wire import mqtt3, mqtt5

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLISH_QOS_2 = b"\x34\x0a\x00\x05topic\x00\x01x"
#: Kernel buffers of both ends of a loopback connection, and what the gateway keeps itself.
MEMORY_MAX_BYTES = 64 * 1024**2
GARBAGE_BEFORE_TLS = 8_000
GARBAGE_IN_TLS = 1_000
VERSIONS = (mqtt3, mqtt5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), aws_api=False) as started:
        yield started


# What a device does


async def test_a_device_publishes_subscribes_receives_and_unsubscribes(regions: Regions) -> None:
    name = await regions.device("does-everything")
    topic = regions.topic(name)
    async with regions.client(HOME, name) as wire:
        assert await wire.subscribe(regions.topic(name, "#"), qos=1) == (1,)
        wire.send(mqtt3.Publish(topic, b"first", 0))
        assert await wire.expect(mqtt3.Publish) == mqtt3.Publish(topic, b"first")
        wire.send(mqtt3.Publish(topic, b"second", 1, packet_id=7))
        heard = [await wire.next(), await wire.next()]
        delivered = next(each for each in heard if isinstance(each, mqtt3.Publish))
        assert (delivered.payload, delivered.qos) == (b"second", 1)
        assert mqtt3.Puback(7) in heard
        wire.send(mqtt3.Puback(delivered.packet_id), mqtt3.Unsubscribe(2, (f"{topic[:-9]}#",)))
        assert await wire.expect(mqtt3.Unsuback) == mqtt3.Unsuback(2)
        await wire.publish(topic, b"third", packet_id=8)
        assert await wire.ping() == []
    for region in (HOME, OTHER):
        await until(
            "the lake has it",
            lambda region=region: (
                [row.payload for row in regions.lake(region, name)] == ["first", "second", "third"]
            ),
        )


async def retain(wire: Wire, topic: str, payload: bytes, qos: int = 1) -> None:
    wire.send(mqtt3.Publish(topic, payload, qos, retain=True, packet_id=qos))
    if qos:
        await wire.expect(mqtt3.Puback)


async def recalled(regions: Regions, region: str, name: str, topic_filter: str) -> list[bytes]:
    """What is retained for somebody who subscribes now."""
    async with regions.client(region, name) as wire:
        await wire.subscribe(topic_filter, qos=1)
        return [each.payload for each in await wire.ping() if each.retain]


async def test_a_retained_message_is_there_for_whoever_subscribes_later_in_any_region(
    regions: Regions,
) -> None:
    name = await regions.device("retains")
    topic = regions.topic(name)
    async with regions.client(HOME, name) as wire:
        await wire.subscribe(topic)
        wire.send(mqtt3.Publish(topic, b"first", 1, retain=True, packet_id=1))
        # Whoever is there already gets it as any other message.
        found = {type(each): each for each in (await wire.next(), await wire.next())}
        assert found.keys() == {mqtt3.Publish, mqtt3.Puback}
        assert found[mqtt3.Publish] == mqtt3.Publish(topic, b"first")
    assert await recalled(regions, HOME, name, topic) == [b"first"]

    async def holds(payload: bytes) -> bool:
        return await recalled(regions, OTHER, name, topic) == [payload]

    await until("the other region has it", lambda: holds(b"first"))
    async with regions.client(OTHER, name) as wire:
        await retain(wire, topic, b"second", 0)
    await until("it was replaced", lambda: holds(b"second"))
    # On AWS IoT Core only a filter that is the topic itself is given what is retained.
    for wildcard in ("+", "#"):
        wider = f"{topic.rsplit('/', 1)[0]}/{wildcard}"
        assert await recalled(regions, OTHER, name, wider) == []
    async with regions.client(OTHER, name) as wire:
        await retain(wire, topic, b"")
    assert await recalled(regions, OTHER, name, topic) == []
    await regions.level()


async def test_what_was_retained_is_there_after_the_gateway_and_the_services_were_killed(
    regions: Regions,
) -> None:
    name = await regions.device("retains-for-long")
    topic = regions.topic(name)
    async with regions.client(HOME, name) as wire:
        await retain(wire, topic, b"kept")
        await regions.kill_part(HOME, "services")
        await regions.kill_part(HOME, "gateway")
    await until("it is let in again", lambda: regions.admitted(HOME, name))
    assert await recalled(regions, HOME, name, topic) == [b"kept"]


async def test_a_listener_of_the_standard_dialect_speaks_it(regions: Regions) -> None:
    name = await regions.who_may("speaks-the-standard", "iot:*")
    tls, hostname = regions.tls(regions.identity(name)), regions.system.hostname(HOME)
    async with standard_gateway(regions) as gateway:
        listen = gateway.config.mqtt
        wire = await Wire.open(listen.host, listen.port, tls, hostname)
        assert await wire.connect("", keep_alive_s=0) == 0
        wire.send(mqtt3.Publish("standard/deep/a", b"kept", 1, retain=True, packet_id=1))
        await wire.expect(mqtt3.Puback)
        assert await wire.subscribe("standard/+/#", "standard/deep/a/#") == (0, 0)
        # Each filter that matches recalls it, wildcards and the parent's level too.
        recalled = [await wire.expect(mqtt3.Publish), await wire.expect(mqtt3.Publish)]
        assert recalled == [mqtt3.Publish("standard/deep/a", b"kept", retain=True)] * 2
        wire.send(mqtt3.Publish("standard/deep/a", b"live"))
        assert await wire.expect(mqtt3.Publish) == mqtt3.Publish("standard/deep/a", b"live")
        await wire.abort()


async def test_a_will_may_be_retained(regions: Regions) -> None:
    name = await regions.device("dies-and-is-remembered")
    topic = regions.topic(name)
    async with regions.client(HOME, name, will=mqtt3.Will(topic, b"gone", 1, True)) as wire:
        await wire.abort()

    async def remembered() -> bool:
        return await recalled(regions, HOME, name, topic) == [b"gone"]

    await until("its will is retained", remembered)


async def test_a_denied_publish_closes_the_connection_and_is_not_stored(regions: Regions) -> None:
    name, other = await regions.device("publishes-elsewhere"), await regions.device("neighbour")
    async with regions.client(HOME, name) as wire:
        wire.send(mqtt3.Publish(regions.topic(other), b"denied", 1, packet_id=1))
        wire.send(mqtt3.Publish(regions.topic(name), b"behind it", 1, packet_id=2))
        assert await wire.closed() == []
    async with regions.client(HOME, name) as wire:
        await wire.publish(regions.topic(name), b"later")
    for region in (HOME, OTHER):
        await until("the lake goes on", lambda region=region: bool(regions.lake(region, name)))
        assert [row.payload for row in regions.lake(region, name)] == ["later"]


async def test_a_denied_subscription_is_answered_and_the_others_hold(regions: Regions) -> None:
    name = await regions.device("listens-elsewhere")
    async with regions.client(HOME, name) as wire:
        filters = ("vehicles/neighbour/#", regions.topic(name), "#", "$SYS/#")
        assert await wire.subscribe(*filters) == (0x80, 0, 0x80, 0x80)
        await_own = mqtt3.Publish(regions.topic(name), b"own")
        wire.send(await_own)
        assert await wire.expect(mqtt3.Publish) == await_own


REFUSED: dict[str, Callable[[str], list[bytes]]] = {
    "QoS 2": lambda topic: [mqtt3.encode(mqtt3.Publish(topic, b"x", 2, packet_id=1))],
    "a reserved topic": lambda _: [mqtt3.encode(mqtt3.Publish("$aws/x", b"x", 1, packet_id=1))],
    "a payload above 128 KB": lambda topic: [
        mqtt3.encode(mqtt3.Publish(topic, b"x" * (128 * 1024 + 1), 1, packet_id=1))
    ],
    "a second CONNECT": lambda _: [mqtt3.encode(mqtt3.Connect("again"))],
    "a packet of servers": lambda _: [mqtt3.encode(mqtt3.Pingresp())],
    "a packet above all limits": lambda _: [b"\x30\xff\xff\xff\x7f", b"x" * 200_000],
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_not_supported_is_refused_and_never_acknowledged(
    regions: Regions, case: str
) -> None:
    name = await regions.device("wants-too-much")
    async with regions.client(HOME, name) as wire:
        wire.writer.writelines(REFUSED[case](regions.topic(name)))
        assert await wire.closed() == []
    assert regions.lake(HOME, name) == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"client_id": ""}, 2),
        ({"client_id": "x" * 129}, 2),
        ({"client_id": "another"}, 5),
        ({"client_id": "refused-1", "will": mqtt3.Will("vehicles/another/x", b"x")}, 5),
        ({"client_id": "refused-1", "will": mqtt3.Will("vehicles/refused-1/x", b"", 2)}, 5),
    ],
)
async def test_a_refused_connect_says_why_and_ends(
    regions: Regions, fields: dict[str, object], code: int
) -> None:
    await regions.register(["refused-1", "another"])
    fields = dict(fields)
    async with regions.wire(HOME, "refused-1") as wire:
        assert await wire.connect(str(fields.pop("client_id")), **fields) == code
        assert await wire.closed() == []


async def test_a_client_of_mqtt_3_1_is_told_that_its_version_is_not_spoken(
    regions: Regions,
) -> None:
    await regions.device("speaks-3-1")
    async with regions.wire(HOME, "speaks-3-1") as wire:
        wire.writer.write(b"\x10\x18\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x0aspeaks-3-1")
        assert await wire.expect(mqtt3.Connack) == mqtt3.Connack(False, 1)
        assert await wire.closed() == []


# Takeover and wills


async def test_a_second_connection_takes_over_its_client_id(regions: Regions) -> None:
    name = await regions.device("twice")
    async with regions.client(HOME, name) as older, regions.client(HOME, name) as newer:
        assert await older.closed() == []
        await newer.publish(regions.topic(name))


@pytest.mark.parametrize("ends_with", ["a reset", "a takeover", "a refused packet", "DISCONNECT"])
async def test_a_will_is_published_unless_the_client_says_goodbye(
    regions: Regions, ends_with: str
) -> None:
    name = await regions.device(f"leaves-with-{ends_with.split()[-1]}")
    watcher = await regions.device(f"watches-{name}")
    topic = regions.topic(name, "gone")
    await regions.register([watcher])
    async with regions.client(HOME, name, will=mqtt3.Will(topic, b"gone", 1)) as wire:
        if ends_with == "a reset":
            await wire.abort()
        elif ends_with == "a refused packet":
            wire.writer.write(PUBLISH_QOS_2)
            await wire.closed()
        elif ends_with == "a takeover":
            async with regions.client(HOME, name) as newer:
                await wire.closed()
                newer.send(mqtt3.Disconnect())
                await newer.closed()
        else:
            wire.send(mqtt3.Disconnect())
            await wire.closed()
    # Whatever was stored before this one is in the lake before it.
    async with regions.client(HOME, name) as wire:
        await wire.publish(regions.topic(name, "last"), b"last")
    await until("the lake has the last", lambda: len(regions.lake(HOME, name)) > 0)
    await until(
        "the lake has the last", lambda: regions.lake(HOME, name)[-1].topic.endswith("last")
    )
    wills = [row for row in regions.lake(HOME, name) if row.topic == topic]
    assert len(wills) == (0 if ends_with == "DISCONNECT" else 1)


# Who is let in


async def test_every_certificate_that_is_not_a_known_active_client_is_refused(
    regions: Regions, tmp_path: Path
) -> None:
    await regions.device("impersonated")
    strange = Strange(regions.system, tmp_path)
    before = await regions.level()
    for how in ("unknown", "self-signed", "expired", "not yet valid", "a server's", "none"):
        identity = strange.identity(how, "impersonated")
        for region in (HOME, OTHER):
            try:
                async with regions.wire(region, identity) as wire:
                    wire.send(mqtt3.Connect("impersonated"))
                    wire.send(
                        mqtt3.Publish(regions.topic("impersonated"), how.encode(), 1, packet_id=1)
                    )
                    said = await wire.closed()
            except OSError:
                said = []
            assert said in ([], [mqtt3.Connack(False, 5)]), how
    assert await regions.level() == before
    assert regions.lake(HOME, "impersonated") == regions.lake(OTHER, "impersonated") == []


@pytest.mark.parametrize("how", ["expired", "not yet valid", "a server's"])
async def test_a_registered_certificate_must_still_be_a_valid_client_certificate(
    regions: Regions, tmp_path: Path, how: str
) -> None:
    strange = Strange(regions.system, tmp_path)
    name = f"registered-{how.split()[-1].rstrip(chr(39) + 's')}"
    identity = strange.identity(how, name)
    await strange.register(regions, name, identity)
    try:
        async with regions.wire(HOME, identity) as wire:
            code = await wire.connect(name)
    except OSError:
        code = CLOSED
    assert code == CLOSED


async def test_a_registered_self_signed_certificate_needs_no_ca(
    regions: Regions, tmp_path: Path
) -> None:
    strange = Strange(regions.system, tmp_path)
    identity = strange.identity("self-signed", "its-own-ca")
    await strange.register(regions, "its-own-ca", identity)
    async with regions.wire(HOME, identity) as wire:
        assert await wire.connect("its-own-ca") == 0
        await wire.publish(regions.topic("its-own-ca"))


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_both_tls_versions_of_today_work(regions: Regions, version: str) -> None:
    name = await regions.device("versions")
    tls = regions.tls(regions.identity(name))
    tls.minimum_version = tls.maximum_version = ssl.TLSVersion[version]
    async with regions.wire(HOME, name, tls) as wire:
        assert wire.writer.get_extra_info("ssl_object").version() == version.replace("_", ".")
        assert await wire.connect(name) == 0
        await wire.publish(regions.topic(name))


async def test_tls_1_1_is_refused(regions: Regions) -> None:
    tls = regions.tls(regions.identity("versions"))
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match="PROTOCOL_VERSION"):
        async with regions.wire(HOME, "versions", tls):
            raise AssertionError("TLS 1.1 was accepted")


async def test_the_server_certificate_verifies_for_every_name_of_the_region(
    regions: Regions,
) -> None:
    await regions.device("verifies")
    host, _ = regions.place(HOME)
    for name in (regions.system.stable_name, regions.system.hostname(HOME), host):
        async with regions.wire(HOME, "verifies", name=name) as wire:
            assert await wire.connect("verifies") == 0
    with pytest.raises(ssl.SSLCertVerificationError):
        async with regions.wire(HOME, "verifies", name=regions.system.hostname(OTHER)):
            raise AssertionError("a region may not speak for another one")


# Bounds


async def test_more_than_a_hundred_unacknowledged_publishes_are_acknowledged_in_order(
    regions: Regions,
) -> None:
    name = await regions.device("in-a-hurry")
    async with regions.client(HOME, name) as wire:
        wire.send(
            *(
                mqtt3.Publish(regions.topic(name), b"x" * 200, 1, packet_id=n)
                for n in range(1, 3001)
            )
        )
        answers = [(await wire.expect(mqtt3.Puback)).packet_id for _ in range(3000)]
    assert answers == list(range(1, 3001))


async def test_a_client_that_never_reads_is_cut_off_and_costs_no_memory(regions: Regions) -> None:
    deaf, loud = await regions.device("never-reads"), await regions.device("loud")
    await regions.device("never-reads")
    topic = regions.topic(deaf)
    gateway = psutil.Process(regions.system.pids(HOME)[f"{HOME}-gateway"])
    host, port = regions.place(HOME)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, port))
    reader, writer = await asyncio.open_connection(
        sock=sock,
        ssl=regions.tls(regions.identity(deaf)),
        server_hostname=regions.system.hostname(HOME),
        limit=1024,
    )
    wire = Wire(reader, writer)
    assert await wire.connect(deaf) == 0
    assert await wire.subscribe(topic, qos=1) == (1,)
    before = gateway.memory_info().rss
    for packet_id in range(1, 61):
        # It talks, and never listens: what it hears is what it says. Of QoS 0 it would be given
        # no more than its socket takes (test_shedding.py).
        talk = mqtt3.Publish(topic, b"x" * 120_000, 1, packet_id=packet_id)
        writer.write(mqtt3.encode(talk))
        if writer.transport.is_closing():
            break
    async with regions.client(HOME, loud) as other:

        async def cut_off() -> bool:
            await other.publish(regions.topic(loud))
            status = await regions.status(HOME)
            return writer.transport.is_closing() or status["gateways"][0]["connections"] < 2

        await until("the client is cut off", cut_off)
    assert gateway.memory_info().rss - before < MEMORY_MAX_BYTES
    await wire.abort()


# Garbage


def garbage(rng: random.Random, *, after_connect: bool = False) -> bytes:
    """Random bytes, or a packet with something wrong in it."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 200))
    first = bytes([rng.choice((0x10, 0x30, 0x32, 0x82, 0xA2, 0xC0, 0xE0, rng.randrange(256)))])
    body = rng.randbytes(rng.randrange(0, 60))
    if kind == 1:
        return first + rng.randbytes(4) + body
    if kind == 2 or after_connect:
        return first + bytes([len(body)]) + body
    connect = mqtt3.Connect("garbage", username="x", password=b"y")
    packet = bytearray(rng.choice(VERSIONS).encode(connect))
    packet[rng.randrange(len(packet))] = rng.randrange(256)
    return bytes(packet)


async def at_once(count: int, work: Callable[[random.Random], object], width: int = 16) -> None:
    """Run some work so often, with chance that can be repeated."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            async with asyncio.timeout(30):
                await work(random.Random(number))

    await asyncio.gather(*(worker() for _ in range(width)))


async def until_closed(wire: Wire, sent: bytes) -> None:
    """Say something and goodbye, and read until the gateway has closed."""
    try:
        wire.writer.write(sent)
        if wire.writer.can_write_eof():
            wire.writer.write_eof()
            while await wire.reader.read(4096):
                pass
    except OSError:
        pass


async def test_ten_thousand_pieces_of_garbage_have_no_effect(regions: Regions) -> None:
    name = await regions.device("talks-garbage")
    host, port = regions.place(HOME)
    tls, stranger = regions.tls(regions.identity(name)), regions.tls(regions.identity("unknown"))
    # What clients of other tests leave behind may still be on its way.
    others = {each for each in await regions.level() if each.startswith("session")}

    async def items() -> dict[str, str]:
        return {name: at for name, at in (await regions.level()).items() if name not in others}

    ended = list(regions.ended)
    before, pid = await items(), regions.system.pids(HOME)[f"{HOME}-gateway"]
    rows = len(regions.lake(HOME, name, raw=True))

    async def before_tls(rng: random.Random) -> None:
        wire = await Wire.open(host, port, None, "")
        prefix = b"\x16\x03\x01" if rng.random() < 0.5 else b""
        await until_closed(wire, prefix + garbage(rng))
        await wire.abort()

    async def before_connect(rng: random.Random) -> None:
        wire = await Wire.open(host, port, stranger, regions.system.hostname(HOME))
        await until_closed(wire, garbage(rng))
        await wire.abort()

    async def after_connect(rng: random.Random) -> None:
        wire = await Wire.open(host, port, tls, regions.system.hostname(HOME))
        wire.writer.write(rng.choice(VERSIONS).encode(mqtt3.Connect(name)))
        await until_closed(wire, garbage(rng, after_connect=True))
        await wire.abort()

    await at_once(GARBAGE_BEFORE_TLS, before_tls)
    await at_once(GARBAGE_IN_TLS, before_connect)
    await at_once(GARBAGE_IN_TLS, after_connect)

    assert regions.system.pids(HOME)[f"{HOME}-gateway"] == pid
    async with regions.client(HOME, name) as wire:
        await wire.publish(regions.topic(name))
    assert await items() == before
    assert len(regions.lake(HOME, name, raw=True)) <= rows + 1
    assert (await regions.status(HOME))["gateways"][0]["connections"] < 10
    assert regions.ended == ended


# Other people's clients


async def test_paho_publishes_and_receives(regions: Regions) -> None:
    name = await regions.device("paho")
    host, port = regions.place(HOME)
    loop, heard, subscribed = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    received: list[bytes] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv311)
    identity = regions.identity(name)
    client.tls_set(str(regions.system.pki.ca_file), str(identity.certificate), str(identity.key))

    def on_message(_client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        received.append(message.payload)
        loop.call_soon_threadsafe(heard.set)

    client.on_connect = lambda *_: client.subscribe(regions.topic(name), 1)
    client.on_subscribe = lambda *_: loop.call_soon_threadsafe(subscribed.set)
    client.on_message = on_message
    client.connect_async(host, port)
    client.loop_start()
    try:
        async with asyncio.timeout(20):
            await subscribed.wait()
            sent = client.publish(regions.topic(name), b"from paho", 1)
            await heard.wait()
            await until("paho has its acknowledgement", sent.is_published)
    finally:
        client.disconnect()
        client.loop_stop()
        client.on_connect = client.on_subscribe = client.on_message = None
    assert received == [b"from paho"]


async def run(*command: str) -> tuple[int, bytes]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said


@pytest.mark.skipif(
    not shutil.which("mosquitto_pub") or not shutil.which("mosquitto_sub"),
    reason="mosquitto_pub and mosquitto_sub are not installed (apt install mosquitto-clients)",
)
async def test_mosquitto_clients_publish_and_receive(regions: Regions) -> None:
    talker, listener = await regions.device("mosquitto-pub"), "mosquitto-sub"
    everything = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    entry = bring_up.device(regions.system, listener, {}, "everything")
    policy = {"name": "everything", "document": document}
    await regions.operator.register(HOME, [entry], [policy])
    host, port = regions.place(HOME)
    topic = regions.topic(talker)

    def arguments(name: str) -> list[str]:
        found = regions.identity(name)
        files = ["--cafile", str(regions.system.pki.ca_file), "--cert", str(found.certificate)]
        place = ["-h", host, "-p", str(port), "-i", name, "-q", "1"]
        return [*place, *files, "--key", str(found.key)]

    listening = asyncio.create_task(
        run("mosquitto_sub", *arguments(listener), "-t", topic, "-C", "1", "-W", "30")
    )
    while not listening.done():
        assert await run("mosquitto_pub", *arguments(talker), "-t", topic, "-m", "hi") == (0, b"")
    assert await listening == (0, b"hi\n")
    code, _ = await run("mosquitto_pub", *arguments(talker), "-t", "not/its/own", "-m", "no")
    assert code != 0
    await until("the lake has it", lambda: bool(regions.lake(OTHER, talker)))
    assert {row.payload for row in regions.lake(OTHER, talker)} == {"hi"}


# Silence


async def test_who_is_silent_for_one_and_a_half_keep_alives_is_cut_off(regions: Regions) -> None:
    name = await regions.device("falls-silent")
    tls = regions.tls(regions.identity(name))
    async with second_gateway(regions) as gateway:
        listen = gateway.config.mqtt

        async def connects() -> bool:
            wire = await Wire.open(listen.host, listen.port, tls, regions.system.hostname(HOME))
            wires.append(wire)
            # AWS IoT takes no keep-alive below 30 s for less than that.
            return await wire.connect(name, keep_alive_s=5) == 0

        wires: list[Wire] = []
        await until("the second gateway admits it", connects)
        gateway.look(44.0)
        assert await wires[-1].ping() == []
        gateway.look(46.0)
        assert await wires[-1].closed() == []
        for wire in wires:
            await wire.abort()


@pytest.mark.parametrize("how", ["says nothing", "trickles"])
async def test_who_does_not_connect_in_time_is_cut_off(regions: Regions, how: str) -> None:
    name = await regions.device("never-connects")
    tls = regions.tls(regions.identity(name)) if how == "trickles" else None
    async with second_gateway(regions) as gateway:
        listen = gateway.config.mqtt
        wire = await Wire.open(listen.host, listen.port, tls, regions.system.hostname(HOME))
        await until("the gateway has the connection", lambda: len(gateway._connections) == 1)
        held = next(iter(gateway._connections))
        gateway.look(9.0)
        assert held.address != ""
        if how == "trickles":
            gateway.late_s, before = 9.0, held.heard_s
            wire.writer.write(mqtt3.encode(mqtt3.Connect(name))[:1])
            await until("the gateway has heard it", lambda: held.heard_s > before)
        gateway.look(11.0)
        # Of a connection that the gateway has closed it knows no address any more.
        assert held.address == ""
        assert await wire.closed() == []
        await wire.abort()
