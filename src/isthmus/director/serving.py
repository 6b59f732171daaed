"""What this site's nameserver says; whether it may say anything yet is core.answering's.

Invariant: an older plan never replaces a newer one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from isthmus.config import SiteConfig
from isthmus.core.answering import Answering
from isthmus.core.health import Health
from isthmus.core.routing import Route, Rules, Served, served_target
from isthmus.core.zone import (
    Endpoint,
    Plan,
    SiteHost,
    Zone,
    check_older_plan_has_older_serial,
    zone_of,
)
from isthmus.director.journal import Journal

log = logging.getLogger(__name__)


def plan_of(config: SiteConfig) -> Plan:
    """What of the zone does not follow the route; a site's host is that of its mesh."""
    hosts = {site.name: urlsplit(site.url).hostname or "" for site in config.sites}
    if not _is_unspecified(config.dns.host):
        hosts[config.site] = config.dns.host
    return Plan(
        apex=config.stable_name,
        ttl_s=config.dns_ttl_s,
        endpoints=tuple(
            Endpoint(each.name, each.hostname, each.address, each.mqtt_port, each.api_address)
            for each in config.regions
        ),
        sites=tuple(SiteHost(site, host) for site, host in hosts.items()),
    )


def _is_unspecified(host: str) -> bool:
    """Whoever listens on every address has not said which one leads to it."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


class Serving:
    """Publishes the zone of each route, or nothing while this site may be behind."""

    def __init__(
        self,
        config: SiteConfig,
        publish: Callable[[Zone | None], None],
        journal: Journal,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._plan = plan_of(config)
        self._publish = publish
        self._journal = journal
        self._clock = clock
        self._published: tuple[int, Zone] | None = None
        self.served: Served | None = None
        self.answering = Answering(config.start_grace_s, clock())
        #: Set while the nameserver answers.
        self.informed = asyncio.Event()

    def pause(self) -> None:
        """Stop answering: the world has moved on while this process was asleep."""
        self.answering.pause(self._clock())
        self.informed.clear()
        self._publish(None)

    def update(
        self,
        route: Route,
        own_votes: Mapping[str, Health],
        sites_heard: Collection[str],
        rules: Rules,
    ) -> None:
        """Serve what is known now."""
        if not self.answering.may_answer(sites_heard, rules, self._clock()):
            return
        served = served_target(route, own_votes, sites_heard, rules)
        self._report(served, route)
        zone = zone_of(self._plan, served.target, route.epoch)
        if not self.informed.is_set() or self._published is None or self._published[1] != zone:
            self._replace(route.epoch, zone)
        self.served = served
        self.informed.set()

    def _replace(self, epoch: int, zone: Zone) -> None:
        if self._published is not None:
            old_epoch, old = self._published
            check_older_plan_has_older_serial(old, zone, old_epoch, epoch)
        self._published = (epoch, zone)
        self._publish(zone)
        log.info("the zone changed", extra={"action": "zone", "serial": zone.serial})

    def _report(self, served: Served, route: Route) -> None:
        before = self.served
        if before is not None and (before.override, before.target) == (
            served.override,
            served.target,
        ):
            return
        if served.override:
            self._journal.event("override", served.reason, epoch=route.epoch, target=served.target)
        elif before is not None and before.override:
            reason = "Contact is back: the local override is dropped."
            self._journal.event("override-dropped", reason, epoch=route.epoch, target=served.target)
