"""The report of a drill: one object for machines, one screen for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from isthmus.drill.accounts import (
    Alone,
    acknowledged,
    alone_stretches,
    lags_s,
    missing,
    percentiles,
    too_early,
)
from isthmus.drill.apart import Apart
from isthmus.drill.fleet import KINDS
from isthmus.drill.runner import Drill

#: Part of the prediction: what a client of ours takes to connect, beyond noticing.
CONNECT_S = 0.3
#: How a plain client's library goes about it: paho waits a second before it connects again, and
#: notices silence after its keep-alive, once to ask and once to give up.
PLAIN_WAIT_S = 1.0
#: Publishing once a second, the last answer before an outage is up to a second old.
CADENCE_S = 1.0
#: Our device client leaves a region that owes it an answer; it looks four times in that time.
DEVICE_SILENCE_S = 2.5 * 1.25
#: Over which device clients spread their first attempt.
DEVICE_SPREAD_S = 0.25


def build(drill: Drill) -> dict[str, Any]:
    """Everything that was measured, and the verdict."""
    outcomes, plan = drill.outcomes, drill.plan
    lakes = {region: drill.lake(region) for region in plan.regions}
    told = acknowledged(drill.observed.clients)
    lost = sorted({key for lake in lakes.values() for key in missing(told, lake)})
    stretches = [
        each
        for region, history in outcomes.alone_history.items()
        for each in alone_stretches(region, history)
    ]
    early = too_early(told, lakes, stretches)
    duplicates = max(lake.duplicates() for lake in lakes.values())
    reconnected = drill.observed.acknowledged_since(outcomes.outage_s + 0.1)
    failures = [*outcomes.failures, *_broken(drill, lost, early, duplicates, reconnected)]
    lag = lags_s(lakes, (outcomes.outage_s, outcomes.back_s or float("inf")))
    return {
        "scenario": plan.scenario,
        "seed": plan.seed,
        "devices": plan.devices,
        "duration_s": round(outcomes.ended_s - outcomes.began_s, 3),
        "detected_s": detected_s(drill),
        "routed_s": routed_s(drill),
        "predicted_rto_s": predicted(drill),
        "rto_s": {kind: percentiles(recoveries(drill, kind)) for kind in KINDS},
        "messages": {
            "acknowledged": len(told),
            "acknowledged_alone": outcomes.acknowledged_alone,
            "lost": len(lost),
            "duplicates": duplicates,
            "duplicates_raw": max(lake.duplicates_raw() for lake in lakes.values()),
        },
        "replication": {
            "items": outcomes.items,
            "lag_ms": percentiles([each * 1000 for each in lag], 1),
            "diverged": len(outcomes.diverged),
        },
        "reconnected": reconnected,
        **({"split": split(drill.apart)} if drill.apart.writers else {}),
        "memory_peak_bytes": drill.memory.peak_bytes,
        "addresses": "shared" if drill.system.shared_host else "one per site",
        "timeline": timeline(drill, stretches),
        "verdict": "fail" if failures else "pass",
        "failures": failures,
    }


def _broken(
    drill: Drill,
    lost: list[tuple[str, int]],
    early: list[tuple[str, int]],
    duplicates: int,
    reconnected: int,
) -> list[str]:
    found = []
    if lost:
        text = f"{len(lost)} acknowledged messages are missing in a lake"
        found.append(f"lost: {text}: {_some(lost)}")
    if early:
        text = f"{len(early)} messages were acknowledged before two regions had them"
        found.append(f"acknowledged-too-early: {text}: {_some(early)}")
    if duplicates:
        found.append(f"duplicates: {duplicates} in the default view")
    if drill.outcomes.diverged:
        names = ", ".join(drill.outcomes.diverged[:3])
        found.append(f"diverged: {len(drill.outcomes.diverged)} items differ: {names}")
    if drill.outcomes.outage_s and reconnected < drill.plan.devices:
        found.append(f"reconnected: {reconnected} of {drill.plan.devices} clients")
    if not acknowledged(drill.observed.clients):
        found.append("acknowledged: no client was ever answered")
    return found


def split(apart: Apart) -> dict[str, Any]:
    """What became of shadows that both regions updated, and which checks held."""
    assert apart.writers is not None
    account = apart.writers.account
    races = account.races()
    return {
        "shadows": len(account.shadows),
        "leaves": len(account.leaves),
        "apart_s": round(account.apart_s, 3),
        "level_s": None if account.level_s is None else round(account.level_s, 3),
        "accepted": {region: len(each) for region, each in account.accepted.items()},
        "leaves_raced": len(races),
        "races_lost": sum(race.is_lost for race in races),
        "conflicts": {region: len(each) for region, each in account.conflicts.items()},
        "checks": {name: not found for name, found in apart.failures.items()},
    }


def _some(keys: list[tuple[str, int]]) -> str:
    return ", ".join(f"{client} {seq}" for client, seq in keys[:3])


def timeline(drill: Drill, alone: Sequence[Alone]) -> list[dict[str, Any]]:
    """What happened when, in seconds from the outage: what we did, and what we saw."""
    outcomes = drill.outcomes
    zero_s = outcomes.outage_s or outcomes.began_s
    seen = list(outcomes.timeline)
    detected, routed = detected_s(drill), routed_s(drill)
    if detected is not None:
        seen.append((zero_s + detected, f"a majority of the sites finds {outcomes.away} unhealthy"))
    if routed is not None:
        seen.append((zero_s + routed, "the nameservers answer another region"))
    for each in alone:
        seen.append((each.from_s, f"{each.region} goes on alone, and says so"))
        if each.to_s != float("inf"):
            seen.append((each.to_s, f"{each.region} has a second region again"))
    for kind in KINDS:
        again = [at for client in drill.observed.of_kind(kind) if (at := client.again_s(zero_s))]
        if again:
            seen.append((max(again), f"the last {kind} client is answered again"))
    return [{"at_s": round(at_s - zero_s, 3), "what": what} for at_s, what in sorted(seen)]


def recoveries(drill: Drill, kind: str) -> list[float]:
    """How long each client of a kind was without an answer."""
    found = [client.recovery_s(drill.outcomes.outage_s) for client in drill.observed.of_kind(kind)]
    return [each for each in found if each is not None]


def detected_s(drill: Drill) -> float | None:
    """From the outage to the first verdict of a surviving site."""
    outcomes = drill.outcomes
    found = []
    for site in drill.system.sites:
        path = drill.system.events_file(site)
        if site == outcomes.away or not path.exists():
            continue
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if (
                event["action"] == "verdict"
                and event.get("region") == outcomes.away
                and event.get("verdict") == "unhealthy"
                and event["at"] >= outcomes.outage_s > 0
            ):
                found.append(event["at"])
    return round(min(found) - outcomes.outage_s, 3) if found else None


def routed_s(drill: Drill) -> float | None:
    """From the outage to the first other answer of a surviving nameserver."""
    later = [at_s for at_s, _ in drill.routes.changes if at_s >= drill.outcomes.outage_s > 0]
    # The first entry is what was answered all along.
    return round(later[0] - drill.outcomes.outage_s, 3) if later else None


def predicted(drill: Drill) -> dict[str, float]:
    """Interval x threshold + probe + TTL + the client's own detection + reconnecting, at worst."""
    site = drill.system.site_config(drill.system.sites[-1])
    silent = any(step.do == "freeze" for step in drill.plan.steps)
    probe_s = site.probe_timeout_s if silent else 0.0
    routed = (site.probe_interval_s + probe_s) * site.down_after + site.mesh_interval_s
    region = drill.system.region_config(drill.plan.regions[0])
    device_s = max(
        region.alone_after_s, (DEVICE_SILENCE_S if silent else 0.0) + DEVICE_SPREAD_S + CONNECT_S
    )
    notices_s = 2.0 * drill.plan.keep_alive_s if silent else 0.0
    plain_s = max(routed + site.dns_ttl_s, notices_s + PLAIN_WAIT_S) + CONNECT_S
    return {
        "device": round(CADENCE_S + device_s, 2),
        "plain": round(CADENCE_S + max(plain_s, region.alone_after_s), 2),
    }


# For people


def show(console: Console, report: dict[str, Any]) -> None:
    """Print the report."""
    console.print(_timeline(report))
    # Where no region went, nobody had to recover.
    recovered = any(report["rto_s"][kind]["p50"] is not None for kind in KINDS)
    console.print(Group(*([_recovery(report)] if recovered else []), _counts(report)))
    passed = report["verdict"] == "pass"
    for failure in report["failures"]:
        console.print(Text(f"✗ {failure}", style="red"))
    style = "bold green" if passed else "bold red"
    verdict = "PASS" if passed else "FAIL"
    console.print(
        Text.assemble(
            (f"{verdict}  ", style),
            f"{report['scenario']}, seed {report['seed']}, {report['devices']} devices,"
            f" {report['duration_s']:.0f} s",
        )
    )


def _timeline(report: dict[str, Any]) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right", style="cyan", no_wrap=True)
    table.add_column()
    # What led up to the outage was on the screen as it happened.
    for entry in (each for each in report["timeline"] if each["at_s"] >= 0):
        style = "bold" if entry["at_s"] == 0 else ""
        table.add_row(f"{entry['at_s']:+.1f} s", Text(entry["what"], style=style))
    return table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _recovery(report: dict[str, Any]) -> RenderableType:
    table = Table(
        title="Time to recovery (RTO) of each client; predicted is the worst case",
        title_justify="left",
    )
    for name in ("client", "p50", "p95", "p99", "last", "predicted"):
        table.add_column(name, justify="left" if name == "client" else "right")
    labels = {"device": "device (knows every region)", "plain": "plain (DNS only)"}
    for kind, label in labels.items():
        found = report["rto_s"][kind]
        values = [_seconds(found[each]) for each in ("p50", "p95", "p99", "max")]
        table.add_row(label, *values, _seconds(report["predicted_rto_s"][kind]))
    return table


def _split_counts(split: dict[str, Any]) -> dict[str, str]:
    def each(name: str) -> str:
        return ", ".join(f"{count} in {region}" for region, count in split[name].items())

    held = sum(split["checks"].values())
    return {
        "shadows": f"{split['shadows']} of {split['leaves']} leaves,"
        f" updated in both regions for {split['apart_s']:.0f} s",
        "updates accepted": each("accepted"),
        "leaves raced": f"{split['leaves_raced']}, of which {split['races_lost']} lost a value",
        "level": f"{_seconds(split['level_s'])} after they met",
        "conflicts listed": each("conflicts") or "-",
        "checks": f"{held} of {len(split['checks'])} hold" if split["checks"] else "none was made",
    }


def _counts(report: dict[str, Any]) -> RenderableType:
    messages, replication = report["messages"], report["replication"]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    lag = replication["lag_ms"]
    rows = {
        "detected, routed": f"{_seconds(report['detected_s'])}, {_seconds(report['routed_s'])}"
        " after the outage",
        **(_split_counts(report["split"]) if "split" in report else {}),
        "acknowledged": f"{messages['acknowledged']} messages,"
        f" {messages['acknowledged_alone']} of them{' and of shadows' if 'split' in report else ''}"
        " by a region alone",
        "lost": f"{messages['lost']}",
        "duplicates": f"{messages['duplicates']} in the default view,"
        f" {messages['duplicates_raw']} in the raw one",
        "reconnected": f"{report['reconnected']} of {report['devices']}",
        "items": f"{replication['items']}, {replication['diverged']} differ between regions",
        "lag": f"p50 {lag['p50']} ms, p99 {lag['p99']} ms, max {lag['max']} ms",
        "memory": f"{report['memory_peak_bytes'] / 2**20:.0f} MiB at most, all processes together",
    }
    if report["addresses"] == "shared":
        rows["addresses"] = "all sites share 127.0.0.1: clients learned ports from SRV records"
    for name, value in rows.items():
        table.add_row(name, value)
    return table
