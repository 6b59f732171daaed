"""A drill from a request to an exit code: directories, progress, Ctrl-C, the report."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.status import Status

from isthmus.drill import report as reports
from isthmus.drill import scenario as scenarios
from isthmus.drill.fleet import choose
from isthmus.drill.runner import Drill
from isthmus.drill.scenario import Plan
from isthmus.errors import InputError
from isthmus.fleet.fleet_file import FleetThing, read_fleet
from isthmus.local.system import LAUNCHER, LocalSystem, Settings
from isthmus.tasks import end

#: As a shell says it of Ctrl-C.
INTERRUPTED = 130
WATCH_S = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    """What is drilled."""

    scenario: str = "kill"
    #: The default is the fleet of the repository's examples.
    fleet: Path | None = None
    devices: int | None = None
    #: None: a random one, which the report names.
    seed: int | None = None
    regions: tuple[str, ...] = ("eu", "us")
    state: Path | None = None
    keep: bool = False
    nats: Path | None = None
    one_address: bool = False
    launcher: Sequence[str] = LAUNCHER


def run(request: Request, *, dry_run: bool, as_json: bool) -> int:
    """Drill, show the report, and return the exit code."""
    console = Console(stderr=True, highlight=False)
    # Of no use to who drills: asyncio on the end of a TLS connection.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    things = choose(read_fleet(request.fleet or default_fleet()), request.devices)
    seed = random.SystemRandom().randrange(2**31) if request.seed is None else request.seed
    plan = scenarios.plan(request.scenario, seed, len(things), request.regions)
    if dry_run:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
        return 0
    directory, is_temporary = _directory(request, console)
    settings = Settings(
        directory,
        request.regions,
        nats_binary=request.nats,
        launcher=request.launcher,
        one_address=request.one_address,
        cables=plan.cuts,
    )
    result, went_well = None, False
    try:
        result = asyncio.run(drill(plan, settings, things, console))
        went_well = result is None or result["verdict"] == "pass"
    finally:
        if is_temporary and went_well:
            shutil.rmtree(directory, ignore_errors=True)
        elif is_temporary:
            console.print(f"what it left, for a closer look: {directory}")
    if result is None:
        return INTERRUPTED
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    else:
        reports.show(Console(highlight=False), result)
    return 0 if result["verdict"] == "pass" else 1


def default_fleet() -> Path:
    """The fleet file of the repository's examples."""
    path = Path(__file__).parents[3] / "examples" / "vehicles.jsonl"
    if not path.exists():
        raise InputError("there is no default fleet outside a checkout", hint="--fleet FILE")
    return path


def _directory(request: Request, console: Console) -> tuple[Path, bool]:
    """Where everything goes, and whether it goes away afterwards."""
    if request.state:
        if request.state.exists() and any(request.state.iterdir()):
            hint = "a new directory for each drill"
            raise InputError(f"--state {request.state} is not empty", hint=hint)
        return request.state.absolute(), False
    path = Path(tempfile.mkdtemp("-isthmus"))
    if request.keep:
        console.print(f"everything is kept in {path}")
    return path, not request.keep


async def drill(
    plan: Plan, settings: Settings, things: Sequence[FleetThing], console: Console
) -> dict[str, Any] | None:
    """Run it, show how it goes, and clean up whatever happens; None if it was interrupted."""
    began_s = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[cyan]{time.monotonic() - began_s:6.1f} s[/]  {text}")

    console.print(f"drill [bold]{plan.scenario}[/], seed {plan.seed}: {plan.title}")
    system = LocalSystem(settings, random.Random(), say)
    work = Drill(plan, system, things, say)
    task = asyncio.create_task(work.run())
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, task.cancel)
    try:
        with console.status("") as status:
            watching = asyncio.create_task(_watch(work, status))
            await asyncio.wait({task})
            await end([watching])
        if task.cancelled():
            return None
        task.result()
        return await asyncio.to_thread(reports.build, work)
    finally:
        stopped = await work.stop()
        if task.cancelled():
            console.print("interrupted; stopped " + ", ".join(stopped))


async def _watch(work: Drill, status: Status) -> None:
    """Keep one line up to date: how many clients are where, and what they were told."""
    while True:
        work.observed.refresh()
        where = "  ".join(
            f"{region} {work.observed.connected_to(region)}" for region in work.plan.regions
        )
        said = f"clients: {where}   acknowledged: {work.observed.acknowledged()}"
        status.update(f"{said}   {work.apart.progress()}".rstrip())
        await asyncio.sleep(WATCH_S)
