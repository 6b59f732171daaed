"""Which addresses and ports the local sites get.

On Linux every loopback address can be bound, so each site has its own one with the usual ports, and
DNS can really switch between them. Where only 127.0.0.1 can be bound (macOS without root), all
sites share it and take free ports, and our own clients learn those from the zone's SRV records.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from isthmus.errors import Unavailable

#: Service and port where a site has an address of its own.
PORTS = {
    "mqtt": 8883,
    "https": 8445,
    "api": 8443,
    "aws_api": 8446,
    "nats": 4222,
    # Where the other regions reach NATS, where they do so through a cable.
    "cable": 4223,
    "dns": 10053,
    "mesh": 8444,
}
#: Held by whoever uses an address, as long as it does: two drills never share one.
GUARD_PORT = 8499
ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class SiteAddress:
    """Where one site's services listen."""

    host: str
    ports: dict[str, int]

    def url(self, service: str, scheme: str) -> str:
        return f"{scheme}://{self.host}:{self.ports[service]}"


class Addresses:
    """Addresses for some sites, held until ``release``."""

    def __init__(
        self, sites: Iterable[str], rng: random.Random, *, first: bool, one: bool = False
    ) -> None:
        """Take 127.0.1.1, 127.0.2.1 ... if ``first`` and free, else a free block at random.

        ``one``: behave as where only 127.0.0.1 can be bound.
        """
        self._held = ExitStack()
        names = list(sites)
        self.shared_host = one or not _can_bind("127.0.1.1")
        if self.shared_host:
            self.of = self._ports_of_one_host(names)
            return
        blocks = [0] if first else []
        blocks += [rng.randrange(1, 250) for _ in range(ATTEMPTS)]
        for block in blocks:
            if self._hold(block, names):
                self.of = {
                    name: SiteAddress(_host(block, number), dict(PORTS))
                    for number, name in enumerate(names, 1)
                }
                return
        raise Unavailable("no free loopback addresses", hint="stop other local regions")

    def _hold(self, block: int, names: list[str]) -> bool:
        with ExitStack() as held:
            for number in range(1, len(names) + 1):
                for port in (GUARD_PORT, *PORTS.values()):
                    try:
                        taken = held.enter_context(_bound(_host(block, number), port))
                    except OSError:
                        return False
                    if port != GUARD_PORT:
                        taken.close()
            self._held = held.pop_all()
        return True

    def _ports_of_one_host(self, names: list[str]) -> dict[str, SiteAddress]:
        # All are bound at once, so that no two get the same; then given back for the services.
        with ExitStack() as held:
            found = {
                name: {
                    service: held.enter_context(_bound("127.0.0.1", 0)).getsockname()[1]
                    for service in PORTS
                }
                for name in names
            }
        return {name: SiteAddress("127.0.0.1", ports) for name, ports in found.items()}

    def release(self) -> None:
        """Give the addresses back; doing it twice is fine."""
        self._held.close()


def _host(block: int, number: int) -> str:
    return f"127.{block}.{number}.1"


def _bound(host: str, port: int) -> socket.socket:
    taken = socket.socket()
    try:
        # A port whose last user's connections are still fading away is free.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
        taken.listen(1)
    except OSError:
        taken.close()
        raise
    return taken


def _can_bind(host: str) -> bool:
    try:
        _bound(host, 0).close()
    except OSError:
        return False
    return True
