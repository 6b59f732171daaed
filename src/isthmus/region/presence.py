"""Who is connected in which region: learned from the gateways and the buses, and said to everybody.

What this region has to say is stored in its bus, word and event together, in order and until it is
there. What is known is noted before it is noted how far the buses were read, so that a start reads
again what was not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.clock import monotonic_s, now_ms
from isthmus.core import presence_events
from isthmus.core.presence import (
    REMEMBERED_MS,
    Announcer,
    Came,
    Heard,
    Listing,
    Roster,
    Said,
    Word,
    part_of,
)
from isthmus.errors import InputError, Unavailable
from isthmus.protocol import (
    CONNECTIVITY_MAX,
    ConnectivityReply,
    ConnectivityRequest,
    PresenceTold,
)
from isthmus.region.own_messages import OwnMessages
from isthmus.region.state import StateStore, presence_name

_log = logging.getLogger(__name__)

LOOK_S = 0.5
#: Words stored together, and for how long others are waited for once some were stored: a batch is
#: a write to every disk, and every process of the region reads it.
STORE_MAX = 500
GATHER_S = 0.1
#: Between two attempts to store, and two rounds of questions to gateways.
AGAIN_S = 0.2
#: Between two notes of what is known. What is read again changes nothing.
NOTE_S = 10.0
#: The parts in which it is noted: what did not change is not written again.
NOTES = 64


class Presence:
    """The roster of one region's services."""

    def __init__(
        self,
        client: Client,
        state: StateStore,
        region: str,
        lives: Callable[[str, str], bool],
        is_ours: Callable[[str], bool],
    ) -> None:
        self._client = client
        self._state = state
        self._region = region
        self._lives = lives
        #: Whether it is this region that speaks for a gateway's region.
        self._is_ours = is_ours
        self.roster = Roster()
        self._announcer = Announcer(region, self.roster)
        #: To be stored, and whether there is any.
        self._waiting: deque[Said] = deque()
        self._has_said = asyncio.Event()
        self._own = OwnMessages(client, region)
        #: Connections to be closed, gateways to be asked, and whether there are any.
        self._over: list[Word] = []
        self._doubted: set[str] = set()
        self._has_asked = asyncio.Event()
        #: Parts of the notes that are not as what is known.
        self._changed: set[int] = set()
        self._noted_s = monotonic_s()

    async def load(self) -> None:
        """What was noted; the buses have the rest."""
        for number in range(NOTES):
            for word in await self._state.get(presence_name(number), list[Word]) or ():
                self.roster.take(word)

    async def run(
        self, read_own: Callable[[], Awaitable[None]], is_current: Callable[[], bool]
    ) -> None:
        """Listen and say for ever; first ``read_own`` reads again what this region has said."""
        await read_own()
        await self._client.subscribe("region.presence", cb=self._on_told)
        await self._client.subscribe("region.connectivity", cb=self._on_asked)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store_for_ever())
            group.create_task(self._ask_for_ever())
            group.create_task(self._look_for_ever(is_current))

    # What others say

    def read(self, words: tuple[Word, ...]) -> None:
        """A bus has these words."""
        self._note(word.client for word in words)
        self._follow(self._announcer.stored(words, now_ms()))

    async def _on_told(self, message: Msg) -> None:
        try:
            told = protocol.decode(message.data, PresenceTold)
        except InputError as error:
            _log.warning("presence", extra={"action": "bad-presence", "reason": str(error)})
            return
        if told.parts:
            there = {each.client: each.present for each in told.changes if isinstance(each, Came)}
            listing = Listing(there, told.part, told.parts)
            self._follow(self._announcer.listed(told.gateway, listing, now_ms()))
        else:
            for change in told.changes:
                self._follow(
                    self._announcer.connected(told.gateway, change.client, change.present)
                    if isinstance(change, Came)
                    else self._announcer.ended(change)
                )
        is_whole = told.part + 1 >= told.parts
        if is_whole and told.digest != f"{self.roster.digest(self._region, told.gateway):x}":
            self._follow(Heard([], doubted={told.gateway}))

    async def _on_asked(self, message: Msg) -> None:
        with contextlib.suppress(InputError, NatsError):
            asked = protocol.decode(message.data, ConnectivityRequest)
            words = (
                self.roster.known(asked.clients)
                if asked.clients
                else self.roster.connected(asked.behind, CONNECTIVITY_MAX)
            )
            await message.respond(protocol.encode(ConnectivityReply(words)))

    async def _look_for_ever(self, is_current: Callable[[], bool]) -> None:
        """Say for gateways that died that their clients are gone."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not is_current():
                continue
            for region, gateway in self.roster.places():
                if self._is_ours(region) and not self._lives(region, gateway):
                    self._follow(self._announcer.died(region, gateway, now_ms()))

    # What follows

    def _follow(self, heard: Heard) -> None:
        self._note(said.word.client for said in heard.said)
        self._waiting.extend(heard.said)
        if heard.said:
            self._has_said.set()
        self._over.extend(heard.over)
        self._doubted |= heard.doubted
        if heard.over or heard.doubted:
            self._has_asked.set()

    async def _ask_for_ever(self) -> None:
        """Tell gateways whom to close, and ask those that are doubted."""
        while True:
            await self._has_asked.wait()
            self._has_asked.clear()
            over, self._over = self._over, []
            superseded: dict[str, list[tuple[str, str]]] = defaultdict(list)
            for word in over:
                superseded[word.gateway].append((word.client, word.present.session))
            asks: list[tuple[str, object]] = [
                ("region.superseded", protocol.Superseded(gateway, connections))
                for gateway, connections in superseded.items()
            ]
            doubted, self._doubted = self._doubted, set()
            asks += [("region.census", protocol.CensusRequest(gateway)) for gateway in doubted]
            for subject, ask in asks:
                # What is lost shows in the next digest.
                if self._client.is_connected:
                    await self._client.publish(subject, protocol.encode(ask))
            await asyncio.sleep(AGAIN_S)

    async def _store_for_ever(self) -> None:
        """Store what there is to say, in its order."""
        while True:
            await self._has_said.wait()
            self._has_said.clear()
            while self._waiting:
                said = list(islice(self._waiting, STORE_MAX))
                try:
                    await self._store(said)
                except Unavailable as error:
                    # It may be there or not: nothing changes by storing it again.
                    extra = {"action": "store-presence", "reason": str(error)}
                    _log.warning("who has come and gone is not stored yet", extra=extra)
                    await asyncio.sleep(AGAIN_S)
                else:
                    for _ in said:
                        self._waiting.popleft()
                    await asyncio.sleep(GATHER_S)

    async def _store(self, said: list[Said]) -> None:
        events = (presence_events.message(each) for each in said)
        words = (each.word for each in said if not each.is_event_only)
        await self._own.store((event for event in events if event is not None), words)

    # What is known after a restart

    def _note(self, clients: Iterable[str]) -> None:
        self._changed.update(part_of(client, NOTES) for client in clients)

    async def keep(self) -> bool:
        """Note what is known, now and then; False if there is more to note.

        Not while words wait to be stored: who knew them after a restart would never say them.
        """
        is_due = monotonic_s() - self._noted_s >= NOTE_S
        if not self._changed:
            return True
        if self._waiting or not is_due:
            return False
        self._note(self.roster.forget(now_ms() - REMEMBERED_MS))
        notes: dict[int, list[Word]] = {number: [] for number in self._changed}
        for word in self.roster:
            number = part_of(word.client, NOTES)
            if number in notes:
                notes[number].append(word)
        encoded = {number: protocol.encode(words) for number, words in notes.items()}
        self._changed.clear()
        try:
            for number in sorted(encoded):
                await self._state.put(presence_name(number), msgspec.Raw(encoded[number]))
        except Unavailable:
            self._changed |= encoded.keys()
            raise
        self._noted_s = monotonic_s()
        return True
