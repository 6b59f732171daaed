"""A bench from a request to an exit code: directories, progress, Ctrl-C, the report."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from isthmus.bench import metrics, open_files, report, rounds
from isthmus.bench.machine import machine
from isthmus.bench.metrics import Metric
from isthmus.bench.mosquitto import find_mosquitto
from isthmus.bench.rounds import Measured, Options
from isthmus.bench.stand import Tools
from isthmus.errors import InputError

#: As a shell says it of Ctrl-C.
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Request:
    """What is measured, and how often."""

    only: tuple[str, ...] = ()
    #: What takes many minutes, too.
    long: bool = False
    rounds: int = 3
    seconds: float = 5.0
    idle_minutes: float = 10.0
    tools: Tools = field(default_factory=Tools)

    def validate(self) -> None:
        if self.rounds < 1:
            raise InputError(f"--rounds is {self.rounds}", hint="1 or more")
        if not self.seconds > 0:
            raise InputError(f"--seconds is {self.seconds}", hint="a value above 0")
        if not self.idle_minutes > 0:
            raise InputError(f"--idle-minutes is {self.idle_minutes}", hint="a value above 0")


def run(request: Request, *, as_json: bool) -> int:
    """Measure, show the report, and return the exit code."""
    request.validate()
    console = Console(stderr=True, highlight=False)
    # The NATS client's streams make asyncio warn of what does not concern TLS.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    broker = find_mosquitto()
    known = metrics.metrics(broker, request.idle_minutes * 60)
    chosen = choose(known, request.only, is_long=request.long)
    for each in chosen:
        open_files.allow(open_files.needed(each.load), each.name)
    if broker is None:
        console.print("mosquitto is not installed: no peer is measured. Try: apt install mosquitto")
    directory = Path(tempfile.mkdtemp("-isthmus"))
    try:
        description = machine(request.tools.nats_binary, directory)
        measured = asyncio.run(_measure(chosen, request, directory, console))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if measured is None:
        console.print("interrupted; nothing is left running")
        return INTERRUPTED
    result: dict[str, Any] = report.build(description, measured)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    else:
        report.show(Console(highlight=False), result)
    failures = report.failures(measured)
    for text in failures:
        console.print(text)
    return 1 if failures else 0


def choose(known: Sequence[Metric], only: Sequence[str], *, is_long: bool) -> list[Metric]:
    """The metrics to measure; raises InputError for a name that there is not."""
    names = [each.name for each in known]
    for name in only:
        if name not in names:
            raise InputError(f"--only is {name!r}", hint="one of " + ", ".join(names))
    if only:
        return [each for each in known if each.name in only]
    return [each for each in known if is_long or not each.long_s]


async def _measure(
    chosen: Sequence[Metric], request: Request, directory: Path, console: Console
) -> list[Measured] | None:
    """Measure and tell how it goes; None if it was interrupted."""
    began_s = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[cyan]{time.monotonic() - began_s:6.1f} s[/]  {text}", soft_wrap=True)

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        line = progress.add_task("")

        def doing(text: str) -> None:
            progress.update(line, description=text)

        tools = replace(request.tools, doing=doing)
        options = Options(request.rounds, request.seconds, directory, tools, say)
        task = asyncio.create_task(rounds.measure(chosen, options))
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, task.cancel)
        await asyncio.wait({task})
    return None if task.cancelled() else task.result()
