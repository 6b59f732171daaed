"""The generator process: loads one server as a plan says, and writes down what it saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from isthmus import plan_file
from isthmus.bench.calling import call
from isthmus.bench.connecting import connect
from isthmus.bench.fanning import fan_out
from isthmus.bench.holding import hold
from isthmus.bench.offering import offer
from isthmus.bench.paging import read_pages
from isthmus.bench.plan import (
    Calling,
    Connecting,
    FanningOut,
    Holding,
    LoadPlan,
    Offering,
    Outcome,
    Paging,
    Publishing,
    Updating,
)
from isthmus.bench.publishing import publish
from isthmus.bench.updating import update
from isthmus.bench.watch import Watch
from isthmus.errors import IsthmusError


async def run_generator(plan: LoadPlan, ready: Callable[[], None]) -> None:
    """Run one plan to its end."""
    ready()
    try:
        outcome = await _run(plan)
    except* IsthmusError as errors:
        outcome = Outcome(error=_first(errors))
    plan_file.dump(Path(plan.outcome_file), outcome)


async def _run(plan: LoadPlan) -> Outcome:
    watch = Watch(plan.servers)
    match plan.load:
        case Publishing():
            return await publish(plan, plan.load, watch)
        case Offering():
            return await offer(plan, plan.load, watch)
        case Connecting():
            return await connect(plan, plan.load, watch)
        case FanningOut():
            return await fan_out(plan, plan.load, watch)
        case Holding():
            return await hold(plan, plan.load, watch)
        case Calling():
            return await call(plan, plan.load, watch)
        case Paging():
            return await read_pages(plan, plan.load, watch)
        case Updating():
            return await update(plan, plan.load, watch)


def _first(errors: BaseExceptionGroup[IsthmusError]) -> str:
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)
