"""Hooks by HTTP and as functions: what reaches them, and what they may answer."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from isthmus import config as configs
from isthmus.adapters import hooks
from isthmus.adapters.hooks import Hooks
from isthmus.aws.hooks import Verdict, verdict
from isthmus.errors import ConfigError, InputError, Unavailable

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:check"
OTHER = f"{ARN}-otherwise"
EVENT = {"clientId": "new-1", "parameters": {"Serial": "7"}}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Hooks]:
    """Hooks of which one leads to a server of the test's."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield Hooks({ARN: f"http://127.0.0.1:{port}/hook"})
    finally:
        await runner.cleanup()


async def test_a_hook_is_posted_to_as_a_lambda_function_is_called() -> None:
    got: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        got.append((request.method, request.path, request.content_type, await request.json()))
        return web.json_response({"allowProvisioning": True, "parameterOverrides": {"a": "b"}})

    async with serving(answer) as found:
        assert await verdict(found, ARN, EVENT) == Verdict(True, {"a": "b"})
    assert got == [("POST", "/hook", "application/json", EVENT)]


async def big(_: web.Request) -> web.Response:
    return web.Response(body=b" " * hooks.ANSWER_BYTES_MAX + b"{}")


async def elsewhere(request: web.Request) -> web.Response:
    if request.path == "/hook":
        raise web.HTTPTemporaryRedirect("/other")
    return web.json_response({"allowProvisioning": True})


async def no_json(_: web.Request) -> web.Response:
    return web.Response(body=b"yes")


async def broken(_: web.Request) -> web.Response:
    return web.json_response({"allowProvisioning": True}, status=500)


@pytest.mark.parametrize("handler", [big, elsewhere, no_json, broken])
async def test_what_is_no_answer_of_a_hook_is_refused(handler: Handler) -> None:
    async with serving(handler) as found:
        with pytest.raises(InputError, match="does not answer"):
            await verdict(found, ARN, EVENT)


async def test_a_hook_has_so_much_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "TIMEOUT_S", 0.05)
    never = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await never.wait()
        return web.json_response({"allowProvisioning": True})

    async with serving(hang) as found:
        with pytest.raises(InputError, match="does not answer"):
            await verdict(found, ARN, EVENT)
        never.set()


async def test_so_many_wait_for_a_hook_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "AT_ONCE", 1)
    asked, answers = asyncio.Event(), asyncio.Event()

    async def waits(_: web.Request) -> web.Response:
        asked.set()
        await answers.wait()
        return web.json_response({"allowProvisioning": True})

    async with serving(waits) as found:
        first = asyncio.create_task(verdict(found, ARN, EVENT))
        await asked.wait()
        with pytest.raises(Unavailable):
            await verdict(found, ARN, EVENT)
        answers.set()
        assert await first == Verdict(True)
        assert await verdict(found, ARN, EVENT) == Verdict(True)


async def test_a_hook_that_nobody_serves_or_names_is_refused() -> None:
    for each in (Hooks({ARN: "http://127.0.0.1:1/"}), Hooks({})):
        with pytest.raises(InputError, match="does not answer"):
            await verdict(each, ARN, EVENT)


# Functions


def says_yes(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"allowProvisioning": event["clientId"] == "new-1"}


async def says_yes_later(event: Mapping[str, Any]) -> dict[str, Any]:
    return says_yes(event)


def fails(_: Mapping[str, Any]) -> dict[str, Any]:
    raise ValueError("a bug")


def exits(_: Mapping[str, Any]) -> dict[str, Any]:
    sys.exit(1)


async def fails_later(_: Mapping[str, Any]) -> dict[str, Any]:
    raise ValueError("a bug")


#: Until when a function blocks.
FREED = threading.Event()


def blocks(event: Mapping[str, Any]) -> dict[str, Any]:
    FREED.wait()
    return says_yes(event)


async def blocks_a_loop(event: Mapping[str, Any]) -> dict[str, Any]:
    return blocks(event)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with hooks, as pip leaves it."""
    directory = tmp_path / "user_hooks-1.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text("Metadata-Version: 2.1\nName: user_hooks\nVersion: 1\n")
    names = ("says_yes", "says_yes_later", "fails", "exits", "fails_later")
    names += ("blocks", "blocks_a_loop")
    lines = [f"{name} = {__name__}:{name}" for name in names]
    (directory / "entry_points.txt").write_text("\n".join([f"[{hooks.GROUP}]", *lines, ""]))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["says_yes", "says_yes_later"])
async def test_a_function_is_called_whether_or_not_it_is_async(name: str) -> None:
    found = Hooks({ARN: f"entry-point:{name}"})
    assert await verdict(found, ARN, EVENT) == Verdict(True)
    assert await verdict(found, ARN, {"clientId": "other"}) == Verdict(False)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["fails", "exits", "fails_later"])
async def test_a_function_that_fails_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="does not answer"):
        await verdict(Hooks({ARN: f"entry-point:{name}"}), ARN, EVENT)


@pytest.fixture
def blocked(installed: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Functions block, and are not waited for."""
    monkeypatch.setattr(hooks, "TIMEOUT_S", 0.01)
    FREED.clear()
    yield
    free()


def free() -> None:
    """Return when no function is under way any more."""
    FREED.set()
    for thread in threading.enumerate():
        if thread.name == "hook":
            thread.join()


@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize("name", ["blocks", "blocks_a_loop"])
async def test_a_function_that_blocks_holds_up_nobody_and_so_many_are_called(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Hooks({ARN: f"entry-point:{name}"})
    for _ in range(hooks.AT_ONCE):
        with pytest.raises(InputError, match="does not answer"):
            await verdict(found, ARN, EVENT)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await verdict(found, ARN, EVENT)
    # Keys are made there, and files read.
    async with asyncio.timeout(10):
        await asyncio.to_thread(int)
    monkeypatch.setattr(hooks, "TIMEOUT_S", 10)
    free()
    for _ in range(hooks.AT_ONCE + 1):
        assert await verdict(found, ARN, EVENT) == Verdict(True)


@pytest.mark.usefixtures("blocked")
async def test_a_function_that_blocks_leaves_other_hooks_their_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Hooks({ARN: "entry-point:blocks", OTHER: "entry-point:says_yes"})
    for _ in range(hooks.AT_ONCE // 2):
        with pytest.raises(InputError, match="does not answer"):
            await verdict(found, ARN, EVENT)
    with pytest.raises(Unavailable):
        await verdict(found, ARN, EVENT)
    monkeypatch.setattr(hooks, "TIMEOUT_S", 10)
    assert await verdict(found, OTHER, EVENT) == Verdict(True)


ENDS = """
import asyncio
from isthmus.adapters import hooks
hooks.TIMEOUT_S = 0.01
try:
    asyncio.run(hooks.Hooks({"a": "entry-point:blocks"}).ask("a", {}))
except hooks.InputError:
    print("refused")
"""


@pytest.mark.usefixtures("installed")
def test_a_process_ends_whose_hook_never_does(tmp_path: Path) -> None:
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", ENDS],
        capture_output=True,
        timeout=30,
        check=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.stdout == b"refused\n"


@pytest.mark.usefixtures("installed")
def test_a_function_that_is_not_installed_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="nobody"):
        Hooks({ARN: "entry-point:nobody"})


# Configuration


@pytest.mark.parametrize(
    ("target", "is_safe"),
    [
        ("https://hooks.example.com/check", True),
        ("http://127.0.0.1:8080/", True),
        ("http://[::1]/", True),
        ("entry-point:check", True),
        ("http://hooks.example.com/", False),
        ("http://localhost/", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("check", False),
        ("http://[::1", False),
    ],
)
def test_a_hook_is_asked_over_tls_or_on_this_machine(target: str, is_safe: bool) -> None:
    access = configs.NatsAccess(url="nats://h", ca="", nkey_seed="")
    files = configs.ServerFiles(certificate="c", key="k")
    listen = configs.Listen(host="127.0.0.1", port=1)
    aws_api = configs.AwsApi(listen=listen, tls=files, nats=access, hooks={ARN: target})
    if is_safe:
        aws_api.validate()
    else:
        with pytest.raises(ConfigError, match="hooks"):
            aws_api.validate()
