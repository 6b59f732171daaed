"""Scenarios: one small TOML file each, found by name; a new file is a new scenario.

A plan is a scenario with every random choice made, from the seed alone.
"""

from __future__ import annotations

import random
import tomllib
from importlib import resources
from typing import Annotated, Literal

import msgspec

from isthmus.errors import ConfigError, InputError

Verb = Literal[
    "run",
    "kill",
    "freeze",
    "start",
    "thaw",
    "wipe",
    "reconnected",
    "returned",
    "healthy",
    "revoke",
    "switchover",
    "pause",
    "check-copies",
    "cut",
    "heal",
    "level",
    "create-shadows",
    "update-shadows",
    "check-shadows",
]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to do, or to wait for."""

    do: Verb
    #: ``home``, ``standby``, or a region's name.
    region: str = ""
    #: A range in which the seed picks.
    seconds: tuple[float, float] = (0.0, 0.0)
    within_s: float = 0.0


class Shadows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shadows that both regions update while they are cut off from each other."""

    count: Annotated[int, msgspec.Meta(ge=1, le=9_999)]
    #: Of each shadow.
    leaves: Annotated[int, msgspec.Meta(ge=1, le=60)]
    #: Clients in each region, of which each has its share of the shadows.
    writers: Annotated[int, msgspec.Meta(ge=1, le=100)]
    #: Updates in each region, at most: a slower machine does as many as it can.
    updates_per_s: Annotated[float, msgspec.Meta(gt=0)]


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to the system while the fleet runs."""

    title: str
    steps: tuple[Step, ...]
    keep_alive_s: int = 10
    shadows: Shadows | None = None


class PlannedStep(msgspec.Struct, frozen=True):
    """A step with its choices made."""

    do: Verb
    region: str
    seconds: float
    within_s: float


class Plan(msgspec.Struct, frozen=True):
    """What one drill does: the same seed gives the same plan."""

    scenario: str
    title: str
    seed: int
    keep_alive_s: int
    devices: int
    regions: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    shadows: Shadows | None = None

    @property
    def cuts(self) -> bool:
        """Whether regions are cut off from each other, which takes cables between them."""
        return any(step.do == "cut" for step in self.steps)


def names() -> list[str]:
    """The scenarios that there are."""
    files = resources.files(__package__).joinpath("scenarios").iterdir()
    return sorted(each.name.removesuffix(".toml") for each in files if each.name.endswith(".toml"))


def load(name: str) -> Scenario:
    """Read a scenario; raises InputError for a name that is not one."""
    if name not in names():
        raise InputError(f"--scenario is {name!r}", hint="one of " + ", ".join(names()))
    text = resources.files(__package__).joinpath("scenarios", f"{name}.toml").read_text()
    try:
        return msgspec.convert(tomllib.loads(text), Scenario)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"scenario {name}: {error}") from None


def plan(name: str, seed: int, devices: int, regions: tuple[str, ...]) -> Plan:
    """Make every choice of a scenario."""
    scenario = load(name)
    if len(regions) < 2:
        raise InputError("a drill needs two regions", hint="--region-names eu,us")
    rng = random.Random(f"{name}/{seed}")
    aliases = {"home": regions[0], "standby": regions[1], "": ""}
    steps = []
    for step in scenario.steps:
        region = aliases.get(step.region, step.region)
        if region and region not in regions:
            raise ConfigError(f"scenario {name}: {step.do} in {step.region!r}, not a region")
        seconds = round(rng.uniform(*step.seconds), 3)
        if step.do.endswith("-shadows") and scenario.shadows is None:
            raise ConfigError(f"scenario {name}: {step.do} without a table [shadows]")
        steps.append(PlannedStep(step.do, region, seconds, step.within_s))
    if scenario.shadows and len(regions) != 2:
        # Of three that race, which two are told of each other is for the network to say.
        raise InputError(f"scenario {name} is for two regions", hint="--region-names eu,us")
    return Plan(
        name,
        scenario.title,
        seed,
        scenario.keep_alive_s,
        devices,
        regions,
        tuple(steps),
        scenario.shadows,
    )
