"""A region's items in the memory of one process, fed by the region's own change log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from nats.aio.client import Client

from isthmus.adapters.nats.follow import Entry, follow
from isthmus.adapters.nats.streams import LOG, log_name
from isthmus.core import item as items
from isthmus.core.cursor import message_id
from isthmus.core.item import Item
from isthmus.core.view import View
from isthmus.errors import InputError, StreamRewound, Unavailable

_log = logging.getLogger(__name__)

RETRY_S = 0.1


class LogView:
    """The view, the revision of each item in it, and the log's position that it has reached."""

    def __init__(self) -> None:
        self.view = View()
        #: Everything in the log up to here is applied.
        self.position = 0
        self._revisions: dict[tuple[str, str], int] = {}

    def get(self, kind: str, key: str) -> Item:
        """The present version, or an empty item."""
        return self.view.get(kind, key) or Item(kind, key)

    def revision(self, kind: str, key: str) -> int:
        """The log's revision of an item, 0 where it has none."""
        return self._revisions.get((kind, key), 0)

    def take(self, entries: Iterable[Entry]) -> set[str]:
        """Apply what the log says, in order; return the principals whose rights may change."""
        principals: set[str] = set()
        for entry in entries:
            kind, key = log_name(entry.subject)
            if entry.sequence > self.revision(kind, key):
                principals |= self._take(kind, key, entry)
            self.position = entry.sequence
        return principals

    def _take(self, kind: str, key: str, entry: Entry) -> frozenset[str]:
        """Apply one entry; what is not what its subject says is ignored, and holds up nobody."""
        try:
            item = items.decode(entry.payload)
            if (item.kind, item.key) != (kind, key):
                raise InputError(f"it is {item.kind} {item.key[:80]!r}")
        except InputError as error:
            extra = {"action": "bad-item", "subject": entry.subject, "reason": str(error)}
            _log.error("an entry of the log is not the item that it should be", extra=extra)
            return frozenset()
        return self.apply(item, entry.sequence)

    def apply(self, item: Item, revision: int) -> frozenset[str]:
        """Take one newer version in."""
        self._revisions[item.kind, item.key] = revision
        return self.view.apply(item)


async def keep_following(
    client: Client, log: LogView, applied: Callable[[set[str]], None] | None = None
) -> None:
    """Feed a view from its region's log, for ever; ``applied`` hears whose rights changed."""
    while True:
        try:
            async for entries in follow(client, LOG, log.position):
                principals = log.take(entries)
                if applied:
                    applied(principals)
        except StreamRewound:
            # Views cannot forget: this process begins again with what the log has now.
            raise
        except Unavailable as error:
            _log.info("log", extra={"action": "follow-again", "reason": str(error)})
            await asyncio.sleep(RETRY_S)


def entry_id(entry: Entry) -> str:
    """The id by which a cursor remembers an entry."""
    return entry.id or message_id(entry.subject, entry.payload)
