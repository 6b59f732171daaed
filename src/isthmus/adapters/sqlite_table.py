"""A table in a file of SQLite: a process with a large fleet stays small, and starts where it ended.

The file has the items encoded and is read through a cache of a few megabytes; what else of it is in
memory is for the operating system to decide. What was put is in one transaction with the position
until it is saved, so that a crash at any moment leaves a state of the past and never half of one.
Nobody waits for the disk: a thread syncs the write-ahead log and empties it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path as FilePath
from threading import Thread
from typing import Any

import msgspec

from isthmus.adapters import private_files
from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.core.table import Path, Row, item_hash
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import Unavailable

_log = logging.getLogger(__name__)

#: Of SQLite's pages, and of the rows that were read last: a device is asked about several times
#: while it connects, and a policy with every device.
CACHE_KIB = 4 * 1024
ROWS_MAX = 1_000
#: Names are read so many at a time: few at first, as most readers want few.
NAMES_FIRST, NAMES_MAX = 4, 256
ITEMS_MAX = 100
#: Changes after which the write-ahead log is emptied by the thread, and pages of 4 KiB after which
#: whoever writes does it: the thread cannot follow who reads a whole log.
CHECKPOINT_CHANGES, CHECKPOINT_PAGES = 2_000, 16_000
#: After an error: who began anew at once would read a whole log onto a full disk, and meet it again
#: at the end.
LATELY_S = 600.0
#: Of what was put last, by which a start sees that the log is still the one that it is from.
LAST_PUT_MAX = 256

_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE item (
    kind TEXT, key TEXT, revision INTEGER, hash BLOB, encoded BLOB, PRIMARY KEY (kind, key)
);
CREATE TABLE name (path TEXT, name TEXT, PRIMARY KEY (path, name)) WITHOUT ROWID;
CREATE TABLE state (encoded BLOB);
"""
_SETTINGS = f"""
PRAGMA synchronous = NORMAL;
PRAGMA cache_size = -{CACHE_KIB};
PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
"""
_GET = "SELECT encoded, revision, hash FROM item WHERE kind = ? AND key = ?"
_PUT = """
INSERT INTO item (kind, key, revision, hash, encoded) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind, key) DO UPDATE SET revision = excluded.revision, hash = excluded.hash,
    encoded = excluded.encoded
"""
_OF_KIND = "SELECT key, encoded FROM item WHERE kind = ? AND key {} ? ORDER BY key LIMIT ?"
_HASHES = "SELECT kind, key, hash FROM item ORDER BY kind, key"
_ENLIST = "INSERT OR IGNORE INTO name (path, name) VALUES (?, ?)"
_STRIKE = "DELETE FROM name WHERE path = ? AND name = ?"
_NAMES = "SELECT name FROM name WHERE path = ? AND name {} ? ORDER BY name {} LIMIT ?"
_FROM, _BEHIND, _BEFORE = (
    _NAMES.format(*each) for each in ((">=", "ASC"), (">", "ASC"), ("<", "DESC"))
)
#: Greater than all names: no text of UTF-8 begins with this byte, and blobs come after texts.
_END = b"\xff"


class _State(msgspec.Struct):
    """What is saved beside the items."""

    #: What the file was made for. It is of no use to anything else.
    purpose: str
    position: int = 0
    count: int = 0
    digest: str = "0"
    last_put: list[tuple[str, str]] = []


class SqliteTable:
    """Implements core.table.Table. An error of SQLite's is the end of the file, and is raised."""

    def __init__(self, file: FilePath, purpose: str) -> None:
        """Open a file that was made for this, or begin one.

        Raises Unavailable where another process has it, and OSError or sqlite3.Error where none
        can be made, or where one met an error lately.
        """
        self.file = file
        private_files.make_directory(file.parent)
        lock = _open_lock(file.with_suffix(".lock"))
        self._lock: int | None = lock
        self._db: sqlite3.Connection | None = None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(lock).st_mtime < LATELY_S:
                raise OSError(f"{file} met an error within the last {LATELY_S:.0f} s")
            state = self._open(purpose)
        except BaseException as error:
            self._let_go()
            if isinstance(error, BlockingIOError):
                raise Unavailable(f"{file} is another process's") from None
            raise
        self.position = state.position
        self._purpose = purpose
        self._count = state.count
        self._digest = int(state.digest, 16)
        self._last_put = dict.fromkeys(state.last_put)
        #: None for what is not there: who writes something new asks for it first.
        self._rows: OrderedDict[tuple[str, str], tuple[Row, int] | None] = OrderedDict()
        self._changes = 0
        self._checkpoint: Thread | None = None

    # Life

    def _open(self, purpose: str) -> _State:
        try:
            state = self._read_state() if self.file.exists() else None
        except (sqlite3.Error, *UNDECODABLE) as error:
            extra = {"action": "drop-view", "file": str(self.file), "reason": str(error)}
            _log.warning("a view on disk cannot be read, and is made again", extra=extra)
            state = None
        if state is not None and state.purpose == purpose:
            return state
        self._remove()
        # Private from the moment that it is there: SQLite gives its other files the same mode.
        os.close(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self._connect().executescript(_SCHEMA + _SETTINGS)
        return _State(purpose)

    def _connect(self) -> sqlite3.Connection:
        self._db = sqlite3.connect(self.file, isolation_level=None)
        return self._db

    def _read_state(self) -> _State | None:
        db = self._connect()
        db.executescript(_SETTINGS)
        found = db.execute("SELECT encoded FROM state").fetchone()
        return msgspec.json.decode(found[0], type=_State) if found else None

    def close(self) -> None:
        """Save, and let another process have it."""
        if self._db is not None:
            self._commit()
        self._let_go()

    def drop(self) -> None:
        """Have the next start begin a new one."""
        self._remove()
        self._let_go()

    def _let_go(self) -> None:
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _remove(self) -> None:
        self._disconnect()
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.file}{suffix}")

    def _execute(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        assert self._db is not None, "it is used after its end"
        try:
            return self._db.execute(query, values)
        except sqlite3.Error:
            assert self._lock is not None
            # A full disk takes this, too.
            os.utime(self._lock)
            self.drop()
            raise

    # Items

    def __len__(self) -> int:
        return self._count

    def get(self, kind: str, key: str) -> Row | None:
        held = self._held(kind, key)
        return held[0] if held else None

    def _held(self, kind: str, key: str) -> tuple[Row, int] | None:
        """A row, and the hash of its item."""
        at = (kind, key)
        if at in self._rows:
            self._rows.move_to_end(at)
            return self._rows[at]
        held = None
        found = self._execute(_GET, at).fetchone()
        if found is not None:
            encoded, revision, hashed = found
            held = Row(items.decode(encoded), revision), int.from_bytes(hashed, "big")
        self._keep(at, held)
        return held

    def _keep(self, at: tuple[str, str], held: tuple[Row, int] | None) -> None:
        self._rows[at] = held
        self._rows.move_to_end(at)
        if len(self._rows) > ROWS_MAX:
            self._rows.popitem(last=False)

    def put(self, item: Item, revision: int) -> None:
        held = self._held(item.kind, item.key)
        encoded = item.encode()
        hashed = item_hash(encoded)
        self._begin()
        values = (item.kind, item.key, revision, hashed.to_bytes(16, "big"), encoded)
        self._execute(_PUT, values)
        self._keep((item.kind, item.key), (Row(item, revision), hashed))
        self._digest ^= hashed ^ (held[1] if held else 0)
        self._count += held is None
        self._last_put.pop((item.kind, item.key), None)
        self._last_put[item.kind, item.key] = None
        if len(self._last_put) > LAST_PUT_MAX:
            del self._last_put[next(iter(self._last_put))]

    def of_kind(self, kind: str) -> Iterator[Item]:
        key, than = "", ">="
        while found := self._execute(_OF_KIND.format(than), (kind, key, ITEMS_MAX)).fetchall():
            yield from (items.decode(encoded) for _, encoded in found)
            key, than = found[-1][0], ">"

    def hashes(self) -> Iterator[tuple[str, str, int]]:
        for kind, key, hashed in self._execute(_HASHES).fetchall():
            yield kind, key, int.from_bytes(hashed, "big")

    @property
    def digest(self) -> int:
        return self._digest

    # Names

    def enlist(self, names: Iterable[tuple[Path, str]]) -> None:
        self._change(_ENLIST, names)

    def strike(self, names: Iterable[tuple[Path, str]]) -> None:
        self._change(_STRIKE, names)

    def _change(self, query: str, names: Iterable[tuple[Path, str]]) -> None:
        for path, name in names:
            self._begin()
            self._execute(query, (_text(path), name))

    def names(self, path: Path, start: str | None, *, inclusive: bool) -> Iterator[str]:
        is_all = start is None
        return self._names(_FROM if inclusive or is_all else _BEHIND, path, start or "", _BEHIND)

    def names_down(self, path: Path, start: str | None) -> Iterator[str]:
        return self._names(_BEFORE, path, _END if start is None else start, _BEFORE)

    def _names(self, query: str, path: Path, start: str | bytes, then: str) -> Iterator[str]:
        text, limit = _text(path), NAMES_FIRST
        while True:
            found = [name for (name,) in self._execute(query, (text, start, limit)).fetchall()]
            yield from found
            if len(found) < limit:
                return
            query, start, limit = then, found[-1], min(4 * limit, NAMES_MAX)

    def count(self, path: Path) -> int:
        query = "SELECT count(*) FROM name WHERE path = ?"
        return int(self._execute(query, (_text(path),)).fetchone()[0])

    # What is kept

    def last_put(self) -> Iterator[tuple[str, str]]:
        """Kind and key of what was put last, the newest first."""
        return reversed(self._last_put)

    def _begin(self) -> None:
        assert self._db is not None, "it is used after its end"
        self._changes += 1
        if not self._db.in_transaction:
            self._execute("BEGIN")

    def save(self) -> None:
        assert self._db is not None, "it is used after its end"
        if self._db.in_transaction:
            self._commit()
            self._look_at_log()

    def _commit(self) -> None:
        digest, last_put = f"{self._digest:x}", list(self._last_put)
        state = _State(self._purpose, self.position, self._count, digest, last_put)
        self._begin()
        self._execute("DELETE FROM state")
        self._execute("INSERT INTO state VALUES (?)", (msgspec.json.encode(state),))
        self._execute("COMMIT")

    def _look_at_log(self) -> None:
        """Have SQLite's log emptied once there is something in it."""
        is_busy = self._checkpoint is not None and self._checkpoint.is_alive()
        if self._changes >= CHECKPOINT_CHANGES and not is_busy:
            self._changes = 0
            self._checkpoint = Thread(target=_empty_log, args=(self.file,), daemon=True)
            self._checkpoint.start()


def _open_lock(file: FilePath) -> int:
    """The time of the file is when an error was met last."""
    is_new = not file.exists()
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if is_new:
        os.utime(lock, (0, 0))
    return lock


def _empty_log(file: FilePath) -> None:
    # Whoever writes meanwhile is not held up, and meets the error himself if there is one.
    with suppress(sqlite3.Error):
        db = sqlite3.connect(file)
        try:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            db.close()


def _text(path: Path) -> str:
    return msgspec.json.encode(path).decode()
