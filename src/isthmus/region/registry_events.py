"""Tells what changes in the registry: by messages in the bus, for whoever may hear them.

What was told is a table of its own (``region.view_table``): an item is taken into it when its
events are stored. Before they are, the items are noted in the state stream. So whoever starts after
a crash tells again what may have been told, as it was told, and goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator

import msgspec
from nats.aio.client import Client

from isthmus.adapters.nats.change_log import NatsChangeLog
from isthmus.adapters.nats.entries import Entry
from isthmus.adapters.nats.follow import follow
from isthmus.adapters.nats.streams import LOG, log_filter, log_name
from isthmus.core import item as items
from isthmus.core import registry_events
from isthmus.core.arns import Naming
from isthmus.core.batch import Message
from isthmus.core.item import Item
from isthmus.core.registry_events import KINDS
from isthmus.core.settings import ALL, EVENT_CONFIGURATIONS
from isthmus.core.table import Row, Table
from isthmus.errors import InputError, Unavailable
from isthmus.region import state as names
from isthmus.region.own_messages import OwnMessages
from isthmus.region.state import StateStore

_log = logging.getLogger(__name__)

#: For how long others are waited for once something has changed: a batch is a write to every disk.
GATHER_S = 0.1
#: What anything can be told of: most of the log is not, as shadows are there.
OF_KINDS = tuple(map(log_filter, sorted(KINDS)))
#: Entries of the log, and bytes of their items, of which events are stored together. Of 500 things
#: that all come into ten groups with the longest names they have 5 MB, and a message 8 at most.
STORE_MAX = 500
STORE_MAX_BYTES = 1024**2
#: Items after which others in this process have a turn.
TURN_MAX = 50
RETRY_S = 0.2


class Telling(msgspec.Struct, frozen=True):
    """What is noted before it is told."""

    #: All up to here is told, as the table says; it was lost where it says less.
    after: int = 0
    #: Of what stands in the log up to here nothing is told.
    silent_until: int = 0
    items: tuple[msgspec.Raw, ...] = ()


class RegistryTeller:
    """Follows the region's log, and holds up nobody who does not listen to it."""

    def __init__(
        self, region: str, naming: Naming, client: Client, state: StateStore, told: Table
    ) -> None:
        self._client = client
        self._state = state
        self._own = OwnMessages(client, region)
        self._events = registry_events.RegistryEvents(region, naming, self._get)
        #: As it was told, and what came since.
        self._told = told
        self._news: dict[tuple[str, str], Row] = {}
        self._wanted = registry_events.enabled(self._get(EVENT_CONFIGURATIONS, ALL))
        #: Of the log up to here everything was read.
        self._position = told.position
        self._silent_until = 0

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            try:
                await self._begin()
                break
            except Unavailable as error:
                await self._wait("what was told last is not known yet", error)
        while True:
            try:
                async for entries in follow(
                    self._client, LOG, self._position, subjects=OF_KINDS, rest_s=GATHER_S
                ):
                    for chunk in _chunks(entries):
                        await self._take(chunk)
            except Unavailable as error:
                await self._wait("the log is not followed", error)

    async def _wait(self, what: str, error: Unavailable) -> None:
        _log.info(what, extra={"action": "tell-again", "reason": str(error)})
        await asyncio.sleep(RETRY_S)

    def _get(self, kind: str, key: str) -> Item:
        row = self._news.get((kind, key)) or self._told.get(kind, key)
        return row.item if row else Item(kind, key)

    # Start

    async def _begin(self) -> None:
        noted = await self._state.get(names.TELLING, Telling)
        if noted is None or (noted.after and not self._position):
            noted = Telling(silent_until=await NatsChangeLog(self._client).head())
            if noted.silent_until:
                extra = {"action": "tell-from-now", "position": noted.silent_until}
                _log.warning("nothing says what was told, and what is there is not", extra=extra)
            await self._state.put(names.TELLING, noted)
        self._silent_until = noted.silent_until
        told: list[Message] = []
        for raw in noted.items:
            item = items.decode(bytes(raw))
            # Of one log, so what is newer has come later. The log has it, and will say where.
            if item.version > self._get(item.kind, item.key).version:
                told += self._change(item, 0)
        if told:
            await self._own.store(told)
        await self._remember()

    # What comes

    async def _take(self, entries: list[Entry]) -> None:
        """Tell of some entries, and then remember that."""
        taken: list[Item] = []
        told: list[Message] = []
        for number, entry in enumerate(entries, 1):
            item = _read(entry)
            if item is not None:
                is_told = entry.sequence > self._silent_until
                told += self._change(item, entry.sequence, is_told=is_told)
                taken.append(item)
            if number % TURN_MAX == 0:
                await asyncio.sleep(0)
        if told:
            await self._tell(told, taken)
        self._position = entries[-1].sequence
        await self._remember()

    def _change(self, item: Item, revision: int, *, is_told: bool = True) -> list[Message]:
        """What an item means that has come; it is known from now on."""
        events: list[Message] = []
        if self._wanted and is_told:
            events = self._events.of(self._get(item.kind, item.key), item, self._wanted)
        self._news[item.kind, item.key] = Row(item, revision)
        if item.kind == EVENT_CONFIGURATIONS:
            self._wanted = registry_events.enabled(item)
        return events

    async def _tell(self, told: list[Message], taken: list[Item]) -> None:
        """Return when it is stored."""
        items_told = tuple(msgspec.Raw(item.encode()) for item in taken)
        note = Telling(self._position, self._silent_until, items_told)
        while True:
            try:
                await self._state.put(names.TELLING, note)
                await self._own.store(told)
                return
            except Unavailable as error:
                extra = {"action": "tell", "events": len(told), "reason": str(error)}
                _log.warning("what has changed is not told yet", extra=extra)
                await asyncio.sleep(RETRY_S)

    async def _remember(self) -> None:
        """What has come is told."""
        for number, row in enumerate(self._news.values(), 1):
            self._told.put(*row)
            if number % TURN_MAX == 0:
                await asyncio.sleep(0)
        self._news.clear()
        # An empty table that says how far the log was read is taken for one of another log.
        if len(self._told):
            self._told.position = self._position
            self._told.save()


def _read(entry: Entry) -> Item | None:
    """The item of an entry, if it can be read."""
    kind, key = log_name(entry.subject)
    try:
        item = items.decode(entry.payload)
    except InputError:
        # Who follows the log for all has said so.
        return None
    return item if (item.kind, item.key) == (kind, key) else None


def _chunks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    chunk: list[Entry] = []
    size = 0
    for entry in entries:
        chunk.append(entry)
        size += len(entry.payload)
        if len(chunk) == STORE_MAX or size >= STORE_MAX_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
