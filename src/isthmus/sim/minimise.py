"""Takes steps out of a plan as long as it still breaks the same promise.

Zeller's delta debugging: halves first, then ever smaller parts. What remains is not the least that
there is, but nothing can be taken out of it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from isthmus.sim.plan import Plan
from isthmus.sim.run import run_plan


def keep(plan: Plan, numbers: Sequence[int]) -> Plan:
    """The plan with some of its steps, by their number from 0."""
    return replace(plan, steps=tuple(plan.steps[number] for number in sorted(numbers)))


def minimise(
    plan: Plan, invariant: str, progress: Callable[[int, int], None] = lambda _left, _runs: None
) -> list[int]:
    """The numbers of the steps that are needed to break ``invariant``.

    ``progress`` hears how many are left after how many runs.
    """
    needed = list(range(len(plan.steps)))
    parts, runs = 2, 0
    while needed:
        size = max(1, len(needed) // parts)
        for start in range(0, len(needed), size):
            rest = needed[:start] + needed[start + size :]
            runs += 1
            progress(len(needed), runs)
            if run_plan(keep(plan, rest)).invariant == invariant:
                needed, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(needed))
    return needed
