"""Runs all clients of one kind until told to stop, and says whether everything was acknowledged.

Invariants: a client's sequence counts 1, 2, 3 ... without a gap, each number published once by us
and repeated by its library only; and it goes on at its own pace whether a region serves or not.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from isthmus.errors import InputError
from isthmus.fleet.device_runner import device_clients
from isthmus.fleet.events import EventLog
from isthmus.fleet.plain_runner import plain_clients
from isthmus.fleet.plan import KINDS, FleetPlan


class FleetClient(Protocol):
    """One client, whatever its library."""

    name: str
    #: Set when it was connected for the first time.
    connected: asyncio.Event

    @property
    def outstanding(self) -> int: ...

    def publish(self, seq: int, payload: bytes) -> bool: ...

    async def settled(self) -> None: ...


class Telemetry:
    """What one vehicle would tell; the same seed and name tell the same, but for the time."""

    def __init__(self, seed: int, name: str) -> None:
        self._rng = random.Random(f"{seed}/{name}/telemetry")
        self._latitude = self._rng.uniform(36.0, 60.0)
        self._longitude = self._rng.uniform(-9.0, 25.0)
        self._odometer_km = self._rng.uniform(100.0, 90_000.0)
        self._battery_percent = self._rng.uniform(30.0, 100.0)
        self._speed_kmh = self._rng.uniform(0.0, 120.0)

    def payload(self, seq: int, at_s: float, interval_s: float) -> bytes:
        """Drive on for one interval and tell of it, as JSON."""
        self._speed_kmh = min(130.0, max(0.0, self._speed_kmh + self._rng.gauss(0.0, 3.0)))
        driven_km = self._speed_kmh * interval_s / 3600
        self._odometer_km += driven_km
        self._latitude += driven_km / 111.2
        self._battery_percent = max(5.0, self._battery_percent - driven_km * 0.2)
        return msgspec.json.encode(
            {
                "seq": seq,
                "at": at_s,
                "speed_kmh": round(self._speed_kmh, 1),
                "battery_percent": round(self._battery_percent, 1),
                "odometer_km": round(self._odometer_km, 3),
                "latitude": round(self._latitude, 5),
                "longitude": round(self._longitude, 5),
            }
        )


def phases_s(plan: FleetPlan) -> list[float]:
    """When within the interval each client publishes: evenly spread, shifted by the seed.

    All kinds share it, so that two fleet processes do not beat as one.
    """
    shift = random.Random(plan.seed).random()
    count = len(plan.clients)
    return [(index + shift) / count * plan.publish_interval_s for index in range(count)]


def next_due_s(now_s: float, phase_s: float, interval_s: float) -> float:
    """The first moment after ``now_s`` that has this phase."""
    return (math.floor((now_s - phase_s) / interval_s) + 1) * interval_s + phase_s


async def run_fleet(
    plan: FleetPlan, kind: str, *, ready: Callable[[], None], stop: asyncio.Event
) -> int:
    """Run the clients of ``kind`` until ``stop`` is set; ``ready`` is called when all connected.

    Then publishing stops, outstanding acknowledgements are waited for, and all clients
    disconnect. Returns 0 if everything that was published was acknowledged, else 1.
    """
    plan.validate()
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}", hint=" or ".join(KINDS))
    with EventLog(Path(plan.events_dir) / f"{kind}.jsonl") as log:
        async with _clients(plan, kind, log) as clients:
            await _publish_until(stop, plan, kind, clients, ready)
            await _settle(clients, plan.settle_s)
            return 1 if any(each.outstanding for each in clients) else 0


@asynccontextmanager
async def _clients(
    plan: FleetPlan, kind: str, log: EventLog
) -> AsyncIterator[Sequence[FleetClient]]:
    opened = device_clients(plan, log) if kind == "device" else plain_clients(plan, log)
    async with opened as clients:
        yield clients


async def _publish_until(
    stop: asyncio.Event,
    plan: FleetPlan,
    kind: str,
    clients: Sequence[FleetClient],
    ready: Callable[[], None],
) -> None:
    phases = phases_s(plan)
    async with asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(_announce(clients, ready))]
        for (index, _), client in zip(plan.of_kind(kind), clients, strict=True):
            work.append(tasks.create_task(_publish_on(client, plan, phases[index])))
        await stop.wait()
        for each in work:
            each.cancel()


async def _announce(clients: Sequence[FleetClient], ready: Callable[[], None]) -> None:
    for each in clients:
        await each.connected.wait()
    ready()


async def _publish_on(client: FleetClient, plan: FleetPlan, phase_s: float) -> None:
    """Publish once an interval, for ever.

    Whoever was held up leaves out the moments that passed: a vehicle does not make up for them.
    """
    telemetry = Telemetry(plan.seed, client.name)
    loop = asyncio.get_running_loop()
    await client.connected.wait()
    seq, due_s = 1, 0.0
    while True:
        # The later of both: a timer that fires early must not publish twice.
        due_s = next_due_s(max(loop.time(), due_s), phase_s, plan.publish_interval_s)
        await asyncio.sleep(due_s - loop.time())
        if client.publish(seq, telemetry.payload(seq, time.time(), plan.publish_interval_s)):
            seq += 1


async def _settle(clients: Sequence[FleetClient], settle_s: float) -> None:
    try:
        async with asyncio.timeout(settle_s):
            for each in clients:
                await each.settled()
    except TimeoutError:
        return  # What is still outstanding is what the caller counts.
