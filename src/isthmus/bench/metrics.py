"""What `isthmus bench gateway` measures: one entry per metric, each a load on one or two stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isthmus import __version__
from isthmus.bench.mosquitto import mosquitto
from isthmus.bench.plan import Connecting, Load, Offering, Outcome, Publishing
from isthmus.bench.regions import isthmus
from isthmus.bench.stand import Stand

#: Between two regions: as between Frankfurt and Virginia, and back in 80 ms.
ONE_WAY_S = 0.04
#: What a large fleet has, most of it without a CA.
CERTIFICATES = 200_000


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are measured in turn."""

    name: str
    version: str
    stand: Stand


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure."""

    name: str
    unit: str
    load: Load
    read: Callable[[Outcome], float]
    ours: Stand
    peer: Side | None = None
    #: Digits after the point.
    digits: int = 0
    #: Ours is started once for all rounds and not for each: it takes long.
    is_kept: bool = False


def metrics(broker: tuple[str, str] | None) -> list[Metric]:
    """All of them; ``broker`` is Mosquitto's binary and version, where there is one."""
    peer = Side("mosquitto", broker[1], mosquitto(broker[0])) if broker else None
    one, two = isthmus("eu"), isthmus("eu", "us")
    far = isthmus("eu", "us", one_way_s=ONE_WAY_S)
    many = isthmus("eu", certificates=CERTIFICATES)
    few = Side("few certificates", __version__, one)
    loopback = Side("loopback", __version__, two)

    def per_s(outcome: Outcome) -> float:
        return outcome.per_s

    def p99_ms(outcome: Outcome) -> float:
        return outcome.latency_ms["p99"]

    return [
        Metric("qos1_durable_per_s", "acknowledged/s", Publishing(), per_s, one, peer),
        Metric("qos1_two_regions_per_s", "acknowledged/s", Publishing(), per_s, two),
        Metric("qos1_two_regions_80ms_per_s", "acknowledged/s", Publishing(), per_s, far, loopback),
        Metric("puback_p99_ms", "ms", Offering(per_s=5_000), p99_ms, two, digits=1),
        Metric("puback_80ms_p99_ms", "ms", Offering(per_s=2_000), p99_ms, far, loopback, digits=1),
        Metric("connects_per_s", "connects/s", Connecting(), per_s, one, peer),
        Metric("connects_many_per_s", "connects/s", Connecting(), per_s, many, few, is_kept=True),
    ]
