"""Drills with real processes: they pass, and they say so when a promise is broken on purpose."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from mistreated_shadows import MISTREATED, THINGS
from msgspec.structs import replace
from rich.console import Console

from isthmus.drill import scenario as scenarios
from isthmus.drill.command import default_fleet, drill
from isthmus.drill.fleet import choose
from isthmus.drill.scenario import Plan, Shadows
from isthmus.drill.shadow_checks import CHECKS
from isthmus.fleet.fleet_file import read_fleet
from isthmus.local.system import Settings

DEVICES = 12
PLANTED = Path(__file__).with_name("planted.py")


def planned(scenario: str) -> Plan:
    return scenarios.plan(scenario, 7, DEVICES, ("eu", "us"))


def small(plan: Plan, seconds: float = 4.0) -> Plan:
    """The same for few shadows, and for seconds."""
    few = Shadows(count=20, leaves=20, writers=THINGS, updates_per_s=30)
    brief = tuple(
        replace(step, seconds=seconds) if step.do == "update-shadows" else step
        for step in plan.steps
    )
    return replace(plan, shadows=few, steps=brief)


def run(
    directory: Path, plan: Plan, bug: str = "none", *, one_address: bool = False
) -> dict[str, Any]:
    """One drill; its report."""
    launcher = (sys.executable, str(PLANTED), bug)
    settings = Settings(directory, launcher=launcher, one_address=one_address, cables=plan.cuts)
    things = choose(read_fleet(default_fleet()), DEVICES)
    screen = io.StringIO()
    report = asyncio.run(drill(plan, settings, things, Console(file=screen)))
    assert report is not None, screen.getvalue()
    return report


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", [each for each in scenarios.names() if each != "split"])
def test_a_drill_passes(tmp_path: Path, scenario: str) -> None:
    report = run(tmp_path, planned(scenario))

    assert report["failures"] == []
    assert report["verdict"] == "pass"
    assert report["reconnected"] == DEVICES
    assert report["messages"]["lost"] == report["messages"]["duplicates"] == 0
    assert report["messages"]["acknowledged"] > 0
    assert report["messages"]["acknowledged_alone"] > 0
    assert report["replication"]["diverged"] == 0
    assert report["replication"]["items"] > DEVICES
    assert None not in report["rto_s"]["device"].values()
    assert None not in report["rto_s"]["plain"].values()
    assert "[profile isthmus-us]" in (tmp_path / "aws" / "config").read_text()


@pytest.mark.timeout(300)
def test_a_drill_passes_where_all_sites_share_one_address(tmp_path: Path) -> None:
    report = run(tmp_path, planned("kill"), one_address=True)

    assert report["failures"] == []
    assert report["addresses"] == "shared"
    # Only the service records tell the regions apart, and the route was seen to change.
    assert report["routed_s"] is not None


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("bug", "named"),
    [
        ("forget-certificates", {"reconnected", "diverged"}),
        ("acknowledge-when-stored-here", {"acknowledged-too-early"}),
        ("admit-at-once", {"admitted-before-caught-up"}),
        ("revive-what-was-revoked", {"wrongly-admitted"}),
    ],
)
def test_a_drill_names_the_promise_that_was_broken(
    tmp_path: Path, bug: str, named: set[str]
) -> None:
    report = run(tmp_path, planned("kill"), bug)

    assert report["verdict"] == "fail"
    assert named <= {failure.split(":")[0] for failure in report["failures"]}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(small(planned("split")), id="small"),
        pytest.param(planned("split"), id="whole", marks=pytest.mark.nightly),
    ],
)
def test_regions_that_were_both_written_to_end_as_one(tmp_path: Path, plan: Plan) -> None:
    report = run(tmp_path, plan)

    assert report["failures"] == []
    assert report["verdict"] == "pass"
    assert report["reconnected"] == DEVICES
    assert report["messages"]["lost"] == report["messages"]["duplicates"] == 0
    assert report["replication"]["diverged"] == 0
    split = report["split"]
    assert split["checks"] == dict.fromkeys(CHECKS, True)
    assert min(split["accepted"].values()) > 0
    assert 0 < split["races_lost"] <= split["leaves_raced"]
    assert set(split["conflicts"].values()) == {split["races_lost"]}
    # No region was lost, and nobody had to go anywhere.
    assert report["routed_s"] is None


@pytest.mark.timeout(300)
def test_a_split_names_what_was_done_to_which_shadow(tmp_path: Path) -> None:
    report = run(tmp_path, small(planned("split")), "mistreat-shadows")

    assert report["verdict"] == "fail"
    named = dict(failure.split(": ", 1) for failure in report["failures"])
    found = {check: named.get(check, "nothing") for check in MISTREATED}
    assert {check: key in found[check] for check, key in MISTREATED.items()} == dict.fromkeys(
        MISTREATED, True
    ), found
    assert report["split"]["checks"] == {check: check not in named for check in CHECKS}


@pytest.mark.timeout(300)
def test_a_split_in_which_nobody_races_proves_nothing(tmp_path: Path) -> None:
    report = run(tmp_path, small(planned("split"), seconds=0.1))

    assert [failure.split(":")[0] for failure in report["failures"]] == ["leaves-are-raced"]
