"""Which region DNS names for the stable name, and where an endpoint is.

An answer that did not come is None and never an old or a guessed region: a DNS error must not be
taken for a failover. An endpoint's own place is remembered, though, so that a device can reconnect
while no nameserver answers.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from isthmus.core.reconnect import Endpoint

if TYPE_CHECKING:
    from isthmus.ports import Resolver

#: A nameserver answers in milliseconds; a dead one must not cost a failover its second.
DNS_TIMEOUT_S = 0.5

Place = tuple[str, int]


class SystemResolver:
    """Implements ports.Resolver with the machine's resolver, which knows addresses and no ports.

    Each address is answered with every port that an endpoint has, so regions that differ by
    their port alone cannot be told apart: they need a resolver that asks for SRV.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = sorted(set(ports))

    async def resolve(self, name: str) -> list[Place]:
        """Look ``name`` up; raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return [(str(each[4][0]), port) for each in found for port in self._ports]


class Names:
    """Asks the resolver on behalf of one client."""

    def __init__(
        self, stable_name: str, endpoints: Sequence[Endpoint], resolver: Resolver | None
    ) -> None:
        self._stable_name = stable_name
        self._endpoints = endpoints
        self._resolver = resolver or SystemResolver([each.port for each in endpoints])
        self._places: dict[str, list[Place]] = {
            each.region: [(each.address, each.port)] for each in endpoints if each.address
        }
        #: Regions whose remembered place may be wrong; empty for those given by address.
        self._doubtful = {each.region for each in endpoints if not each.address}

    async def region(self) -> str | None:
        """Answer the region that DNS names now; None if nobody answered, or with no region."""
        try:
            async with asyncio.timeout(DNS_TIMEOUT_S):
                answer = await self._resolver.resolve(self._stable_name)
                found = self._match(answer)
                if found is None and self._doubtful:
                    await self._look_up_doubtful()
                    found = self._match(answer)
        except OSError:
            return None
        return found

    async def place(self, endpoint: Endpoint) -> Place:
        """Answer where to connect to; raises OSError if that was never known."""
        if endpoint.region in self._doubtful:
            try:
                async with asyncio.timeout(DNS_TIMEOUT_S):
                    await self._look_up(endpoint)
            except OSError as error:
                if endpoint.region not in self._places:
                    raise OSError(f"{endpoint.hostname} was not found: {error}") from error
        places = self._places[endpoint.region]
        return next((each for each in places if each[1] == endpoint.port), places[0])

    def doubt(self, endpoint: Endpoint) -> None:
        """Look the endpoint up again next time: connecting to it failed."""
        if not endpoint.address:
            self._doubtful.add(endpoint.region)

    def _match(self, answer: list[Place]) -> str | None:
        for place in answer:
            for endpoint in self._endpoints:
                if place in self._places.get(endpoint.region, ()):
                    return endpoint.region
        return None

    async def _look_up_doubtful(self) -> None:
        for endpoint in self._endpoints:
            if endpoint.region in self._doubtful:
                await self._look_up(endpoint)

    async def _look_up(self, endpoint: Endpoint) -> None:
        places = await self._resolver.resolve(endpoint.hostname)
        if not places:
            raise OSError("DNS has no address for it")
        self._places[endpoint.region] = places
        self._doubtful.discard(endpoint.region)
