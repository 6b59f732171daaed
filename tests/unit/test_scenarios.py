"""Scenarios become plans, or say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.drill import scenario as scenarios
from isthmus.errors import ConfigError, InputError

TWO = ("eu", "us")
SHADOWS = "[shadows]\ncount = 2\nleaves = 2\nwriters = 1\nupdates_per_s = 1\n"
CHECK = '[[steps]]\ndo = "check-shadows"\n'


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is the only scenario."""
    (tmp_path / "scenarios").mkdir()
    monkeypatch.setattr(scenarios.resources, "files", lambda _: tmp_path)
    return tmp_path / "scenarios" / "mine.toml"


@pytest.mark.parametrize("name", scenarios.names())
def test_the_same_seed_gives_the_same_plan(name: str) -> None:
    assert scenarios.plan(name, 7, 3, TWO) == scenarios.plan(name, 7, 3, TWO)


def test_only_a_plan_that_cuts_needs_cables() -> None:
    assert [name for name in scenarios.names() if scenarios.plan(name, 7, 3, TWO).cuts] == ["split"]


def test_what_is_updated_is_in_the_plan() -> None:
    plan = scenarios.plan("split", 7, 3, TWO)
    assert plan.shadows is not None
    assert (plan.shadows.count, plan.shadows.leaves) == (1000, 20)
    (update,) = (step for step in plan.steps if step.do == "update-shadows")
    assert update.seconds == 60
    assert scenarios.plan("kill", 7, 3, TWO).shadows is None


def test_two_regions_can_be_compared_and_three_cannot() -> None:
    with pytest.raises(InputError, match="split is for two regions"):
        scenarios.plan("split", 7, 3, ("eu", "us", "ap"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CHECK, "check-shadows without a table"),
        (SHADOWS.replace("count = 2", "count = 0") + CHECK, "count"),
        (SHADOWS.replace("writers", "readers") + CHECK, "readers"),
        ('[[steps]]\ndo = "split"\n', "do"),
    ],
)
def test_what_is_wrong_with_a_scenario_is_named(scenario: Path, text: str, told: str) -> None:
    # Top-level names come before tables.
    scenario.write_text(f'title = "t"\n{text}')
    with pytest.raises(ConfigError, match=told):
        scenarios.plan("mine", 7, 3, TWO)


def test_a_scenario_with_shadows_is_planned(scenario: Path) -> None:
    scenario.write_text(f'title = "t"\n{SHADOWS}{CHECK}')
    assert [step.do for step in scenarios.plan("mine", 7, 3, TWO).steps] == ["check-shadows"]
