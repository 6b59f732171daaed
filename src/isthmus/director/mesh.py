"""The mesh: every site tells every other one its whole state, ten times a second and on change.

Freshness is measured by one clock only, the reader's own: a message echoes the clock reading that
its reader sent last, and is as old as that. So neither a wrong clock nor a frozen process that
finds old messages in its socket can take an old vote for a new one. Routes and intents have a
join, and need no date.

Each peer has its own loop: one that is slow or dead delays nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import aiohttp
import msgspec

from isthmus.config import SiteConfig, SitePeer
from isthmus.core.health import Vote
from isthmus.core.routing import Intent, Route
from isthmus.errors import InputError

log = logging.getLogger(__name__)

#: A state is a few kilobytes: a route per name, a vote per region, the intents in force.
STATE_BYTES_MAX = 64 * 1024
REGIONS_MAX = 64
#: Intents in force at once; an operator has one or two.
INTENTS_MAX = 32
#: A dead peer is tried this often, which bounds how late its return is noticed from here.
RETRY_S_MAX = 0.5
#: Where two sites post to each other, the later one stays silent for this many intervals.
QUIET_INTERVALS = 1.5


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


class Mesh:
    """Keeps the newest message of each peer, and each peer supplied with ours."""

    def __init__(
        self,
        config: SiteConfig,
        state: Callable[[], SiteState],
        on_heard: Callable[[], None],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._state = state
        self._on_heard = on_heard
        self._clock = clock
        self._incarnation = secrets.token_hex(8)
        self._peers = [peer for peer in config.sites if peer.name != config.site]
        self._heard: dict[str, Heard] = {}
        self._unsent = {peer.name: asyncio.Event() for peer in self._peers}
        self._decoder = msgspec.json.Decoder(Message)

    def changed(self) -> None:
        """Tell every peer at once."""
        for event in self._unsent.values():
            event.set()

    def known(self) -> dict[str, SiteState]:
        """The newest state of every peer, however old: for what has a join."""
        return {site: heard.message.state for site, heard in self._heard.items()}

    def fresh(self) -> dict[str, SiteState]:
        """The states of the peers that are heard: only their votes count."""
        return {
            site: self._heard[site].message.state
            for site, age_s in self.ages_s().items()
            if age_s <= self._config.vote_lifetime_s
        }

    def ages_s(self) -> dict[str, float]:
        """How old the state of each peer is at most, by our own clock."""
        now_s = self._clock()
        return {
            site: now_s - heard.dated_s
            for site, heard in self._heard.items()
            if heard.dated_s is not None
        }

    def write(self, peer: str) -> bytes:
        """Our state now, for one peer."""
        heard = self._heard.get(peer)
        echo = Echo(heard.message.incarnation, heard.message.sent_s) if heard else None
        self._unsent[peer].clear()
        message = Message(self._config.site, self._incarnation, self._clock(), self._state(), echo)
        return msgspec.json.encode(message)

    def read(self, peer: str, body: bytes) -> None:
        """Take one message in; raises InputError if it is not that peer's state."""
        try:
            message = self._decoder.decode(body)
        except msgspec.DecodeError as error:
            raise InputError(f"not a site's state: {error}") from None
        if peer not in self._unsent or message.site != peer:
            raise InputError(f"site is {message.site!r}, but the certificate says {peer!r}")
        known = self._heard.get(peer)
        same = known is not None and known.message.incarnation == message.incarnation
        if known is not None and same and message.sent_s < known.message.sent_s:
            return  # An older one that was overtaken.
        now_s = self._clock()
        self._heard[peer] = Heard(message, self._date(message, known, now_s), now_s)
        if known is None or known.message.state != message.state or known.dated_s is None:
            self._on_heard()

    def _date(self, message: Message, known: Heard | None, now_s: float) -> float | None:
        echo = message.echo
        if echo is not None and echo.incarnation == self._incarnation and echo.sent_s <= now_s:
            return echo.sent_s
        same = known is not None and known.message.incarnation == message.incarnation
        # A message without an echo proves no freshness; it also takes none away.
        return known.dated_s if known is not None and same else None

    async def run(self, context: ssl.SSLContext) -> None:
        """Supply every peer until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._config.mesh_timeout_s)
        connector = aiohttp.TCPConnector(ssl=context, limit_per_host=1)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for peer in self._peers:
                tasks.create_task(self._supply(session, peer))

    async def _supply(self, session: aiohttp.ClientSession, peer: SitePeer) -> None:
        interval_s = self._config.mesh_interval_s
        wait_s, reached = 0.0, True
        while True:
            await self._wait(peer.name, wait_s)
            if not self._is_due(peer.name):
                wait_s = interval_s
                continue
            failure = await self._exchange(session, peer)
            if reached != (not failure):
                reached = not failure
                extra = {"action": "mesh", "peer": peer.name, "failure": failure}
                log.info("a site's reachability changed", extra=extra)
            wait_s = min(max(wait_s, interval_s) * 2, RETRY_S_MAX) if failure else interval_s

    async def _wait(self, peer: str, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._unsent[peer].wait()
        except TimeoutError:
            return

    def _is_due(self, peer: str) -> bool:
        """A peer that has just posted to us has our state from our answer to it."""
        heard = self._heard.get(peer)
        if heard is None or self._unsent[peer].is_set():
            return True
        quiet_s = QUIET_INTERVALS * self._config.mesh_interval_s
        return self._clock() - heard.arrived_s >= quiet_s

    async def _exchange(self, session: aiohttp.ClientSession, peer: SitePeer) -> str:
        """Post our state and read the peer's from its answer; answers why it failed, or nothing.

        The peer is who it says: its certificate is for the host of the URL, and by our CA.
        """
        url = f"{peer.url.rstrip('/')}/mesh"
        try:
            async with session.post(url, data=self.write(peer.name)) as response:
                body = await response.content.read(STATE_BYTES_MAX + 1)
                while body and len(body) <= STATE_BYTES_MAX and not response.content.at_eof():
                    body += await response.content.read(STATE_BYTES_MAX + 1 - len(body))
                if response.status != 200 or len(body) > STATE_BYTES_MAX:
                    return f"{peer.name} answers {response.status}, {len(body)} bytes"
                self.read(peer.name, body)
        except (aiohttp.ClientError, TimeoutError, OSError, InputError) as error:
            self._unsent[peer.name].clear()
            return f"{type(error).__name__}: {error}"
        return ""
