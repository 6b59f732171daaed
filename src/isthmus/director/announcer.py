"""Tells a listener of each route, in the order of epochs, without ever making the director wait.

A listener that fails is asked again until it succeeds or a newer route makes the old one moot.
"""

from __future__ import annotations

import asyncio
import logging

from isthmus.core.routing import Route
from isthmus.ports import RouteListener

log = logging.getLogger(__name__)

RETRY_S = 0.5
#: A listener that hangs must not keep a newer route from being told.
LISTENER_TIMEOUT_S = 5.0


class Announcer:
    """Holds at most one route that is still to be told: an older one is of no use any more."""

    def __init__(self, listener: RouteListener | None) -> None:
        self._listener = listener
        self._pending: Route | None = None
        self._wake = asyncio.Event()

    def announce(self, route: Route) -> None:
        """Tell the listener soon."""
        self._pending = route
        self._wake.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            route = self._pending
            if route is None or self._listener is None:
                continue
            if not await self._tell(self._listener, route):
                self._wake.set()
                await asyncio.sleep(RETRY_S)

    async def _tell(self, listener: RouteListener, route: Route) -> bool:
        extra = {"action": "announce", "epoch": route.epoch, "target": route.target}
        try:
            async with asyncio.timeout(LISTENER_TIMEOUT_S):
                await listener(route.name, route.epoch, route.target)
        except Exception:
            # Whatever a listener trips over, routing goes on and asks it again.
            log.exception("a route listener failed", extra=extra)
            return False
        if self._pending is route:
            self._pending = None
        return True
