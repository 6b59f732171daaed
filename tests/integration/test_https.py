"""MQTT on the port of HTTPS: by ALPN and over WebSocket, by other people's clients."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import paho.mqtt.client as paho
import psutil
import pytest
import pytest_asyncio
from certificates import Strange
from listener_clients import Paho, dialled, websocket
from mqtt_wire import Wire
from regions import HOME, Regions, two_regions, until
from second_gateway import free_place, second_gateway

from isthmus.config import Listen
from isthmus.local import foreground
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALPN = "x-amzn-mqtt-ca"
GARBAGE = 500
#: What a gateway may have grown by after all of it; most is the allocator's.
MEMORY_MAX_BYTES = 16 * 1024**2
UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), aws_api=False) as started:
        yield started


def place(regions: Regions, service: str = "https") -> Listen:
    address = regions.system.address(HOME)
    return Listen(host=address.host, port=address.ports[service])


def tls_of(regions: Regions, name: str | None, *alpn: str) -> ssl.SSLContext:
    context = regions.tls(regions.identity(name) if name else None)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


# By ALPN


@pytest.mark.parametrize("service", ["https", "mqtt"])
async def test_paho_speaks_mqtt_where_it_asks_for_it_by_alpn(
    regions: Regions, service: str
) -> None:
    name = await regions.device(f"alpn-{service}")
    tls = tls_of(regions, name, ALPN)
    async with Paho(name, place(regions, service), tls) as client:
        await client.echo(regions.topic(name))


async def test_without_a_certificate_mqtt_is_refused_there_too(regions: Regions) -> None:
    name = await regions.device("alpn-nobody")
    async with dialled(place(regions), tls_of(regions, None, ALPN)) as wire:
        wire.send(mqtt3.Connect(name))
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
            await wire.reader.read(100)


async def test_a_certificate_that_is_not_registered_is_refused_on_every_way(
    regions: Regions, tmp_path: Path
) -> None:
    await regions.device("impersonated")
    strange = Strange(regions.system, tmp_path)
    tls = regions.tls(strange.identity("unknown", "impersonated"))
    async with websocket(place(regions), tls) as socket:
        assert await socket.connect("impersonated") == 5
    # Another one: about the first the region was just asked.
    tls = regions.tls(strange.identity("unknown", "impersonated"))
    tls.set_alpn_protocols([ALPN])
    async with dialled(place(regions), tls) as wire:
        assert await wire.connect("impersonated") == 5


async def test_who_speaks_nothing_of_ours_is_told_so(regions: Regions) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        async with dialled(place(regions), tls_of(regions, None, "h2", "mqtt")):
            pass


async def test_where_it_is_stands_in_the_ready_file(regions: Regions) -> None:
    assert foreground._region(regions.system, HOME)["mqtt_https"] == str(place(regions))


# Over WebSocket


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])
async def test_paho_speaks_mqtt_over_websocket(regions: Regions, version: int) -> None:
    name = await regions.device(f"websocket-{version}")
    tls = tls_of(regions, name)
    async with Paho(name, place(regions), tls, transport="websockets", protocol=version) as client:
        await client.echo(regions.topic(name), b"x" * 100_000)


async def test_packets_and_frames_have_nothing_to_do_with_each_other(regions: Regions) -> None:
    name = await regions.device("frames")
    topic = regions.topic(name)
    async with websocket(place(regions), tls_of(regions, name, "http/1.1"), compress=15) as socket:
        # It was offered, and not taken.
        assert socket.frames.compress == 0
        assert socket.frames.protocol == "mqtt"
        for byte in mqtt3.encode(mqtt3.Connect(name)):
            await socket.frames.send_bytes(bytes([byte]))
        assert await socket.next() == mqtt3.Connack(False, 0)
        await socket.frames.ping(b"are you there")
        answer = await socket.frames.receive()
        assert (answer.type, bytes(answer.data)) == (aiohttp.WSMsgType.PONG, b"are you there")
        await socket.send(
            mqtt3.Subscribe(1, (mqtt3.Filter(topic, 0),)),
            mqtt3.Publish(topic, b"one", 1, packet_id=2),
            mqtt3.Publish(topic, b"two", 1, packet_id=3),
        )
        assert await socket.next() == mqtt3.Suback(1, (0,))
        heard = [await socket.next() for _ in range(4)]
        assert [each for each in heard if isinstance(each, mqtt3.Puback)] == [
            mqtt3.Puback(2),
            mqtt3.Puback(3),
        ]
        assert [each.payload for each in heard if isinstance(each, mqtt3.Publish)] == [
            b"one",
            b"two",
        ]


async def test_without_a_certificate_there_is_no_websocket_yet(regions: Regions) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with websocket(place(regions), tls_of(regions, None)):
            pass
    assert refused.value.status == 403
    assert (await asked(regions, UPGRADE))[1] == b"a client certificate is needed\n"


async def asked(regions: Regions, request: bytes, name: str | None = None) -> tuple[int, bytes]:
    """Ask something in HTTP; returns the status and the body of the answer, which is the end."""
    async with dialled(place(regions), tls_of(regions, name)) as wire:
        wire.writer.write(request)
        head, _, body = (await wire.reader.read()).partition(b"\r\n\r\n")
        found = re.match(rb"HTTP/1\.1 (\d+) ", head)
        assert found, head
        return int(found[1]), body


async def test_all_other_http_is_answered_and_closed(regions: Regions) -> None:
    name = await regions.device("browses")
    assert (await asked(regions, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 403
    assert (await asked(regions, b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 426
    assert (await asked(regions, b"GET /mqtt HTTP/1.1\r\n\r\n"))[0] == 400
    assert (await asked(regions, UPGRADE + UPGRADE, name))[0] == 400
    assert (await asked(regions, b"GET /" + b"x" * 20_000))[0] == 431
    async with aiohttp.ClientSession() as session:
        address = f"https://{place(regions)}/mqtt"
        async with session.post(address, data=b"x", ssl=tls_of(regions, name)) as answer:
            assert answer.status == 400


@pytest.mark.parametrize(("sent", "code"), [("text", 1003), ("denied", 1000)])
async def test_who_breaks_a_rule_is_told_by_a_close_frame(
    regions: Regions, sent: str, code: int
) -> None:
    name, other = await regions.device(f"breaks-{sent}"), await regions.device("not-its-own")
    async with websocket(place(regions), tls_of(regions, name)) as socket:
        assert await socket.connect(name) == 0
        if sent == "text":
            await socket.frames.send_str("MQTT")
        else:
            await socket.send(mqtt3.Publish(regions.topic(other), b"x", 1, packet_id=1))
        assert await socket.next() is None
        assert socket.frames.close_code == code


@pytest.mark.parametrize("ends_with", ["a close", "DISCONNECT", "a reset", "a text"])
async def test_a_will_is_published_unless_mqtt_or_the_websocket_says_goodbye(
    regions: Regions, ends_with: str
) -> None:
    name = await regions.device(f"leaves-by-{ends_with.split()[-1]}")
    topic = regions.topic(name, "gone")
    tls = tls_of(regions, name)
    async with websocket(place(regions), tls) as socket:
        assert await socket.connect(name, will=mqtt3.Will(topic, b"gone", 1)) == 0
        if ends_with == "a close":
            await socket.frames.close()
        elif ends_with == "DISCONNECT":
            await socket.send(mqtt3.Disconnect())
            assert await socket.next() is None
        elif ends_with == "a text":
            await socket.frames.send_str("MQTT")
            assert await socket.next() is None
        else:
            socket.abort()
    # Whatever was stored before this one is in the lake before it.
    async with regions.client(HOME, name) as wire:
        await wire.publish(regions.topic(name, "last"), b"last")
    last = regions.topic(name, "last")
    await until(
        "the lake has the last", lambda: last in [row.topic for row in regions.lake(HOME, name)]
    )
    wills = [row for row in regions.lake(HOME, name) if row.topic == topic]
    assert len(wills) == (0 if ends_with in ("a close", "DISCONNECT") else 1)


# Bounds


@pytest.mark.parametrize("sent", [b"", UPGRADE[:30], UPGRADE])
async def test_who_does_not_connect_in_time_is_cut_off(regions: Regions, sent: bytes) -> None:
    name = await regions.device("takes-its-time")
    listen = free_place(place(regions).host)
    async with (
        second_gateway(regions, https=listen) as gateway,
        dialled(listen, tls_of(regions, name)) as wire,
    ):
        (held,) = gateway._connections
        wire.writer.write(sent)
        if sent == UPGRADE:
            await wire.reader.readuntil(b"\r\n\r\n")
        gateway.look(9.0)
        assert held.address != ""
        gateway.look(11.0)
        assert held.address == ""
        assert await wire.closed() == []


def broken_request(rng: random.Random) -> bytes:
    """A request with something wrong in it, or bytes that are none."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.randrange(1, 400))
    request = bytearray(UPGRADE)
    where = rng.randrange(len(request))
    request[where : where + rng.randrange(4)] = rng.randbytes(rng.randrange(4))
    return bytes(request) + b"\r\n\r\n"


def broken_frame(rng: random.Random) -> bytes:
    """Random bytes, or a head that promises something."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.randrange(1, 400))
    head = bytes([rng.choice((0x82, 0x02, 0x80, 0x00, 0x81, 0x88, 0x89, 0xC2, rng.randrange(256)))])
    length = rng.choice((b"\x85", b"\x05", b"\xfe\xff\xff", b"\xff" + rng.randbytes(8)))
    return head + length + rng.randbytes(rng.randrange(0, 300))


#: What follows garbage, so that the gateway closes whatever that was.
UNTIL_CLOSED = {
    "TLS": bytes(20_000),
    "HTTP": b"x" * 20_000,
    "frames": b"\x81\x80mask" * 12_000,
}


async def test_garbage_on_every_layer_has_no_effect_and_costs_no_memory(regions: Regions) -> None:
    name = await regions.device("talks-garbage")
    listen, hostname = place(regions), regions.system.hostname(HOME)
    anybody, known = tls_of(regions, None), tls_of(regions, name)
    pid = regions.system.pids(HOME)[f"{HOME}-gateway"]
    # What clients of other tests leave behind may still be on its way.
    others = {each for each in await regions.level() if each.startswith("session")}

    async def items() -> dict[str, str]:
        return {name: at for name, at in (await regions.level()).items() if name not in others}

    gateway, before = psutil.Process(pid), await items()

    async def say(rng: random.Random, layer: str) -> None:
        tls = {"TLS": None, "HTTP": anybody, "frames": known}[layer]
        wire = await Wire.open(listen.host, listen.port, tls, hostname if tls else "")
        try:
            if layer == "frames":
                wire.writer.write(UPGRADE)
                await wire.reader.readuntil(b"\r\n\r\n")
                wire.writer.write(broken_frame(rng))
            else:
                wire.writer.write(broken_request(rng))
            wire.writer.write(UNTIL_CLOSED[layer])
            await wire.reader.read()
        except OSError:
            pass
        finally:
            await wire.abort()

    async def work(numbers: list[int], layer: str) -> None:
        for number in numbers:
            async with asyncio.timeout(30):
                await say(random.Random(number), layer)

    async def everything(count: int) -> None:
        for layer in ("TLS", "HTTP", "frames"):
            numbers = list(range(count))
            await asyncio.gather(*(work(numbers[n::16], layer) for n in range(16)))

    await everything(GARBAGE // 10)
    grown = -gateway.memory_info().rss
    await everything(GARBAGE)
    grown += gateway.memory_info().rss
    assert grown < MEMORY_MAX_BYTES
    assert regions.system.pids(HOME)[f"{HOME}-gateway"] == pid
    async with websocket(listen, known) as socket:
        assert await socket.connect(name) == 0
    assert await items() == before
    assert regions.lake(HOME, name) == []
    assert regions.ended == []
