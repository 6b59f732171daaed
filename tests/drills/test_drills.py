"""Drills with real processes: they pass, and they say so when a promise is broken on purpose."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from isthmus.drill import scenario as scenarios
from isthmus.drill.command import default_fleet, drill
from isthmus.drill.fleet import choose
from isthmus.fleet.fleet_file import read_fleet
from isthmus.local.system import Settings

DEVICES = 12
PLANTED = Path(__file__).with_name("planted.py")


def run(
    directory: Path, scenario: str, bug: str = "none", *, one_address: bool = False
) -> dict[str, Any]:
    """One drill; its report."""
    plan = scenarios.plan(scenario, 7, DEVICES, ("eu", "us"))
    launcher = (sys.executable, str(PLANTED), bug)
    settings = Settings(directory, launcher=launcher, one_address=one_address)
    things = choose(read_fleet(default_fleet()), DEVICES)
    screen = io.StringIO()
    report = asyncio.run(drill(plan, settings, things, Console(file=screen)))
    assert report is not None, screen.getvalue()
    return report


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", scenarios.names())
def test_a_drill_passes(tmp_path: Path, scenario: str) -> None:
    report = run(tmp_path, scenario)

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
    report = run(tmp_path, "kill", one_address=True)

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
    report = run(tmp_path, "kill", bug)

    assert report["verdict"] == "fail"
    assert named <= {failure.split(":")[0] for failure in report["failures"]}
