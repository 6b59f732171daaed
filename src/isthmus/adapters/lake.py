"""The lake as JSON lines: every message of the bus, one line each, and where the reader stands.

The file is the raw view. The default view leaves out the lines that are marked as possible repeats
of another one. A line is written once: the reader's position and the file's length are saved
together, after the lines are on disk, and whatever stands behind that length is cut off at start.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from isthmus.adapters import private_files
from isthmus.core.undecodable import UNDECODABLE
from isthmus.wire.properties import PublishProperties

#: Lines read again at start so that repeats of recent messages are still recognised.
RECENT_BYTES = 16 * 1024**2


class LakeCursor(msgspec.Struct):
    """Where the lake's reader stands in this region's streams."""

    length: int = 0
    #: Per origin: sequence and id of the last message read from its stream.
    streams: dict[str, tuple[int, str]] = msgspec.field(default_factory=dict)
    #: Per origin and writer: the last batch that is in the lake.
    writers: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)


class LakeRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message."""

    origin: str
    #: ``<writer>:<batch>:<index>``.
    position: str
    at_ms: int
    #: When this region's own stream had it, in seconds since 1970.
    stored_s: float
    client: str
    principal: str
    connection: str
    topic: str
    qos: int
    payload: str = ""
    #: Instead of ``payload`` where it is not UTF-8.
    payload_base64: str = ""
    id: str = ""
    dup: bool = False
    maybe_dup_of: str = ""
    # What came with the message in MQTT 5; user properties in their order, and a name may come
    # again.
    content_type: str = ""
    response_topic: str = ""
    correlation_data_base64: str = ""
    user_properties: tuple[tuple[str, str], ...] = ()

    def body(self) -> bytes:
        """The payload as it was published."""
        return base64.b64decode(self.payload_base64) or self.payload.encode()


def payload_fields(payload: bytes) -> dict[str, Any]:
    """Text as text, anything else as base64."""
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(payload).decode()}


def property_fields(properties: PublishProperties | None) -> dict[str, Any]:
    """What of a message's properties is worth keeping: the others say how to deliver it."""
    if properties is None:
        return {}
    return {
        "content_type": properties.content_type or "",
        "response_topic": properties.response_topic or "",
        "correlation_data_base64": base64.b64encode(properties.correlation_data or b"").decode(),
        "user_properties": properties.user_properties,
    }


_ROWS = msgspec.json.Encoder()


class Lake:
    """Appends to one region's lake."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._cursor_path = directory / "cursor.json"
        self.path = directory / "messages.jsonl"
        self._open()

    def _open(self) -> None:
        self.cursor = self._load_cursor()
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.ftruncate(self._file, self.cursor.length)
        os.lseek(self._file, 0, os.SEEK_END)

    def reopen(self) -> None:
        """Go back to the last commit; raises OSError while the disk is no better."""
        self.close()
        self._open()

    def _load_cursor(self) -> LakeCursor:
        try:
            return msgspec.json.decode(self._cursor_path.read_bytes(), type=LakeCursor)
        except (FileNotFoundError, *UNDECODABLE):
            return LakeCursor()

    def append(self, rows: list[LakeRow]) -> None:
        """Write rows; they count once they are committed."""
        data = _ROWS.encode_lines(rows)
        while data:
            data = data[os.write(self._file, data) :]

    def prepare(self) -> Callable[[], None]:
        """What commits the rows and the cursor as they are now; it may run in another thread."""
        self.cursor.length = os.lseek(self._file, 0, os.SEEK_CUR)
        return partial(self._commit, self._file, msgspec.json.encode(self.cursor))

    def _commit(self, rows: int, cursor: bytes) -> None:
        os.fsync(rows)
        private_files.write(self._cursor_path, cursor, is_synced=True)

    def close(self) -> None:
        os.close(self._file)


def read(path: Path, *, raw: bool = False, after_byte: int = 0) -> Iterator[LakeRow]:
    """The default view of a lake file, or the raw one."""
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(LakeRow)
    with path.open("rb") as file:
        if after_byte > 0:
            file.seek(after_byte)
            file.readline()
        for line in file:
            # A line without its end is being written.
            if line.endswith(b"\n"):
                row = decoder.decode(line)
                if raw or not row.maybe_dup_of:
                    yield row


def marked(row: LakeRow, original: str) -> LakeRow:
    """The row, marked as a possible repeat of another position."""
    return msgspec.structs.replace(row, maybe_dup_of=original)
