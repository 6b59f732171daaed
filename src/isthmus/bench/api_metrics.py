"""What `isthmus bench api` measures: one entry per metric, each a load on one or two stands."""

from __future__ import annotations

from isthmus.bench.api_regions import isthmus_api
from isthmus.bench.metrics import Figure, Metric, Side
from isthmus.bench.migrated_region import isthmus_fleet
from isthmus.bench.moto import moto
from isthmus.bench.plan import Calling, Outcome, Paging

#: As many as a page may have.
PAGE = 250


def api_metrics(server: tuple[str, str] | None, things: int) -> list[Metric]:
    """All of them; ``server`` is moto's command and version, where there is one."""
    peer = Side("moto", server[1], moto(server[0])) if server else None

    def calling(name: str, *regions: str) -> Metric:
        figure = Figure(name, "answers/CPU s", per_cpu_s)
        return Metric(name, Calling(), (figure,), isthmus_api(*regions), peer)

    pages = (
        Figure("page_ms_first", "ms", lambda outcome: outcome.page_ms["first"], digits=2),
        Figure("page_ms_last", "ms", lambda outcome: outcome.page_ms["last"], digits=2),
        Figure("page_ms_growth", "last/first", page_growth, digits=2),
        Figure("api_start_s", "s", lambda outcome: outcome.start_s, digits=1),
        Figure(
            "api_bytes_per_thing",
            "bytes",
            lambda outcome: grown(outcome) / things,
        ),
    )
    fleet = (
        Figure("fleet_ops_per_cpu_s", "answers/CPU s", per_cpu_s),
        Figure("fleet_bytes_per_thing", "bytes", lambda outcome: grown(outcome) / things),
        Figure("fleet_start_s", "s", lambda outcome: outcome.start_s, digits=1),
    )
    load = Paging(things=things, page=PAGE)
    return [
        calling("ops_per_cpu_s", "eu"),
        calling("two_regions_ops_per_cpu_s", "eu", "us"),
        Metric("page_ms", load, pages, isthmus_api("eu", restarts=True), is_once=True),
        Metric("fleet", Calling(), fleet, isthmus_fleet("eu", things, 2 * things), is_once=True),
    ]


def per_cpu_s(outcome: Outcome) -> float:
    """Answers for each second of CPU that all servers together took."""
    return outcome.per_s / sum(outcome.server_cpu.values())


def grown(outcome: Outcome) -> float:
    """Bytes by which the memory of all servers together grew."""
    return sum(outcome.memory_growth.values())


def page_growth(outcome: Outcome) -> float:
    """How many times as long as a page at the start of the list one at its end takes."""
    return outcome.page_ms["last"] / outcome.page_ms["first"]
