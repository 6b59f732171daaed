"""`isthmus command`: what it sends is answered, and it says by whom."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from mqtt_wire import Wire
from regions import OTHER, Regions, two_regions, until
from typer.testing import CliRunner

from isthmus.cli.app import app
from isthmus.errors import InputError
from isthmus.local import aws_profile
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        await aws_profile.write_profiles(started.system, started.operator)
        key = await a_key(started)
        iot = Caller(started, key)
        await iot("create_thing_group", thingGroupName="floor")
        await iot("create_thing_group", thingGroupName="room", parentGroupName="floor")
        for name in ("lamp", "pump", "fan"):
            await started.who_may(name, "iot:*")
        for name, group in (("lamp", "floor"), ("pump", "room")):
            await iot("add_thing_to_thing_group", thingName=name, thingGroupName=group)
        await started.level()
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def iot(regions: Regions) -> Caller:
    return Caller(regions, await a_key(regions))


async def command(regions: Regions, *words: str) -> Any:
    said = ["command", *words, "--state", str(regions.system.settings.state_dir)]
    return await asyncio.to_thread(CliRunner().invoke, app, said)


async def told(regions: Regions, *words: str) -> tuple[int, Any]:
    done = await command(regions, *words, "--json")
    assert done.stdout, done.exception
    return done.exit_code, json.loads(done.stdout)


@asynccontextmanager
async def answering(regions: Regions, name: str, said: dict[str, Any]) -> AsyncIterator[list[str]]:
    """A device that says this of every command; what it was sent."""
    heard: list[str] = []

    async def answer(wire: Wire) -> None:
        while (message := await wire.next()) is not None:
            if isinstance(message, mqtt3.Publish):
                heard.append(message.payload.decode())
                wire.send(mqtt3.Puback(message.packet_id))
                topic = message.topic.replace("/request", "/response")
                wire.send(mqtt3.Publish(topic, json.dumps(said).encode(), 1, packet_id=1))

    async with regions.client(OTHER, name) as wire:
        await wire.subscribe(f"$aws/commands/things/{name}/executions/+/request/json", qos=1)
        task = asyncio.create_task(answer(wire))
        try:
            yield heard
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_group_is_sent_a_command_and_each_answer_is_told(regions: Regions) -> None:
    reason = {"reasonCode": "DRY", "reasonDescription": "no water"}
    async with (
        answering(regions, "lamp", {"status": "SUCCEEDED", "result": {"at": {"s": "top"}}}) as lamp,
        answering(regions, "pump", {"status": "FAILED", "statusReason": reason}) as pump,
    ):
        words = ["send", "--group", "floor", "--payload", '{"on":true}', "--expires", "60"]
        code, found = await told(regions, *words, "--wait")
        assert (lamp, pump) == (['{"on":true}'], ['{"on":true}'])
    by_name = {each["thing"]: each for each in found["executions"]}
    assert code == 1, "one of them did not succeed"
    assert by_name["lamp"]["status"] == "SUCCEEDED"
    assert by_name["lamp"]["result"] == {"at": {"S": "top"}}
    assert (by_name["pump"]["status"], by_name["pump"]["statusReason"]) == ("FAILED", reason)
    shown = await command(
        regions, "show", by_name["pump"]["execution"], "--thing", "pump", "--wait"
    )
    assert shown.stdout == "pump: FAILED, DRY: no water\n"
    (whole,) = found["groups"]
    assert (whole["group"], whole["status"]) == ("floor", "FAILED")
    shown = await command(regions, "show", whole["execution"], "--group", "floor")
    assert shown.stdout == "floor: FAILED, SUCCEEDED=1, FAILED=1\n"


async def test_who_is_offline_is_told_where_it_is_not_to_wait(regions: Regions) -> None:
    words = ["send", "--thing", "fan", "--payload", "{}", "--when-offline", "refuse"]
    code, found = await told(regions, *words)
    (each,) = found["executions"]
    assert (code, each["thing"], "execution" in each) == (1, "fan", False)
    assert "fan is not connected" in each["refused"]
    code, found = await told(regions, *words[:1], "--group", "room", *words[3:])
    (each,), (whole,) = found["executions"], found["groups"]
    assert (code, each) == (1, {"thing": "pump", "refused": "$NOT_CONNECTED"})
    assert whole["execution"]


async def test_a_command_that_is_there_is_sent_by_its_name(
    regions: Regions, tmp_path: Path
) -> None:
    file = tmp_path / "payload"
    file.write_bytes(b"\x00\xff")
    words = ["--thing", "fan", "--expires", "1"]
    kind = ["--payload-file", str(file), "--content-type", "text/plain"]
    code, made = await told(regions, "send", *words, *kind)
    assert code == 0
    again = await told(regions, "send", *words, *kind)
    assert again[1]["command"] == made["command"]
    code, found = await told(regions, "send", *words, "--command", made["command"], "--wait")
    (each,) = found["executions"]
    assert (code, each["status"]) == (1, "TIMED_OUT")
    assert each["statusReason"] == {"reasonCode": "$NO_RESPONSE_FROM_DEVICE"}
    (each,) = made["executions"]
    code, found = await told(regions, "show", each["execution"], "--thing", "fan")
    assert found["execution"] == each["execution"]


async def test_a_device_that_does_not_subscribe_to_its_commands_is_told_of(
    regions: Regions,
) -> None:
    words = ["send", "--thing", "fan", "--payload", "{}", "--expires", "1", "--wait"]
    _, found = await told(regions, *words)
    (each,) = found["executions"]
    assert "hint" not in each, "it is not connected"

    async def is_told() -> bool:
        shown = await command(regions, "show", each["execution"], "--thing", "fan")
        return shown.stdout.endswith(", it does not subscribe to its commands\n")

    async with regions.client(OTHER, "fan") as wire:
        await wire.subscribe("other/topics", qos=1)
        await until("it is said why fan did not answer", is_told)
        await wire.subscribe("$aws/commands/things/fan/executions/+/request", qos=1)
        assert not await is_told()


@pytest.mark.parametrize(
    "words",
    [
        ["send", "--thing", "fan"],
        ["send", "--thing", "fan", "--payload", "x", "--payload-file", __file__],
        ["send", "--payload", "{}"],
        ["send", "--thing", "nobody", "--command", "none"],
        ["show", "x"],
        ["show", "x", "--thing", "fan", "--client", "fan"],
    ],
)
async def test_what_makes_no_sense_is_said_in_a_sentence(
    regions: Regions, words: list[str]
) -> None:
    done = await command(regions, *words)
    assert isinstance(done.exception, InputError)


@pytest.mark.parametrize("words", [[], ["--group", "none"]])
async def test_what_is_sent_to_nobody_leaves_no_command(
    regions: Regions, iot: Caller, words: list[str]
) -> None:
    held = (await iot("list_commands"))["commands"]
    done = await command(regions, "send", "--payload", json.dumps(words), *words)
    assert isinstance(done.exception, InputError)
    assert (await iot("list_commands"))["commands"] == held


async def test_an_interrupted_wait_says_that_what_was_sent_goes_on(regions: Regions) -> None:
    state = str(regions.system.settings.state_dir)
    words = ["command", "send", "--thing", "fan", "--payload", "{}", "--expires", "600", "--wait"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus", *words, "--state", state),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout
    line = (await process.stdout.readline()).decode()
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert process.returncode == 130, errors
    key = line.removeprefix("fan: ").strip()
    code, found = await told(regions, "show", key, "--thing", "fan")
    assert (code, found["status"]) == (0, "CREATED")
