"""`isthmus fleet`: many clients on real sockets."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from isthmus import process
from isthmus.process import STOP_S

fleet_app = typer.Typer(help="Many clients on real sockets.", no_args_is_help=True)


class Kind(StrEnum):
    """Whose client it is."""

    DEVICE = "device"
    PLAIN = "plain"


@fleet_app.callback()
def _fleet() -> None:
    """Many clients on real sockets."""


@fleet_app.command("run")
def run(
    plan: Annotated[Path, typer.Option(help="Who connects where, as JSON; the drill writes one.")],
    kind: Annotated[Kind, typer.Option(help="Which half of the plan this process runs.")],
    leash: Annotated[bool, typer.Option("--leash", hidden=True)] = False,
) -> None:
    """Run one kind of the clients of a plan until told to stop.

    Clients publish once a second, keep what was not acknowledged, and write down what they see.
    On SIGTERM they stop publishing and wait for what is outstanding.
    """
    from isthmus import plan_file
    from isthmus.fleet.plan import FleetPlan
    from isthmus.fleet.run import run_fleet

    # What is outstanding gets its time; then connections are closed.
    process.log_to_stderr()
    settings = plan_file.load(plan, FleetPlan)

    async def clients() -> int:
        stop = asyncio.Event()
        work = asyncio.create_task(
            run_fleet(settings, kind.value, ready=process.say_ready, stop=stop)
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            return await work

    raise typer.Exit(process.run(clients, leash=leash, stop_s=settings.settle_s + STOP_S))
