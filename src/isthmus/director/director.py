"""The director: a thin loop that turns verdicts and intents into routing, at every site alike.

One cycle reads what is known, asks core.routing, and performs the answer in this order: record the
route durably, change the zone, tell the listener, tell the other sites. Interrupted after any of
these, the next cycle or the next start does the rest.

Invariant: a route is adopted only if it joins to itself with the one before, so it never goes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Protocol

from isthmus.config import SiteConfig
from isthmus.core.health import Verdict, Vote, verdict_of
from isthmus.core.routing import (
    Decision,
    Intent,
    Route,
    Rules,
    check_route_never_goes_back,
    decide,
    first_route,
    join,
    join_intents,
    refusal,
)
from isthmus.director.announcer import Announcer
from isthmus.director.journal import Journal
from isthmus.director.mesh import INTENTS_MAX, SiteState
from isthmus.director.serving import Serving

log = logging.getLogger(__name__)


class Contact(Protocol):
    """What a director needs of the mesh."""

    def changed(self) -> None: ...

    #: The states of all sites ever heard, and of those whose votes count now.
    def known(self) -> Mapping[str, SiteState]: ...
    def fresh(self) -> Mapping[str, SiteState]: ...


class Director:
    """Holds one site's route and decides its next one."""

    def __init__(
        self,
        config: SiteConfig,
        journal: Journal,
        serving: Serving,
        announcer: Announcer,
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._journal = journal
        self._announcer = announcer
        self._wall_clock = wall_clock
        self.serving = serving
        self.rules = Rules(
            preference=tuple(region.name for region in config.regions),
            sites=tuple(site.name for site in config.sites),
        )
        #: Wired by director.site once both exist: they look at each other.
        self.contact: Contact
        self.check_pause: Callable[[], None] = lambda: None
        self.votes: dict[str, Vote] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.intents: dict[str, Intent] = {}
        self.reason = ""
        self._refused: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._deciding = asyncio.Lock()
        recorded = journal.load_routes().get(config.stable_name)
        self.route = recorded or first_route(config.stable_name, self.rules)
        self._is_announced = False

    def state(self) -> SiteState:
        """What the other sites are told."""
        return SiteState(dict(self.votes), (self.route,), tuple(self.intents.values()))

    def wake(self) -> None:
        """Decide soon: something that decisions lean on has changed."""
        self._wake.set()

    def on_vote(self, region: str, vote: Vote) -> None:
        """Take a vote of this site's own observer."""
        self.votes[region] = vote
        self._journal.event("vote", vote.reason, region=region, vote=vote.health)
        self._tell()

    def on_pause(self, late_s: float) -> None:
        """Stop answering until the other sites were heard again."""
        self._journal.event("paused", f"This process was paused for {late_s:.1f} s.")
        self.serving.pause()
        self._tell()

    async def run(self) -> None:
        """Decide until cancelled: on every change, and as votes grow old."""
        while True:
            try:
                async with asyncio.timeout(self._config.mesh_interval_s):
                    await self._wake.wait()
            except TimeoutError:
                pass  # Nothing happened, which is how a vote grows old.
            self._wake.clear()
            async with self._deciding:
                await self._cycle()

    async def submit(self, intent: Intent) -> tuple[bool, str]:
        """Obey an operator's intent or say why not; doing it again changes nothing."""
        async with self._deciding:
            if intent.lifted:
                accepted, reason = self._lift(intent)
            else:
                accepted, reason = await self._obey(intent)
        fields = {"target": intent.target or None, "epoch": self.route.epoch, "intent": intent.id}
        self._journal.event("intent" if accepted else "intent-refused", reason, **fields)
        self._tell()
        return accepted, reason

    def _lift(self, intent: Intent) -> tuple[bool, str]:
        held = self.intents.get(intent.id)
        if held is None:
            return False, f"no intent {intent.id!r} is in force."
        self.intents[intent.id] = join_intents(held, intent)
        return True, f"The {held.kind} {intent.id!r} is lifted."

    async def _obey(self, intent: Intent) -> tuple[bool, str]:
        await self._cycle()
        if known := self.intents.get(intent.id):
            state = "lifted" if known.lifted else "in force"
            return True, f"The {known.kind} {known.id!r} is already {state}."
        done = self.route.target == intent.target and self.route.epoch == intent.if_epoch + 1
        if intent.kind == "move" and done:
            return True, f"{self.route.name} is already at {intent.target}."
        why = refusal(intent, self.route, self.verdicts, self.rules, self._now_ms())
        if not why and not self.serving.contacted and not intent.force:
            why = "this site has not heard from a majority of the sites since it started."
        if not why and len(self.intents) >= INTENTS_MAX:
            why = f"{INTENTS_MAX} intents are known already: one must be lifted and expire first."
        if why:
            return False, why
        decision = await self._cycle(intent)
        lost = decision.refused.get(intent.id)
        return lost is None, lost or decision.reason

    async def _cycle(self, request: Intent | None = None) -> Decision:
        """Decide once and perform it; the caller holds ``_deciding``."""
        self.check_pause()
        await self._listen()
        heard = self.contact.fresh()
        self._judge(heard)
        sites = {self._config.site, *heard}
        intents = [*self.intents.values(), *((request,) if request else ())]
        decision = decide(self.route, self.verdicts, sites, self.rules, intents, self._now_ms())
        if request and request.kind != "move" and request.id not in decision.refused:
            self.intents[request.id] = request
        self._report(decision)
        if decision.route is not None:
            await self._adopt(decision.route, "route-decided")
        own = {region: vote.health for region, vote in self.votes.items()}
        self.serving.update(self.route, own, sites, self.rules)
        if not self._is_announced and self.serving.informed.is_set():
            self._is_announced = True
            self._announcer.announce(self.route)
        return decision

    async def _listen(self) -> None:
        """Join what the other sites told: routes and intents count however old they are."""
        now_ms = self._now_ms()
        known = self.contact.known().values()
        for theirs in (intent for state in known for intent in state.intents):
            mine = self.intents.get(theirs.id)
            if mine is not None:
                self.intents[theirs.id] = join_intents(mine, theirs)
            elif theirs.expires_ms > now_ms and len(self.intents) < INTENTS_MAX:
                self.intents[theirs.id] = theirs
        self.intents = {
            name: intent for name, intent in self.intents.items() if intent.expires_ms > now_ms
        }
        # A route to a region that this site does not know must wait for its configuration.
        routes = [
            route
            for state in known
            for route in state.routes
            if route.name == self.route.name and route.target in self.rules.preference
        ]
        joined = reduce(lambda a, b: join(a, b, self.rules.preference), routes, self.route)
        if joined != self.route:
            await self._adopt(joined, "route-joined")

    def _judge(self, heard: Mapping[str, SiteState]) -> None:
        """Count the votes of each region, and tell of each verdict that changed."""
        for region in self.rules.preference:
            votes = {
                site: state.votes[region] for site, state in heard.items() if region in state.votes
            }
            if region in self.votes:
                votes[self._config.site] = self.votes[region]
            verdict = verdict_of(region, votes, self.rules.sites)
            before = self.verdicts.get(region)
            self.verdicts[region] = verdict
            if before is None or before.health is not verdict.health:
                fields = {"region": region, "verdict": verdict.health}
                self._journal.event("verdict", verdict.reason, **fields)
                log.info("a verdict changed", extra={**fields, "action": "verdict"})

    def _report(self, decision: Decision) -> None:
        """Say why, once per reason: most cycles decide what the one before decided."""
        for name, reason in decision.refused.items():
            if name in self.intents and self._refused.get(name) != reason:
                self._journal.event("intent-lost", reason, intent=name)
        self._refused = dict(decision.refused)
        if decision.reason != self.reason and decision.route is None:
            fields = {"epoch": self.route.epoch, "target": self.route.target}
            self._journal.event("kept", decision.reason, **fields)
        self.reason = decision.reason

    async def _adopt(self, route: Route, action: str) -> None:
        """Make a route this site's own: on disk first, then for everybody to see."""
        check_route_never_goes_back(self.route, route, self.rules.preference)
        await asyncio.to_thread(self._journal.record_routes, {route.name: route})
        self.route = route
        fields = {"epoch": route.epoch, "target": route.target}
        self._journal.event(action, route.reason, **fields)
        log.warning("the route changed", extra={**fields, "action": action})
        self._is_announced = False
        self._tell()

    def _tell(self) -> None:
        self.contact.changed()
        self._wake.set()

    def _now_ms(self) -> int:
        return int(self._wall_clock() * 1000)
