"""The table of a process's view: a file of its own, if it still is of the region's log."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path

from nats.aio.client import Client

from isthmus.adapters.nats.change_log import NatsChangeLog
from isthmus.adapters.sqlite_table import SqliteTable
from isthmus.core import item as items
from isthmus.core.carried import CARRIED
from isthmus.core.catalogue import Listed
from isthmus.core.item import Item
from isthmus.core.table import MemoryTable, Table
from isthmus.errors import ConfigError, Unavailable

_log = logging.getLogger(__name__)


@asynccontextmanager
async def view_table(
    state_dir: Path,
    process: str,
    client: Client,
    listed: Mapping[str, Listed] | None = None,
    without: Collection[str] = (),
) -> AsyncIterator[Table]:
    """The table that a process of this kind had, or a new one; it is this process's alone.

    Where no file can be written the view is held in memory: that costs memory with every device,
    and each start the time to read the log.
    """
    directory = state_dir / "views"
    # What was listed by other rules is to be listed again: each release begins anew. And who holds
    # more kinds than another one has passed over what he needs.
    rules = f"{' '.join(sorted(listed or {}))} without {' '.join(sorted(without))}"
    purpose = f"isthmus {version('isthmus')}: {rules}"
    try:
        table = await _open(NatsChangeLog(client), directory, process, purpose)
    except (ConfigError, OSError, sqlite3.Error) as error:
        extra = {"action": "view-in-memory", "directory": str(directory), "reason": str(error)}
        _log.error("no view can be kept on disk", extra=extra)
        yield MemoryTable()
        return
    try:
        yield table
    finally:
        table.close()


async def _open(log: NatsChangeLog, directory: Path, process: str, purpose: str) -> SqliteTable:
    while True:
        table = _first_free(directory, process, purpose)
        if await _is_of(log, table):
            return table
        extra = {"action": "drop-view", "file": str(table.file)}
        _log.warning("a view on disk is not of this log, and is made again", extra=extra)
        table.drop()


def _first_free(directory: Path, process: str, purpose: str) -> SqliteTable:
    """That of the first number that no other process of this kind has."""
    for number in count(1):
        try:
            return SqliteTable(directory / f"{process}-{number}.sqlite", purpose)
        except Unavailable:
            continue
    raise AssertionError("numbers do not end")


async def _is_of(log: NatsChangeLog, table: SqliteTable) -> bool:
    """Whether all that a table has is from this log, which may have been wiped or restored.

    The newest item that the log still has as the table has it proves it: what the table took before
    stood before it in the log, and what it took after has newer versions there, which it will read.
    It goes on from there: what it has passed over proves nothing of what stands in its place now.
    """
    if not table.position:
        return True
    if await log.head() < table.position:
        return False
    for kind, key in table.last_put():
        row, stored = table.get(kind, key), await log.get(kind, key)
        if stored.revision <= table.position:
            if row is None or row.revision != stored.revision:
                return False
            if not _has(kind, row.item, stored.item):
                return False
            table.position = stored.revision
            return True
    return False


def _has(kind: str, held: Item, stored: Item) -> bool:
    # A batch may have brought a newer version of what batches carry.
    wanted = items.join(held, stored) if kind in CARRIED else stored
    return held.encode() == wanted.encode()
