"""How a service process starts, says that it serves, and ends: with real processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

SERVICE = """
import asyncio, logging, sys
from isthmus import process

async def main():
    process.log_to_stderr()
    try:
        process.say_ready()
        logging.getLogger("test").info("it serves", extra={"action": "serve", "region": "eu"})
        if sys.argv[2] == "fails":
            raise RuntimeError("a reason")
        if sys.argv[2] == "ends":
            return 7
        await asyncio.Event().wait()
    finally:
        print("cleaned up", flush=True)

sys.exit(process.run(main, leash=sys.argv[1] == "leash"))
"""


@asynccontextmanager
async def service(leash: str = "no leash", how: str = "serves") -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVICE, leash, how, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def rest(process: Process) -> tuple[bytes, list[dict[str, object]], int | None]:
    """What it still prints and logs until it ends, and its code."""
    async with asyncio.timeout(20):
        printed, logged = await process.communicate()
    return printed, [json.loads(line) for line in logged.splitlines()], process.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_good_order(number: signal.Signals) -> None:
    async with service() as process:
        process.send_signal(number)
        printed, _, code = await rest(process)

    assert printed == b"cleaned up\n"
    assert code == 0


async def test_one_on_a_leash_ends_when_it_is_let_go() -> None:
    async with service("leash") as process:
        assert process.stdin
        process.stdin.write(b"whatever is said to it is not heard")
        await process.stdin.drain()
        process.stdin.close()
        printed, _, code = await rest(process)

    assert printed == b"cleaned up\n"
    assert code == 0


async def test_one_without_a_leash_does_not_care_for_its_input() -> None:
    async with service() as process:
        assert process.stdin
        process.stdin.close()
        process.send_signal(0)
        process.send_signal(signal.SIGTERM)
        _, _, code = await rest(process)

    assert code == 0


async def test_a_service_that_fails_says_why_and_ends_with_1() -> None:
    async with service(how="fails") as process:
        printed, logged, code = await rest(process)

    assert printed == b"cleaned up\n"
    assert code == 1
    assert logged[-1]["level"] == "error"
    assert "RuntimeError: a reason" in str(logged[-1]["traceback"])


async def test_the_code_of_a_service_that_ends_by_itself_is_kept() -> None:
    async with service(how="ends") as process:
        assert (await rest(process))[2] == 7


async def test_a_log_line_is_an_object_with_its_fields() -> None:
    async with service(how="ends") as process:
        _, logged, _ = await rest(process)

    (line,) = [each for each in logged if each["logger"] == "test"]
    assert line.pop("at")
    assert line == {
        "level": "info",
        "logger": "test",
        "message": "it serves",
        "action": "serve",
        "region": "eu",
    }
