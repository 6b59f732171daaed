"""The device client against small regions on loopback: real TLS, real sockets, awaited events."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import random
import socket
import ssl
from collections import Counter
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from isthmus.core.outbox import IN_FLIGHT_MAX, PACKET_ID_MAX, Message, Outbox, OutboxFull
from isthmus.device import DeviceClient, Endpoint
from isthmus.device.events import Acked, Connected, Lost, Moved, Unsubscribed
from isthmus.device.names import Names, SystemResolver
from isthmus.errors import InputError, MalformedPacket, Unavailable
from isthmus.wire import mqtt3

STABLE_NAME = "iot.example.com"


@dataclass(frozen=True)
class Pki:
    ca: str
    server: tuple[str, str]
    device: tuple[str, str]


def signed(subject, issuer, issuer_key, public_key, *, ca=False, names=()):
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    issuer_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        hosts = [x509.DNSName(each) for each in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pki")
    ca_key = ec.generate_private_key(ec.SECP256R1())

    def write(name, data):
        path = directory / name
        path.write_bytes(data)
        return str(path)

    def pair(name, names=()):
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        certificate = signed(name, "ca", ca_key, key.public_key(), names=names)
        return write(f"{name}.crt", certificate), write(f"{name}.key", pem)

    ca = write("ca.crt", signed("ca", "ca", ca_key, ca_key.public_key(), ca=True))
    regions = [f"{region}.{STABLE_NAME}" for region in ("eu", "us")]
    return Pki(ca, pair("server", [STABLE_NAME, *regions]), pair("device"))


class Session(asyncio.Protocol):
    """One connection to a region of this test."""

    def __init__(self, region):
        self.region = region
        self.decoder = mqtt3.Decoder()

    def connection_made(self, transport):
        self.transport = transport
        self.region.sessions.append(self)

    def connection_lost(self, exc):
        self.region.sessions.remove(self)

    def data_received(self, data):
        for packet in self.decoder.feed(data):
            self.region.received.put_nowait(packet)
            if not self.region.mute:
                self.answer(packet)

    def answer(self, packet):
        region = self.region
        match packet:
            case mqtt3.Connect():
                self.send(mqtt3.Connack(False, region.connack))
            case mqtt3.Publish() if region.acknowledges:
                self.send(mqtt3.Puback(packet.packet_id))
            case mqtt3.Subscribe():
                code = 0x80 if region.refuses_filters else 1
                self.send(mqtt3.Suback(packet.packet_id, (code,) * len(packet.filters)))
            case mqtt3.Pingreq():
                self.send(mqtt3.Pingresp())

    def send(self, packet):
        self.transport.write(mqtt3.encode(packet))


class Region:
    """The least that a device takes for a region, with a lever for every way to fail."""

    def __init__(self, name, pki):
        self.name = name
        self.acknowledges = True
        self.mute = False
        self.connack = 0
        self.refuses_filters = False
        self.sessions = []
        self.received = asyncio.Queue()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(*pki.server)
        self.tls.load_verify_locations(pki.ca)
        self.tls.verify_mode = ssl.CERT_REQUIRED

    async def start(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Session(self), "127.0.0.1", 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]

    def reset(self):
        for session in list(self.sessions):
            session.transport.abort()

    def die(self):
        self.server.close()
        self.reset()

    @property
    def endpoint(self):
        return Endpoint(self.name, f"{self.name}.{STABLE_NAME}", self.port, "127.0.0.1")

    async def next(self, kind):
        while True:
            packet = await self.received.get()
            if isinstance(packet, kind):
                return packet

    async def publishes(self, count):
        return [await self.next(mqtt3.Publish) for _ in range(count)]


class Resolver:
    """DNS whose answer the test sets; without one it is down."""

    def __init__(self, regions):
        self.places = {region.name: (region.endpoint.address, region.port) for region in regions}
        self.answer = "eu"
        self.questions = asyncio.Queue()
        self.asked = Counter()

    async def resolve(self, name):
        self.asked[name] += 1
        self.questions.put_nowait(name)
        if self.answer is None:
            raise OSError("no nameserver answered")
        if name == STABLE_NAME:
            return [self.places[self.answer]]
        return [self.places[name.partition(".")[0]]]

    async def questions_from_now(self, count):
        while not self.questions.empty():
            self.questions.get_nowait()
        for _ in range(count):
            await self.questions.get()


class Events:
    """What the client told, to be waited for."""

    def __init__(self):
        self.all = []
        self.queue = asyncio.Queue()

    def __call__(self, event):
        self.all.append(event)
        self.queue.put_nowait(event)

    async def until(self, wanted):
        """Wait for an event of this type, or equal to this one."""
        while True:
            event = await self.queue.get()
            if event == wanted or (isinstance(wanted, type) and isinstance(event, wanted)):
                return event


class World:
    """Two regions, a resolver and what one client told."""

    def __init__(self, pki):
        self.pki = pki
        self.eu, self.us = Region("eu", pki), Region("us", pki)
        self.events = Events()

    async def start(self):
        await self.eu.start()
        await self.us.start()
        self.resolver = Resolver([self.eu, self.us])

    def client(self, *endpoints, **settings):
        certificate, key = self.pki.device
        settings = {"rng": random.Random(1), "resolver": self.resolver, **settings}
        return DeviceClient(
            "vehicle-1",
            certificate,
            key,
            self.pki.ca,
            STABLE_NAME,
            endpoints or (self.eu.endpoint, self.us.endpoint),
            on_event=self.events,
            **settings,
        )

    async def stop(self):
        for region in (self.eu, self.us):
            region.die()
            await region.server.wait_closed()


@pytest.fixture
async def world(pki):
    world = World(pki)
    await world.start()
    yield world
    await world.stop()


async def test_a_publish_returns_when_it_is_acknowledged(world):
    async with world.client() as client:
        assert client.region is None
        await client.publish("dt/1", b"hello")
        assert client.region == "eu"
        await client.send("dt/1", b"again", token=7)
    sent = await world.eu.publishes(2)
    assert [(each.topic, each.payload, each.qos, each.dup) for each in sent] == [
        ("dt/1", b"hello", 1, False),
        ("dt/1", b"again", 1, False),
    ]
    assert [each for each in world.events.all if not isinstance(each, Moved)] == [
        Connected("eu"),
        Acked(None),
        Acked(7),
    ]


async def test_it_connects_as_itself_with_a_clean_session(world):
    async with world.client(keep_alive_s=17) as client:
        await client.publish("dt/1", b"")
    connect = await world.eu.next(mqtt3.Connect)
    assert connect == mqtt3.Connect("vehicle-1", clean_session=True, keep_alive_s=17)


async def test_what_was_not_acknowledged_is_repeated_in_order_before_anything_newer(world):
    world.eu.acknowledges = False
    async with world.client() as client:
        await world.events.until(Connected("eu"))
        futures = [client.send("dt/1", b"%d" % number, number) for number in range(3)]
        before = await world.eu.publishes(3)
        world.eu.die()
        await world.events.until(Lost)
        futures.append(client.send("dt/1", b"3", 3))
        await asyncio.gather(*futures)
    after = await world.us.publishes(4)
    assert [each.payload for each in after] == [b"0", b"1", b"2", b"3"]
    assert [each.dup for each in before] == [False] * 3
    assert [each.dup for each in after] == [True] * 3 + [False]
    assert [each.packet_id for each in after[:3]] == [each.packet_id for each in before]
    assert [each.token for each in world.events.all if isinstance(each, Acked)] == [0, 1, 2, 3]


async def test_a_region_that_is_reset_and_refuses_is_left_for_the_next(world):
    async with world.client() as client:
        await world.events.until(Connected("eu"))
        world.eu.die()
        lost = await world.events.until(Lost)
        assert (lost.region, lost.how) == ("eu", "closed")
        await world.events.until(Connected("us"))
        assert client.region == "us"
    assert all(each.reason.endswith(".") for each in world.events.all if isinstance(each, Moved))


async def test_a_silent_region_is_left_by_the_unanswered_publish(world):
    async with world.client(ack_timeout_s=0.2) as client:
        await world.events.until(Connected("eu"))
        world.eu.mute = True
        await client.publish("dt/1", b"")
        assert client.region == "us"
    assert any(
        isinstance(each, Lost) and each.how == "silent" and each.region == "eu"
        for each in world.events.all
    )


async def test_a_silent_region_is_left_by_an_idle_client_too(world):
    async with world.client(ack_timeout_s=0.2, keep_alive_s=1):
        await world.events.until(Connected("eu"))
        await world.eu.next(mqtt3.Pingreq)
        await world.eu.next(mqtt3.Pingreq)
        assert not any(isinstance(each, Lost) for each in world.events.all)
        world.eu.mute = True
        assert (await world.events.until(Lost)).how == "silent"
        await world.events.until(Connected("us"))


async def test_a_region_that_still_sends_something_is_not_silent(world):
    world.eu.acknowledges = False
    async with world.client(ack_timeout_s=0.2) as client:
        await world.events.until(Connected("eu"))
        await client.subscribe("cmd", lambda topic, payload: None)
        waiting = client.send("dt/1", b"")
        await world.eu.next(mqtt3.Publish)
        # Several times the period after which a silent region would be left.
        for _ in range(16):
            world.eu.sessions[0].send(mqtt3.Publish("cmd", b"", 1, packet_id=9))
            await world.eu.next(mqtt3.Puback)
            await asyncio.wait((waiting,), timeout=0.05)
        assert client.region == "eu"


async def test_a_region_that_accepts_and_never_speaks_tls_is_left(world):
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        port = frozen.getsockname()[1]
        eu = Endpoint("eu", f"eu.{STABLE_NAME}", port, "127.0.0.1")
        world.resolver.places["eu"] = ("127.0.0.1", port)
        async with world.client(eu, world.us.endpoint, connect_timeout_s=0.2):
            await world.events.until(Connected("us"))
    reasons = [each.reason for each in world.events.all if isinstance(each, Moved)]
    assert reasons == [
        "DNS names eu: connecting to eu.",
        "eu fell silent; connecting to us, the next by preference.",
    ]


async def test_a_region_that_never_answers_connect_is_left(world):
    world.eu.mute = True
    async with world.client(connect_timeout_s=0.2):
        await world.events.until(Connected("us"))


async def test_a_region_that_refuses_the_session_is_left(world):
    world.eu.connack = 3
    async with world.client():
        await world.events.until(Connected("us"))
    assert Connected("eu") not in world.events.all


async def test_a_certificate_for_another_name_is_refused_even_at_the_right_address(world):
    wrong = Endpoint("eu", "mallory.example.com", world.eu.port, "127.0.0.1")
    async with world.client(wrong, world.us.endpoint):
        await world.events.until(Connected("us"))
    assert world.eu.received.empty()


async def test_a_dns_outage_does_not_touch_a_healthy_session(world):
    async with world.client(dns_poll_s=0.01) as client:
        await world.events.until(Connected("eu"))
        world.resolver.answer = None
        await world.resolver.questions_from_now(10)
        await client.publish("dt/1", b"")
        assert client.region == "eu"
        assert not any(isinstance(each, Lost) for each in world.events.all)


async def test_a_changed_answer_moves_the_session(world):
    async with world.client(dns_poll_s=0.01):
        await world.events.until(Connected("eu"))
        world.resolver.answer = "us"
        await world.events.until(Connected("us"))
        await world.eu.next(mqtt3.Disconnect)
    assert Lost("eu", "moved", "DNS names another region") in world.events.all
    reasons = [each.reason for each in world.events.all if isinstance(each, Moved)]
    assert reasons[-1] == "DNS now names us: moving there from eu."


async def test_a_move_waits_for_what_is_in_flight(world):
    world.eu.acknowledges = False
    async with world.client(dns_poll_s=0.01, ack_timeout_s=60) as client:
        await world.events.until(Connected("eu"))
        first = client.send("dt/1", b"first")
        [sent] = await world.eu.publishes(1)
        world.resolver.answer = "us"
        # The answer to this question is what starts the move.
        await world.resolver.questions_from_now(1)
        second = client.send("dt/1", b"second")
        world.eu.sessions[0].send(mqtt3.Puback(sent.packet_id))
        await asyncio.gather(first, second)
        assert client.region == "us"
    [moved] = await world.us.publishes(1)
    assert (moved.payload, moved.dup) == (b"second", False)
    assert world.us.received.qsize() == 1, "DISCONNECT alone is left"


async def test_it_does_not_bounce_back_before_dns_knows(world):
    async with world.client(dns_poll_s=0.01) as client:
        await world.events.until(Connected("eu"))
        world.eu.reset()
        await world.events.until(Connected("us"))
        await world.resolver.questions_from_now(5)
        assert client.region == "us"


async def test_at_most_a_hundred_are_in_flight(world):
    world.eu.acknowledges = False
    async with world.client() as client:
        await world.events.until(Connected("eu"))
        futures = [client.send("dt/1", b"%d" % number) for number in range(IN_FLIGHT_MAX + 20)]
        sent = await world.eu.publishes(IN_FLIGHT_MAX)
        subscribed = client.subscribe("cmd", lambda topic, payload: None)
        await subscribed
        assert isinstance(world.eu.received.get_nowait(), mqtt3.Subscribe), "the 101st waits"
        world.eu.sessions[0].send(mqtt3.Puback(sent[0].packet_id))
        [following] = await world.eu.publishes(1)
        assert following.payload == b"%d" % IN_FLIGHT_MAX
        assert futures[0].done()


async def test_a_full_outbox_says_so(world):
    world.eu.acknowledges = False
    async with world.client(outbox_limit=2) as client:
        waiting = [client.send("dt/1", b""), client.send("dt/1", b"")]
        with pytest.raises(OutboxFull, match="raise outbox_limit"):
            client.send("dt/1", b"")
    assert all(isinstance(each.exception(), Unavailable) for each in waiting)


async def test_subscriptions_follow_to_the_next_region(world):
    got = asyncio.Queue()
    async with world.client() as client:
        await client.subscribe("cmd/+", lambda *message: got.put_nowait(message))
        world.eu.sessions[0].send(mqtt3.Publish("cmd/1", b"eu", 1, packet_id=5))
        assert await got.get() == ("cmd/1", b"eu")
        assert await world.eu.next(mqtt3.Puback) == mqtt3.Puback(5)
        world.eu.die()
        subscribe = await world.us.next(mqtt3.Subscribe)
        assert subscribe.filters == (mqtt3.Filter("cmd/+", 1),)
        world.us.sessions[0].send(mqtt3.Publish("cmd/2", b"us"))
        assert await got.get() == ("cmd/2", b"us")


async def test_a_refused_filter_is_an_error_and_later_an_event(world):
    world.us.refuses_filters = True
    async with world.client() as client:
        await client.subscribe("cmd", lambda topic, payload: None)
        world.eu.refuses_filters = True
        with pytest.raises(Unavailable, match="'secret' was refused"):
            await client.subscribe("secret", lambda topic, payload: None)
        world.eu.die()
        assert await world.events.until(Unsubscribed) == Unsubscribed("us", "cmd")


async def test_a_callback_that_fails_does_not_cost_the_session(world):
    failures = asyncio.Queue()
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: failures.put_nowait(context["exception"])
    )
    async with world.client() as client:
        await client.subscribe("cmd", lambda topic, payload: 1 / 0)
        world.eu.sessions[0].send(mqtt3.Publish("cmd", b"", 1, packet_id=5))
        assert isinstance(await failures.get(), ZeroDivisionError)
        await world.eu.next(mqtt3.Puback)
        await client.publish("dt/1", b"")
        assert client.region == "eu"


async def test_a_server_that_speaks_nonsense_is_left(world):
    async with world.client():
        await world.events.until(Connected("eu"))
        world.eu.sessions[0].transport.write(b"\x00\x00")
        lost = await world.events.until(Lost)
        assert lost.detail.startswith("it does not speak MQTT: ")
        await world.events.until(Connected("us"))


def tasks_beside_this_one():
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_aclose_says_disconnect_and_leaves_no_task(world):
    before = tasks_beside_this_one()
    client = world.client()
    async with client:
        await world.events.until(Connected("eu"))
        world.eu.acknowledges = False
        waiting = client.send("dt/1", b"")
        await world.eu.next(mqtt3.Publish)
    await world.eu.next(mqtt3.Disconnect)
    assert tasks_beside_this_one() == before
    assert isinstance(waiting.exception(), Unavailable)
    assert client.region is None
    await client.aclose()
    with pytest.raises(Unavailable, match="not running"):
        client.send("dt/1", b"")


async def test_aclose_of_a_client_that_waits_for_any_region_leaves_no_task(world):
    before = tasks_beside_this_one()
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        eu = Endpoint("eu", f"eu.{STABLE_NAME}", frozen.getsockname()[1], "127.0.0.1")
        async with world.client(eu, connect_timeout_s=60) as client:
            waiting = client.send("dt/1", b"")
            await world.events.until(Moved)
            accepted, _ = await asyncio.get_running_loop().run_in_executor(None, frozen.accept)
            accepted.close()
        assert tasks_beside_this_one() == before
    assert isinstance(waiting.exception(), Unavailable)


@pytest.mark.parametrize(
    ("topic", "payload", "error"),
    [
        ("a/#", b"", MalformedPacket),
        ("", b"", MalformedPacket),
        ("a", bytes(128 * 1024 + 1), InputError),
    ],
)
async def test_what_no_region_would_take_is_not_kept(world, topic, payload, error):
    async with world.client() as client:
        with pytest.raises(error):
            client.send(topic, payload)


async def test_endpoints_without_address_are_found_by_their_names(world):
    eu, us = (
        Endpoint(each.name, f"{each.name}.{STABLE_NAME}", each.port)
        for each in (world.eu, world.us)
    )
    async with world.client(eu, us) as client:
        await world.events.until(Connected("eu"))
        world.resolver.answer = None
        world.eu.die()
        await world.events.until(Connected("us"))
        assert client.region == "us", "its place is remembered while DNS is down"


class Answers:
    """A resolver that reads a table."""

    def __init__(self, **places):
        self.places = places

    async def resolve(self, name):
        found = self.places.get(name.partition(".")[0])
        if found is None:
            raise OSError("no such name")
        return found


async def test_names_tell_regions_apart_by_address_and_port():
    endpoints = [Endpoint("eu", "eu.x", 1, "10.0.0.1"), Endpoint("us", "us.x", 2, "10.0.0.1")]
    for answer, region in [
        ([("10.0.0.1", 2)], "us"),
        ([("10.9.9.9", 1), ("10.0.0.1", 1)], "eu"),
        ([("10.0.0.1", 3)], None),
        ([], None),
        (None, None),
    ]:
        assert await Names("iot.x", endpoints, Answers(iot=answer)).region() == region


async def test_a_place_that_was_never_known_is_an_error_of_dns():
    eu = Endpoint("eu", "eu.x", 1)
    with pytest.raises(OSError, match=r"eu\.x was not found: no such name"):
        await Names("iot.x", [eu], Answers()).place(eu)


async def test_a_doubted_place_is_looked_up_again():
    eu = Endpoint("eu", "eu.x", 1)
    answers = Answers(eu=[("10.0.0.1", 1)])
    names = Names("iot.x", [eu], answers)
    assert await names.place(eu) == ("10.0.0.1", 1)
    answers.places["eu"] = [("10.0.0.2", 9), ("10.0.0.2", 1)]
    assert await names.place(eu) == ("10.0.0.1", 1)
    names.doubt(eu)
    assert await names.place(eu) == ("10.0.0.2", 1)
    names.doubt(eu)
    del answers.places["eu"]
    assert await names.place(eu) == ("10.0.0.2", 1), "better than none while DNS is down"


async def test_the_machines_resolver_answers_every_port():
    found = await SystemResolver([8883, 443, 443]).resolve("127.0.0.1")
    assert found == [("127.0.0.1", 443), ("127.0.0.1", 8883)]
    assert ipaddress.ip_address(found[0][0]).is_loopback


def test_packet_identifiers_go_round_and_skip_what_is_in_flight():
    outbox = Outbox(10)

    def take_one():
        outbox.add(Message("t", b"", None))
        [message] = outbox.take(0.0)
        return message.packet_id

    kept = take_one()
    assert kept == 1
    for expected in range(2, PACKET_ID_MAX + 1):
        assert take_one() == expected
        outbox.acknowledge(expected)
    assert take_one() == 2, "1 is still in flight"
    assert outbox.acknowledge(777) is None
