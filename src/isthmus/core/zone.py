"""The zone: what DNS should say, given the route.

The apex is the stable name itself. A plain client asks for its address, a client that follows
SRV also learns the port. Each region has its own hostname, which does not follow the route. Beside
each of these names is that of the AWS-compatible API, which leads to the same region.

Invariants, each with a check of its name: a zone is never empty, and the serial of an older plan
is older by RFC 1982, because it is the route's epoch.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

from isthmus.errors import BrokenInvariant

RecordType = Literal["A", "AAAA", "NS", "SOA", "SRV"]

#: Where a client that follows SRV finds MQTT over TLS.
SRV_PREFIX = "_secure-mqtt._tcp."
#: Before a name that devices connect to: where its region answers AWS's clients.
API_PREFIX = "api."
#: SOA timers for secondaries, which a zone of this size needs none of: RFC 1912 section 2.2.
REFRESH_S, RETRY_S, EXPIRE_S = 60, 10, 604800


@dataclass(frozen=True)
class Endpoint:
    """Where a region answers MQTT, and AWS's clients."""

    region: str
    hostname: str
    address: str
    mqtt_port: int
    #: Of the AWS-compatible API; ``address`` where it is not given.
    api_address: str = ""


@dataclass(frozen=True)
class SiteHost:
    """A site's nameserver: its host is an address, or a name that somebody else's zone knows."""

    site: str
    host: str


@dataclass(frozen=True)
class Plan:
    """What does not change with the route."""

    apex: str
    ttl_s: int
    endpoints: tuple[Endpoint, ...]
    sites: tuple[SiteHost, ...]


@dataclass(frozen=True)
class Records:
    """All records of one type at one name, their data as zone files write it."""

    name: str
    type: RecordType
    ttl_s: int
    data: tuple[str, ...]


@dataclass(frozen=True)
class Zone:
    """One immutable state of the zone; a nameserver replaces it as a whole."""

    apex: str
    serial: int
    records: tuple[Records, ...]


def zone_of(plan: Plan, target: str, epoch: int) -> Zone:
    """Say what DNS should answer while ``target`` serves the stable name."""
    chosen = next((each for each in plan.endpoints if each.region == target), None)
    if chosen is None:
        raise BrokenInvariant(f"the zone {plan.apex} would lead to {target!r}, which nobody knows")
    names, glue = _nameservers(plan)
    timers = f"{REFRESH_S} {RETRY_S} {EXPIRE_S} {plan.ttl_s}"
    primary = next(iter(names), _absolute(plan.apex))
    soa = f"{primary} hostmaster.{_absolute(plan.apex)} {epoch} {timers}"
    records = (
        Records(plan.apex, "SOA", plan.ttl_s, (soa,)),
        Records(plan.apex, "NS", plan.ttl_s, names),
        *glue,
        *_service(plan.apex, chosen, plan.ttl_s),
        *(
            records
            for each in plan.endpoints
            for records in _service(each.hostname, each, plan.ttl_s)
        ),
    )
    zone = Zone(plan.apex, epoch, records)
    check_zone_never_empty(zone)
    return zone


def _absolute(name: str) -> str:
    return name if name.endswith(".") else f"{name}."


def _address(name: str, address: str, ttl_s: int) -> Records:
    version = ipaddress.ip_address(address).version
    return Records(name, "A" if version == 4 else "AAAA", ttl_s, (address,))


def _service(name: str, endpoint: Endpoint, ttl_s: int) -> tuple[Records, ...]:
    srv = f"0 0 {endpoint.mqtt_port} {_absolute(endpoint.hostname)}"
    return (
        _address(name, endpoint.address, ttl_s),
        Records(SRV_PREFIX + name, "SRV", ttl_s, (srv,)),
        _address(API_PREFIX + name, endpoint.api_address or endpoint.address, ttl_s),
    )


def _nameservers(plan: Plan) -> tuple[tuple[str, ...], tuple[Records, ...]]:
    """Name each site's nameserver; one that is configured by its address gets a name of ours."""
    names, glue = [], []
    for each in plan.sites:
        try:
            ipaddress.ip_address(each.host)
        except ValueError:
            names.append(_absolute(each.host))
            continue
        name = f"ns-{each.site}.{plan.apex}"
        names.append(_absolute(name))
        glue.append(_address(name, each.host, plan.ttl_s))
    return tuple(dict.fromkeys(names)), tuple(glue)


def is_older(serial: int, than: int) -> bool:
    """Compare two serials on the circle of RFC 1982."""
    return serial != than and (than - serial) % 2**32 < 2**31


def check_zone_never_empty(zone: Zone) -> None:
    """A zone has its SOA, a nameserver, where its stable name leads, and where that of the API."""
    held = {(each.name, each.type) for each in zone.records if each.data}
    needed = {(zone.apex, "SOA"), (zone.apex, "NS"), (SRV_PREFIX + zone.apex, "SRV")}
    addressed = {name for name, kind in held if kind in ("A", "AAAA")}
    if not needed <= held or not {zone.apex, API_PREFIX + zone.apex} <= addressed:
        raise BrokenInvariant(f"the zone {zone.apex} would be empty")


def check_older_plan_has_older_serial(old: Zone, new: Zone, old_epoch: int, new_epoch: int) -> None:
    """The order of serials is the order of epochs."""
    if old_epoch < new_epoch and not is_older(old.serial, new.serial):
        raise BrokenInvariant(f"serial {new.serial} is not newer than {old.serial}")
