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
from isthmus.bench.api_metrics import PAGE, api_metrics
from isthmus.bench.authorizing import authorize_metrics
from isthmus.bench.machine import machine
from isthmus.bench.metrics import Metric
from isthmus.bench.mosquitto import find_mosquitto
from isthmus.bench.moto import INSTALL, find_moto
from isthmus.bench.rounds import Measured, Options
from isthmus.bench.shadow_metrics import shadow_metrics
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
    """Measure the gateway, show the report, and return the exit code."""
    request.validate()
    broker = find_mosquitto()
    known = metrics.metrics(broker, request.idle_minutes * 60)
    chosen = choose(known, request.only, is_long=request.long)
    for each in chosen:
        open_files.allow(open_files.needed(each.load), each.name)
    missing = "" if broker else "mosquitto is not installed: apt install mosquitto"
    return _bench("gateway", chosen, request, missing, as_json=as_json)


def run_api(request: Request, moto: Path | None, things: int, *, as_json: bool) -> int:
    """Measure the AWS-compatible API, show the report, and return the exit code."""
    request.validate()
    if things <= PAGE:
        raise InputError(f"--things is {things}", hint=f"more than {PAGE}, which is a page")
    server = find_moto(moto)
    chosen = choose(api_metrics(server, things), request.only, is_long=request.long)
    missing = "" if server else f"moto_server is not on the PATH: {INSTALL}, or --moto PATH"
    return _bench("api", chosen, request, missing, as_json=as_json)


def run_authorize(request: Request, *, as_json: bool) -> int:
    """Measure what policies cost, show the report, and return the exit code."""
    request.validate()
    chosen = choose(authorize_metrics(), request.only, is_long=request.long)
    return _bench("authorize", chosen, request, "", as_json=as_json)


def run_shadow(request: Request, *, as_json: bool) -> int:
    """Measure shadows, show the report, and return the exit code."""
    request.validate()
    chosen = choose(shadow_metrics(), request.only, is_long=request.long)
    return _bench("shadow", chosen, request, "", as_json=as_json)


def _bench(
    name: str, chosen: Sequence[Metric], request: Request, missing: str, *, as_json: bool
) -> int:
    console = Console(stderr=True, highlight=False)
    # The NATS client's streams make asyncio warn of what does not concern TLS.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    if missing:
        what, _, hint = missing.partition(": ")
        console.print(f"{what}: no peer is measured. Try: {hint}", markup=False)
    directory = Path(tempfile.mkdtemp("-isthmus"))
    try:
        description = machine(request.tools.nats_binary, directory)
        measured = asyncio.run(_measure(chosen, request, directory, console))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if measured is None:
        console.print("interrupted; nothing is left running")
        return INTERRUPTED
    result: dict[str, Any] = report.build(description, measured, name)
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
