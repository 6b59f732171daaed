"""One start of a site: what director/observer.py, mesh.py, director.py and serving.py do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.core.answering import Answering
from isthmus.core.contact import Contact, Message
from isthmus.core.direction import Answer, Direction, answer_of
from isthmus.core.health import Hysteresis, Probe, Vote, Watch
from isthmus.core.routing import Intent, Route, Rules, served_target
from isthmus.core.zone import Endpoint, Plan, SiteHost, Zone, zone_of
from isthmus.sim.world import Machine, Process

if TYPE_CHECKING:
    from isthmus.sim.system import System

NAME = "iot.example.com"
TICK_S = 0.3
ROUTE = "route"


class Site:
    """An observer, a director and a nameserver."""

    def __init__(
        self, system: System, name: str, machine: Machine, disk: Callable[[], dict[str, Any]]
    ) -> None:
        self.system = system
        self.name = name
        self.machine = machine
        self.world = system.world
        self.timing = system.world.timing
        self.process = Process(machine, f"site-{name}")
        names = tuple(system.sites_named)
        self.rules = Rules(preference=tuple(system.regions_named), sites=names)
        #: What survives the process; a region's site shares its disk, and its disk's fate.
        self.disk = disk
        self.direction = Direction(NAME, name, self.rules, disk().get(ROUTE))
        others = [each for each in names if each != name]
        start = system.next_start()
        self.contact = Contact(name, others, f"{name}-{start}", self.timing.vote_lifetime_s)
        self._others = others
        self.answering = Answering(self.timing.start_grace_s, self.process.now_s())
        self.zone: Zone | None = None
        rules = Hysteresis(3, 2, self.timing.probe_timeout_s, self.timing.probe_pause_s)
        self._observer = Watch(system.regions_named, rules, TICK_S)
        self._plan = _plan(system)
        self._probe = 0
        self._served = ""
        self._announced = 0
        chance = self.world.chance(f"site {name} {start}")
        for region in system.regions_named:
            first_s = chance.uniform(0, self.timing.probe_interval_s)
            self.process.after(first_s, self._probe_region, region)
        self._tick()
        self.process.after(chance.uniform(0, self.timing.mesh_interval_s), self._tell_for_ever)

    @property
    def who(self) -> str:
        return f"site {self.name}"

    # The observer

    def _tick(self) -> None:
        self._check_pause()
        self._observer.tick(self.process.now_s())
        self.process.after(TICK_S, self._tick)

    def _check_pause(self) -> None:
        pause = self._observer.check_pause(self.process.now_s())
        if pause is None:
            return
        self.world.say(self.who, "was paused: its votes are void", "observer-paused")
        self.answering.pause(self.process.now_s())
        self.zone = None
        for region, vote in pause.votes.items():
            self._vote(region, vote)

    def _probe_region(self, region: str) -> None:
        """Probe a region, and again when that has ended."""
        self._probe += 1
        started_s = self.process.now_s()
        is_open = [True]

        def ended(failure: str | None) -> None:
            if not is_open[0]:
                return
            is_open[0] = False
            self._check_pause()
            now_s = self.process.now_s()
            vote = self._observer.count(region, Probe(started_s, now_s, failure))
            if vote is not None:
                self._vote(region, vote)
                self._cycle()
            next_s = max(0.0, started_s + self.timing.probe_interval_s - now_s)
            self.process.after(next_s, self._probe_region, region)

        def back(failure: str | None) -> None:
            self.process.hand(ended, failure)

        def reply(failure: str | None) -> None:
            self.system.net.send(region, self.machine.name, back, failure)

        self.system.net.send(self.machine.name, region, self._at_region, region, reply)
        self.process.after(self.timing.probe_timeout_s, ended, "timed out")

    def _at_region(self, region: str, reply: Callable[[str | None], None]) -> None:
        found = self.system.regions[region]
        if not found.machine.is_up:
            return
        running = [each for each in found.gateways if each.process.is_running]
        if not running:
            reply("connection refused")
            return
        gateway = running[self._probe % len(running)]
        gateway.process.hand(gateway.probe, partial(reply, None))

    def _vote(self, region: str, vote: Vote) -> None:
        self.world.say(self.who, f"votes {region} {vote.health}: {vote.reason}")
        self.system.watch.routes.voted(self, region, vote.health)
        self.direction.vote(region, vote)
        self._tell()

    # The mesh

    def _tell_for_ever(self) -> None:
        self._tell()
        self._cycle()
        self.process.after(self.timing.mesh_interval_s, self._tell_for_ever)

    def _tell(self) -> None:
        state = self.direction.state()
        for peer in self._others:
            message = self.contact.write(peer, state, self.process.now_s())
            target = self.system.sites[peer].machine.name
            self.system.net.send(self.machine.name, target, self._heard_at, peer, message)

    def _heard_at(self, peer: str, message: Message) -> None:
        site = self.system.sites[peer]
        site.process.hand(site.heard, message)

    def heard(self, message: Message) -> None:
        self._check_pause()
        if self.contact.read(message, self.process.now_s()):
            self._cycle()

    # The director

    def intend(self, intent: Intent, reply: Callable[[Answer], None]) -> None:
        """An operator's intent."""
        self._cycle()
        now_ms = self.process.now_ms()
        answer = self.direction.answer(intent, now_ms, contacted=self.answering.contacted)
        if answer is None:
            heard = {self.name, *self.contact.fresh(self.process.now_s())}
            decision = self.direction.decide(heard, now_ms, intent)
            answer = answer_of(decision, intent)
            if decision.route is not None:
                self.system.watch.routes.decided(self, decision.route)
                self._adopt(decision.route, decision.reason)
        reply(answer)

    def _cycle(self) -> None:
        """Decide once and perform it."""
        self._check_pause()
        now_s, now_ms = self.process.now_s(), self.process.now_ms()
        joined = self.direction.listen(self.contact.known().values(), now_ms)
        if joined is not None:
            self._adopt(joined, f"is told of epoch {joined.epoch}: {joined.target}")
        heard = self.contact.fresh(now_s)
        for verdict in self.direction.judge(heard):
            self.world.say(self.who, f"verdict: {verdict.reason}", f"verdict-{verdict.health}")
        sites = sorted({self.name, *heard})
        decision = self.direction.decide(sites, now_ms)
        if decision.route is not None:
            self.system.watch.routes.decided(self, decision.route)
            self._adopt(decision.route, f"epoch {decision.route.epoch}: {decision.reason}")
            self.world.reached["failover"] += 1
        self._serve(sites)

    def _adopt(self, route: Route, reason: str) -> None:
        self.system.watch.routes.adopted(self, route)
        # A site's own file: on disk in the same step, or the process ends with neither.
        self.disk()[ROUTE] = route
        self.direction.adopt(route)
        self.world.say(self.who, reason)
        self._tell()

    # The nameserver

    def _serve(self, sites: list[str]) -> None:
        now_s = self.process.now_s()
        if not self.answering.may_answer(sites, self.rules, now_s):
            return
        route = self.direction.route
        own = {region: vote.health for region, vote in self.direction.votes.items()}
        served = served_target(route, own, sites, self.rules)
        if served.override and served.target != self._served:
            self.world.say(self.who, served.reason, "override")
        if self.zone is None or (served.target, route.epoch) != (self._served, self.zone.serial):
            self.zone = zone_of(self._plan, served.target, route.epoch)
            self.system.watch.routes.published(self, self.zone)
        self._served = served.target
        if route.epoch > self._announced:
            self._announced = route.epoch
            self._announce(route)

    def _announce(self, route: Route) -> None:
        """Tell the gateways of this site's region where the route leads."""
        region = self.system.regions.get(self.name)
        if region is not None:
            for gateway in region.gateways:
                gateway.process.after(TICK_S / 100, gateway.heard_route, route.epoch, route.target)

    def answer_dns(self, reply: Callable[[str | None], None]) -> None:
        """The region whose address stands at the apex; None while we may not say."""
        self._check_pause()
        if self.zone is None:
            reply(None)
            return
        address = next(
            each.data[0] for each in self.zone.records if (each.name, each.type) == (NAME, "A")
        )
        reply(self.system.region_at(address))


def _plan(system: System) -> Plan:
    endpoints = tuple(
        Endpoint(name, f"{name}.{NAME}", system.address_of(name), 8883)
        for name in system.regions_named
    )
    hosts = tuple(
        SiteHost(site, f"127.0.9.{number + 1}") for number, site in enumerate(system.sites_named)
    )
    return Plan(NAME, 1, endpoints, hosts)
