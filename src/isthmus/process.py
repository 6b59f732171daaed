"""One way to run a service process: signals, logs, the ready line, the leash.

A process says ``ready`` on its standard output once it serves. One that was started with a leash
ends when its standard input is closed, so that nothing outlives the process that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

READY_LINE = "ready"
#: Seconds that a service has for an orderly end.
STOP_S = 3.0

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object per line: constant message, the rest as fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = vars(record)
        line.update({name: fields[name] for name in fields if name not in _STANDARD})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


#: New objects between two looks for cycles, and how often older ones are looked at too.
GC_THRESHOLDS = (50_000, 20, 200)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send every log line to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def say_ready() -> None:
    """Tell whoever started this process that it serves."""
    sys.stdout.write(READY_LINE + "\n")
    sys.stdout.flush()


def look_for_cycles_seldom() -> None:
    """Leave more to reference counts, as a process does that has thousands of objects in its hands.

    A look at every 700 new ones takes a seventh of a busy gateway's time, and of a simulation's.
    """
    gc.set_threshold(*GC_THRESHOLDS)


def run(
    main: Callable[[], Coroutine[Any, Any, Any]], *, leash: bool, stop_s: float = STOP_S
) -> int:
    """Run a service until it ends, SIGINT, SIGTERM or the end of the leash."""
    look_for_cycles_seldom()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_until_stopped(main, leash, stop_s))
    return uvloop.run(_until_stopped(main, leash, stop_s))


async def _until_stopped(
    main: Callable[[], Coroutine[Any, Any, Any]], leash: bool, stop_s: float
) -> int:
    service = asyncio.create_task(main())
    loop = asyncio.get_running_loop()

    def stop() -> None:
        service.cancel()
        loop.call_later(stop_s, _give_up, stop_s)

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop)
    holding = asyncio.create_task(_let_go(stop)) if leash else None
    try:
        code = await service
    except asyncio.CancelledError:
        return 0
    except BaseException:
        logging.getLogger(__name__).exception("the service failed", extra={"action": "failed"})
        return 1
    finally:
        if holding:
            holding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await holding
    return code if isinstance(code, int) else 0


def _give_up(after_s: float) -> None:
    """Leave at once: whatever is worth keeping is on disk already."""
    extra = {"action": "gave-up", "after_s": after_s}
    logging.getLogger(__name__).error("the service did not stop", extra=extra)
    os._exit(1)


async def _let_go(stop: Callable[[], object]) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await _drain(reader.read)
    stop()


async def _drain(read: Callable[[int], Awaitable[bytes]]) -> None:
    while await read(4096):
        pass
