"""The record of what clients saw: one JSON object a line, written as it happens.

    {"t": 1767225600.25, "client": "vehicle-1", "event": "acked", "seq": 7, "region": "eu"}

The invariant: events of one client are in the order in which it saw them, and an event is in the
file FLUSH_S later even if nothing else happens. Whoever reads takes whole lines only, so a file
can be read while it grows, and after its writer was killed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import msgspec

#: What a killed fleet process can lose of its story, and how old it is to whoever reads along.
FLUSH_S = 0.05

#: ``refused``: an attempt to connect failed; with a ``seq``, the client's own queue was full and
#: that publish was not taken. ``moved``: where a device client turns to next.
EventName = Literal["connected", "lost", "sent", "acked", "moved", "refused"]


class Event(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing that one client saw at ``t``, in seconds since 1970."""

    t: float
    client: str
    event: EventName
    seq: int | None = None
    region: str | None = None
    #: Why, in words.
    how: str | None = None


class EventLog:
    """Writes one kind's events from any thread; a context manager, which writes what is left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoder = msgspec.json.Encoder()
        self._waiting: deque[Event] = deque()
        self._closing = threading.Event()
        self._failure: OSError | None = None
        self._file: BinaryIO | None = None
        self._thread = threading.Thread(target=self._write_on, name=f"events {path.name}")

    def __enter__(self) -> Self:
        self._file = self._path.open("wb", buffering=0)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join()
        assert self._file is not None
        self._file.close()
        # A story with a hole would read as a loss of ours; but never hide what came first.
        if self._failure and error is None:
            raise self._failure

    def record(
        self,
        client: str,
        event: EventName,
        *,
        seq: int | None = None,
        region: str | None = None,
        how: str | None = None,
    ) -> None:
        """Take an event; never blocks, as it is called in the threads that it tells of."""
        # Appending to a deque is atomic, and it is all that these threads share.
        self._waiting.append(Event(time.time(), client, event, seq, region, how))

    def _write_on(self) -> None:
        """Write until closed; what comes after a failure is dropped, and the failure is told."""
        closing = False
        while not closing:
            closing = self._closing.wait(FLUSH_S)
            try:
                self._flush()
            except OSError as error:
                self._failure = self._failure or error

    def _flush(self) -> None:
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        data = memoryview(self._encoder.encode_lines(taken))
        assert self._file is not None
        while data:
            data = data[self._file.write(data) :]


def read_events(path: Path) -> Iterator[Event]:
    """Read the whole lines of a file of events; one that is still being written is left out."""
    decoder = msgspec.json.Decoder(Event)
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield decoder.decode(line)
