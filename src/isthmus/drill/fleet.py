"""The drill's fleet: who is in it, and the two processes that run it."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus import plan_file
from isthmus.errors import InputError
from isthmus.fleet.fleet_file import FleetThing
from isthmus.fleet.plan import ClientPlan, EndpointPlan, FleetPlan
from isthmus.local.bring_up import TOPIC_ROOT
from isthmus.local.child import Child
from isthmus.local.system import LocalSystem

KINDS = ("device", "plain")
#: Seconds in which clients may still be answered after they stopped publishing.
SETTLE_S = 12.0


def choose(things: Sequence[FleetThing], devices: int | None) -> list[FleetThing]:
    """The first ``devices`` of a fleet file, or all of them."""
    if devices is None:
        return list(things)
    if not 1 <= devices <= len(things):
        hint = "a fleet file with more lines: --fleet FILE"
        raise InputError(f"--devices is {devices}, the fleet has {len(things)}", hint=hint)
    return list(things[:devices])


def kind_of(number: int) -> str:
    """Half are our device client, half are anybody else's."""
    return KINDS[number % 2]


class DrillFleet:
    """Two processes full of clients."""

    def __init__(
        self, system: LocalSystem, things: Sequence[FleetThing], seed: int, keep_alive_s: int
    ) -> None:
        self._directory = system.settings.state_dir / "fleet"
        self._directory.mkdir(exist_ok=True)
        plan = FleetPlan(
            stable_name=system.stable_name,
            nameservers=tuple(system.nameservers),
            endpoints=tuple(
                EndpointPlan(
                    region=region,
                    hostname=system.hostname(region),
                    address=system.address(region).host,
                    port=system.address(region).ports["mqtt"],
                )
                for region in system.settings.regions
            ),
            ca_file=str(system.pki.ca_file),
            keep_alive_s=keep_alive_s,
            seed=seed,
            clients=tuple(
                self._client(system, number, thing) for number, thing in enumerate(things)
            ),
            events_dir=str(self._directory),
            settle_s=SETTLE_S,
        )
        plan_file.dump(self._directory / "plan.json", plan)
        used = sorted({client.kind for client in plan.clients})
        self.event_files = {kind: self._directory / f"{kind}.jsonl" for kind in used}
        for file in self.event_files.values():
            file.unlink(missing_ok=True)
        self._children = [self._child(system, kind) for kind in used]

    def _client(self, system: LocalSystem, number: int, thing: FleetThing) -> ClientPlan:
        identity = system.pki.device(thing.name)
        return ClientPlan(
            name=thing.name,
            kind=kind_of(number),  # type: ignore[arg-type]
            certificate=str(identity.chain),
            key=str(identity.key),
            topic=f"{TOPIC_ROOT}/{thing.name}/telemetry",
        )

    def _child(self, system: LocalSystem, kind: str) -> Child:
        plan = str(self._directory / "plan.json")
        command = [*system.settings.launcher, "fleet", "run", "--plan", plan, "--kind", kind]
        log = system.settings.state_dir / "logs" / f"fleet-{kind}.log"
        return Child(f"fleet-{kind}", [*command, "--leash"], log)

    @property
    def children(self) -> list[Child]:
        return self._children
