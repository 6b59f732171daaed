"""The whole system of one run: regions, witness, clients and operators, made from a plan."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from isthmus.core import batch as batches
from isthmus.core import carried
from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.sim.clients import Client, DeviceClient, PlainClient
from isthmus.sim.network import Network
from isthmus.sim.operators import Operators
from isthmus.sim.plan import Plan
from isthmus.sim.region import Region
from isthmus.sim.services import Services
from isthmus.sim.shadow_client import ShadowClient
from isthmus.sim.site import Site
from isthmus.sim.subscriber import Subscriber
from isthmus.sim.watch import Watch
from isthmus.sim.world import Machine, Timing, World

KINDS: dict[str, type[Client]] = {
    "device": DeviceClient,
    "plain": PlainClient,
    "subscriber": Subscriber,
    "shadow": ShadowClient,
}
#: Before any fault strikes: regions meet, devices are registered and connect.
SETTLE_S = 3.0


class System:
    """Everybody, by name."""

    def __init__(self, plan: Plan, *, transcript: bool = False) -> None:
        self.plan = plan
        self.world = World(plan.seed, Timing(), transcript=transcript)
        self.net = Network(self.world)
        self.regions_named = list(plan.regions)
        self.sites_named = [*plan.regions, "witness"] if plan.witness else list(plan.regions)
        self._starts = 0
        self._tokens = 0
        self.decoded = lru_cache(maxsize=4096)(items.decode)
        self.decoded_carried = lru_cache(maxsize=4096)(carried.read)
        self.batch = lru_cache(maxsize=4096)(batches.decode)
        self.watch = Watch(self)
        self.operators = Operators(self)
        self.regions = {name: Region(self, name, plan.gateways) for name in plan.regions}
        self.sites: dict[str, Site] = {}
        self.clients: dict[str, Client] = {}

    def start(self) -> None:
        """Start everything, register the devices, and let the system settle."""
        for name, region in self.regions.items():
            self.watch.look_at(region)
            region.start()
            self.sites[name] = Site(
                self, name, region.machine, partial(getattr, region.store, "state")
            )
        if self.plan.witness:
            disk: dict[str, Any] = {}
            self.sites["witness"] = Site(
                self, "witness", Machine(self.world, "witness"), lambda: disk
            )
        self.world.run(SETTLE_S / 2)
        for name, kind in self.plan.clients:
            self.add_client(name, kind, self.regions_named[0])
        self.world.run(SETTLE_S)

    def add_client(self, name: str, kind: str, region: str) -> None:
        """Register a device at a region, and let it begin to connect."""
        self.operators.register(name, region)
        self.clients[name] = KINDS[kind](self, name, principal_of(name))
        self.clients[name].process.after(0.2, self.clients[name].start)

    def services(self, region: str) -> Services | None:
        """The services of a region, if anybody there can be asked."""
        found = self.regions[region]
        is_there = found.services.process.is_running and found.store.process.is_running
        return found.services if is_there else None

    def next_start(self) -> int:
        """Stands for the random ids of processes: no two starts have the same."""
        self._starts += 1
        return self._starts

    def next_token(self) -> str:
        """A clientToken that no other request to a shadow has."""
        self._tokens += 1
        return f"t{self._tokens}"

    def new_incarnation(self, region: str) -> str:
        return f"{region[0]}{self.next_start()}"

    def address_of(self, region: str) -> str:
        return f"127.0.{self.regions_named.index(region) + 1}.1"

    def region_at(self, address: str) -> str:
        return self.regions_named[int(address.split(".")[2]) - 1]

    @staticmethod
    def identity_of(payload: bytes) -> str:
        """Stands for the user property in which a client may name its message; one kind does."""
        return payload.decode() if payload.startswith(b"id ") else ""

    def carried(self, payload: bytes) -> list[Item]:
        """The items of an encoded batch."""
        return [self.decoded_carried(raw) for raw in self.batch(payload).items]

    def item(self, region: str, kind: str, key: str) -> Item | None:
        """What is on a region's disk."""
        stream = self.regions[region].store.stream("LOG")
        sequence = stream.synced_newest.get((kind, key))
        return None if sequence is None else self.decoded(stream.entries[sequence].payload)


def principal_of(client: str) -> str:
    """The certificate id of a device."""
    return f"cert-{client}"
