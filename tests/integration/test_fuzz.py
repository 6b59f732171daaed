"""Bytes that no client would send, before and after it is let in: of both versions of MQTT.

They are given to connections of a real gateway as its socket would give them. Whatever they are,
no exception leaves the connection, what is kept of them is bounded, nobody has an effect who is not
let in, and the gateway goes on serving everybody else.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psutil
import pytest
import pytest_asyncio
from mqtt5_packets import EXAMPLES
from mqtt_wire import Wire
from regions import HOME, Regions, two_regions, until
from second_gateway import Second, second_gateway

from isthmus.core.connecting import PACKET_MAX_BYTES
from isthmus.gateway.connection import Connection
from isthmus.gateway.stream import PlainStream
from isthmus.wire import mqtt3, mqtt5, packets
from isthmus.wire.packets import LEVEL_3, LEVEL_5

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN = "f" * 64
#: By which memory may differ between the first tenth and the end: what was published is on its way.
GROWTH_MAX_BYTES = 64 * 1024**2
WRITTEN_MAX_BYTES = 1024**2
#: Inputs between two turns of the loop, in which what was published is stored.
INPUTS_AT_ONCE = 50
BYTES = (0, 1, 2, 0x7F, 0x80, 0x81, 0xC0, 0xFE, 0xFF)
WORDS = (b"\0\0", b"\0\1", b"\x7f\xff", b"\x80\0", b"\xff\xff", b"\xd8\0", b"\xff\x7f")
LENGTHS = (
    b"\0",
    b"\x7f",
    b"\x80\1",
    b"\xff\x7f",
    b"\xff\xff\x7f",
    b"\xff\xff\xff\x7f",
    b"\x80" * 4,
)


def bases(name: str, topic: str) -> dict[int, list[bytes]]:
    """Every kind of packet, some of which this client may send."""
    will = packets.Will(topic, b"gone", 1)
    of_3: list[packets.Packet] = [
        mqtt3.Connect(name, will=will),
        mqtt3.Connect(name, clean_session=False, username="u", password=b"p"),
        mqtt3.Publish(topic, b"x" * 20),
        mqtt3.Publish(topic, b"x" * 20, 1, packet_id=7),
        mqtt3.Puback(1),
        mqtt3.Subscribe(3, (packets.Filter(topic, 1), packets.Filter(f"$share/g/{topic}", 1))),
        mqtt3.Unsubscribe(4, (topic,)),
        mqtt3.Pingreq(),
        mqtt3.Disconnect(),
    ]
    of_5: list[packets.Packet] = [
        mqtt5.Publish(topic, b"x", 1, packet_id=9, properties=EXAMPLES_PUBLISH),
        mqtt5.Subscribe(3, (packets.Filter(topic, 1, True, True, 2),)),
        mqtt5.Connect(name, level=5, will=will),
        *EXAMPLES,
    ]
    return {
        LEVEL_3: [mqtt3.encode(each) for each in of_3],
        LEVEL_5: [mqtt5.encode(each) for each in of_5],
    }


EXAMPLES_PUBLISH = next(each.properties for each in EXAMPLES if isinstance(each, mqtt5.Publish))


def with_every_length(base: bytes) -> Iterator[bytes]:
    """A packet with each of its bytes, and thereby each part of each length, made another one."""
    for at in range(len(base)):
        for value in {*BYTES, (base[at] - 1) % 256, (base[at] + 1) % 256}:
            yield base[:at] + bytes([value]) + base[at + 1 :]
        for word in WORDS:
            yield base[:at] + word + base[at + 2 :]
        yield base[:at]
    for length in LENGTHS:
        yield base[:1] + length + base[2:]


def mutated(chance: random.Random, known: list[bytes]) -> bytes:
    """A packet after a few accidents."""
    data = bytearray(chance.choice(known))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(data):
                data[at] = chance.choice(BYTES)
            case 2:
                data[at : at + 2] = chance.choice(WORDS)
            case 3:
                del data[at : at + chance.randint(1, 8)]
            case 4:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case 5:
                data[at:at] = chance.choice(known)
            case 6:
                data[1:2] = chance.choice(LENGTHS)
    return bytes(data)


def inputs(count: int, known: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """So many: every length of every packet as far as they reach, and accidents."""
    exhaustive = [each for base in known for each in with_every_length(base)]
    chance.shuffle(exhaustive)
    yield from exhaustive[: count // 2]
    for _ in range(count - min(len(exhaustive), count // 2)):
        if chance.randrange(20):
            yield mutated(chance, known)
        else:
            yield chance.randbytes(chance.randrange(64))


class Transport:
    """What asyncio would do for a socket, and no more of it than is kept here."""

    def __init__(self) -> None:
        self.written = 0
        self.is_closed = self.is_paused = False

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_extra_info(self, _: str) -> Any:
        return ("127.0.0.1", 1)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, **_: int) -> None: ...


class Peer:
    """One connection, which is fed what comes until it is closed."""

    def __init__(self, gateway: Second, principal: str, hello: bytes) -> None:
        self._transport = Transport()
        self._connection = Connection(gateway, PlainStream(principal))
        self._connection.connection_made(self._transport)  # type: ignore[arg-type]
        if hello:
            self._connection.data_received(hello)
        self.is_let_in = self._connection.session is not None

    def feed(self, data: bytes, chance: random.Random) -> bool:
        """Whether it may be fed more."""
        cut = chance.randrange(len(data) + 1)
        for part in (data[:cut], data[cut:]):
            if part and not self._transport.is_closed:
                self._connection.data_received(part)
        self.is_let_in |= self._connection.session is not None
        assert self._connection._decoder.pending_bytes <= PACKET_MAX_BYTES
        assert len(self._connection._held_back) <= PACKET_MAX_BYTES
        assert self._transport.written <= WRITTEN_MAX_BYTES
        return not self._transport.is_closed and not self._transport.is_paused

    def end(self) -> None:
        if not self._transport.is_closed:
            self._connection.close("enough")
        self._connection.connection_lost(None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), aws_api=False) as started:
        yield started


COUNTS = [
    pytest.param(5_000, id="some"),
    pytest.param(250_000, id="a-million", marks=[pytest.mark.nightly, pytest.mark.timeout(3600)]),
]


async def fuzz(
    gateway: Second, principal: str, hello: bytes, known: list[bytes], count: int
) -> int:
    """Feed so many inputs; how many connections were let in."""
    seed = int(os.environ.get("ISTHMUS_FUZZ_SEED", "0")) or random.SystemRandom().randrange(2**32)
    try:
        return await _fuzz(gateway, principal, hello, known, count, random.Random(seed))
    except Exception as error:
        error.add_note(f"ISTHMUS_FUZZ_SEED={seed} does this again")
        raise


async def _fuzz(
    gateway: Second,
    principal: str,
    hello: bytes,
    known: list[bytes],
    count: int,
    chance: random.Random,
) -> int:
    process, peer, let_in, before = psutil.Process(), None, 0, 0
    for number, data in enumerate(inputs(count, known, chance)):
        peer = peer or Peer(gateway, principal, hello)
        if not peer.feed(data, chance):
            let_in += peer.is_let_in
            peer.end()
            peer = None
        if number % INPUTS_AT_ONCE == 0:
            await asyncio.sleep(0)
        if number == count // 10:
            before = process.memory_info().rss
    if peer is not None:
        let_in += peer.is_let_in
        peer.end()
    assert process.memory_info().rss - before < GROWTH_MAX_BYTES
    return let_in


async def still_serves(regions: Regions, gateway: Second, name: str) -> None:
    place, tls = gateway.config.mqtt, regions.tls(regions.identity(name))

    async def serves() -> bool:
        wire = await Wire.open(place.host, place.port, tls, regions.system.hostname(HOME))
        try:
            if await wire.connect(name) != 0:
                return False
            await wire.publish(regions.topic(name), b"after it")
            return True
        finally:
            await wire.abort()

    # Where this process had to wait for long, its gateway has been paused, and catches up first.
    await until(f"{name} is served", serves)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("level", [LEVEL_3, LEVEL_5])
async def test_before_it_is_let_in_nobody_has_an_effect(
    regions: Regions, level: int, count: int
) -> None:
    name = await regions.device("is-known")
    async with second_gateway(regions) as gateway:
        known = bases(name, regions.topic(name))[level]
        assert await fuzz(gateway, UNKNOWN, b"", known, count) == 0
        for lane in gateway._lanes.values():
            assert (lane._writer._number, lane.load.messages) == (0, 0)
        await still_serves(regions, gateway, name)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("level", [LEVEL_3, LEVEL_5])
async def test_after_it_is_let_in_it_harms_nobody_else(
    regions: Regions, level: int, count: int
) -> None:
    name, other = await regions.device("garbles"), await regions.device("does-not")
    async with second_gateway(regions) as gateway:
        known = bases(name, regions.topic(name))[level]
        hello = next(each for each in known if each[0] == 0x10)
        principal = regions.identity(name).certificate_id
        assert await fuzz(gateway, principal, hello, known, count) > count / 50
        await still_serves(regions, gateway, other)
