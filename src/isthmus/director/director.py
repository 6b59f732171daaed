"""The director: a thin loop that turns verdicts and intents into routing, at every site alike.

One cycle reads what is known, asks core.direction, and performs the answer in this order: record
the route durably, change the zone, tell the listener, tell the other sites. Interrupted after any
of these, the next cycle or the next start does the rest.

Invariant: a route is on disk before it is this site's own, and an older one never gets there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from isthmus.config import SiteConfig
from isthmus.core.contact import SiteState
from isthmus.core.direction import Answer, Direction, answer_of
from isthmus.core.health import Verdict, Vote
from isthmus.core.routing import Decision, Intent, Route, Rules, check_route_never_goes_back
from isthmus.director.announcer import Announcer
from isthmus.director.journal import Journal
from isthmus.director.serving import Serving

log = logging.getLogger(__name__)


class OtherSites(Protocol):
    """What a director needs of the mesh."""

    def changed(self) -> None: ...

    #: The states of all sites ever heard, and of those whose votes count now.
    def known(self) -> Mapping[str, SiteState]: ...
    def fresh(self) -> Mapping[str, SiteState]: ...


class Director:
    """Drives one site's direction, and performs what it says."""

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
        self.others: OtherSites
        self.check_pause: Callable[[], None] = lambda: None
        self.reason = ""
        self._refused: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._deciding = asyncio.Lock()
        recorded = journal.load_routes().get(config.stable_name)
        self.direction = Direction(config.stable_name, config.site, self.rules, recorded)
        self._is_announced = False

    def state(self) -> SiteState:
        """What the other sites are told."""
        return self.direction.state()

    def wake(self) -> None:
        """Decide soon: something that decisions lean on has changed."""
        self._wake.set()

    def on_vote(self, region: str, vote: Vote) -> None:
        """Take a vote of this site's own observer."""
        self.direction.vote(region, vote)
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

    async def submit(self, intent: Intent) -> Answer:
        """Obey an operator's intent or say why not; doing it again changes nothing."""
        async with self._deciding:
            answer = self.direction.lift(intent) if intent.lifted else await self._obey(intent)
        epoch = self.direction.route.epoch
        fields = {"target": intent.target or None, "epoch": epoch, "intent": intent.id}
        action = "intent" if answer.accepted else "intent-refused"
        self._journal.event(action, answer.reason, **fields)
        self._tell()
        return answer

    async def _obey(self, intent: Intent) -> Answer:
        await self._cycle()
        contacted = self.serving.answering.contacted
        answer = self.direction.answer(intent, self._now_ms(), contacted=contacted)
        if answer is None:
            answer = answer_of(await self._cycle(intent), intent)
        return answer

    async def _cycle(self, request: Intent | None = None) -> Decision:
        """Decide once and perform it; the caller holds ``_deciding``."""
        self.check_pause()
        joined = self.direction.listen(self.others.known().values(), self._now_ms())
        if joined is not None:
            await self._adopt(joined, "route-joined")
        heard = self.others.fresh()
        for verdict in self.direction.judge(heard):
            self._tell_verdict(verdict)
        sites = {self._config.site, *heard}
        decision = self.direction.decide(sites, self._now_ms(), request)
        self._report(decision)
        if decision.route is not None:
            await self._adopt(decision.route, "route-decided")
        own = {region: vote.health for region, vote in self.direction.votes.items()}
        self.serving.update(self.direction.route, own, sites, self.rules)
        if not self._is_announced and self.serving.informed.is_set():
            self._is_announced = True
            self._announcer.announce(self.direction.route)
        return decision

    def _tell_verdict(self, verdict: Verdict) -> None:
        fields = {"region": verdict.region, "verdict": verdict.health}
        self._journal.event("verdict", verdict.reason, **fields)
        log.info("a verdict changed", extra={**fields, "action": "verdict"})

    def _report(self, decision: Decision) -> None:
        """Say why, once per reason: most cycles decide what the one before decided."""
        for name, reason in decision.refused.items():
            if name in self.direction.intents and self._refused.get(name) != reason:
                self._journal.event("intent-lost", reason, intent=name)
        self._refused = dict(decision.refused)
        if decision.reason != self.reason and decision.route is None:
            route = self.direction.route
            fields = {"epoch": route.epoch, "target": route.target}
            self._journal.event("kept", decision.reason, **fields)
        self.reason = decision.reason

    async def _adopt(self, route: Route, action: str) -> None:
        """Make a route this site's own: on disk first, then for everybody to see."""
        # Checked once more when it is adopted; but an older plan must not even reach the disk.
        check_route_never_goes_back(self.direction.route, route, self.rules.preference)
        await asyncio.to_thread(self._journal.record_routes, {route.name: route})
        self.direction.adopt(route)
        fields = {"epoch": route.epoch, "target": route.target}
        self._journal.event(action, route.reason, **fields)
        log.warning("the route changed", extra={**fields, "action": action})
        self._is_announced = False
        self._tell()

    def _tell(self) -> None:
        self.others.changed()
        self._wake.set()

    def _now_ms(self) -> int:
        return int(self._wall_clock() * 1000)
