"""The report of a bench: one object for machines, a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from isthmus.bench.metrics import Figure
from isthmus.bench.plan import Outcome
from isthmus.bench.rounds import Measured


def build(
    machine: dict[str, Any], measured: Sequence[Measured], bench: str = "gateway"
) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {
        "bench": bench,
        "machine": machine,
        "results": [_result(each, figure) for each in measured for figure in each.metric.figures],
    }


def failures(measured: Sequence[Measured]) -> list[str]:
    """What could not be measured, and what is more than it may be."""
    return [each.error for each in measured if each.error] + [
        f"{figure.name} is {figure.read(outcome):g}, and may be {figure.at_most:g} at most"
        for each in measured
        for figure in each.metric.figures
        for outcome in each.ours
        if figure.at_most is not None and figure.read(outcome) > figure.at_most
    ]


def _result(measured: Measured, figure: Figure) -> dict[str, Any]:
    side = measured.metric.peer
    result = {"metric": figure.name, "unit": figure.unit, **_values(figure, measured.ours)}
    if side:
        peer = _values(figure, measured.peer)
        result["peer"] = {"name": side.name, "version": side.version, **peer}
        if result["value"] is not None and peer["value"]:
            result["ratio"] = round(result["value"] / peer["value"], 3)
    if measured.repeated:
        result["repeated"] = measured.repeated
    if measured.error:
        result["error"] = measured.error
    return result


def _values(figure: Figure, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    if not outcomes:
        return {"value": None, "rounds": []}
    # Without digits, round() makes an integer.
    digits = figure.digits or None
    rounds = [round(figure.read(each), digits) for each in outcomes]
    values = {
        "value": round(median(rounds), digits),
        "rounds": rounds,
        "generator_cpu": round(median(each.generator_cpu for each in outcomes), 2),
        "other_cpu": round(median(each.other_cpu for each in outcomes), 2),
        "server_cpu": _medians([each.server_cpu for each in outcomes], 2),
        "server_cpu_ms_per_1000": _medians([_ms_per_1000(each) for each in outcomes], 2),
    }
    for name in ("latency_ms", "late_ms"):
        if getattr(outcomes[0], name):
            values[name] = _medians([getattr(each, name) for each in outcomes], 2)
    return values


def _ms_per_1000(outcome: Outcome) -> dict[str, float]:
    """Milliseconds of CPU that each server took for a thousand of what was counted."""
    return {name: cpu / outcome.per_s * 1e6 for name, cpu in outcome.server_cpu.items()}


def _medians(outcomes: Sequence[Mapping[str, float]], digits: int) -> dict[str, float]:
    """Of each name, the median over the rounds."""
    return {name: round(median(each[name] for each in outcomes), digits) for name in outcomes[0]}


def show(console: Console, report: dict[str, Any]) -> None:
    """The figures, who used the CPUs for them, and what they were measured on."""
    machine = report["machine"]
    figures = _table("metric", "value", "rounds", "peer", "ratio")
    cpu = _table("CPUs used", "generator", "servers", "others", "servers, ms per 1,000")
    for result in report["results"]:
        peer = result.get("peer")
        rounds = result["rounds"]
        figures.add_row(
            result["metric"],
            _number(result),
            f"{min(rounds):,} .. {max(rounds):,}" if rounds else "",
            f"{peer['name']} {_number(peer)}" if peer else "",
            f"{result['ratio']:.2f}" if "ratio" in result else "",
        )
        for name, each in ((result["metric"], result), (f"  {peer and peer['name']}", peer)):
            if each and each["rounds"]:
                cpu.add_row(name, *_cpu(each))
    console.print(figures)
    console.print()
    console.print(cpu)
    console.print(
        f"\n{machine['cpus']} x {machine['cpu_model']}, {machine['memory_bytes'] >> 30} GiB,"
        f" fsync in {machine['fsync_ms']['p50']} ms (p99 {machine['fsync_ms']['p99']}),"
        f" {machine['kernel']}, Python {machine['python']} that adds 100,000 numbers in"
        f" {machine['python_ms']['p50']} ms, isthmus {machine['isthmus']},"
        f" nats-server {machine['nats_server']}; servers and generator share it."
    )


def _number(values: dict[str, Any]) -> str:
    return "none" if values["value"] is None else f"{values['value']:,}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cpu(figures: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{figures['generator_cpu']:.2f}",
        f"{sum(figures['server_cpu'].values()):.2f}",
        f"{figures['other_cpu']:.2f}",
        f"{sum(figures['server_cpu_ms_per_1000'].values()):,.1f}",
    )
