"""What the generator's clients send, and what they find wrong, without a network."""

from __future__ import annotations

import asyncio
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.bench import open_files
from isthmus.bench.client import ACCEPTED, DISCONNECT, Faults, MqttClient
from isthmus.bench.crowd import PONG, Idler, Losses
from isthmus.bench.fanning import SUBACK, Fan, Subscriber
from isthmus.bench.offering import Schedule, Sender
from isthmus.bench.percentiles import percentiles
from isthmus.bench.plan import Client, Offering, Publishing
from isthmus.bench.publisher import settle
from isthmus.bench.publishing import Pusher
from isthmus.errors import ConfigError, Unavailable
from isthmus.wire import mqtt3_encode
from isthmus.wire.mqtt import ServerDecoder
from isthmus.wire.packets import Connect, Disconnect, Filter, Pingreq, Publish

CLIENT = Client(client_id="a", certificate="a.pem", key="a.key", topic="vehicles/a/telemetry")


class Socket(asyncio.Transport):
    """Keeps what a client writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self._decoder = ServerDecoder(1 << 20)

    def write(self, data) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def packets(self) -> list:
        """What was written since the last look, as a server reads it."""
        data, self.written = self.written, b""
        return list(self._decoder.feed(data))


def connected(client: MqttClient) -> Socket:
    socket = Socket()
    client.connection_made(socket)
    (connect,) = socket.packets()
    assert isinstance(connect, Connect)
    assert connect.client_id == "a"
    client.data_received(ACCEPTED)
    return socket


def acks(*packet_ids: int) -> bytes:
    return b"".join(map(mqtt3_encode.encode_puback, packet_ids))


def ids(packets: list[Publish]) -> list[int]:
    return [each.packet_id for each in packets]


# Connecting


async def test_a_client_is_accepted_by_its_connack_in_pieces():
    client = MqttClient(CLIENT, Faults())
    client.connection_made(Socket())
    client.data_received(ACCEPTED[:1])
    assert not client.accepted.done()
    client.data_received(ACCEPTED[1:])
    assert client.accepted.done()


async def test_a_refused_client_says_how_it_was_answered():
    client = MqttClient(CLIENT, Faults())
    client.connection_made(Socket())
    client.data_received(b"\x20\x02\x00\x05")
    with pytest.raises(Unavailable, match="a: CONNECT was answered 20 02 00 05"):
        await client.accepted


async def test_a_lost_connection_ends_the_load():
    faults = Faults()
    client = MqttClient(CLIENT, faults)
    connected(client)
    client.connection_lost(ConnectionResetError())
    with pytest.raises(Unavailable, match="a: the server closed the connection: ConnectionReset"):
        await faults.during(60)


async def test_who_leaves_is_not_lost():
    faults = Faults()
    client = MqttClient(CLIENT, faults)
    socket = connected(client)
    client.leave()
    client.connection_lost(None)
    faults.check()
    assert socket.closed
    assert socket.written == DISCONNECT


# Closed loop


async def test_a_pusher_keeps_to_its_window():
    pusher = Pusher(CLIENT, Faults(), Publishing(window=5, payload_bytes=30), 0)
    socket = connected(pusher)
    pusher.push()
    sent = socket.packets()
    assert ids(sent) == [1, 2, 3, 4]
    assert {(each.topic, each.qos, len(each.payload)) for each in sent} == {(CLIENT.topic, 1, 30)}
    pusher.data_received(acks(1))
    assert socket.packets() == []
    pusher.data_received(acks(2))
    assert ids(socket.packets()) == [1, 2]
    pusher.data_received(acks(3, 4, 1, 2))
    assert ids(socket.packets()) == [3, 4, 1, 2]
    assert (pusher.acks.sent, pusher.acks.owed) == (10, 4)


async def test_settling_waits_for_what_is_owed():
    faults = Faults()
    pusher = Pusher(CLIENT, faults, Publishing(window=4), 0)
    socket = connected(pusher)
    pusher.push()
    settling = asyncio.create_task(settle([pusher], faults))
    await asyncio.sleep(0)
    pusher.data_received(acks(1, 2, 3))
    assert len(socket.packets()) == 4
    assert not settling.done()
    pusher.data_received(acks(4))
    assert await settling == 4


async def test_an_answer_that_nobody_asked_for_ends_the_load():
    faults = Faults()
    pusher = Pusher(CLIENT, faults, Publishing(window=4), 0)
    connected(pusher)
    pusher.push()
    pusher.data_received(acks(1, 2, 4))
    with pytest.raises(Unavailable, match="a: not the next PUBACKs"):
        await settle([pusher], faults)


# Open loop


@given(st.integers(1, 60), st.integers(0, 10_000), st.floats(0.1, 1e5))
def test_clients_take_turns_at_equal_distances(clients, number, per_s):
    schedule = Schedule(100.0, per_s, clients)
    client, own = number % clients, number // clients
    assert schedule.due_of_s(client, own) == schedule.due_s(number)
    assert schedule.due_s(0) == 100.0
    assert schedule.due_s(number + 1) > schedule.due_s(number)


async def test_a_sender_publishes_whatever_it_is_owed():
    sender = Sender(CLIENT, Faults(), b"x" * 20)
    socket = connected(sender)
    for _ in range(3):
        sender.publish()
    assert ids(socket.packets()) == [1, 2, 3]
    sender.data_received(acks(1, 2))
    assert len(sender.answered_s) == 2
    sender.leave()
    assert socket.packets() == [Disconnect()]


async def test_a_server_that_does_not_keep_up_ends_the_load(monkeypatch):
    monkeypatch.setattr("isthmus.bench.offering.IDS", 2)
    faults = Faults()
    sender = Sender(CLIENT, faults, b"")
    connected(sender)
    for _ in range(3):
        sender.publish()
    with pytest.raises(Unavailable, match="a: 2 publishes are not acknowledged"):
        faults.check()


# Fanning out


@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.lists(st.integers(0, 3), max_size=60),
)
def test_a_message_leaves_when_one_has_reached_everybody(subscribers, window, who):
    has = [0] * subscribers
    loop = asyncio.new_event_loop()
    try:
        fan = Fan(subscribers, window, lambda: None, loop.create_future())
        fan.start()
        for each in who:
            each %= subscribers
            if has[each] < fan.sent:
                has[each] += 1
                fan.took(has[each] - 1)
            assert fan.sent == min(has) + window
            assert fan.delivered == sum(has)
        fan.stop()
        assert not fan.settled.done()
        for each in range(subscribers):
            while has[each] < fan.sent:
                has[each] += 1
                fan.took(has[each] - 1)
        assert fan.settled.done()
        assert fan.delivered == fan.sent * subscribers
    finally:
        loop.close()


def fan_of_one(window: int) -> Fan:
    return Fan(1, window, lambda: None, asyncio.get_running_loop().create_future())


async def test_a_subscriber_counts_the_copies_in_pieces():
    copy, fan = mqtt3_encode.encode_publish("t", b"abc"), fan_of_one(3)
    subscriber = Subscriber(CLIENT, Faults(), copy, 3, fan)
    socket = connected(subscriber)
    subscriber.subscribe("t")
    (subscribe,) = socket.packets()
    assert subscribe.filters == (Filter("t", 0),)
    fan.start()
    stream = SUBACK + copy * 3
    for place in range(0, len(stream), 5):
        subscriber.data_received(stream[place : place + 5])
    assert subscriber.subscribed.done()
    assert fan.delivered == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (mqtt3_encode.encode_suback(1, (0x80,)), "SUBSCRIBE was answered 90 03 00 01 80"),
        (SUBACK + mqtt3_encode.encode_publish("t", b"abd"), "not a copy"),
        (SUBACK + mqtt3_encode.encode_publish("t", b"abc") * 2, "2 copies of 1 messages"),
    ],
)
async def test_a_subscriber_refuses_what_was_not_published(answer, said):
    faults, fan = Faults(), fan_of_one(1)
    copy = mqtt3_encode.encode_publish("t", b"abc")
    subscriber = Subscriber(CLIENT, faults, copy, 1, fan)
    connected(subscriber)
    fan.start()
    fan.stop()
    subscriber.data_received(answer)
    with pytest.raises(Unavailable, match=f"a: {said}"):
        faults.check()


# A crowd


async def test_an_idler_is_answered_and_its_loss_is_counted():
    losses = Losses()
    idler = Idler(CLIENT, losses)
    socket = connected(idler)
    idler.ping()
    idler.ping()
    assert socket.packets() == [Pingreq(), Pingreq()]
    idler.data_received(PONG[:1])
    idler.data_received(PONG[1:] + PONG)
    assert losses.count == 0
    idler.data_received(PONG)
    idler.connection_lost(None)
    assert losses.count == 1
    losses.check()


@pytest.mark.parametrize(
    ("limits", "count", "raised"),
    [
        ((1_024, 20_000), 10_500, (20_000, 20_000)),
        ((20_000, 20_000), 10_500, None),
        ((1_024, resource.RLIM_INFINITY), 10_500, (10_500, resource.RLIM_INFINITY)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 10_500, None),
    ],
)
def test_as_many_files_as_may_be_are_allowed(limits, count, raised, monkeypatch):
    wanted = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: wanted.append(new))
    open_files.allow(count, "idle_10k")
    assert wanted == ([raised] if raised else [])


def test_too_few_files_are_told_with_what_to_do(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    load = Offering(per_s=1, crowd=10_000)
    said = r"idle_10k needs 10500 open files per process, .* 4096\nTry: ulimit -n 10500"
    with pytest.raises(ConfigError, match=said):
        open_files.allow(open_files.needed(load), "idle_10k")


# Percentiles


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_values_that_occurred(values):
    found = percentiles(values)
    assert set(found.values()) <= set(values)
    assert found["max"] == max(values)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        assert sum(each <= found[name] for each in values) >= share * len(values)
        assert sum(each < found[name] for each in values) < share * len(values)


def test_there_are_no_percentiles_of_nothing():
    assert percentiles([]) == {}
    assert percentiles(range(1, 101)) == {"p50": 50, "p95": 95, "p99": 99, "max": 100}
