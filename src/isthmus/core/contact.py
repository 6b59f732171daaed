"""Contact: the newest state of each other site, and how old it is at most.

Freshness is measured by one clock only, the reader's own: a message echoes the clock reading that
its reader sent last, and is as old as that. So neither a wrong clock nor a frozen process that
finds old messages in its socket can take an old vote for a new one. Routes and intents have a
join, and need no date.

Invariant: a state is never older than its age says, whatever was lost, delayed or doubled.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

import msgspec

from isthmus.core.health import Vote
from isthmus.core.routing import Intent, Route
from isthmus.errors import InputError

#: Bounds what one site takes in of another one: a route per name, a vote per region.
REGIONS_MAX = 64
#: Intents in force at once; an operator has one or two.
INTENTS_MAX = 32


class Echo(msgspec.Struct, frozen=True):
    """The last clock reading of the reader that the writer has seen."""

    incarnation: str
    sent_s: float


class SiteState(msgspec.Struct, frozen=True):
    """What one site tells the others of itself."""

    votes: Annotated[dict[str, Vote], msgspec.Meta(max_length=REGIONS_MAX)]
    routes: Annotated[tuple[Route, ...], msgspec.Meta(max_length=REGIONS_MAX)]
    intents: Annotated[tuple[Intent, ...], msgspec.Meta(max_length=INTENTS_MAX)] = ()


class Message(msgspec.Struct, frozen=True):
    """One site's state, addressed to one other site."""

    site: str
    #: New with each start, since a clock reading means nothing after it.
    incarnation: str
    sent_s: float
    state: SiteState
    echo: Echo | None = None


@dataclass(frozen=True)
class Heard:
    """The newest message of a peer, and the reading of our own clock that dates it."""

    message: Message
    dated_s: float | None
    arrived_s: float


class Contact:
    """What one site has heard of its peers; every ``now_s`` is a reading of its one clock."""

    def __init__(
        self, site: str, peers: Collection[str], incarnation: str, vote_lifetime_s: float
    ) -> None:
        self._site = site
        self._peers = frozenset(peers)
        self._incarnation = incarnation
        self._vote_lifetime_s = vote_lifetime_s
        self._heard: dict[str, Heard] = {}

    def write(self, peer: str, state: SiteState, now_s: float) -> Message:
        """Our state now, for one peer."""
        heard = self._heard.get(peer)
        echo = Echo(heard.message.incarnation, heard.message.sent_s) if heard else None
        return Message(self._site, self._incarnation, now_s, state, echo)

    def read(self, message: Message, now_s: float) -> bool:
        """Take one message in; True if a decision leans on something that it changed.

        Raises InputError if it is from nobody that this site was told of.
        """
        if message.site not in self._peers:
            raise InputError(f"site is {message.site!r}, which is no other site of this system")
        known = self._heard.get(message.site)
        same = known is not None and known.message.incarnation == message.incarnation
        if known is not None and same and message.sent_s < known.message.sent_s:
            return False  # An older one that was overtaken.
        self._heard[message.site] = Heard(message, self._date(message, known, now_s), now_s)
        return known is None or known.message.state != message.state or known.dated_s is None

    def _date(self, message: Message, known: Heard | None, now_s: float) -> float | None:
        echo = message.echo
        if echo is not None and echo.incarnation == self._incarnation and echo.sent_s <= now_s:
            return echo.sent_s
        same = known is not None and known.message.incarnation == message.incarnation
        # A message without an echo proves no freshness; it also takes none away.
        return known.dated_s if known is not None and same else None

    def known(self) -> dict[str, SiteState]:
        """The newest state of every peer, however old: for what has a join."""
        return {site: heard.message.state for site, heard in self._heard.items()}

    def fresh(self, now_s: float) -> dict[str, SiteState]:
        """The states of the peers that are heard: only their votes count."""
        return {
            site: self._heard[site].message.state
            for site, age_s in self.ages_s(now_s).items()
            if age_s <= self._vote_lifetime_s
        }

    def ages_s(self, now_s: float) -> dict[str, float]:
        """How old the state of each peer is at most."""
        return {
            site: now_s - heard.dated_s
            for site, heard in self._heard.items()
            if heard.dated_s is not None
        }

    def arrived_s(self, peer: str) -> float | None:
        """When the newest message of a peer came in; None if none ever did."""
        heard = self._heard.get(peer)
        return heard.arrived_s if heard else None
