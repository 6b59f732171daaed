"""Measures metrics, a round after another, ours and the peer's in turn."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.bench.metrics import Metric
from isthmus.bench.plan import Outcome
from isthmus.bench.stand import Stand, Target, Tools, generate
from isthmus.errors import BrokenInvariant, Unavailable


@dataclass(slots=True)
class Measured:
    """The outcomes of one metric, a list per side."""

    metric: Metric
    ours: list[Outcome] = field(default_factory=list)
    peer: list[Outcome] = field(default_factory=list)
    #: Turns that did not come to their end and were taken again: why.
    repeated: list[str] = field(default_factory=list)
    #: Why there is no more of it than this.
    error: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """How long, how often, and where."""

    rounds: int
    seconds: float
    directory: Path
    tools: Tools
    #: Hears what came of a turn.
    say: Callable[[str], None]


async def measure(metrics: Sequence[Metric], options: Options) -> list[Measured]:
    """Measure every metric in every round."""
    return [await _measure(metric, options) for metric in metrics]


async def _measure(metric: Metric, options: Options) -> Measured:
    measured = Measured(metric)
    sides = [("isthmus", metric.ours, measured.ours)]
    if metric.peer:
        sides.append((metric.peer.name, metric.peer.stand, measured.peer))
    try:
        async with AsyncExitStack() as kept:
            if metric.is_kept:
                options.tools.doing(f"{metric.name} starts")
                target = await kept.enter_async_context(_standing(metric.ours, "kept", options))
                sides[0] = ("isthmus", _as_it_stands(target), measured.ours)
            await _take_turns(measured, sides, options)
    except (Unavailable, BrokenInvariant) as error:
        # What else was measured, and will be, is worth no less.
        measured.error = str(error.args[0])
        options.say(f"failed: {measured.error}")
    return measured


async def _take_turns(
    measured: Measured, sides: Sequence[tuple[str, Stand, list[Outcome]]], options: Options
) -> None:
    metric = measured.metric
    rounds = 1 if metric.long_s or metric.is_once else options.rounds
    for number in range(1, rounds + 1):
        for name, stand, outcomes in sides:
            where = f"{metric.name}, round {number} of {rounds}: {name}"
            outcome = await _turn_or_again(measured, stand, options, where)
            outcomes.append(outcome)
            values = ", ".join(
                f"{each.read(outcome):,.{each.digits}f} {each.unit}" for each in metric.figures
            )
            options.say(f"{where} {values}")


async def _turn_or_again(measured: Measured, stand: Stand, options: Options, where: str) -> Outcome:
    """A turn, and once more if something came in between, as on a machine with other work."""
    try:
        return await _turn(measured.metric, stand, options, where)
    except Unavailable as error:
        reason = str(error.args[0])
    measured.repeated.append(reason)
    options.say(f"again: {reason}")
    return await _turn(measured.metric, stand, options, where)


async def _turn(metric: Metric, stand: Stand, options: Options, where: str) -> Outcome:
    options.tools.doing(f"{where} starts")
    seconds = metric.long_s or options.seconds
    try:
        async with _standing(stand, "turn", options) as target:
            options.tools.doing(f"{where} is measured for {seconds:g} s")
            outcome = await generate(target, metric.load, seconds, options.directory, options.tools)
    except (Unavailable, BrokenInvariant) as error:
        raise type(error)(f"{where}: {error.args[0]}", hint=error.hint) from error
    if not outcome.count:
        raise Unavailable(f"{where}: nothing was counted within {seconds:g} s")
    return outcome


@asynccontextmanager
async def _standing(stand: Stand, name: str, options: Options) -> AsyncIterator[Target]:
    """Servers, and what they leave on the disk until they are stopped."""
    directory = options.directory / name
    try:
        async with stand(directory, options.tools) as target:
            yield target
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _as_it_stands(target: Target) -> Stand:
    """Servers that were started already, and are stopped by whoever did that."""

    @asynccontextmanager
    async def stand(_: Path, __: Tools) -> AsyncIterator[Target]:
        yield target

    return stand
