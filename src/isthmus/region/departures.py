"""Ends the sessions of gateways that died, and has the wills published that are due.

A gateway of this region has died when its figures have not come for a lease; one of another region
when that region was not heard for as long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from nats.aio.client import Client

from isthmus import protocol
from isthmus.clock import monotonic_s, now_ms
from isthmus.core import departed, sessions
from isthmus.core.item import Item
from isthmus.core.sessions import PROGRESS, SESSION, State
from isthmus.core.whereabouts import Whereabouts
from isthmus.errors import Unavailable
from isthmus.region.items import ItemStore

_log = logging.getLogger(__name__)

LOOK_S = 0.5
#: Until a gateway that was asked to publish a will may have failed to.
ASK_AGAIN_S = 5.0
WRITES_MAX = 64

#: Whether a gateway process lives, by its region and its id.
Lives = Callable[[str, str], bool]


class Departures:
    """What is to be done for clients that cannot be asked any more."""

    def __init__(
        self,
        client: Client,
        store: ItemStore,
        lives: Lives,
        is_ours: Callable[[str], bool],
    ) -> None:
        self._client = client
        self._store = store
        self._lives = lives
        #: Whether it is this region that acts for a gateway's region.
        self._is_ours = is_ours
        self._whereabouts = Whereabouts()
        #: By client: its epoch, and when a gateway was last asked to publish its will.
        self._due: dict[str, tuple[int, float]] = {}
        store.watch(SESSION, self._changed)

    def _changed(self, item: Item) -> None:
        state = sessions.read(item)
        self._whereabouts.note(item.key, departed.place_of(state))
        if state.left is not None and state.left.will_at_ms is not None:
            _, asked_s = self._due.get(item.key, (0, float("-inf")))
            self._due[item.key] = (state.epoch, asked_s)
        else:
            self._due.pop(item.key, None)

    async def run(self, is_current: Callable[[], bool]) -> None:
        """Look for ever, while this region knows what the others know."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not is_current():
                continue
            try:
                await self._end_dead()
            except Unavailable as error:
                extra = {"action": "end-sessions", "reason": str(error)}
                _log.warning("sessions of a gateway that died are not ended yet", extra=extra)
            await self._ask_for_wills()

    async def _end_dead(self) -> None:
        for (region, gateway), clients in list(self._whereabouts.clients.items()):
            if not self._is_ours(region) or self._lives(region, gateway):
                continue
            extra = {"action": "end-sessions", "gateway": gateway, "sessions": len(clients)}
            _log.warning("a gateway has died", extra=extra)
            waiting = sorted(clients)
            while waiting:
                now, waiting = waiting[:WRITES_MAX], waiting[WRITES_MAX:]
                await asyncio.gather(*(self._end(client) for client in now))

    async def _end(self, client: str) -> None:
        item = self._store.get(SESSION, client)
        state = sessions.read(item)
        gateway = state.owner.gateway if state.owner else ""
        told = sessions.read_progress(self._store.view.get(PROGRESS, gateway))
        left = departed.ended(state, state.given(told), now_ms())
        if left is not None:
            await self._store.merge(sessions.end(item, left))

    async def _ask_for_wills(self) -> None:
        for client, (epoch, asked_s) in list(self._due.items()):
            state = sessions.read(self._store.get(SESSION, client))
            if monotonic_s() - asked_s < ASK_AGAIN_S or not self._is_due(state):
                continue
            self._due[client] = (epoch, monotonic_s())
            request = protocol.WillRequest(client, epoch)
            if self._client.is_connected:
                await self._client.publish("region.will", protocol.encode(request))

    def _is_due(self, state: State) -> bool:
        owner = state.owner
        if owner is None or not self._is_ours(owner.region):
            return False
        lives = self._lives(owner.region, owner.gateway)
        return departed.is_will_due(state, gateway_lives=lives, now_ms=now_ms())
