"""`isthmus sim`: the whole system in simulated time, trying to break its promises."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.cli.seeds import Total
    from isthmus.sim.plan import Plan
    from isthmus.sim.run import Outcome

EXIT_BROKEN = 1
#: Names and counts side by side, on a terminal of 80 characters.
COLUMNS = 2
EXIT_INTERRUPTED = 130


def sim(
    seeds: Annotated[int, typer.Option(help="How many seeds to run.")] = 100,
    first_seed: Annotated[int, typer.Option(help="The first of them.")] = 1,
    seed: Annotated[
        int | None, typer.Option(help="Run this one only, and print its transcript.")
    ] = None,
    steps: Annotated[
        str, typer.Option(help="With --seed: only these steps of its plan, as 3,17,40.")
    ] = "",
    minimise: Annotated[
        bool,
        typer.Option("--minimise", help="Shrink the first plan that breaks a promise."),
    ] = False,
    jobs: Annotated[int | None, typer.Option(help="Processes. Default: one for each CPU.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Run three regions and a witness in simulated time, and hold every promise against them.

    Each seed is another plan: devices, operators, and faults that strike between any two steps.
    Regions die, freeze and come back with older or empty disks; networks lose, delay, double and
    cut; clocks jump; processes pause. The code that decides is the one that runs in production;
    sockets, disks and time are simulated, so a run takes a fraction of a second and the same seed
    is the same run on every machine.

    Exit code 0 only if no promise of docs/correctness.md was broken. What broke one is replayed
    with --seed, and made readable with --minimise.
    """
    try:
        if seed is None:
            code = _many(first_seed, seeds, _jobs(jobs), shrink=minimise, as_json=as_json)
        else:
            code = _one(seed, steps, shrink=minimise, as_json=as_json)
    except KeyboardInterrupt:
        sys.stderr.write("isthmus: interrupted\n")
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


def _jobs(jobs: int | None) -> int:
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}", hint="1 or more")
    return jobs or os.cpu_count() or 1


# One seed


def _one(seed: int, steps: str, *, shrink: bool, as_json: bool) -> int:
    from isthmus.sim.minimise import keep
    from isthmus.sim.plan import make_plan
    from isthmus.sim.run import run_plan

    plan = make_plan(seed)
    if steps:
        plan = keep(plan, _numbers(steps, len(plan.steps)))
    elif shrink:
        broken = run_plan(plan).invariant
        if not broken:
            raise InputError(f"seed {seed} breaks no promise", hint="nothing is to be minimised")
        plan, steps = _shrink(plan, broken)
    outcome = run_plan(plan, transcript=True)
    if as_json:
        _print({**_outcome(outcome), "lines": list(outcome.lines)})
    else:
        sys.stdout.write("\n".join(outcome.lines) + "\n")
        sys.stderr.write(f"{_sentence(outcome)}\n")
    if steps and not as_json:
        sys.stderr.write(f"Replay: isthmus sim --seed {seed} --steps {steps}\n")
    return EXIT_BROKEN if outcome.invariant else 0


def _numbers(text: str, count: int) -> list[int]:
    try:
        numbers = [int(each) for each in text.split(",")]
    except ValueError:
        raise InputError(f"steps is {text!r}", hint="numbers with commas, as 3,17,40") from None
    for number in numbers:
        if not 0 <= number < count:
            raise InputError(f"steps has {number}", hint=f"this plan has steps 0 to {count - 1}")
    return numbers


def _shrink(plan: Plan, invariant: str) -> tuple[Plan, str]:
    from rich.console import Console

    from isthmus.sim.minimise import keep, minimise

    with Console(stderr=True).status("") as status:

        def progress(left: int, runs: int) -> None:
            status.update(f"seed {plan.seed}: {left} steps left after {runs} runs")

        needed = minimise(plan, invariant, progress)
    return keep(plan, needed), ",".join(map(str, needed))


# Many seeds


def _many(first: int, count: int, jobs: int, *, shrink: bool, as_json: bool) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from isthmus.cli.seeds import Total, run_seeds

    if count < 1:
        raise InputError(f"seeds is {count}", hint="1 or more")
    total = Total()
    began_s = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=count)
        for outcome in run_seeds(first, count, jobs):
            total.add(outcome)
            if outcome.invariant:
                bar.console.print(_sentence(outcome), highlight=False)
            rate = total.seeds / (time.monotonic() - began_s) * 60
            bar.update(task, advance=1, description=f"{rate:.0f} seeds a minute")
    report = _report(total, first, jobs, time.monotonic() - began_s)
    if as_json:
        _print(report)
    else:
        _show(report)
    if total.broken and shrink:
        return _one(total.broken[0].seed, "", shrink=True, as_json=False)
    return EXIT_BROKEN if total.broken else 0


def _report(total: Total, first: int, jobs: int, wall_s: float) -> dict[str, Any]:
    per_minute = total.seeds / wall_s * 60
    return {
        "verdict": "fail" if total.broken else "pass",
        "seeds": total.seeds,
        "first_seed": first,
        "jobs": jobs,
        "wall_s": round(wall_s, 2),
        "seeds_per_minute": round(per_minute),
        "seeds_per_minute_per_job": round(per_minute / jobs),
        "events": total.events,
        "events_least": total.events_least,
        "broken": [_outcome(each) for each in total.broken],
        "faults": dict(total.faults.most_common()),
        "reached": dict(total.reached.most_common()),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "seed": outcome.seed,
        "events": outcome.events,
        "invariant": outcome.invariant,
        "text": outcome.text,
        "at_s": round(outcome.at_s, 3),
    }


def _sentence(outcome: Outcome) -> str:
    if not outcome.invariant:
        return f"seed {outcome.seed}: every promise was kept, through {outcome.events} events."
    where = f"seed {outcome.seed} at {outcome.at_s:.3f} s"
    return f"{where} breaks {outcome.invariant}: {outcome.text}"


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title, counts in (("faults", report["faults"]), ("reached", report["reached"])):
        table = Table(title=f"{title}, over all seeds", title_justify="left", box=None)
        for _ in range(COLUMNS):
            table.add_column("", justify="right")
            table.add_column("", no_wrap=True)
        cells = [cell for name, count in counts.items() for cell in (f"{count:,}", name)]
        for start in range(0, len(cells), 2 * COLUMNS):
            table.add_row(*cells[start : start + 2 * COLUMNS])
        console.print(table)
    rate = f"{report['seeds_per_minute_per_job']} seeds a minute on each of {report['jobs']} CPUs"
    console.print(
        f"{report['seeds']} seeds from {report['first_seed']}, {report['events']:,} events"
        f" (at least {report['events_least']:,} each), {rate}."
    )
    broken = len(report["broken"])
    console.print(f"{broken} broke a promise." if broken else "Every promise was kept.")


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
