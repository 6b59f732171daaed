"""The mesh: every site tells every other one its whole state, ten times a second and on change.

What a message says, and how old it is, is core.contact's; here are its bytes, its bounds and its
ways. Each peer has its own loop: one that is slow or dead delays nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable

import aiohttp
import msgspec

from isthmus.config import SiteConfig, SitePeer
from isthmus.core.contact import Contact, Message, SiteState
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import InputError

log = logging.getLogger(__name__)

#: A state is a few kilobytes: a route per name, a vote per region, the intents in force.
STATE_BYTES_MAX = 64 * 1024
#: A dead peer is tried this often, which bounds how late its return is noticed from here.
RETRY_S_MAX = 0.5
#: Where two sites post to each other, the later one stays silent for this many intervals.
QUIET_INTERVALS = 1.5


class Mesh:
    """Keeps each peer supplied with our state, and takes theirs in."""

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
        self._peers = [peer for peer in config.sites if peer.name != config.site]
        self._unsent = {peer.name: asyncio.Event() for peer in self._peers}
        self._contact = Contact(
            config.site, self._unsent, secrets.token_hex(8), config.vote_lifetime_s
        )
        self._decoder = msgspec.json.Decoder(Message)

    def changed(self) -> None:
        """Tell every peer at once."""
        for event in self._unsent.values():
            event.set()

    def known(self) -> dict[str, SiteState]:
        """The newest state of every peer, however old: for what has a join."""
        return self._contact.known()

    def fresh(self) -> dict[str, SiteState]:
        """The states of the peers that are heard: only their votes count."""
        return self._contact.fresh(self._clock())

    def ages_s(self) -> dict[str, float]:
        """How old the state of each peer is at most, by our own clock."""
        return self._contact.ages_s(self._clock())

    def write(self, peer: str) -> bytes:
        """Our state now, for one peer."""
        self._unsent[peer].clear()
        now_s = self._clock()
        return msgspec.json.encode(self._contact.write(peer, self._state(), now_s))

    def read(self, peer: str, body: bytes) -> None:
        """Take one message in; raises InputError if it is not that peer's state."""
        try:
            message = self._decoder.decode(body)
        except UNDECODABLE as error:
            raise InputError(f"not a site's state: {error}") from None
        if message.site != peer:
            raise InputError(f"site is {message.site!r}, but the certificate says {peer!r}")
        if self._contact.read(message, self._clock()):
            self._on_heard()

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
        arrived_s = self._contact.arrived_s(peer)
        if arrived_s is None or self._unsent[peer].is_set():
            return True
        quiet_s = QUIET_INTERVALS * self._config.mesh_interval_s
        return self._clock() - arrived_s >= quiet_s

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
