"""The promises about routes, held against what sites really decide and publish."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from isthmus.core.health import Health, majority_of
from isthmus.core.routing import Route
from isthmus.core.zone import SRV_PREFIX, Zone
from isthmus.sim.violation import fail

if TYPE_CHECKING:
    from isthmus.sim.site import Site
    from isthmus.sim.system import System

#: A vote counts for its lifetime, and was on its way for a while.
VOTE_SLACK_S = 0.3
#: Of a time that a process measures; clocks drift.
CLOCKS_LEAST = 0.97


class RouteWatch:
    """Follows the sites of one run."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._world = system.world
        self._votes: defaultdict[tuple[str, str], list[tuple[float, Health]]] = defaultdict(list)
        #: What operators wanted of routes, and until when a site was told to hold one.
        self.intents: list[str] = []
        self._held_until_s: dict[str, float] = {}

    def voted(self, site: Site, region: str, health: Health) -> None:
        self._votes[site.name, region].append((self._world.now_s, health))

    def holds(self, site: str, seconds: float) -> None:
        """A site has taken an operator's pause; a clock may run a little faster."""
        self._held_until_s[site] = self._world.now_s + CLOCKS_LEAST * seconds

    def restarted(self, site: str) -> None:
        """What a site was told and had not told others is gone with its process."""
        self._held_until_s.pop(site, None)

    def decided(self, site: Site, route: Route) -> None:
        """``failover-has-its-majority``: of votes that were really cast, and lately."""
        if self._world.now_s < self._held_until_s.get(site.name, 0.0):
            text = f"{site.name} writes epoch {route.epoch} while an operator holds the route"
            fail("a-pause-holds", text)
        if not route.votes:
            if not any(repr(each) in route.reason for each in self.intents):
                text = f"{site.name} writes epoch {route.epoch}, which nobody wanted"
                fail("failover-has-its-majority", text)
            return
        target = site.direction.route.target
        against = [name for name, vote in route.votes.items() if vote is Health.UNHEALTHY]
        cast = [name for name in against if self._was_unhealthy(name, target)]
        needed = majority_of(self._system.sites_named)
        if len(cast) < needed:
            text = f"{site.name} leaves {target} for {route.target} by the votes of {against}"
            fail("failover-has-its-majority", f"{text}; {cast} had voted so")

    def _was_unhealthy(self, site: str, region: str) -> bool:
        """Whether a site's vote was so at some time within a vote's lifetime."""
        since_s = self._world.now_s - self._world.timing.vote_lifetime_s - VOTE_SLACK_S
        last = Health.UNKNOWN
        for at_s, health in self._votes[site, region]:
            if at_s >= since_s and Health.UNHEALTHY in (health, last):
                return True
            last = health
        return last is Health.UNHEALTHY

    def adopted(self, site: Site, route: Route) -> None:
        """``a-route-never-goes-back``, nor leads to nobody."""
        held = site.direction.route
        if route.epoch < held.epoch:
            fail("a-route-never-goes-back", f"{site.name}: {held.epoch} to {route.epoch}")
        if route.target not in self._system.regions_named:
            fail("zone-never-empty", f"{site.name} would lead to {route.target!r}")

    def published(self, site: Site, zone: Zone) -> None:
        """``zone-never-empty``."""
        held = {(each.name, each.type) for each in zone.records if each.data}
        apex = zone.apex
        needed = {(apex, "SOA"), (apex, "NS"), (apex, "A"), (SRV_PREFIX + apex, "SRV")}
        if not needed <= held:
            fail("zone-never-empty", f"{site.name} publishes {sorted(held)}")
