"""Steps of a plan that cuts regions off from each other, and what is written on both sides.

Each method ``do_...`` is a verb of scenarios. Only the way between the regions is cut: devices,
observers and the witness reach both, and see two regions that serve.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from itertools import permutations
from typing import Any

from isthmus.drill import shadow_checks
from isthmus.drill.outcomes import Outcomes
from isthmus.drill.scenario import Plan, PlannedStep
from isthmus.drill.shadow_writers import ShadowWriters
from isthmus.errors import Unavailable
from isthmus.local.operator import Operator
from isthmus.local.system import LocalSystem

POLL_S = 0.1
#: Between two looks at regions that have much to catch up with.
LEVEL_POLL_S = 0.5


class Apart:
    """Cuts, heals, and compares."""

    def __init__(
        self,
        plan: Plan,
        system: LocalSystem,
        operator: Operator,
        outcomes: Outcomes,
        note: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._system = system
        self._operator = operator
        self._outcomes = outcomes
        self._note = note
        self._healed_s: float | None = None
        #: Where the plan has shadows that both sides update.
        self.writers = (
            ShadowWriters(system, operator, plan.shadows, plan.seed) if plan.shadows else None
        )
        #: What did not hold, by the name of its check; empty until the shadows were checked.
        self.failures: dict[str, list[str]] = {}

    async def do_cut(self, step: PlannedStep) -> None:
        """Cut the regions off, and wait until each goes on alone."""
        await self._system.cut()
        self._outcomes.outage_s = time.time()
        self._note(f"{' and '.join(self._plan.regions)} are cut off from each other")
        await _within(step, self._all_alone(), "not every region went on alone")

    async def _all_alone(self) -> None:
        while True:
            found = [await self._operator.status(region) for region in self._plan.regions]
            if all(status["alone"] for status in found):
                return
            await asyncio.sleep(POLL_S)

    async def do_heal(self, step: PlannedStep) -> None:
        """Let the regions meet."""
        await self._system.heal()
        self._healed_s = time.monotonic()
        self._note("they reach each other again")

    async def do_level(self, step: PlannedStep) -> None:
        """Wait until every region has applied the others' logs, and none is alone."""
        await _within(step, self._level(), "regions did not become level")
        if self._healed_s is None:
            self._note("every region has what the others have")
            return
        took_s = time.monotonic() - self._healed_s
        self._note(f"every region has what the others have, {took_s:.1f} s after they met")
        if self.writers:
            self.writers.account.level_s = took_s

    async def _level(self) -> None:
        regions = self._plan.regions
        before: dict[str, int] = {}
        while True:
            found = {region: await self._operator.status(region) for region in regions}
            heads = {region: status["log_position"] for region, status in found.items()}
            # By cursors: whether that has made everything equal is a question of its own.
            if heads == before and all(
                not found[one]["alone"]
                and found[one]["peers"][other]["log_applied"] >= heads[other]
                for one, other in permutations(regions, 2)
            ):
                return
            before = heads
            await asyncio.sleep(LEVEL_POLL_S)

    async def differing(self) -> tuple[list[str], int]:
        """The items that are not the same in every region, and how many items there are."""
        digests = [await self._operator.digests(region) for region in self._plan.regions]
        names = set().union(*digests)
        found = sorted(name for name in names if len({each.get(name) for each in digests}) > 1)
        views = set()
        for region in self._plan.regions:
            status = await self._operator.status(region)
            views |= {gateway["view"] for gateway in status["gateways"]}
        return found or (["a gateway's view"] if len(views) > 1 else []), len(digests[0])

    # Shadows

    async def do_create_shadows(self, step: PlannedStep) -> None:
        """Make the shadows in the home region, and connect who updates them in each."""
        writers = self._writers()
        await _within(step, writers.create(), "the shadows were not made")
        account = writers.account
        self._note(f"there are {len(account.shadows)} shadows of {len(account.leaves)} leaves")

    async def do_update_shadows(self, step: PlannedStep) -> None:
        """Update the same shadows in every region, and read what each has made of it."""
        writers = self._writers()
        self._note(f"clients in each region update the same shadows for {step.seconds:.0f} s")
        await writers.update(step.seconds)
        await writers.read_logs()
        self._note(self.progress())

    async def do_check_shadows(self, step: PlannedStep) -> None:
        """Compare what was accepted with what every region shows and lists."""
        writers = self._writers()
        await _within(step, writers.read(), "shadows and conflicts were not read")
        # Of a second's length, and clients are still to be answered.
        self.failures = await asyncio.to_thread(shadow_checks.failures, writers.account)
        for name, found in self.failures.items():
            if found:
                more = f" and {len(found) - 1} more" if len(found) > 1 else ""
                self._outcomes.fail(name, f"{found[0]}{more}")

    def leave(self) -> None:
        """Disconnect who updates shadows; doing it twice is fine."""
        if self.writers:
            self.writers.leave()

    def progress(self) -> str:
        """How many updates each region has accepted; empty where there are none to accept."""
        if self.writers is None:
            return ""
        counts = {region: len(each) for region, each in self.writers.account.accepted.items()}
        return "updates accepted: " + "  ".join(f"{each} {n}" for each, n in counts.items())

    def _writers(self) -> ShadowWriters:
        # A scenario with such steps says which shadows they are about.
        assert self.writers is not None
        return self.writers


async def _within(step: PlannedStep, work: Coroutine[Any, Any, None], what: str) -> None:
    try:
        async with asyncio.timeout(step.within_s):
            await work
    except TimeoutError:
        raise Unavailable(f"{what} within {step.within_s:.0f} s") from None
