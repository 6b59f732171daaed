"""Scenarios: one small TOML file each, found by name; a new file is a new scenario.

A plan is a scenario with every random choice made, from the seed alone.
"""

from __future__ import annotations

import random
import tomllib
from importlib import resources
from typing import Literal

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
    "check-copies",
]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to do, or to wait for."""

    do: Verb
    #: ``home``, ``standby``, or a region's name.
    region: str = ""
    #: A range in which the seed picks.
    seconds: tuple[float, float] = (0.0, 0.0)
    within_s: float = 0.0


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to the system while the fleet runs."""

    title: str
    steps: tuple[Step, ...]
    keep_alive_s: int = 10


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
        steps.append(PlannedStep(step.do, region, seconds, step.within_s))
    return Plan(name, scenario.title, seed, scenario.keep_alive_s, devices, regions, tuple(steps))
