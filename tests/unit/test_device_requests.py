"""Devices' requests between a gateway and an API, by way of a real NATS and as its users."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from aws_region import AwsRegion
from mqtt_sessions import sent, session
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from isthmus import protocol
from isthmus.adapters import hooks
from isthmus.adapters.hooks import Hooks
from isthmus.aws.context import Context
from isthmus.aws.device_questions import Answered, Asked, DeviceQuestions
from isthmus.aws_server import device_requests, serving
from isthmus.aws_server.device_requests import DeviceRequests
from isthmus.core.batch import Source
from isthmus.core.device_topics import CREATE_CERTIFICATE, CREATE_FROM_CSR, SHADOW
from isthmus.core.session import Ask, Send, Ticket
from isthmus.core.shadow_topics import IN_FLIGHT_MAX
from isthmus.core.written import Written
from isthmus.errors import BrokenInvariant, Unavailable
from isthmus.gateway import requests, together
from isthmus.gateway.requests import Requests
from isthmus.protocol import DeviceReply, DeviceReplyBatch, DeviceRequest, DeviceRequestBatch
from isthmus.region.promise import Kept
from isthmus.wire import packets
from isthmus.wire.packets import Filter, Publish
from real_nats import RealNats, real_nats, settle

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBJECT = "region.device-request"
TOPIC = "$aws/certificates/create/json"
OTHER = "$aws/certificates/create-from-csr/json"
SHADOW_TOPIC = "$aws/things/car-1/shadow/update"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealNats]:
    async with real_nats(tmp_path_factory.mktemp("nats")) as started:
        yield started


class Device:
    """A connection whose client subscribes to the answers of one topic."""

    address = "192.0.2.1"

    def __init__(self, name: str = "car-1") -> None:
        self.source = Source("c", name, "p" * 64)
        self.session = session()
        self.session.handle(packets.Subscribe(1, (Filter(f"{TOPIC}/accepted"),)))
        #: What it hears, in order: answers, numbers of PUBACKs, and why it was closed.
        self.heard: list[Any] = []
        self.is_open = True
        self._gathered = None
        #: How often something was sent to it.
        self.writes = 0
        self._changed = asyncio.Event()

    def perform(self, actions: list[Any]) -> None:
        for action in actions:
            assert isinstance(action, Send)
            self._hear(*(each.payload for each in sent(action.data)))

    def kept(self, tickets: list[Ticket]) -> None:
        for each in tickets:
            each.kept = True
        self._hear(*(each.packet_id for each in sent(self.session.answers())))

    def fail(self, reason: str) -> None:
        self.is_open = False
        self._hear(reason)

    def gather(self) -> None:
        self._gathered: list[Any] | None = []

    def scatter(self) -> None:
        gathered, self._gathered = self._gathered, None
        if gathered:
            self.writes += 1
            self._hear(*gathered)

    def _hear(self, *what: Any) -> None:
        if self._gathered is not None:
            self._gathered += what
            return
        self.heard += what
        self._changed.set()

    async def hears(self, count: int) -> list[Any]:
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.heard

    def asks(self, payload: bytes, packet_id: int = 0, topic: str = TOPIC) -> Ask:
        publish = Publish(topic, payload, 1 if packet_id else 0, packet_id=packet_id)
        (ask,) = self.session.handle(publish)
        assert isinstance(ask, Ask)
        return ask


class Seam:
    """A gateway's side, and an API whose handler is the test's."""

    def __init__(self, gateway: Any, api: Any, timeout_s: float = 10.0) -> None:
        self.events: list[tuple[str, bytes]] = []
        #: How many events there were whenever all were said of what was answered together.
        self.all_said: list[int] = []
        #: Those that the API has published itself.
        self.said: list[tuple[str, bytes]] = []
        self.asked: list[Asked] = []
        #: What the handler does, beside telling the test.
        self.handler: Callable[[Context, Asked], Any] = self.echo
        self.refusal: Exception | None = None
        self.is_open = True
        #: Set whenever the API asks for that.
        self.looked = asyncio.Event()
        self.kept = asyncio.Event()
        self.kept.set()
        self.requests = Requests(
            gateway,
            lambda _, client: client if client == "thing-1" else None,
            lambda topic, payload: self.events.append((topic, payload)),
            lambda: self.all_said.append(len(self.events)),
            timeout_s,
        )
        questions = DeviceQuestions()

        @questions.handles(CREATE_CERTIFICATE, like="CreateThing")
        async def handle(context: Context, asked: Asked) -> Answered:
            self.asked.append(asked)
            found: Answered = await self.handler(context, asked)
            return found

        @questions.handles(SHADOW, like="CreateThing")
        async def handle_quick(context: Context, asked: Asked) -> Answered:
            self.asked.append(asked)
            found: Answered = await self.handler(context, asked)
            return found

        with pytest.raises(BrokenInvariant):
            questions.handles(CREATE_CERTIFICATE, like="CreateThing")
        self.api_client = api
        self.api = DeviceRequests(
            api,
            self._is_open,
            self._may_serve,
            AwsRegion().context,
            lambda: self._is_kept,
            lambda events: self.said.extend(events),
            questions,
        )

    async def echo(self, context: Context, asked: Asked) -> Answered:
        return Answered([(f"{asked.topic}/accepted", asked.payload)])

    def _is_open(self) -> bool:
        self.looked.set()
        return self.is_open

    async def is_looked_at(self) -> None:
        """Return when the API has acted on that."""
        for _ in range(3):
            self.looked.clear()
            async with asyncio.timeout(5):
                await self.looked.wait()

    async def _may_serve(self) -> None:
        if self.refusal:
            raise self.refusal

    async def _is_kept(self, written: Written) -> Kept:
        assert written
        await self.kept.wait()
        return Kept((), 0)


async def is_answered(gateway: Client) -> bool:
    """Whether there is an API that takes requests."""
    try:
        await gateway.request(SUBJECT, b"no request", timeout=5)
    except (NoRespondersError, TimeoutError):
        return False
    return True


@asynccontextmanager
async def seam(nats: RealNats, timeout_s: float = 10.0) -> AsyncIterator[Seam]:
    async with nats.user("gateway") as gateway, nats.user("api") as api:
        both = Seam(gateway, api, timeout_s)
        answering = asyncio.create_task(both.api.run())
        try:
            while not await is_answered(gateway):
                pass
            yield both
        finally:
            await both.requests.stop()
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)


async def test_a_device_is_given_its_answer_and_then_its_puback(nats: RealNats) -> None:
    async with seam(nats) as both:
        device = Device("thing-1")
        both.requests.ask(device, device.asks(b"\xff\0", 7))  # type: ignore[arg-type]
        assert await device.hears(2) == [b"\xff\0", 7]
    asked = Asked("p" * 64, "thing-1", "thing-1", "192.0.2.1", TOPIC, b"\xff\0")
    assert both.asked == [asked]
    assert both.events == []


async def test_requests_of_a_connection_are_carried_out_one_after_another(nats: RealNats) -> None:
    async with seam(nats) as both:
        going = 0

        async def slowly(context: Context, asked: Asked) -> Answered:
            nonlocal going
            going += 1
            assert going == 1
            await asyncio.sleep(0)
            going -= 1
            return await both.echo(context, asked)

        both.handler = slowly
        device = Device()
        for number in range(1, 6):
            both.requests.ask(device, device.asks(b"%d" % number, number))  # type: ignore[arg-type]
        wanted = [each for number in range(1, 6) for each in (b"%d" % number, number)]
        assert await device.hears(10) == wanted


async def test_an_event_is_said_as_the_regions(nats: RealNats) -> None:
    async def tells(_: Context, __: Asked) -> Answered:
        return Answered([], [("$aws/events/x", b"e")])

    async with seam(nats) as both:
        both.handler = tells
        device = Device()
        both.requests.ask(device, device.asks(b"", 1))  # type: ignore[arg-type]
        assert await device.hears(1) == [1]
    assert both.events == [("$aws/events/x", b"e")]


async def test_no_answer_leaves_before_the_promise_of_what_was_written(nats: RealNats) -> None:
    async def writes(context: Context, asked: Asked) -> Answered:
        await context.write("thing", "t", lambda item, writer: writer.write(item).create().done())
        return await both.echo(context, asked)

    async with seam(nats) as both:
        both.handler = writes
        both.kept.clear()
        writing, reading = Device("writing"), Device("reading")
        both.requests.ask(writing, writing.asks(b"w", 1))  # type: ignore[arg-type]
        while not both.asked:
            await settle(both.api_client)
        both.handler = both.echo
        both.requests.ask(reading, reading.asks(b"r", 1))  # type: ignore[arg-type]
        assert await reading.hears(2) == [b"r", 1]
        assert writing.heard == []
        both.kept.set()
        assert await writing.hears(2) == [b"w", 1]


async def raises(_: Context, __: Asked) -> Answered:
    raise ValueError("a bug")


async def breaks_its_promise(_: Written) -> Kept:
    raise TimeoutError


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda both: setattr(both, "refusal", Unavailable("catching up")), "catching up"),
        (lambda both: setattr(both, "handler", raises), "an internal error"),
    ],
)
async def test_who_gets_no_answer_is_closed_to_ask_again(
    nats: RealNats, change: Callable[[Seam], None], said: str
) -> None:
    async with seam(nats) as both:
        change(both)
        device = Device()
        for packet_id in (1, 2):
            both.requests.ask(device, device.asks(b"", packet_id))  # type: ignore[arg-type]
        (heard,) = await device.hears(1)
        assert said in heard
        # Nobody waits for what else it has asked.
        await both.requests.stop()
        assert device.heard == [heard]


async def test_what_nobody_answers_closes_the_connection(nats: RealNats) -> None:
    async with seam(nats) as both:
        device = Device()
        both.requests.ask(device, device.asks(b"", topic=OTHER))  # type: ignore[arg-type]
        (heard,) = await device.hears(1)
        assert "nobody" in heard
    assert CREATE_FROM_CSR.asked[0] == OTHER


async def test_a_region_without_an_api_closes_the_connection(nats: RealNats) -> None:
    async with nats.user("gateway") as gateway:
        both = Seam(gateway, gateway)
        device = Device()
        both.requests.ask(device, device.asks(b"", 1))  # type: ignore[arg-type]
        (heard,) = await device.hears(1)
        assert "NoResponders" in heard


async def test_an_answer_that_does_not_come_in_time_closes_the_connection(nats: RealNats) -> None:
    never = asyncio.Event()

    async def hangs(_: Context, __: Asked) -> Answered:
        await never.wait()
        return Answered([])

    async with seam(nats, timeout_s=0.1 - requests.HANDLING_S) as both:
        both.handler = hangs
        device = Device()
        both.requests.ask(device, device.asks(b"", 1))  # type: ignore[arg-type]
        (heard,) = await device.hears(1)
        assert "Timeout" in heard


async def test_who_asks_more_than_may_wait_is_closed(nats: RealNats) -> None:
    async with seam(nats) as both:
        eager, patient = Device("eager"), Device("patient")
        for _ in range(requests.WAITING_MAX + 1):
            both.requests.ask(eager, eager.asks(b""))  # type: ignore[arg-type]
        assert eager.is_open
        both.requests.ask(eager, eager.asks(b""))  # type: ignore[arg-type]
        assert not eager.is_open
        both.requests.ask(patient, patient.asks(b"p"))  # type: ignore[arg-type]
        assert await patient.hears(1) == [b"p"]


async def test_who_asks_too_often_is_closed_by_whichever_connection(
    nats: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "ASKED_AT_ONCE", 2)
    now_s = 100.0
    monkeypatch.setattr(requests, "monotonic_s", lambda: now_s)

    async with seam(nats) as both:

        async def heard(device: Device) -> list[Any]:
            both.requests.ask(device, device.asks(b"x"))  # type: ignore[arg-type]
            return await device.hears(1)

        assert [await heard(Device(f"car-{n}")) for n in range(2)] == [[b"x"]] * 2
        late, other = Device("late"), Device("other")
        other.source = Source("c", "other", "q" * 64)
        assert await heard(late) == ["its principal asks too often"]
        assert await heard(other) == [b"x"]
        now_s += 1.0
        assert await heard(Device("car-3")) == [b"x"]


async def test_all_connections_together_have_so_many_bytes_waiting(
    nats: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "WAITING_MAX_BYTES", 10 * requests.OVERHEAD_BYTES)
    async with seam(nats) as both:
        for _ in range(3):
            devices = [Device(f"car-{n}") for n in range(11)]
            for each in devices:
                both.requests.ask(each, each.asks(b""))  # type: ignore[arg-type]
            assert [each.is_open for each in devices] == [True] * 10 + [False]
            # What was answered waits no more.
            await asyncio.gather(*(each.hears(1) for each in devices))
            await both.requests.stop()


async def test_an_api_carries_out_so_many_at_once(
    nats: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "AT_ONCE", 2)
    going, most = 0, 0
    go_on = asyncio.Event()

    async def counts(context: Context, asked: Asked) -> Answered:
        nonlocal going, most
        going += 1
        most = max(most, going)
        await go_on.wait()
        going -= 1
        return await both.echo(context, asked)

    async with seam(nats) as both:
        both.handler = counts
        devices = [Device(f"car-{n}") for n in range(5)]
        for each in devices:
            both.requests.ask(each, each.asks(b"x"))  # type: ignore[arg-type]
        while going < 2:
            await settle(both.api_client)
        go_on.set()
        await asyncio.gather(*(each.hears(1) for each in devices))
    assert most == 2


async def test_a_hook_that_hangs_leaves_room_for_who_needs_none(
    nats: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "TIMEOUT_S", 60)
    never, waiting = asyncio.Event(), 0

    async def hangs(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        waiting += 1
        await never.wait()
        writer.close()

    async with seam(nats) as both, await asyncio.start_server(hangs, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = Hooks({"hook": f"http://127.0.0.1:{port}/"})

        async def asks(context: Context, asked: Asked) -> Answered:
            if asked.payload == b"hooked":
                with contextlib.suppress(Unavailable):
                    await found.ask("hook", {})
            return await both.echo(context, asked)

        both.handler = asks
        for number in range(serving.AT_ONCE):
            device = Device(f"hooked-{number}")
            both.requests.ask(device, device.asks(b"hooked"))  # type: ignore[arg-type]
        other = Device("other")
        both.requests.ask(other, other.asks(b"x"))  # type: ignore[arg-type]
        assert await other.hears(1) == [b"x"]
        assert waiting
        never.set()


async def test_what_is_no_request_is_not_carried_out(nats: RealNats) -> None:
    async with seam(nats) as both, nats.user("gateway") as gateway:
        found = await gateway.request(SUBJECT, b"{}", timeout=5)
        assert protocol.decode(found.data, DeviceReplyBatch).replies == []
    assert both.asked == []


async def test_what_waits_for_the_region_alone_is_asked_together(nats: RealNats) -> None:
    go_on = asyncio.Event()

    async def waits(context: Context, asked: Asked) -> Answered:
        await go_on.wait()
        return Answered([], [("$aws/events/x", asked.payload)])

    async with seam(nats) as both, nats.user("api") as listening:
        messages: list[int] = []

        async def count(message: Msg) -> None:
            messages.append(len(protocol.decode(message.data, DeviceRequestBatch).requests))

        await listening.subscribe(SUBJECT, cb=count)
        await settle(listening)
        both.handler = waits
        devices = [Device(f"car-{n}") for n in range(together.MAX + 10)]
        for number, each in enumerate(devices):
            both.requests.ask(each, each.asks(b"%d" % number, 1, SHADOW_TOPIC))  # type: ignore[arg-type]
        while not both.asked:
            await settle(both.api_client)
        go_on.set()
        for each in devices:
            assert await each.hears(1) == [1]
        await settle(listening)
    # Nothing that was answered together is stored before all of it is said.
    assert len(both.all_said) == len(messages)
    assert both.all_said[-1] == sum(messages)
    # Each is answered for itself, and none is asked twice.
    assert sorted(int(payload) for _, payload in both.events) == list(range(len(devices)))
    assert sum(messages) == len(devices)
    assert len(messages) < len(devices) / 2
    assert max(messages) <= together.MAX


async def test_what_a_connection_asks_of_one_thing_is_asked_together_and_answered_at_once(
    nats: RealNats,
) -> None:
    go_on = asyncio.Event()
    other = SHADOW_TOPIC.replace("car-1", "car-2")

    async def waits(context: Context, asked: Asked) -> Answered:
        await go_on.wait()
        return await both.echo(context, asked)

    async with seam(nats) as both, nats.user("api") as listening:
        messages: list[list[bytes]] = []

        async def note(message: Msg) -> None:
            asked = protocol.decode(message.data, DeviceRequestBatch).requests
            messages.append([each.payload for each in asked])

        await listening.subscribe(SUBJECT, cb=note)
        await settle(listening)
        both.handler = waits
        device = Device()
        topics = [SHADOW_TOPIC] * 4 + [other] + [SHADOW_TOPIC] * 2
        for number, topic in enumerate(topics, 1):
            both.requests.ask(device, device.asks(b"%d" % number, number, topic))  # type: ignore[arg-type]
        while not both.asked:
            await settle(both.api_client)
        go_on.set()
        assert await device.hears(len(topics)) == list(range(1, len(topics) + 1))
        await settle(listening)
    # What is about another thing waits until those before it have taken effect.
    assert messages == [[b"1", b"2", b"3", b"4"], [b"5"], [b"6", b"7"]]
    assert device.writes == len(messages)


async def test_nothing_is_asked_behind_a_look(nats: RealNats) -> None:
    get = SHADOW_TOPIC.replace("/update", "/get")
    async with seam(nats) as both:
        asked: list[list[bytes]] = []
        replies = both.requests._replies

        async def note(each: list[DeviceRequest]) -> list[DeviceReply]:
            asked.append([one.payload for one in each])
            return await replies(each)

        both.requests._replies = note  # type: ignore[method-assign]
        device = Device()
        for number, topic in enumerate((SHADOW_TOPIC, get, SHADOW_TOPIC), 1):
            both.requests.ask(device, device.asks(b"%d" % number, number, topic))  # type: ignore[arg-type]
        assert await device.hears(3) == [1, 2, 3]
    # It may have to be asked for once more, and then there is nothing that was carried out behind.
    assert asked == [[b"1", b"2"], [b"3"]]


async def test_what_is_kept_is_said_though_a_look_behind_it_fails(
    nats: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_requests, "REPLIES_MAX_BYTES", 10)
    monkeypatch.setattr(together, "AT_ONCE", 1)
    get, looks = SHADOW_TOPIC.replace("/update", "/get"), 0

    async def tells(context: Context, asked: Asked) -> Answered:
        nonlocal looks
        if asked.topic != get:
            return Answered([], [("$aws/events/x", asked.payload)])
        looks += 1
        if looks == 2:
            raise Unavailable("the log does not answer")
        return Answered([(f"{TOPIC}/accepted", b"a" * 20)])

    async with seam(nats) as both:
        both.handler = tells
        first, device = Device("car-2"), Device()
        both.requests.ask(first, first.asks(b"1" * 11, 1, SHADOW_TOPIC))  # type: ignore[arg-type]
        both.requests.ask(device, device.asks(b"2", 1, SHADOW_TOPIC))  # type: ignore[arg-type]
        both.requests.ask(device, device.asks(b"", 2, get))  # type: ignore[arg-type]
        (heard,) = await device.hears(1)
        assert "the log does not answer" in heard
    assert looks == 2
    assert sorted(payload for _, payload in both.events + both.said) == [b"1" * 11, b"2"]


async def test_who_reads_is_not_closed_for_what_another_was_not_promised(nats: RealNats) -> None:
    async def carries_out(context: Context, asked: Asked) -> Answered:
        if asked.payload == b"w":
            change = lambda item, writer: writer.write(item).create().done()  # noqa: E731
            await context.write("thing", "t", change)
            return Answered([])
        return await both.echo(context, asked)

    async with seam(nats) as both:
        both.handler = carries_out
        both._is_kept = breaks_its_promise  # type: ignore[method-assign]
        writing, reading = Device("writing"), Device("reading")
        for device, payload in ((writing, b"w"), (reading, b"r")):
            both.requests.ask(device, device.asks(payload, 1, SHADOW_TOPIC))  # type: ignore[arg-type]
        (heard,) = await writing.hears(1)
        assert "no second region" in heard
        assert await reading.hears(1) == [1]
        assert reading.is_open


async def test_what_is_answered_is_under_way_no_more(nats: RealNats) -> None:
    async with seam(nats) as both:

        class Waits(Device):
            """Asks for more as soon as it is answered, as one whose requests were held back."""

            def kept(self, tickets: list[Ticket]) -> None:
                super().kept(tickets)
                if len(tickets) == IN_FLIGHT_MAX:
                    for number in range(11, 21):
                        both.requests.ask(self, self.asks(b"x", number, SHADOW_TOPIC))  # type: ignore[arg-type]

        device = Waits()
        for number in range(1, 11):
            both.requests.ask(device, device.asks(b"x", number, SHADOW_TOPIC))  # type: ignore[arg-type]
        assert await device.hears(20) == list(range(1, 21))
    assert both.events == []


async def test_more_than_ten_of_a_thing_under_way_are_refused_as_aws_does(nats: RealNats) -> None:
    go_on = asyncio.Event()

    async def waits(context: Context, asked: Asked) -> Answered:
        await go_on.wait()
        return Answered([], [("$aws/events/x", asked.payload)])

    async with seam(nats) as both:
        both.handler = waits
        device = Device()
        for number in range(1, IN_FLIGHT_MAX + 1):
            both.requests.ask(device, device.asks(b"%d" % number, number, SHADOW_TOPIC))  # type: ignore[arg-type]
        other = SHADOW_TOPIC.replace("car-1", "car-2")
        both.requests.ask(device, device.asks(b"11", 11, other))  # type: ignore[arg-type]
        assert both.events == []
        named = SHADOW_TOPIC.replace("shadow/", "shadow/name/a/")
        payload = b'{"clientToken":"t"}'
        both.requests.ask(device, device.asks(payload, 12, named))  # type: ignore[arg-type]
        ((topic, told),) = both.events
        assert topic == f"{named}/rejected"
        assert json.loads(told) == {
            "code": 429,
            "message": "Too Many Requests",
            "clientToken": "t",
        }
        go_on.set()
        # It is acknowledged in its turn, and the others are carried out.
        assert await device.hears(12) == list(range(1, 13))
    assert [payload for _, payload in both.events[1:]] == [b"%d" % n for n in range(1, 12)]


async def test_what_has_no_room_beside_others_comes_by_itself(
    nats: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_requests, "REPLIES_MAX_BYTES", 10)
    monkeypatch.setattr(together, "AT_ONCE", 1)

    async def tells(context: Context, asked: Asked) -> Answered:
        if asked.payload == b"reads":
            return Answered([(f"{TOPIC}/accepted", b"a" * 20)])
        return Answered([], [("$aws/events/x", b"e" * 20)])

    async with seam(nats) as both:
        both.handler = tells
        devices = [Device(f"car-{n}") for n in range(6)]
        for number, each in enumerate(devices):
            payload = b"reads" if number % 2 else b"writes"
            both.requests.ask(each, each.asks(payload, 1, SHADOW_TOPIC))  # type: ignore[arg-type]
        for number, each in enumerate(devices):
            wanted = [b"a" * 20, 1] if number % 2 else [1]
            assert await each.hears(len(wanted)) == wanted
    # Every event is said once, by one of both.
    assert len(both.said) == 2
    assert len(both.events) == 1


async def test_who_is_not_connected_asks_nothing(nats: RealNats) -> None:
    async with nats.user("gateway") as gateway:
        both = Seam(gateway, gateway)
        device = Device()
        await gateway.close()
        both.requests.ask(device, device.asks(b"", 1))  # type: ignore[arg-type]
        (heard,) = await device.hears(1)
        assert "not connected" in heard


async def test_large_requests_are_asked_apart(
    nats: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "MAX_BYTES", 3)
    monkeypatch.setattr(together, "AT_ONCE", 1)
    async with seam(nats) as both:
        asked: list[int] = []
        replies = both.requests._replies

        async def counts(each: list[DeviceRequest]) -> list[DeviceReply]:
            asked.append(len(each))
            return await replies(each)

        monkeypatch.setattr(both.requests, "_replies", counts)
        devices = [Device(f"car-{n}") for n in range(7)]
        for each in devices:
            both.requests.ask(each, each.asks(b"xx", 1, SHADOW_TOPIC))  # type: ignore[arg-type]
        for each in devices:
            assert await each.hears(1) == [1]
    assert asked == [2, 2, 2, 1]


async def test_an_api_that_is_catching_up_is_not_asked(
    nats: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "TICK_S", 0)
    async with seam(nats) as both, nats.user("gateway") as gateway:
        for is_open in (False, True):
            both.is_open = is_open
            async with asyncio.timeout(10):
                while await is_answered(gateway) is not is_open:
                    pass


async def test_what_has_come_is_answered_when_no_more_is_taken(
    nats: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "TICK_S", 0)
    monkeypatch.setattr(serving, "AT_ONCE", 1)
    go_on = asyncio.Event()
    async with seam(nats) as both, nats.user("gateway") as gateway:

        async def waits(context: Context, asked: Asked) -> Answered:
            await go_on.wait()
            return await both.echo(context, asked)

        both.handler = waits
        devices = [Device(f"car-{n}") for n in range(3)]
        for each in devices:
            both.requests.ask(each, each.asks(b"x"))  # type: ignore[arg-type]
        while not both.asked:
            await settle(both.api_client)
        await settle(both.requests._client)
        await settle(both.api_client)
        both.is_open = False
        await both.is_looked_at()
        go_on.set()
        assert [await each.hears(1) for each in devices] == [[b"x"]] * len(devices)
        assert not await is_answered(gateway)


async def test_an_api_outlives_a_nats_that_hangs(
    nats: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "TICK_S", 0)
    async with seam(nats) as both, nats.user("gateway") as gateway:
        assert nats.child.pid
        os.kill(nats.child.pid, signal.SIGSTOP)
        try:
            # As when heartbeats fall silent, and then come again.
            for both.is_open in (False, True):
                await both.is_looked_at()
        finally:
            os.kill(nats.child.pid, signal.SIGCONT)
        async with asyncio.timeout(20):
            # On a slow machine both have taken it for dead, and connect anew.
            while not await is_answered(gateway):
                pass
