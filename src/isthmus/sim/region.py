"""One region: a machine with its store, services and gateways, and how they end and start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.core.shadow_topics import Messages
from isthmus.sim.gateway import Gateway
from isthmus.sim.services import Services
from isthmus.sim.store import WAKE_S, Disk, Store
from isthmus.sim.world import Machine, Process

if TYPE_CHECKING:
    from isthmus.sim.system import System


class Region:
    """What runs in one place, and what is left of it when it does not."""

    def __init__(self, system: System, name: str, gateways: int) -> None:
        self.system = system
        self.name = name
        self.machine = Machine(system.world, name)
        self.store = Store(self.machine, system.regions_named)
        self.services: Services
        self.gateways: list[Gateway]
        self.is_frozen = False
        self._gateways = gateways
        self._backups: list[Disk] = []

    def start(self) -> None:
        """Start everything on whatever the disk has."""
        self.machine.is_up = True
        self.is_frozen = False
        if not self.store.process.is_running:
            self.store.start()
        self.services = Services(self)
        self.gateways = [Gateway(self, number) for number in range(self._gateways)]

    def stop(self) -> None:
        """End everything at once: the machine is gone, and nobody is told."""
        self.machine.is_up = False
        self.store.stop()
        self.services.process.end()
        for gateway in self.gateways:
            gateway.end()

    def restart_store(self) -> None:
        """The store's server starts again: whoever held a connection to it notices."""
        self.store.stop()
        self.store.start()
        self.services.store_restarted()
        for gateway in self.gateways:
            gateway.store_restarted()
        for other in self.system.regions.values():
            if other is not self:
                other.services.peer_disconnected(self.name)

    def restart_services(self) -> None:
        self.services.process.end()
        self.services = Services(self)

    def restart_gateway(self, number: int) -> None:
        """The process dies while its machine lives: the kernel closes its connections."""
        self.gateways[number].die()
        self.gateways[number] = Gateway(self, number)

    def freeze(self) -> None:
        self.is_frozen = True
        for each in self._processes():
            each.pause()

    def thaw(self) -> None:
        self.is_frozen = False
        for each in self._processes():
            each.resume()

    def _processes(self) -> list[Process]:
        return [self.store.process, self.services.process, *(g.process for g in self.gateways)]

    def say(self, events: Messages) -> None:
        """What the API has done is said by one of the gateways; by nobody where none runs."""
        for gateway in self.gateways:
            if gateway.process.is_running and self.store.process.is_running:
                for topic, payload in events:
                    gateway.process.after(WAKE_S, gateway.say, topic, payload)
                return

    def back_up(self) -> None:
        self._backups.append(self.store.snapshot())

    def restore(self, newest_but: int = 0) -> bool:
        """Bring a backup back, of those that there are; call while stopped."""
        if not self._backups:
            return False
        self.store.restore(self._backups[max(0, len(self._backups) - 1 - newest_but)])
        return True
