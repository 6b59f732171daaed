"""Public suites of MQTT against a real gateway, from checkouts that environment variables name.

``ISTHMUS_PAHO_TESTING``: Eclipse's paho.mqtt.testing; each of its tests in a process of its own.
``ISTHMUS_MOSQUITTO``: Eclipse's mosquitto, for the sequences of packets in test/broker/data.

What does not hold, and why, stands in expected.toml, and nothing else may fail. What stands there
has to: who mends something has to take it out.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from packet_sequences import Case, Streams, cases, play
from regions import HOME, Regions, two_regions
from relay import relay
from second_gateway import standard_gateway

from isthmus.local import bring_up
from isthmus.local.bring_up import ACCOUNT

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

HERE = Path(__file__).parent
EXPECTED: dict[str, list[dict[str, Any]]] = tomllib.loads((HERE / "expected.toml").read_text())
KINDS = {"not there yet", "as AWS IoT Core does", "a choice", "the suite"}
THING = "suite"
#: A filter that a test of Eclipse's expects to be refused.
NOT_TO_BE_SUBSCRIBED = "test/nosubscribe"
#: There is no other one yet. With 2 nearly every test would fail for that, and show nothing else.
QOS_MAX = 1
#: Some wait for ever for a message that does not come.
TEST_S = 60.0


def checkout(variable: str, inside: str) -> tuple[Path | None, str]:
    """Where a suite is, or why it is not."""
    named = os.environ.get(variable)
    if not named:
        return None, f"{variable} names no checkout"
    found = Path(named) / inside
    return (found, "") if found.is_dir() else (None, f"{variable}: there is no {found}")


def skipped(reason: str) -> list[Any]:
    return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")]


def paho_tests() -> Iterator[Any]:
    """Every test of Eclipse's files; those that are expected to fail have to."""
    directory, reason = checkout("ISTHMUS_PAHO_TESTING", "interoperability")
    if directory is None:
        yield from skipped(reason)
        return
    reasons = {each["test"]: f"{each['kind']}: {each['reason']}" for each in EXPECTED["paho"]}
    for module in ("client_test", "client_test5"):
        for node in ast.walk(ast.parse((directory / f"{module}.py").read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
                name = f"{module}.{node.name}"
                fails = pytest.mark.xfail(strict=True, reason=reasons.get(name, ""))
                yield pytest.param(name, marks=[fails] if name in reasons else [], id=name)


def sequence_files() -> Iterator[Any]:
    directory, reason = checkout("ISTHMUS_MOSQUITTO", "test/broker/data")
    if directory is None:
        yield from skipped(reason)
        return
    for path in sorted(directory.glob("*.json")):
        yield pytest.param(path.stem, id=path.stem)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        allow = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
        resource = f"arn:aws:iot:{HOME}:{ACCOUNT}:topicfilter/{NOT_TO_BE_SUBSCRIBED}"
        deny = {"Effect": "Deny", "Action": "iot:Subscribe", "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow, deny]})
        entry = bring_up.device(started.system, THING, {}, THING)
        await started.operator.register(HOME, [entry], [{"name": THING, "document": document}])
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(regions: Regions) -> AsyncIterator[tuple[str, int]]:
    """Where the standard dialect is spoken."""
    async with standard_gateway(regions) as gateway:
        yield gateway.config.mqtt.host, gateway.config.mqtt.port


@pytest.mark.parametrize("test", list(paho_tests()))
async def test_of_paho(regions: Regions, place: tuple[str, int], test: str) -> None:
    module, name = test.split(".")
    tls = regions.tls(regions.identity(THING))
    async with relay(place[0], place, tls, regions.system.stable_name) as port:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(HERE / "run_paho_test.py"), os.environ["ISTHMUS_PAHO_TESTING"]),
            *(module, name, place[0], str(port), str(QOS_MAX)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(TEST_S):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            pytest.fail(f"it waits for ever: not done within {TEST_S} s")
    assert process.returncode == 0, said.decode(errors="replace")


@pytest.mark.parametrize("file", list(sequence_files()))
async def test_sequences_of_mosquitto(regions: Regions, place: tuple[str, int], file: str) -> None:
    directory, _ = checkout("ISTHMUS_MOSQUITTO", "test/broker/data")
    tls = regions.tls(regions.identity(THING))

    async def open_line() -> Streams:
        name = regions.system.stable_name
        return await asyncio.open_connection(*place, ssl=tls, server_hostname=name)

    assert directory
    rules = [each for each in EXPECTED["sequences"] if file in each["files"]]
    idle = {each["reason"] for each in rules if not each.get("sometimes")}
    unexplained = {}
    for case in cases(directory):
        if case.file == file and (difference := await play(case, open_line)):
            reason = explained(case, difference, rules)
            idle.discard(reason)
            if not reason:
                unexplained[case.title] = difference
    assert unexplained == {}
    assert idle == set(), "expected.toml explains what is not there any more"


def explained(case: Case, difference: str, rules: list[dict[str, Any]]) -> str:
    """The reason of the first rule that is for this difference."""
    for rule in rules:
        is_case = re.search(rule.get("case", ""), case.title)
        if is_case and re.search(rule.get("difference", ""), difference):
            return str(rule["reason"])
    return ""


async def test_every_expectation_says_of_which_kind_it_is() -> None:
    found = [each for entries in EXPECTED.values() for each in entries]
    assert {each["kind"] for each in found} <= KINDS
    assert all(each["reason"] for each in found)
