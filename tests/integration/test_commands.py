"""Commands reach their devices through whichever region holds the connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from mqtt_wire import Wire, Wire5
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.core.command_executions import COMMAND_EXECUTION, read
from isthmus.local.bring_up import ACCOUNT
from isthmus.wire import mqtt3, mqtt5
from isthmus.wire.packets import Publish

pytestmark = pytest.mark.asyncio(loop_scope="module")
ARN = f"arn:aws:iot:{HOME}:{ACCOUNT}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), cuttable=True) as started:
        yield started


class Operator:
    """Who sends commands, in one region."""

    def __init__(self, regions: Regions, key: dict[str, Any], region: str) -> None:
        self.iot = Caller(regions, key, region)
        self.jobs = Caller(regions, key, region, service="iot-jobs-data")

    async def create(self, name: str, content: bytes, content_type: str = "text/plain") -> None:
        payload = {"content": content, "contentType": content_type}
        await self.iot("create_command", commandId=name, payload=payload)

    async def start(self, command: str, device: str, kind: str = "thing", **more: Any) -> str:
        made = await self.jobs(
            "start_command_execution",
            commandArn=f"{ARN}:command/{command}",
            targetArn=f"{ARN}:{kind}/{device}",
            **{"executionTimeoutSeconds": 600, **more},
        )
        key: str = made["executionId"]
        return key

    async def execution(self, key: str, device: str, kind: str = "thing") -> dict[str, Any]:
        target = f"{ARN}:{kind}/{device}"
        return await self.iot(
            "get_command_execution", executionId=key, targetArn=target, includeResult=True
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operators(regions: Regions) -> dict[str, Operator]:
    """By region; there is a command that each test may send."""
    key = await a_key(regions)
    found = {region: Operator(regions, key, region) for region in (HOME, OTHER)}
    await found[HOME].create("say", b"it")
    await regions.level()
    return found


def requests(device: str, last: str = "", kind: str = "things") -> str:
    return f"$aws/commands/{kind}/{device}/executions/+/request{last}"


def answers(device: str) -> str:
    return f"$aws/commands/things/{device}/executions/+/response/+/json"


async def given(wire: Wire) -> Publish:
    """The next command; its PUBACK is left to the test."""
    return await wire.expect(Publish)


async def acknowledge(wire: Wire) -> str:
    """Take the next command and acknowledge it; the execution that it is."""
    message = await given(wire)
    wire.send(mqtt3.Puback(message.packet_id))
    return message.topic.split("/")[5]


async def is_delivered(regions: Regions, region: str, key: str) -> None:
    """Wait until a region knows that the device has a command."""

    async def holds() -> bool:
        execution = read(await regions.item(region, COMMAND_EXECUTION, key))
        return execution is not None and execution.is_delivered

    await until(f"{region} knows that {key} is delivered", holds)


async def test_a_command_reaches_a_device_that_is_connected_in_another_region(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    await operators[HOME].create("open", b'{"door": "open"}', "application/json")
    await regions.who_may("door", "iot:*")
    await regions.level()
    async with regions.client(OTHER, "door") as wire:
        assert await wire.subscribe(requests("door", "/json"), qos=1) == (1,)
        key = await operators[HOME].start("open", "door")
        message = await given(wire)
        assert message.topic == f"$aws/commands/things/door/executions/{key}/request/json"
        assert (message.payload, message.qos) == (b'{"door": "open"}', 1)
        wire.send(mqtt3.Puback(message.packet_id))
        await is_delivered(regions, HOME, key)
    execution = await operators[OTHER].execution(key, "door")
    assert execution["status"] == "CREATED", "the device has it, and has said nothing of it"


async def test_a_device_answers_in_its_region_and_the_other_one_tells_it(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    for name in ("lift", "hears-lift"):
        await regions.who_may(name, "iot:*")
    await regions.level()
    async with (
        regions.client(OTHER, "hears-lift") as listener,
        regions.client(OTHER, "lift") as wire,
    ):
        await listener.subscribe("$aws/events/commandExecution/+/#", qos=1)
        await wire.subscribe(requests("lift"), answers("lift"), qos=1)
        key = await operators[HOME].start("say", "lift")
        assert await acknowledge(wire) == key
        said = {"status": "SUCCEEDED", "result": {"floor": {"s": "top"}}}
        for expected in ("accepted", "rejected"):
            topic = f"$aws/commands/things/lift/executions/{key}/response"
            wire.send(mqtt3.Publish(f"{topic}/json", json.dumps(said).encode(), 1, packet_id=9))
            answer = await given(wire)
            assert answer.topic == f"{topic}/{expected}/json"
            wire.send(mqtt3.Puback(answer.packet_id))
            assert (await wire.expect(mqtt3.Puback)).packet_id == 9
            said = {"status": "FAILED"}
        assert json.loads(answer.payload)["error"] == "TerminalStateReached"
        execution = await operators[HOME].execution(key, "lift")
        assert execution["status"] == "SUCCEEDED", "who was answered can rely on it everywhere"
        assert execution["result"] == {"floor": {"S": "top"}}
        event = await given(listener)
        assert event.topic == "$aws/events/commandExecution/say/SUCCEEDED"
        assert json.loads(event.payload)["executionId"] == key
        assert await listener.ping() == []


async def test_what_waited_is_given_once_and_in_order(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    await regions.who_may("sleeper", "iot:*")
    keys = [await operators[HOME].start("say", "sleeper") for _ in range(3)]
    await regions.level()
    async with regions.client(OTHER, "sleeper") as wire:
        await wire.subscribe(requests("sleeper"), qos=1)
        assert [await acknowledge(wire) for _ in keys] == keys
        for key in keys:
            await is_delivered(regions, HOME, key)
    for region in (OTHER, HOME):
        async with regions.client(region, "sleeper") as wire:
            await wire.subscribe(requests("sleeper"), qos=1)
            assert await wire.ping() == []


async def test_what_was_not_acknowledged_is_given_to_the_next_connection(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    await regions.who_may("flaky", "iot:*")
    async with regions.client(HOME, "flaky") as wire:
        await wire.subscribe(requests("flaky"), qos=1)
        key = await operators[HOME].start("say", "flaky")
        assert (await given(wire)).topic.split("/")[5] == key
    async with regions.client(HOME, "flaky") as wire:
        await wire.subscribe(requests("flaky"), qos=1)
        assert await acknowledge(wire) == key


async def test_at_qos_0_a_command_that_was_sent_is_had(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    await regions.who_may("hasty", "iot:*")
    key = await operators[HOME].start("say", "hasty", "client")
    async with regions.client(HOME, "hasty") as wire:
        await wire.subscribe(requests("hasty", kind="clients"))
        message = await given(wire)
        assert (message.qos, message.topic.split("/")[5]) == (0, key)
        await is_delivered(regions, HOME, key)


async def test_a_session_that_goes_on_is_given_what_came_meanwhile(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    await regions.who_may("keeper", "iot:*")
    async with regions.client(HOME, "keeper", clean_session=False) as wire:
        await wire.subscribe(requests("keeper"), qos=1)
    key = await operators[HOME].start("say", "keeper")
    async with regions.client(HOME, "keeper", clean_session=False) as wire:
        assert await acknowledge(wire) == key
        await is_delivered(regions, HOME, key)


async def test_what_has_timed_out_is_given_to_nobody(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    await regions.who_may("late", "iot:*")
    key = await operators[HOME].start("say", "late", executionTimeoutSeconds=1)

    async def is_over() -> bool:
        return (await operators[HOME].execution(key, "late"))["status"] == "TIMED_OUT"

    await until("the execution times out", is_over)
    last = await operators[HOME].start("say", "late")
    async with regions.client(HOME, "late") as wire:
        await wire.subscribe(requests("late"), qos=1)
        assert await acknowledge(wire) == last


async def test_only_the_device_is_given_its_commands_and_only_if_it_may(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    await regions.who_may("spy", "iot:*")
    await regions.who_may("mute", "iot:Connect", "iot:Subscribe")
    await regions.who_may("heard", "iot:*")
    async with (
        regions.client(HOME, "spy") as spy,
        regions.client(HOME, "mute") as mute,
        regions.client(HOME, "heard") as heard,
    ):
        for wire, name in ((spy, "+"), (mute, "mute"), (heard, "heard")):
            await wire.subscribe(requests(name), qos=1)
        await operators[HOME].start("say", "mute")
        key = await operators[HOME].start("say", "heard")
        assert await acknowledge(heard) == key
        assert await spy.ping() == []
        assert await mute.ping() == []


async def test_a_client_of_mqtt_5_is_told_the_type_and_how_long_it_may_take(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    await regions.who_may("modern", "iot:*")
    host, port = regions.place(HOME)
    tls = regions.tls(regions.identity("modern"))
    wire = await Wire5.open(host, port, tls, regions.system.hostname(HOME))
    try:
        wire.send(mqtt5.Connect("modern", level=5))
        assert (await wire.expect(mqtt5.Connack)).return_code == 0
        wire.send(mqtt5.Subscribe(1, (mqtt5.Filter(requests("modern"), 1),)))
        await wire.expect(mqtt5.Suback)
        await operators[HOME].start("say", "modern")
        message = await given(wire)
        assert message.properties is not None
        assert message.properties.content_type == "text/plain"
        assert 0 < message.properties.message_expiry_s <= 600
    finally:
        await wire.abort()


async def test_who_is_offline_is_refused_where_the_caller_says_so(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    await regions.who_may("absent", "iot:*")
    await regions.level()
    caller = operators[HOME].jobs
    caller._client.meta.events.register(
        "before-sign",
        lambda request, **_: request.headers.add_header("x-isthmus-when-offline", "refuse"),
    )

    async def is_taken() -> bool:
        try:
            await operators[HOME].start("say", "absent")
        except caller.errors.ConflictException:
            return False
        return True

    with pytest.raises(caller.errors.ConflictException, match="absent is not connected"):
        await operators[HOME].start("say", "absent")
    async with regions.client(OTHER, "absent"):
        await until("it is heard in the other region that it has come", is_taken)


async def test_a_device_that_fails_over_is_given_what_its_region_had_taken_in(
    regions: Regions, operators: dict[str, Operator]
) -> None:
    await regions.who_may("survivor", "iot:*")
    await regions.level()
    key = await operators[OTHER].start("say", "survivor")
    await regions.kill(OTHER)
    async with regions.client(HOME, "survivor") as wire:
        await wire.subscribe(requests("survivor"), qos=1)
        assert await acknowledge(wire) == key
