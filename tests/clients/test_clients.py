"""Unmodified clients of other makers against a real gateway: one set of behaviours for them all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from client_documents import Snippet, snippets
from client_programs import ALL, ANSWER_S, CLIENTS, JS, Client, Instead, Place, Program, running
from mqtt_wire import Wire
from regions import HOME, Regions, two_regions, until

from isthmus.local import aws_profile, bring_up, foreground
from isthmus.local.cable import Cable
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Under one certificate, each by an id of its own.
THING, NEIGHBOUR = "clients", "neighbour"
#: For an answer that either comes at once or, as yet, never.
GOODBYE_S = 5.0
every_client = pytest.mark.parametrize(
    ("program", "version"),
    CLIENTS,
    ids=[f"{program.name}-{version}".replace(", ", "-") for program, version in CLIENTS],
)


class Gateway:
    """A real gateway in a real region, and who connects to it."""

    def __init__(self, regions: Regions, directory: Path) -> None:
        self.regions = regions
        self._directory = directory
        self._numbers = itertools.count(1)

    def topic(self, client: Client, last: str = "said") -> str:
        return f"clients/{client.id}/{last}"

    @asynccontextmanager
    async def started(
        self, program: Program, version: str, *, cable: Cable | None = None, **asked: Any
    ) -> AsyncIterator[Client]:
        """A client that connects, through a cable if there is one."""
        client_id = f"client-{next(self._numbers)}"
        host, port = self.regions.place(HOME)
        identity = self.regions.identity(THING)
        place = Place(
            host,
            cable.port if cable else port,
            self.regions.system.pki.ca_file,
            Path(identity.certificate),
            Path(identity.key),
        )
        topic = f"clients/{client_id}/said"
        async with running(
            program, version, self._directory, place, client_id, topic, **asked
        ) as client:
            yield client

    @asynccontextmanager
    async def connected(
        self, program: Program, version: str, **asked: Any
    ) -> AsyncIterator[Client]:
        async with self.started(program, version, **asked) as client:
            await client.connected()
            yield client

    @asynccontextmanager
    async def cable(self) -> AsyncIterator[Cable]:
        """A way to the gateway that can be cut."""
        cable = Cable(*self.regions.place(HOME))
        await cable.heal()
        try:
            yield cable
        finally:
            await cable.cut()

    def neighbour(self) -> AbstractAsyncContextManager[Wire]:
        """A client of our own, which is connected."""
        return self.regions.client(HOME, NEIGHBOUR)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as regions:
        statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        entries = [
            bring_up.device(regions.system, name, {}, "everything") for name in (THING, NEIGHBOUR)
        ]
        policy = {"name": "everything", "document": document}
        await regions.operator.register(HOME, entries, [policy])
        yield Gateway(regions, tmp_path_factory.mktemp("programs"))


@every_client
async def test_it_publishes_and_receives(gateway: Gateway, program: Program, version: str) -> None:
    async with gateway.connected(program, version) as client, gateway.neighbour() as neighbour:
        topic = gateway.topic(client)
        await client.subscribe(gateway.topic(client, "+"))
        client.publish(topic, "acknowledged", qos=1)
        await client.acknowledged("acknowledged")
        assert await client.hears("message") == ["1", "0", topic, "acknowledged"]
        client.publish(topic, "not-acknowledged", qos=0)
        assert await client.hears("message") == ["0", "0", topic, "not-acknowledged"]
        await neighbour.publish(topic, b"from-the-neighbour")
        assert await client.hears("message") == ["1", "0", topic, "from-the-neighbour"]


@every_client
async def test_its_will_is_published_when_it_is_killed(
    gateway: Gateway, program: Program, version: str
) -> None:
    async with gateway.neighbour() as neighbour:
        assert await neighbour.subscribe("clients/wills/of-all", qos=1) == (1,)
        will = ("clients/wills/of-all", f"of-{program.name}-{version}".replace(" ", ""))
        async with gateway.connected(program, version, will=will) as client:
            await client.kill()
            heard = await neighbour.expect(mqtt3.Publish)
    assert (heard.topic, heard.payload.decode(), heard.qos) == (*will, 1)


@every_client
async def test_it_comes_back_by_itself_when_its_connection_is_cut(
    gateway: Gateway, program: Program, version: str
) -> None:
    async with (
        gateway.cable() as cable,
        gateway.connected(program, version, cable=cable) as client,
    ):
        topic = gateway.topic(client)
        await client.subscribe(topic)
        await cable.cut(reset=True)
        await cable.heal()
        await goes_on(client, topic)


async def test_they_come_back_by_themselves_when_the_gateway_is_killed(gateway: Gateway) -> None:
    # All at once: it takes seconds to start again.
    here = [each for each in CLIENTS if not each[0].missing() and not each[0].needs_goodbye]
    if not here:
        pytest.skip("no client is installed")
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(gateway.started(program, version))
            for program, version in here
        ]

        async def begins(client: Client) -> None:
            await client.connected()
            await client.subscribe(gateway.topic(client))

        await asyncio.gather(*map(begins, clients))
        gateway.regions.signal(HOME, "gateway", signal.SIGKILL)
        await asyncio.gather(*(goes_on(client, gateway.topic(client)) for client in clients))


async def goes_on(client: Client, topic: str) -> None:
    """It connects again, as often as it must, and can do what it could before."""
    for attempt in itertools.count():
        await client.hears("connected")
        payload = f"attempt-{attempt}"
        # A gateway that has just started may close its clients once more.
        with contextlib.suppress(Instead):
            await client.subscribe(topic)
            client.publish(topic, payload)
            for kind in ("acknowledged", "message"):
                while (await client.hears(kind, "disconnected"))[-1] != payload:
                    pass
            return


@every_client
async def test_it_publishes_and_receives_a_retained_message(
    gateway: Gateway, program: Program, version: str
) -> None:
    async with gateway.connected(program, version) as client:
        topic = gateway.topic(client)
        client.publish(topic, "remembered", retain=True)
        await client.acknowledged("remembered")
        await client.subscribe(topic)
        client.publish(topic, "afterwards")
        assert await client.hears("message") == ["1", "1", topic, "remembered"]
        assert await client.hears("message") == ["1", "0", topic, "afterwards"]


@every_client
async def test_its_session_keeps_what_is_said_while_it_is_away(
    gateway: Gateway, program: Program, version: str
) -> None:
    async with (
        gateway.cable() as cable,
        gateway.neighbour() as neighbour,
        gateway.connected(program, version, cable=cable, session="kept") as client,
    ):
        topic = gateway.topic(client)
        await client.subscribe(topic)
        await cable.cut(reset=True)
        await neighbour.publish(topic, b"while-away")
        await cable.heal()
        (is_present,) = await client.hears("connected")
        assert is_present in ("1", "-")
        # A session that is kept has it anyway; one that is not begins here.
        await client.subscribe(topic)
        await neighbour.publish(topic, b"afterwards")
        assert (await client.hears("message"))[-1] == "while-away"
        assert (await client.hears("message"))[-1] == "afterwards"


@pytest.mark.parametrize(("program", "version"), [each for each in CLIENTS if not each[0].listener])
async def test_it_is_given_a_command_and_answers(
    gateway: Gateway, program: Program, version: str
) -> None:
    key = await a_key(gateway.regions)
    iot, jobs = (Caller(gateway.regions, key, service=name) for name in ("iot", "iot-jobs-data"))
    with contextlib.suppress(iot.errors.ConflictException):
        await iot("create_command", commandId="open", payload={"content": b"the-door"})
    async with gateway.connected(program, version) as client:
        executions = f"$aws/commands/clients/{client.id}/executions"
        await client.subscribe(f"{executions}/+/request")
        arn = f"arn:aws:iot:{HOME}:{bring_up.ACCOUNT}"
        named = {"targetArn": f"{arn}:client/{client.id}"}
        started = await jobs(
            "start_command_execution",
            commandArn=f"{arn}:command/open",
            executionTimeoutSeconds=600,
            **named,
        )
        named["executionId"] = started["executionId"]
        root = f"{executions}/{started['executionId']}"
        assert await client.hears("message") == ["1", "0", f"{root}/request", "the-door"]
        client.publish(f"{root}/response/json", '{"status":"SUCCEEDED"}')
        await client.acknowledged('{"status":"SUCCEEDED"}')
        # Its PUBACK comes when the answer is safe.
        assert (await iot("get_command_execution", **named))["status"] == "SUCCEEDED"


# The end of TLS


@contextlib.contextmanager
def blocking(regions: Regions, timeout_s: float) -> Iterator[ssl.SSLSocket]:
    """A connected client without a loop, which is told of a connection that ends in TCP only."""
    tls = regions.tls(regions.identity(NEIGHBOUR))
    name = regions.system.stable_name
    with (
        socket.create_connection(regions.place(HOME), timeout=timeout_s) as plain,
        tls.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False) as wire,
    ):
        wire.sendall(mqtt3.encode(mqtt3.Connect(NEIGHBOUR)))
        assert wire.recv(4096) == mqtt3.encode(mqtt3.Connack(False, 0))
        yield wire


async def test_the_end_of_a_connection_is_told_in_tls(gateway: Gateway) -> None:
    def connect_and_leave() -> bytes:
        with blocking(gateway.regions, ANSWER_S) as wire:
            wire.sendall(mqtt3.encode(mqtt3.Disconnect()))
            return wire.recv(4096)

    assert await asyncio.to_thread(connect_and_leave) == b""


async def test_the_end_of_a_connection_is_heard_in_tls(gateway: Gateway) -> None:
    def connect_and_close() -> None:
        with blocking(gateway.regions, GOODBYE_S) as wire:
            wire.unwrap()

    await asyncio.to_thread(connect_and_close)


# What docs/clients.md shows


@pytest.mark.parametrize("snippet", snippets(), ids=[each.title for each in snippets()])
async def test_the_code_of_the_document_connects(
    gateway: Gateway, snippet: Snippet, tmp_path: Path
) -> None:
    system, operator = gateway.regions.system, gateway.regions.operator
    demo = bring_up.device(system, foreground.DEMO_DEVICE, {})
    await operator.register(HOME, [demo], [bring_up.fleet_policy(HOME)])
    await aws_profile.write_profiles(system, operator)
    foreground._write_ready(system, tmp_path / "ready.json")
    before = len(gateway.regions.lake(HOME, foreground.DEMO_DEVICE, raw=True))
    identity = gateway.regions.identity(foreground.DEMO_DEVICE)
    host, port = gateway.regions.place(HOME)
    values = (host, str(port), *map(str, (system.pki.ca_file, identity.certificate, identity.key)))
    code, said = await asyncio.to_thread(run_snippet, snippet, tmp_path, values)
    assert code == 0, said
    assert "acknowledged" in said or snippet.language == "sh"
    await until(
        "the lake has one more",
        lambda: len(gateway.regions.lake(HOME, foreground.DEMO_DEVICE, raw=True)) == before + 1,
    )


def run_snippet(snippet: Snippet, directory: Path, values: Sequence[str]) -> tuple[int, str]:
    """Run the code of a section; returns its exit code and what it said."""
    program = next(each for each in ALL if snippet.title.split(",")[0] == each.name)
    if reason := program.missing():
        pytest.skip(reason)
    source = directory / f"snippet.{snippet.language}"
    source.write_text(snippet.code)
    match snippet.language:
        case "python":
            command = [sys.executable, str(source)]
        case "js":
            (directory / "node_modules").symlink_to(JS / "node_modules")
            command = ["node", str(source)]
        case "sh":
            names = ("HOST", "PORT", "CA_FILE", "CERTIFICATE", "KEY")
            for name, value in zip(names, values, strict=True):
                source.write_text(source.read_text().replace(name, value))
            command = ["sh", "-e", str(source)]
        case "c":
            library = "mosquitto" if program.name == "libmosquitto" else "paho-mqtt3cs"
            built = str(directory / "snippet")
            subprocess.run(["cc", "-o", built, str(source), f"-l{library}"], check=True)
            command = [built, *values]
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=ANSWER_S,
    )
    return done.returncode, done.stdout
