"""Who reaches whom, and since when: what the watch excuses, and what it does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from isthmus.sim.region import Region
    from isthmus.sim.system import System

#: How long news may take between two regions in contact, and from a region's log to its gateways.
LAG_S = 4.0
LOCAL_LAG_S = 1.0
#: Slower than this, and questions are not answered in time.
SLOW_S = 0.1
#: How long a region must have served before its silence is its own fault.
SETTLED_S = 1.0

T = TypeVar("T")


class Reach:
    """In true time: since when each way is good, and each region well."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._world = system.world
        self._link_since: dict[tuple[str, str], float] = {}
        self._well_since: dict[str, float] = {}

    def changed(self) -> None:
        """Something was done to ways or machines: note since when each is well."""
        now_s = self._world.now_s
        system = self._system
        for one in system.regions_named:
            self._note_since(self._well_since, one, self._is_well(system.regions[one]), now_s)
            for other in system.regions_named:
                if one != other:
                    way = system.net.way(one, other)
                    is_good = not (way.is_cut or way.loss or way.extra_s > SLOW_S)
                    self._note_since(self._link_since, (one, other), is_good, now_s)

    @staticmethod
    def _note_since(since: dict[T, float], key: T, is_good: bool, now_s: float) -> None:
        if not is_good:
            since.pop(key, None)
        else:
            since.setdefault(key, now_s)

    @staticmethod
    def _is_well(region: Region) -> bool:
        store, services = region.store, region.services
        return (
            region.machine.is_up
            and not region.is_frozen
            and services.process.is_running
            and not services.process.is_paused
            and not store.is_full
            and not store.slow_s
        )

    def link_s(self, one: str, other: str) -> float:
        """Since when two regions reach each other."""
        pairs = ((one, other), (other, one))
        return max(self._link_since.get(pair, math.inf) for pair in pairs)

    def disturbed(self, region: str) -> None:
        """Something short happened to a region's services or store."""
        self._well_since.pop(region, None)

    def serving_since(self, region: str) -> float:
        """Since when a region's services answer without disturbance; infinity if they do not."""
        services = self._system.regions[region].services
        return max(self._well_since.get(region, math.inf), services.serving_s)

    def way_s(self, one: str, other: str) -> float:
        """Since when one direction is good; infinity while it is not."""
        return self._link_since.get((one, other), math.inf)

    def well_since(self, region: str, default: float) -> float:
        """Since when a region's machine, services and store are undisturbed."""
        return self._well_since.get(region, default)

    def was_serving(self, region: str, at_s: float) -> bool:
        return self.serving_since(region) <= at_s - SETTLED_S
