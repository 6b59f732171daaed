"""What `isthmus bench gateway` measures: one entry per metric, each a load on one or two stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from isthmus import __version__
from isthmus.bench.mosquitto import mosquitto
from isthmus.bench.plan import (
    Connecting,
    FanningOut,
    Holding,
    Load,
    Offering,
    Outcome,
    Publishing,
)
from isthmus.bench.regions import isthmus
from isthmus.bench.stand import Stand

#: Between two regions: as between Frankfurt and Virginia, and back in 80 ms.
ONE_WAY_S = 0.04
#: Beside the 50: they alone have less unanswered than is kept in 80 ms.
FAR_CROWD = 150
#: What a large fleet has, most of it without a CA.
CERTIFICATES = 200_000
#: The servers that clients are connected to, by the ends of their names.
HOLDERS = ("gateway", "mosquitto")


@dataclass(frozen=True, slots=True)
class Side:
    """Whom we are compared with, measured in turn with us."""

    name: str
    version: str
    stand: Stand


@dataclass(frozen=True, slots=True)
class Figure:
    """One value of a metric."""

    name: str
    unit: str
    read: Callable[[Outcome], float]
    #: Digits after the point.
    digits: int = 0
    #: More than this is a failure.
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """One load, and what is read from it."""

    name: str
    load: Load
    figures: tuple[Figure, ...]
    ours: Stand
    peer: Side | None = None
    #: Ours is started once for all rounds and not for each: it takes long.
    is_kept: bool = False
    #: Measured in one round only: what it needs takes long.
    is_once: bool = False
    #: Takes many minutes, so it is measured only when asked for, once, and for so many seconds.
    long_s: float = 0.0


def metrics(broker: tuple[str, str] | None, idle_s: float) -> list[Metric]:
    """All of them; ``broker`` is Mosquitto's binary and version, where there is one."""
    peer = Side("mosquitto", broker[1], mosquitto(broker[0])) if broker else None
    one, two = isthmus("eu"), isthmus("eu", "us")
    far = isthmus("eu", "us", one_way_s=ONE_WAY_S)
    many = isthmus("eu", certificates=CERTIFICATES)
    loopback = Side("loopback", __version__, two)
    few = Side("few certificates", __version__, one)

    def rate(name: str, unit: str, load: Load, ours: Stand, beside: Side | None = None) -> Metric:
        return Metric(name, load, (Figure(name, unit, per_s),), ours, beside)

    def delay(name: str, per_s: float, ours: Stand, beside: Side | None = None) -> Metric:
        figure = Figure(name, "ms", p99_ms, digits=1)
        return Metric(name, Offering(per_s=per_s), (figure,), ours, beside)

    kept, made = "acknowledged/s", "connects/s"
    connects_many = rate("connects_many_per_s", made, Connecting(), many, few)
    weight = Figure("bytes_per_connection", "bytes", bytes_each)
    idle = (
        Figure("idle_10k_puback_p99_ms", "ms", p99_ms, digits=1),
        Figure("idle_10k_dropped", "connections", dropped, at_most=0),
    )
    return [
        rate("qos1_durable_per_s", kept, Publishing(), one, peer),
        rate("qos1_two_regions_per_s", kept, Publishing(), two),
        rate("qos1_two_regions_80ms_per_s", kept, Publishing(crowd=FAR_CROWD), far, loopback),
        delay("puback_p99_ms", 5_000, two),
        delay("puback_80ms_p99_ms", 2_000, far, loopback),
        rate("connects_per_s", made, Connecting(), one, peer),
        replace(connects_many, is_kept=True),
        rate("fanout_per_s", "delivered/s", FanningOut(subscribers=1_000), one, peer),
        Metric(weight.name, Holding(first=500, last=2_500), (weight,), one, peer),
        Metric("idle_10k", Offering(per_s=2_000, crowd=10_000), idle, two, long_s=idle_s),
    ]


def per_s(outcome: Outcome) -> float:
    """How often it happened in a second."""
    return outcome.per_s


def p99_ms(outcome: Outcome) -> float:
    """What one acknowledgement in a hundred takes longer than."""
    return outcome.latency_ms["p99"]


def dropped(outcome: Outcome) -> float:
    """Connections that were lost."""
    return outcome.dropped


def bytes_each(outcome: Outcome) -> float:
    """Bytes of memory for each connection."""
    grown = outcome.memory_growth.items()
    return sum(growth for name, growth in grown if name.endswith(HOLDERS)) / outcome.count
