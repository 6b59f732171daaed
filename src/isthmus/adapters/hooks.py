"""Hooks of the user's: an HTTPS address, or a function of a Python package that is installed here.

Implements ``aws.hooks.Hooks``. Whatever a hook does, it takes no longer than its time, and its
failure is a no. A function may block, and never end: it has a thread and a loop of its own, so
that it holds up neither the process nor its end.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from importlib.metadata import entry_points
from typing import Any

import aiohttp
import msgspec

from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import ConfigError, InputError, Unavailable

_log = logging.getLogger(__name__)

#: AWS's seconds.
TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 64 * 1024
#: Calls at once, of which each hook has its share: half of what is carried out for devices at once,
#: so that hooks which hang leave room for who needs none. A function has its place until it ends.
AT_ONCE = 16
GROUP = "isthmus.provisioning_hooks"
ENTRY_POINT = "entry-point:"


class Hooks:
    """By ARN, where a region's configuration leads."""

    def __init__(self, targets: Mapping[str, str]) -> None:
        """Raises ConfigError where there is no such entry point."""
        self._urls = {arn: each for arn, each in targets.items() if not _is_function(each)}
        self._functions = {
            arn: _loaded(each) for arn, each in targets.items() if _is_function(each)
        }
        share = max(1, AT_ONCE // max(1, len(targets)))
        self._places = {arn: threading.Semaphore(share) for arn in targets}

    async def ask(self, arn: str, event: Mapping[str, Any]) -> Any:
        """What a hook answers; raises InputError that says why there is nothing.

        Raises Unavailable where as many wait for its answer as may.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._ask(arn, event)
        except Exception as error:
            extra = {"action": "provisioning-hook", "hook": arn, "reason": repr(error)[:500]}
            _log.warning("a hook does not answer", extra=extra)
            if isinstance(error, Unavailable):
                raise
            raise InputError(f"the hook {arn} does not answer") from None

    async def _ask(self, arn: str, event: Mapping[str, Any]) -> Any:
        places = self._places.get(arn)
        if places is None:
            raise InputError("aws_api.hooks leads nowhere")
        if not places.acquire(blocking=False):
            raise Unavailable("too many wait for this hook")
        if arn in self._functions:
            return await asyncio.wrap_future(_begun(self._functions[arn], event, places.release))
        try:
            return await _post(self._urls[arn], msgspec.json.encode(event))
        finally:
            places.release()


def _is_function(target: str) -> bool:
    return target.startswith(ENTRY_POINT)


def _loaded(target: str) -> Callable[[Mapping[str, Any]], Any]:
    name = target.removeprefix(ENTRY_POINT)
    found = tuple(entry_points(group=GROUP, name=name))
    if len(found) != 1:
        hint = f"install the package that has it, in the group {GROUP}"
        raise ConfigError(f"{len(found)} entry points are called {name!r}", hint=hint)
    function: Callable[[Mapping[str, Any]], Any] = found[0].load()
    return function


def _begun(
    function: Callable[[Mapping[str, Any]], Any],
    event: Mapping[str, Any],
    ended: Callable[[], None],
) -> Future[Any]:
    """Call a function in a thread; whoever gives up its answer leaves it to itself."""
    answer: Future[Any] = Future()
    answer.set_running_or_notify_cancel()

    def call() -> None:
        try:
            found = function(event)
            answer.set_result(asyncio.run(_awaited(found)) if inspect.isawaitable(found) else found)
        except BaseException as error:
            # It may even say that the process is to exit.
            answer.set_exception(InputError(f"it fails: {error!r}"))
        finally:
            ended()

    # Not the loop's executor: that makes keys and reads files, and is waited for at the end.
    threading.Thread(target=call, name="hook", daemon=True).start()
    return answer


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


async def _post(url: str, body: bytes) -> Any:
    headers = {"Content-Type": "application/json"}
    async with (
        # Of its own: hooks are asked rarely, and one that hangs holds nobody up.
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers, allow_redirects=False) as response,
    ):
        if response.status != 200:
            raise InputError(f"status {response.status}")
        answer = bytearray()
        async for part in response.content.iter_chunked(ANSWER_BYTES_MAX):
            answer += part
            if len(answer) > ANSWER_BYTES_MAX:
                raise InputError(f"more than {ANSWER_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(answer)
    except UNDECODABLE as error:
        raise InputError(f"not JSON: {error}") from None
