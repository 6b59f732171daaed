"""Keeps a view fed from its region's change log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from nats.aio.client import Client

from isthmus.adapters.nats.entries import Entry
from isthmus.adapters.nats.follow import follow
from isthmus.adapters.nats.streams import LOG, log_name
from isthmus.clock import monotonic_s
from isthmus.core.log_view import LogView
from isthmus.core.view import Change
from isthmus.errors import InputError, StreamRewound, Unavailable

_log = logging.getLogger(__name__)

RETRY_S = 0.1
#: Between two times that the view is saved: after a crash what came since is read again.
SAVE_S = 1.0


def take(log: LogView, entries: Iterable[Entry]) -> list[Change]:
    """Apply what the log says, in order; return what that has changed."""
    changes: list[Change] = []
    for entry in entries:
        kind, key = log_name(entry.subject)
        try:
            change = log.take(entry.sequence, kind, key, entry.payload)
        except InputError as error:
            extra = {"action": "bad-item", "subject": entry.subject, "reason": str(error)}
            _log.error("an entry of the log is not the item that it should be", extra=extra)
            continue
        if change is not None:
            changes.append(change)
    return changes


async def keep_following(
    client: Client, log: LogView, applied: Callable[[list[Change]], None] | None = None
) -> None:
    """Feed a view from its region's log, for ever; ``applied`` hears what has changed."""
    saved_s = monotonic_s()
    while True:
        try:
            async for entries in follow(client, LOG, log.position):
                changes = take(log, entries)
                if applied:
                    applied(changes)
                if monotonic_s() - saved_s >= SAVE_S:
                    log.save()
                    saved_s = monotonic_s()
        except StreamRewound:
            # Views cannot forget: this process begins again with what the log has now.
            raise
        except Unavailable as error:
            _log.info("log", extra={"action": "follow-again", "reason": str(error)})
            await asyncio.sleep(RETRY_S)
