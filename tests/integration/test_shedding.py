"""Too much of everything, on real sockets: those who are connected go on, and the rest waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from mqtt_wire import CLOSED, Wire, Wire5
from regions import HOME, Regions, two_regions, until
from second_gateway import Second, second_gateway

from isthmus.config import Limits
from isthmus.gateway import connection
from isthmus.wire import mqtt3, mqtt5
from isthmus.wire.reason_codes import ReasonCode

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORM = 300
#: The clients are in the same process as the gateway, and asyncio's TLS takes 256 KB for each.
STORM_MEMORY_MAX_BYTES = STORM * 256 * 1024 + 64 * 1024**2
STALL_MEMORY_MAX_BYTES = 64 * 1024**2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    # Nobody goes on alone while the cable is cut: what waits for the peer waits.
    settings = {"alone_after_s": 60.0, "promise_timeout_s": 60.0}
    directory: Path = tmp_path_factory.mktemp("regions")
    async with two_regions(directory, cuttable=True, aws_api=False, **settings) as started:
        yield started


@asynccontextmanager
async def limited(regions: Regions, **limits: Any) -> AsyncIterator[Second]:
    async with second_gateway(regions, limits=Limits(**limits)) as gateway:
        yield gateway


@asynccontextmanager
async def wire(
    regions: Regions,
    gateway: Second,
    name: str,
    kind: type[Wire] = Wire,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Wire]:
    """A TLS connection of a device to that gateway, without its CONNECT yet."""
    listen, tls = gateway.config.mqtt, tls or regions.tls(regions.identity(name))
    found = await kind.open(listen.host, listen.port, tls, regions.system.hostname(HOME))
    try:
        yield found
    finally:
        await found.abort()


# Connections


async def test_in_a_storm_the_connected_are_answered_and_everybody_gets_in_or_is_closed(
    regions: Regions,
) -> None:
    device = await regions.device("is-connected")
    crowd = await regions.who_may("is-a-crowd", "iot:Connect")
    process, tls = psutil.Process(), regions.tls(regions.identity(crowd))
    arrived, over = asyncio.Event(), asyncio.Event()
    codes: list[int] = []

    async def one(gateway: Second, number: int) -> None:
        try:
            async with wire(regions, gateway, crowd, tls=tls) as found:
                codes.append(await found.connect(f"crowd-{number}"))
                arrived.set()
                await over.wait()
        except OSError:
            codes.append(CLOSED)

    async def goes_on(found: Wire) -> int:
        answered = 0
        while len(codes) < STORM:
            answered += 1
            await found.publish(regions.topic(device), packet_id=answered % 60_000 + 1)
        return answered

    async with limited(regions, connects_per_s=20.0) as gateway, asyncio.TaskGroup() as group:
        async with wire(regions, gateway, device) as found:
            assert await found.connect(device) == 0
            before = process.memory_info().rss
            for number in range(STORM):
                group.create_task(one(gateway, number))
            await arrived.wait()
            assert gateway._stats().shed.waiting > 0
            assert await goes_on(found) > 0
            assert await found.ping() == []
        assert set(codes) <= {0, CLOSED}
        assert 0 in codes
        shed = gateway._stats().shed
        assert codes.count(CLOSED) == sum(shed.refused.values())
        assert shed.waiting == 0
        assert process.memory_info().rss - before < STORM_MEMORY_MAX_BYTES
        over.set()


async def test_more_clients_than_there_is_room_for_are_told_and_whoever_is_there_may_come_again(
    regions: Regions,
) -> None:
    crowd = await regions.who_may("fills-the-house", "iot:Connect")
    async with (
        limited(regions, connections_max=1) as gateway,
        wire(regions, gateway, crowd) as first,
        wire(regions, gateway, crowd, Wire5) as second,
        wire(regions, gateway, crowd) as third,
        wire(regions, gateway, crowd) as again,
    ):
        assert await first.connect("first") == 0
        second.send(mqtt5.Connect("second"))
        answer = await second.expect(mqtt5.Connack)
        assert answer.return_code == ReasonCode.QUOTA_EXCEEDED
        assert await second.closed() == []
        assert await third.connect("third") == CLOSED
        assert gateway._stats().shed.refused == {"connections": 2}
        assert await again.connect("first") == 0
        assert await first.closed() == []


async def test_a_client_that_connects_too_often_is_told_and_others_are_not_held_to_it(
    regions: Regions,
) -> None:
    crowd = await regions.who_may("comes-often", "iot:Connect")
    limits = {"client_connects_per_s": 0.001, "client_connects_burst": 2}
    async with limited(regions, **limits) as gateway:

        async def connects(client_id: str) -> int:
            async with wire(regions, gateway, crowd, Wire5) as found:
                found.send(mqtt5.Connect(client_id))
                return (await found.expect(mqtt5.Connack)).return_code

        assert [await connects("often") for _ in range(3)] == [0, 0, 0x9F]
        assert await connects("seldom") == 0
        assert gateway._stats().shed.refused == {"client-rate": 1}


# Publishers


async def test_while_too_much_waits_for_the_peer_publishers_are_not_read_and_nothing_is_lost(
    regions: Regions,
) -> None:
    name, other = await regions.device("has-much-to-say"), await regions.device("comes-late")
    topic, size, count = regions.topic(name), 10_000, 2_000
    async with (
        limited(regions, backlog_max_bytes=200_000, backlog_max_messages=200) as gateway,
        wire(regions, gateway, name) as talks,
    ):
        assert await talks.connect(name) == 0
        await talks.publish(topic, b"first")
        await regions.system.cut()
        talks.send(*(mqtt3.Publish(topic, bytes(size), 0) for _ in range(count)))
        talks.send(mqtt3.Publish(topic, b"last", 1, packet_id=9))
        await until("publishers are held", lambda: gateway._stats().shed.holding)
        held = next(each for each in gateway._connections if each.session is not None)
        assert not held.is_read
        # A connection that is not read is not silent.
        gateway.look(10_000.0)
        async with wire(regions, gateway, other) as late:
            assert await late.connect(other) == CLOSED
        async with wire(regions, gateway, other, Wire5) as late:
            late.send(mqtt5.Connect(other))
            assert (await late.expect(mqtt5.Connack)).return_code == ReasonCode.SERVER_BUSY
        shed = gateway._stats().shed
        assert shed.refused == {"backlog": 2}
        # What was read already, and no more.
        assert shed.backlog_bytes < count * size / 4
        await regions.system.heal()
        assert (await talks.expect(mqtt3.Puback)).packet_id == 9
        await until("nothing is held", lambda: not gateway._stats().shed.holding)
        assert gateway._stats().shed.held >= 1
    await until("the lake has everything", lambda: len(regions.lake(HOME, name)) == count + 2)


async def test_over_its_rate_a_publisher_is_not_read_and_nothing_is_lost(regions: Regions) -> None:
    name = await regions.device("publishes-often")
    topic = regions.topic(name)
    async with (
        limited(regions, publishes_per_s=50.0) as gateway,
        wire(regions, gateway, name) as talks,
    ):
        assert await talks.connect(name) == 0
        # One reading of the socket may bring them all.
        talks.send(*(mqtt3.Publish(topic, b"x", 1, packet_id=n) for n in range(1, 76)))
        await until("it is over its rate", lambda: not next(iter(gateway._connections)).is_read)
        talks.send(*(mqtt3.Publish(topic, b"x", 1, packet_id=n) for n in range(76, 101)))
        answers = [(await talks.expect(mqtt3.Puback)).packet_id for _ in range(100)]
    assert answers == list(range(1, 101))


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_stalled_stream_costs_no_memory(regions: Regions, qos: int) -> None:
    names = [await regions.device(f"floods-{qos}-{number}") for number in range(4)]
    topics = {name: regions.topic(name) for name in names}
    bound, size = 4 * 1024**2, 20_000
    async with (
        limited(regions, backlog_max_bytes=bound) as gateway,
        contextlib.AsyncExitStack() as stack,
    ):
        wires = []
        for name in names:
            found = await stack.enter_async_context(wire(regions, gateway, name))
            assert await found.connect(name) == 0
            await found.publish(topics[name], b"first")
            wires.append((name, found))
        process, before = psutil.Process(), psutil.Process().memory_info().rss
        stopped = regions.signal(HOME, "nats", signal.SIGSTOP)
        try:
            # As fast as they may, and until every socket takes no more.
            for name, found in wires:
                flood = b"".join(
                    mqtt3.encode(mqtt3.Publish(topics[name], bytes(size), qos, packet_id=number))
                    for number in range(2, 92)
                )
                found.writer.transport.set_write_buffer_limits(high=0)
                while found.writer.transport.get_write_buffer_size() == 0:
                    found.writer.write(flood)
                    await asyncio.sleep(0.05)
            await until("it is held", lambda: gateway._stats().shed.holding)
            shed = gateway._stats().shed
            # What each connection had read at that moment comes on top.
            assert shed.backlog_bytes < bound + len(names) * 512 * 1024
            assert process.memory_info().rss - before < STALL_MEMORY_MAX_BYTES
        finally:
            os.kill(stopped, signal.SIGCONT)
        await until("nothing is held", lambda: not gateway._stats().shed.holding)


# Subscribers


async def test_over_its_rate_a_subscriber_is_given_no_more_qos_0(regions: Regions) -> None:
    name = await regions.device("listens-often")
    topic, count = regions.topic(name), 200
    async with (
        limited(regions, publishes_per_s=100.0) as gateway,
        wire(regions, gateway, name) as listens,
        regions.client(HOME, await regions.who_may("talks-often", "iot:*")) as talks,
    ):
        assert await listens.connect(name) == 0
        assert await listens.subscribe(topic) == (0,)
        talks.send(*(mqtt3.Publish(topic, b"x") for _ in range(count)))
        received = 0

        def everything() -> bool:
            return received + gateway._stats().shed.dropped == count

        await talks.ping()
        await until("the first is dropped", lambda: gateway._stats().shed.dropped > 0)
        while not everything():
            received += isinstance(await listens.next(), mqtt3.Publish)
        assert received >= 100
        assert await listens.ping() == []


@asynccontextmanager
async def deaf(regions: Regions, gateway: Second, name: str, qos: int) -> AsyncIterator[Wire]:
    """A device that subscribes to its topic, and reads no more."""
    listen, sock = gateway.config.mqtt, socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (listen.host, listen.port))
    reader, writer = await asyncio.open_connection(
        sock=sock,
        ssl=regions.tls(regions.identity(name)),
        server_hostname=regions.system.hostname(HOME),
        limit=1024,
    )
    found = Wire(reader, writer)
    try:
        assert await found.connect(name) == 0
        assert await found.subscribe(regions.topic(name), qos=qos) == (qos,)
        yield found
    finally:
        await found.abort()


async def test_qos_0_is_dropped_for_a_client_that_does_not_read_and_the_others_get_it(
    regions: Regions,
) -> None:
    name = await regions.who_may("does-not-read", "iot:*")
    reads = await regions.who_may("reads", "iot:*")
    topic = regions.topic(name)
    async with (
        limited(regions) as gateway,
        deaf(regions, gateway, name, 0),
        wire(regions, gateway, reads) as listens,
        wire(regions, gateway, reads) as talks,
    ):
        assert await listens.connect("listens") == 0
        assert await listens.subscribe(topic) == (0,)
        assert await talks.connect("talks") == 0
        while not gateway._stats().shed.dropped:
            talks.send(mqtt3.Publish(topic, bytes(100_000)))
            assert len((await listens.expect(mqtt3.Publish)).payload) == 100_000
        shed = gateway._stats().shed
        assert shed.slow == 0
        assert len(gateway._clients) == 3


async def test_a_client_that_does_not_read_qos_1_is_cut_off(regions: Regions) -> None:
    name = await regions.who_may("does-not-read-qos-1", "iot:*")
    topic = regions.topic(name)
    async with (
        limited(regions) as gateway,
        deaf(regions, gateway, name, 1),
        wire(regions, gateway, name) as talks,
    ):
        assert await talks.connect("talks") == 0
        for packet_id in range(1, 90):
            await talks.publish(topic, bytes(100_000), packet_id)
        await until("it is cut off", lambda: gateway._stats().shed.slow == 1)
        assert set(gateway._clients) == {"talks"}


async def test_over_the_bound_of_the_process_whoever_reads_least_is_cut_off_first(
    regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "UNSENT_MAX_BYTES", 1024**3)
    least = await regions.who_may("reads-least", "iot:*")
    little = await regions.who_may("reads-little", "iot:*")
    async with (
        limited(regions, unsent_max_bytes=600_000) as gateway,
        deaf(regions, gateway, least, 1),
        deaf(regions, gateway, little, 1),
        wire(regions, gateway, least) as talks,
    ):
        assert await talks.connect("talks") == 0
        packet_id = 0
        for name, size in ((little, 1), (least, 300_000)):
            while name in gateway._clients and gateway._clients[name].unsent < size:
                packet_id += 1
                await talks.publish(regions.topic(name), bytes(100_000), packet_id)
        while least in gateway._clients:
            packet_id += 1
            await talks.publish(regions.topic(least), bytes(20_000), packet_id)
        assert little in gateway._clients
        assert gateway._stats().shed.slow == 1
