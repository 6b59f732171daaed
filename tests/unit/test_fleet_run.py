"""Both kinds of clients against small regions on loopback: real TLS, real DNS, awaited events."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
import pytest_asyncio

from isthmus.adapters.nameserver import Nameserver
from isthmus.adapters.pki import Pki
from isthmus.core.zone import Endpoint, Plan, SiteHost, zone_of
from isthmus.errors import ConfigError, InputError
from isthmus.fleet import plain_runner
from isthmus.fleet.events import Event, read_events
from isthmus.fleet.plan import ClientPlan, EndpointPlan, FleetPlan
from isthmus.fleet.run import Telemetry, next_due_s, phases_s, run_fleet
from isthmus.wire import mqtt3

APEX = "iot.example.com"
KINDS = ("device", "plain")
CLIENTS = 3
#: How long a condition may take; only a bug takes as long.
PATIENCE_S = 30.0


class Session(asyncio.Protocol):
    """One connection to a region of this test."""

    def __init__(self, region):
        self.region = region
        self.decoder = mqtt3.Decoder()
        self.client = ""

    def connection_made(self, transport):
        self.transport = transport
        self.region.sessions.add(self)

    def connection_lost(self, exc):
        self.region.sessions.discard(self)

    def data_received(self, data):
        for packet in self.decoder.feed(data):
            self.take(packet)

    def take(self, packet):
        match packet:
            case mqtt3.Connect():
                self.client = packet.client_id
                self.region.connects.append(packet)
                self.send(mqtt3.Connack(False, self.region.connack))
            case mqtt3.Publish():
                self.region.stored[packet.topic].append(json.loads(packet.payload))
                if self.region.acknowledges:
                    self.send(mqtt3.Puback(packet.packet_id))
            case mqtt3.Pingreq():
                self.send(mqtt3.Pingresp())
            case mqtt3.Disconnect():
                self.region.disconnects.append(self.client)

    def send(self, packet):
        self.transport.write(mqtt3.encode(packet))


class Region:
    """The least that a client takes for a region; its place is taken before it starts."""

    def __init__(self, name, pki):
        self.name = name
        self.acknowledges = True
        self.connack = 0
        self.sessions = set()
        self.connects = []
        self.disconnects = []
        self.stored = defaultdict(list)
        self.server = None
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        identity = pki.gateway(name, [APEX, f"{name}.{APEX}"], ["127.0.0.1"])
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(identity.chain, identity.key)
        self.tls.load_verify_locations(pki.ca_file)
        self.tls.verify_mode = ssl.CERT_REQUIRED

    async def start(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(
            lambda: Session(self), sock=self.socket, ssl=self.tls
        )

    def die(self):
        # A server closes its own socket; before there is one, it is ours.
        (self.server or self.socket).close()
        for each in list(self.sessions):
            each.transport.abort()

    def seqs(self, client):
        return {each["seq"] for each in self.stored[f"dt/{client}"]}


class World:
    """Two regions, a nameserver and a fleet's plan."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pki = Pki(directory / "pki")
        self.regions = [Region(name, self.pki) for name in ("eu", "us")]
        self.eu, self.us = self.regions
        self.names = {kind: [f"{kind}-{n}" for n in range(CLIENTS)] for kind in KINDS}
        self.nameserver = Nameserver()
        self.epoch = 0

    async def start(self):
        self.route_to("eu")
        await self.nameserver.start("127.0.0.1", 0)

    def route_to(self, region):
        self.epoch += 1
        places = tuple(
            Endpoint(each.name, f"{each.name}.{APEX}", "127.0.0.1", each.port)
            for each in self.regions
        )
        plan = Plan(APEX, 0, places, (SiteHost("witness", "127.0.0.1"),))
        self.nameserver.replace(zone_of(plan, region, self.epoch))

    def client(self, kind, name):
        identity = self.pki.device(name)
        return ClientPlan(
            name=name,
            kind=kind,
            certificate=str(identity.chain),
            key=str(identity.key),
            topic=f"dt/{name}",
        )

    def plan(self, **changes) -> FleetPlan:
        settings = {
            "stable_name": APEX,
            "nameservers": ((self.nameserver.host, self.nameserver.port),),
            "endpoints": tuple(
                EndpointPlan(
                    region=each.name,
                    hostname=f"{each.name}.{APEX}",
                    address="127.0.0.1",
                    port=each.port,
                )
                for each in self.regions
            ),
            "ca_file": str(self.pki.ca_file),
            "clients": tuple(self.client(kind, n) for kind in KINDS for n in self.names[kind]),
            "events_dir": str(self.directory),
            "publish_interval_s": 0.05,
            "settle_s": PATIENCE_S,
            "seed": 7,
        }
        return FleetPlan(**(settings | changes))

    def events(self, kind) -> list[Event]:
        path = self.directory / f"{kind}.jsonl"
        return list(read_events(path)) if path.exists() else []

    def story(self, kind, name, *events):
        return [each for each in self.events(kind) if each.client == name and each.event in events]


@pytest_asyncio.fixture
async def world(tmp_path):
    world = World(tmp_path)
    await world.start()
    yield world
    for each in world.regions:
        each.die()
    await world.nameserver.stop()


class Running:
    """A fleet that runs beside the test."""

    def __init__(self, world, kind, **changes):
        self.world, self.kind = world, kind
        self.ready, self.stop = asyncio.Event(), asyncio.Event()
        plan = world.plan(**changes)
        self.task = asyncio.create_task(run_fleet(plan, kind, ready=self.ready.set, stop=self.stop))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, but not for a fleet that has failed."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                assert not self.task.done(), self.task.exception()
                await asyncio.wait((self.task,), timeout=0.02)

    async def until_each(self, event, at_least=1, region=None):
        def all_have():
            return all(
                sum(region in (None, each.region) for each in self.world.story(self.kind, n, event))
                >= at_least
                for n in self.world.names[self.kind]
            )

        await self.until(all_have)

    async def finish(self) -> int:
        self.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            return await self.task


def check_story(world, kind, name):
    """Everything sent was acknowledged once, after it was sent, and stored by somebody."""
    sent = [each.seq for each in world.story(kind, name, "sent")]
    assert sent == list(range(1, len(sent) + 1))
    acked = [each.seq for each in world.story(kind, name, "acked")]
    assert sorted(acked) == sent
    assert world.eu.seqs(name) | world.us.seqs(name) == set(sent)
    order = [(each.event, each.seq) for each in world.story(kind, name, "sent", "acked")]
    for seq in sent:
        assert order.index(("sent", seq)) < order.index(("acked", seq))


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_lost_when_a_region_dies_and_dns_names_another(world, kind):
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    await world.eu.start()
    fleet = Running(world, kind)
    await fleet.ready.wait()
    await fleet.until_each("acked", 5)
    # What is on its way when the region dies is what could be lost.
    world.eu.acknowledges = False
    before = {name: len(world.eu.seqs(name)) for name in world.names[kind]}
    await fleet.until(lambda: all(len(world.eu.seqs(n)) > before[n] for n in before))
    world.eu.die()
    await fleet.until_each("lost")
    lost = {n: world.story(kind, n, "lost")[0].t for n in before}
    await world.us.start()
    world.route_to("us")
    await fleet.until_each("connected", region="us")
    await fleet.until_each("acked", 5, region="us")
    assert await fleet.finish() == 0
    for name in world.names[kind]:
        check_story(world, kind, name)
        where = [(e.event, e.region) for e in world.story(kind, name, "connected", "lost")]
        assert where[:3] == [("connected", "eu"), ("lost", "eu"), ("connected", "us")]
        assert any(e.t > lost[name] and e.region is None for e in world.story(kind, name, "sent"))
    assert sorted(world.us.disconnects) == world.names[kind]
    assert asyncio.all_tasks() == tasks
    assert set(threading.enumerate()) == threads


@pytest.mark.parametrize("kind", KINDS)
async def test_clients_come_as_themselves_with_a_clean_session(world, kind):
    await world.eu.start()
    fleet = Running(world, kind, keep_alive_s=17)
    await fleet.ready.wait()
    assert await fleet.finish() == 0
    expected = [mqtt3.Connect(n, clean_session=True, keep_alive_s=17) for n in world.names[kind]]
    assert sorted(world.eu.connects, key=lambda each: each.client_id) == expected


@pytest.mark.parametrize("kind", KINDS)
async def test_a_first_connection_is_tried_until_a_region_is_there(world, kind):
    fleet = Running(world, kind)
    await fleet.until_each("refused")
    assert not fleet.ready.is_set()
    await world.eu.start()
    await fleet.ready.wait()
    await fleet.until_each("acked", region="eu")
    assert await fleet.finish() == 0
    refused = world.story(kind, world.names[kind][0], "refused")[0]
    assert "refused" in refused.how
    assert refused.seq is None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_session_is_told(world, kind):
    world.eu.connack = 5
    world.us.connack = 5
    await world.eu.start()
    await world.us.start()
    fleet = Running(world, kind)
    await fleet.until_each("refused", region="eu")
    assert await fleet.finish() == 0
    assert not fleet.ready.is_set()
    assert not world.eu.stored
    assert all(each.event in ("refused", "moved") for each in world.events(kind))


@pytest.mark.parametrize("kind", KINDS)
async def test_what_stays_unacknowledged_is_told_and_leaves_nothing_running(world, kind):
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    world.eu.acknowledges = False
    await world.eu.start()
    # A region that reads and never answers must not be taken for a dead one here.
    fleet = Running(world, kind, settle_s=0.1, ack_timeout_s=2 * PATIENCE_S)
    await fleet.ready.wait()
    await fleet.until_each("sent", 3)
    assert await fleet.finish() == 1
    assert not any(each.event == "acked" for each in world.events(kind))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks
    assert set(threading.enumerate()) == threads


@pytest.mark.parametrize("kind", KINDS)
async def test_late_acknowledgements_are_waited_for(world, kind):
    world.eu.acknowledges = False
    await world.eu.start()
    fleet = Running(world, kind, ack_timeout_s=2 * PATIENCE_S)
    await fleet.ready.wait()
    await fleet.until_each("sent", 3)
    fleet.stop.set()
    await fleet.until(lambda: all(world.eu.seqs(name) for name in world.names[kind]))
    assert not fleet.task.done()
    world.eu.acknowledges = True
    for each in list(world.eu.sessions):
        each.transport.abort()
    assert await fleet.finish() == 0
    for name in world.names[kind]:
        check_story(world, kind, name)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_full_queue_leaves_no_gap(world, kind, monkeypatch):
    monkeypatch.setattr(plain_runner, "QUEUED_MAX", 2)
    monkeypatch.setattr("isthmus.fleet.device_runner.DeviceClient", small_device_client)
    world.eu.acknowledges = False
    await world.eu.start()
    fleet = Running(world, kind, ack_timeout_s=2 * PATIENCE_S)
    await fleet.until_each("refused", 3)
    refused = world.story(kind, world.names[kind][0], "refused")
    assert {each.seq for each in refused} == {3}
    world.eu.acknowledges = True
    for each in list(world.eu.sessions):
        each.transport.abort()
    await fleet.until_each("acked", 4)
    assert await fleet.finish() == 0
    for name in world.names[kind]:
        check_story(world, kind, name)


def small_device_client(*args, **settings):
    from isthmus.device import DeviceClient

    return DeviceClient(*args, outbox_limit=2, **settings)


async def test_device_clients_move_when_dns_changes_and_plain_ones_stay(world):
    await world.eu.start()
    await world.us.start()
    fleets = {kind: Running(world, kind, dns_poll_s=0.05) for kind in KINDS}
    for each in fleets.values():
        await each.ready.wait()
    world.route_to("us")
    await fleets["device"].until_each("connected", region="us")
    plain = world.names["plain"]
    seen = {name: len(world.eu.seqs(name)) for name in plain}
    await fleets["plain"].until(lambda: all(len(world.eu.seqs(n)) > seen[n] for n in plain))
    assert [await each.finish() for each in fleets.values()] == [0, 0]
    moved = world.story("device", "device-0", "moved")
    assert [(each.region, each.how) for each in moved] == [
        ("eu", "DNS names eu: connecting to eu."),
        ("us", "DNS now names us: moving there from eu."),
    ]
    assert {e.region for e in world.events("plain") if e.event == "connected"} == {"eu"}


async def test_an_acknowledgement_may_overtake_the_thread_that_publishes(world, monkeypatch):
    publish = mqtt.Client.publish

    def overtaken(client, *args, **kwargs):
        sent = publish(client, *args, **kwargs)
        client.on_publish(client, None, sent.mid, None, None)
        return sent

    monkeypatch.setattr(mqtt.Client, "publish", overtaken)
    await world.eu.start()
    fleet = Running(world, "plain")
    await fleet.until_each("acked", 3)
    assert await fleet.finish() == 0
    for name in world.names["plain"]:
        sent = [each.seq for each in world.story("plain", name, "sent")]
        assert [each.seq for each in world.story("plain", name, "acked")] == sent


async def test_a_kind_nobody_has_is_ready_at_once(world):
    fleet = Running(world, "plain", clients=())
    await fleet.ready.wait()
    assert await fleet.finish() == 0
    assert world.events("plain") == []


async def test_a_fleet_that_cannot_run_says_why(world):
    with pytest.raises(InputError, match="kind is 'edge'"):
        await Running(world, "edge").task
    lost = world.client("plain", "vehicle")
    missing = ClientPlan(name="a", kind="plain", certificate="gone.pem", key=lost.key, topic="t")
    with pytest.raises(ConfigError, match=r"no file 'gone\.pem'"):
        await Running(world, "plain", clients=(missing,)).task


async def test_more_plain_clients_than_select_takes_are_refused(world):
    system = socket.getaddrinfo
    one = world.client("plain", "vehicle")
    many = tuple(
        ClientPlan(name=f"v-{n}", kind="plain", certificate=one.certificate, key=one.key, topic="t")
        for n in range(plain_runner.CLIENTS_MAX + 1)
    )
    with pytest.raises(InputError, match="241 plain clients"):
        await Running(world, "plain", clients=many).task
    assert socket.getaddrinfo is system


async def test_the_resolver_is_the_systems_again_afterwards(world):
    system = socket.getaddrinfo
    await world.eu.start()
    fleet = Running(world, "plain")
    await fleet.ready.wait()
    assert socket.getaddrinfo is not system
    await fleet.finish()
    assert socket.getaddrinfo is system


async def test_phases_are_spread_evenly_over_all_kinds(world):
    plan = world.plan(publish_interval_s=1.0)
    phases = phases_s(plan)
    assert phases == sorted(phases)
    assert all(0 <= each < 1 for each in phases)
    steps = {round(after - before, 6) for before, after in pairwise(phases)}
    assert steps == {round(1 / (2 * CLIENTS), 6)}
    assert phases == phases_s(plan)
    assert phases != phases_s(world.plan(publish_interval_s=1.0, seed=8))


@pytest.mark.parametrize(
    ("now_s", "due_s"), [(10.0, 10.25), (10.25, 11.25), (10.26, 11.25), (17.9, 18.25)]
)
def test_what_passed_is_left_out(now_s, due_s):
    assert next_due_s(now_s, 0.25, 1.0) == due_s


def test_telemetry_comes_from_the_seed():
    def first(seed, name):
        telemetry = Telemetry(seed, name)
        return [telemetry.payload(seq, 0.0, 1.0) for seq in (1, 2, 3)]

    assert first(1, "a") == first(1, "a")
    assert first(1, "a") != first(2, "a") != first(2, "b")
    told = [json.loads(each) for each in first(1, "a")]
    assert [each["seq"] for each in told] == [1, 2, 3]
    assert told[0]["odometer_km"] <= told[2]["odometer_km"]
