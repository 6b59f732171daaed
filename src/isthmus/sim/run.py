"""Runs plans: one with its transcript, or as many as one likes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from isthmus.errors import BrokenInvariant
from isthmus.sim import session_verdict, shadow_verdict, verdict
from isthmus.sim.plan import (
    END_S,
    HEALED_S,
    QUIET_S,
    SETTLED_MAX_S,
    SETTLED_S,
    Plan,
    make_plan,
)
from isthmus.sim.system import System
from isthmus.sim.verbs import Verbs
from isthmus.sim.violation import Violation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one plan."""

    seed: int
    events: int
    faults: Counter[str]
    reached: Counter[str]
    #: The invariant that did not hold, and how; empty for a clean run.
    invariant: str = ""
    text: str = ""
    at_s: float = 0.0
    lines: tuple[str, ...] = ()


def run_seed(seed: int, *, transcript: bool = False) -> Outcome:
    """Run the plan of a seed."""
    return run_plan(make_plan(seed), transcript=transcript)


def run_plan(plan: Plan, *, transcript: bool = False) -> Outcome:
    """Run a plan to its end, or to the first promise that does not hold."""
    system = System(plan, transcript=transcript)
    verbs = Verbs(system)
    for step in plan.steps:
        verbs.check(step.verb)
    invariant, text = "", ""
    try:
        _perform(system, verbs, plan)
    except Violation as found:
        invariant, text = found.invariant, found.text
    except BrokenInvariant as found:
        # The core refuses by itself what it can see is wrong.
        invariant, text = "the-core-holds", str(found)
    except Exception as error:  # of a core that a bug was planted in, or of the simulator itself
        invariant, text = "the-run-ends", f"{type(error).__name__}: {error}"
    world = system.world
    if invariant:
        world.say("watch", f"{invariant}: {text}")
    lines = tuple(world.lines or ())
    outcome = (plan.seed, world.events, world.faults, world.reached)
    return Outcome(*outcome, invariant, text, world.now_s, lines)


def _perform(system: System, verbs: Verbs, plan: Plan) -> None:
    system.start()
    for step in plan.steps:
        system.world.run(step.at_s)
        verbs.do(step.verb, step.words)
    system.world.run(END_S)
    verbs.do("heal", ())
    system.world.run(END_S + HEALED_S / 2)
    for client in plan.clients:
        verbs.do("publish", client[:1])
    # One shadow changes in good weather; of the others the last word may be an outage's.
    for name in [name for name, kind in plan.clients if kind == "shadow"][:1]:
        verbs.do("want", (name, "room.door", "healed", plan.regions[-1]))
    system.world.run(END_S + HEALED_S)
    verdict.after_healing(system)
    unserved = verdict.unserved(system)
    _settle(system)
    before = verdict.heads(system)
    system.world.run(system.world.now_s + QUIET_S)
    while _settle(system):
        # Somebody came only now, and what gateways tell of him was to be written.
        before = verdict.heads(system)
        system.world.run(system.world.now_s + QUIET_S)
    verdict.zero_writes(system, before)
    verdict.everybody_is_served(unserved, verdict.unserved(system))
    session_verdict.at_the_end(system)
    shadow_verdict.at_the_end(system)


def _settle(system: System) -> bool:
    """Let gateways tell of sessions that moved a moment ago; whether there were any."""
    began_s, until_s = system.world.now_s, END_S + HEALED_S + SETTLED_MAX_S
    while (quiet_s := system.watch.sessions.moved_s + SETTLED_S) > system.world.now_s:
        if system.world.now_s >= until_s:
            break
        system.world.run(min(quiet_s, until_s))
    return system.world.now_s > began_s
