"""Ends the sessions of gateways that died: what region/departures.py does, but for wills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.core import departed, sessions
from isthmus.core.item import Item
from isthmus.core.sessions import PROGRESS, SESSION
from isthmus.core.update import Merge
from isthmus.core.whereabouts import Whereabouts

if TYPE_CHECKING:
    from isthmus.sim.services import Services

LOOK_S = 1.0


class Departures:
    """What is to be done for clients that cannot be asked any more."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._log = services.log
        self._process = services.process
        self._began_s = services.process.now_s()
        #: By id of a gateway of this region: when it was last heard.
        self._heard_s: dict[str, float] = {}
        self._whereabouts = Whereabouts()
        #: Sessions whose end is being written; a look waits for those of the one before.
        self._writing = 0
        services.log.watch(SESSION, self._changed)
        self._process.after(LOOK_S, self._look)

    def heard_gateway(self, gateway: str) -> None:
        """A gateway of this region has told its figures."""
        self._heard_s[gateway] = self._process.now_s()

    def _changed(self, item: Item) -> None:
        self._whereabouts.note(item.key, departed.place_of(sessions.read(item)))

    # Who lives

    def _knows_who_lives(self) -> bool:
        """Whether this process has listened for long enough to say who is silent."""
        absence, lease_s = self._services.absence, self._services.timing.lease_s
        since_s = max(self._began_s, absence.since_s)
        return absence.is_over and self._process.now_s() - since_s > lease_s

    def _hears(self, region: str) -> bool:
        now_s, lease_s = self._process.now_s(), self._services.timing.lease_s
        return self._services.peers.heard_within(region, now_s, lease_s)

    def _lives(self, region: str, gateway: str) -> bool:
        if region != self._services.name:
            return self._hears(region)
        silent_s = self._process.now_s() - self._heard_s.get(gateway, float("-inf"))
        return silent_s <= self._services.timing.lease_s

    # Whoever does not

    def _look(self) -> None:
        if self._whereabouts.clients and not self._writing and self._knows_who_lives():
            self._end_dead()
        self._process.after(LOOK_S, self._look)

    def _end_dead(self) -> None:
        own, regions = self._services.name, self._services.region.system.regions_named
        for (region, gateway), clients in list(self._whereabouts.clients.items()):
            if not departed.acts_for(own, region, regions, self._hears):
                continue
            if self._lives(region, gateway):
                continue
            for client in sorted(clients):
                self._end(client, gateway)

    def _end(self, client: str, gateway: str) -> None:
        item = self._log.get(SESSION, client)
        state = sessions.read(item)
        told = sessions.read_progress(self._log.view.get(PROGRESS, gateway))
        left = departed.ended(state, state.given(told), self._process.now_ms())
        if left is None:
            return
        world = self._services.world
        text = f"ends the session of {client}, whose gateway has died"
        world.say(self._services.who, text, "session-ended")
        self._writing += 1
        merge = Merge(self._log, sessions.end(item, left))
        self._services.perform(merge, self._written)

    def _written(self, _is_written: bool) -> None:
        self._writing -= 1
