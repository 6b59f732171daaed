"""A site that tells the gateways of its own region where the route leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.client import Client

from isthmus import protocol
from isthmus.adapters.nats import connection
from isthmus.config import SiteConfig
from isthmus.director.site import run_site

#: The route is repeated, because what is said on NATS is said at most once.
REPEAT_S = 1.0


class _Teller:
    """Says the newest route to the region, again and again."""

    def __init__(self) -> None:
        self._route: protocol.Route | None = None
        self._client: Client | None = None

    async def changed(self, name: str, epoch: int, target: str) -> None:
        self._route = protocol.Route(name, epoch, target)
        await self._tell()

    async def _tell(self) -> None:
        if self._route and self._client and self._client.is_connected:
            await self._client.publish("region.route", protocol.encode(self._route))

    async def run(self, config: SiteConfig) -> None:
        assert config.nats is not None
        self._client = await connection.connect(config.nats, name="site")
        try:
            while True:
                await self._tell()
                await asyncio.sleep(REPEAT_S)
        finally:
            await self._client.close()


async def run_site_with_region(config: SiteConfig, ready: Callable[[], None]) -> None:
    """Run one site until cancelled; a witness has no region to tell."""
    teller = _Teller()
    async with asyncio.TaskGroup() as tasks:
        if config.nats:
            tasks.create_task(teller.run(config))
        await run_site(config, route_listener=teller.changed, ready=ready)
