"""Runs one drill: system, fleet, outage, return, accounts.

The runner knows only what an operator could know: addresses, processes, the operator's API, DNS,
and what clients and lakes say. Each step of a scenario is one method.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from isthmus.adapters import lake as lakes
from isthmus.drill.accounts import LakeAccount, acknowledged, missing
from isthmus.drill.apart import Apart
from isthmus.drill.fleet import SETTLE_S, DrillFleet
from isthmus.drill.intruder import Intruder, Outcome
from isthmus.drill.observed import Observed
from isthmus.drill.outcomes import Outcomes
from isthmus.drill.scenario import Plan, PlannedStep
from isthmus.drill.watch import MemoryWatch, RouteWatch
from isthmus.errors import IsthmusError, Unavailable
from isthmus.fleet.fleet_file import FleetThing
from isthmus.local import aws_profile
from isthmus.local.bring_up import bring_up, device, healthy, register_all
from isthmus.local.operator import Operator
from isthmus.local.system import LocalSystem
from isthmus.tasks import end

POLL_S = 0.1
#: Seconds in which regions and lakes become equal once nothing is written any more.
QUIET_TIMEOUT_S = 15.0
INTENT_LIFETIME_S = 60.0
UNKNOWN, REVOKED_BEFORE, REVOKED_AWAY = "stranger", "revoked-before", "revoked-while-away"

Say = Callable[[str], None]


class Drill:
    """One drill."""

    def __init__(
        self, plan: Plan, system: LocalSystem, things: Sequence[FleetThing], say: Say
    ) -> None:
        self.plan = plan
        self.system = system
        self.outcomes = Outcomes()
        self._things = things
        self._say = say
        self.fleet = DrillFleet(system, things, plan.seed, plan.keep_alive_s)
        self.observed = Observed(self.fleet.event_files)
        self._intruders = {
            name: Intruder(name, system.pki.device(name), system.pki.ca_file)
            for name in (UNKNOWN, REVOKED_BEFORE, REVOKED_AWAY)
        }
        survivors = [site for site in system.sites if site != plan.regions[0]]
        addresses = [system.address(site) for site in survivors]
        self.routes = RouteWatch(
            system.stable_name,
            [(each.host, each.ports["dns"]) for each in addresses],
            by_port=system.shared_host,
        )
        self.memory = MemoryWatch(self._pids)
        self._hammer: asyncio.Task[None] | None = None
        self._operator = Operator(system)
        self.apart = Apart(plan, system, self._operator, self.outcomes, self.note)

    def _pids(self) -> list[int]:
        fleet = [child.pid for child in self.fleet.children if child.pid]
        return [os.getpid(), *fleet, *self.system.pids().values()]

    def note(self, text: str) -> None:
        """Add to the timeline, and tell who watches."""
        self.outcomes.timeline.append((time.time(), text))
        self._say(text)

    # The whole

    async def run(self) -> Outcomes:
        """Run it; failures are in the outcomes. Raises only when the drill itself cannot go on."""
        async with self._operator, _background(self.memory.run(), self.routes.run()):
            await self._prepare()
            await self._start_fleet()
            for step in self.plan.steps:
                try:
                    await self._perform(step)
                except IsthmusError as error:
                    self.outcomes.fail(step.do, str(error))
                    self.note(f"{step.do} failed: {error}")
                    break
            await self._stop_fleet()
            await self._settle()
            await self._check_refusals("after")
            await self._collect()
        self.outcomes.ended_s = time.time()
        return self.outcomes

    async def stop(self) -> list[str]:
        """Stop whatever runs; returns the names."""
        if self._hammer:
            await end([self._hammer])
        self.apart.leave()
        for child in self.fleet.children:
            child.kill()
        stopped = await self.system.stop()
        return [*(child.name for child in self.fleet.children), *stopped]

    async def _prepare(self) -> None:
        regions = ", ".join(self.plan.regions)
        self.note(f"starting regions {regions} and a witness")
        await bring_up(self.system, self._operator)
        home = self.plan.regions[0]
        route = (await self._operator.routing(self.system.sites[-1]))["route"]
        if route["target"] != home:
            # A slow machine: the home region was probed before it was ready.
            await self._do_switchover(PlannedStep("switchover", home, 0.0, 0.0))
        self.note(f"regions are healthy; importing {len(self._things)} things into {home} only")
        guests = [device(self.system, name, {}) for name in (REVOKED_BEFORE, REVOKED_AWAY)]
        devices = [device(self.system, thing.name, thing.attributes) for thing in self._things]
        replicated = await register_all(self._operator, home, [*devices, *guests], lambda _: None)
        if not replicated:
            raise Unavailable("the import was not confirmed by a second region")
        answer = await self._operator.revoke(
            home, self._intruders[REVOKED_BEFORE].identity.certificate_id
        )
        self.note(f"imported; {', '.join(answer['confirmed_by'])} confirmed")
        await aws_profile.write_profiles(self.system, self._operator)
        self.note(f"profiles for AWS's clients: {aws_profile.config_file(self.system).parent}")
        await self._check_refusals("before", (UNKNOWN, REVOKED_BEFORE))

    async def _start_fleet(self) -> None:
        self.note(f"starting {len(self._things)} clients")
        await asyncio.gather(*(child.start() for child in self.fleet.children))
        self.note("every client is connected and publishes")

    async def _perform(self, step: PlannedStep) -> None:
        name = "do_" + step.do.replace("-", "_")
        method = getattr(self.apart, name, None) or getattr(self, f"_{name}")
        await method(step)

    # Steps

    async def _do_run(self, step: PlannedStep) -> None:
        await asyncio.sleep(step.seconds)

    async def _do_kill(self, step: PlannedStep) -> None:
        self.system.kill(step.region)
        self._away(step.region, "SIGKILL to every process")

    async def _do_freeze(self, step: PlannedStep) -> None:
        self.system.freeze(step.region)
        self._away(step.region, "SIGSTOP to every process")

    def _away(self, region: str, how: str) -> None:
        self.outcomes.outage_s = time.time()
        self.outcomes.away = region
        self.note(f"{region} is taken away: {how}")

    async def _do_start(self, step: PlannedStep) -> None:
        await self.system.gone(step.region)
        self._expect_intruder(step.region)
        self.note(f"{step.region} is started again")
        await self.system.start(step.region)

    async def _do_thaw(self, step: PlannedStep) -> None:
        self._expect_intruder(step.region)
        self.system.thaw(step.region)
        self.note(f"{step.region} is thawed")

    async def _do_wipe(self, step: PlannedStep) -> None:
        await self.system.gone(step.region)
        self.system.wipe(step.region)
        self.note(f"{step.region} has lost its disk")

    def _expect_intruder(self, region: str) -> None:
        """From now on somebody who was revoked meanwhile tries to get in there."""
        if self._hammer is None:
            intruder = self._intruders[REVOKED_AWAY]
            self._hammer = asyncio.create_task(intruder.hammer(self.system, region))

    async def _do_reconnected(self, step: PlannedStep) -> None:
        since_s, wanted = self.outcomes.outage_s, len(self._things)
        await self._until(
            step.within_s,
            lambda: self.observed.acknowledged_since(since_s + POLL_S) == wanted,
            lambda: (
                f"{self.observed.acknowledged_since(since_s + POLL_S)} of {wanted} clients"
                f" were answered within {step.within_s} s of the outage"
            ),
        )
        self.note("every client is answered again")

    async def _do_returned(self, step: PlannedStep) -> None:
        wanted = len(self._things)
        await self._until(
            step.within_s,
            lambda: self.observed.connected_to(step.region) == wanted,
            lambda: (
                f"{self.observed.connected_to(step.region)} of {wanted} clients are back in"
                f" {step.region} after {step.within_s} s"
            ),
        )
        self.note(f"every client is back in {step.region}")

    async def _until(
        self, within_s: float, is_so: Callable[[], bool], why_not: Callable[[], str]
    ) -> None:
        try:
            async with asyncio.timeout(within_s):
                while True:
                    self.observed.refresh()
                    if is_so():
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise Unavailable(why_not()) from None

    async def _do_healthy(self, step: PlannedStep) -> None:
        await healthy(self.system, self._operator, step.within_s)
        self.outcomes.back_s = time.time()
        self.note("every region is healthy again")

    async def _do_revoke(self, step: PlannedStep) -> None:
        identity = self._intruders[REVOKED_AWAY].identity
        answer = await self._operator.revoke(step.region, identity.certificate_id)
        known = "replicated" if answer["replicated"] else "alone"
        self.note(f"{step.region} revokes a certificate ({known})")

    async def _do_switchover(self, step: PlannedStep) -> None:
        answer = await self._intend("move", INTENT_LIFETIME_S, step.region)
        self.note(f"switched over to {step.region}, epoch {answer['route']['epoch']}")

    async def _do_pause(self, step: PlannedStep) -> None:
        """Have the route stay as it is, whatever is seen of the regions."""
        await self._intend("pause", step.seconds)
        self.note(f"the route is held for {step.seconds:.0f} s")

    async def _intend(self, kind: str, lifetime_s: float, target: str = "") -> dict[str, Any]:
        site = self.system.sites[-1]
        status = await self._operator.routing(site)
        intent = {
            "id": secrets.token_hex(8),
            "kind": kind,
            "target": target,
            "if_epoch": status["route"]["epoch"],
            "expires_ms": int((time.time() + lifetime_s) * 1000),
        }
        return await self._operator.send_intent(site, intent)

    async def _do_check_copies(self, step: PlannedStep) -> None:
        """What the region that is away had acknowledged must be here already."""
        self.observed.refresh()
        limit_s = self.outcomes.outage_s
        told = {
            key: at_s
            for key, at_s in acknowledged(self.observed.clients).items()
            if at_s <= limit_s
        }
        lost = await self._missing_for_good(told, step.region)
        if lost:
            first = f"for example {lost[0][0]} {lost[0][1]}"
            text = f"{len(lost)} acknowledged messages are not in {step.region}, {first}"
            self.outcomes.fail("lost-with-the-region", text)
        self.note(f"{step.region} has {len(told) - len(lost)} of {len(told)} acknowledged messages")

    async def _missing_for_good(
        self, told: dict[tuple[str, int], float], region: str
    ) -> list[tuple[str, int]]:
        lost = await self._missing(told, region)
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_TIMEOUT_S if self.outcomes.back_s else 3.0):
                while lost:
                    await asyncio.sleep(POLL_S)
                    lost = await self._missing(told, region)
        return lost

    async def _missing(
        self, told: dict[tuple[str, int], float], region: str
    ) -> list[tuple[str, int]]:
        # In a thread: what regions say to each other may go through this process.
        return await asyncio.to_thread(lambda: missing(told, self.lake(region)))

    # The end

    async def _stop_fleet(self) -> None:
        self.note("clients stop publishing and wait for what is outstanding")
        await asyncio.gather(*(child.stop(SETTLE_S + 3) for child in self.fleet.children))
        self.observed.refresh()

    async def _settle(self) -> None:
        """Wait until items are equal; then say what is not."""
        differing: list[str] = ["regions do not answer"]
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_TIMEOUT_S):
                while differing:
                    with suppress(Unavailable):
                        differing, self.outcomes.items = await self.apart.differing()
                    if differing:
                        await asyncio.sleep(POLL_S)
        self.outcomes.diverged = differing

    async def _check_refusals(
        self, when: str, names: Sequence[str] = (UNKNOWN, REVOKED_BEFORE, REVOKED_AWAY)
    ) -> None:
        if self._hammer and when == "after":
            await end([self._hammer])
        for name in names:
            intruder = self._intruders[name]
            if when == "after" and name == REVOKED_AWAY and not self.outcomes.outage_s:
                continue
            for region in self.plan.regions:
                outcome = await intruder.attempt(self.system, region)
                if outcome is not Outcome.REFUSED:
                    text = f"a certificate that is {name} was {outcome} in {region} {when}"
                    self.outcomes.fail("wrongly-admitted", text)
        away = self._intruders[REVOKED_AWAY].admitted()
        if away:
            text = f"{', '.join(away)} admitted a certificate that was revoked while it was away"
            self.outcomes.fail("admitted-before-caught-up", text)

    async def _collect(self) -> None:
        told = acknowledged(self.observed.clients)
        for region in self.plan.regions:
            await self._missing_for_good(told, region)
            with suppress(Unavailable):
                status = await self._operator.status(region)
                self.outcomes.alone_history[region] = status["alone_history"]
                self.outcomes.acknowledged_alone += sum(
                    gateway["acknowledged_alone"] for gateway in status["gateways"]
                )

    def lake(self, region: str) -> LakeAccount:
        """A region's lake as it is now."""
        return LakeAccount.of(lakes.read(self.system.lake_file(region), raw=True))


@asynccontextmanager
async def _background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        await end(tasks)
