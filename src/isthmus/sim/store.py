"""A region's disk: streams and small values, of which only what was synced survives a power cut.

It stands for a region's NATS. A write is acknowledged when it is synced; a crash may come between
the append, the sync and the acknowledgement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from isthmus.sim.world import Machine, Process

SYNC_S = (0.0004, 0.003)
ACK_S = 0.0002
WAKE_S = 0.0003
PULL_MAX = 64

LOG = "LOG"


def bus(origin: str) -> str:
    return f"BUS_{origin}"


class Entry(NamedTuple):
    """One message of a stream. In the log the subject is the item's kind and key."""

    sequence: int
    subject: Any
    payload: bytes
    id: str


@dataclass(slots=True)
class Stream:
    """Messages by sequence; of a compacted one readers see the newest of each subject."""

    is_compacted: bool
    entries: dict[int, Entry] = field(default_factory=dict)
    #: By subject, the newest sequence that was appended, and that was synced.
    newest: dict[Any, int] = field(default_factory=dict)
    synced_newest: dict[Any, int] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    last: int = 0
    synced: int = 0

    def append(self, subject: Any, payload: bytes, identity: str) -> int:
        self.last += 1
        self.newest[subject] = self.last
        self.ids.add(identity)
        self.entries[self.last] = Entry(self.last, subject, payload, identity)
        return self.last

    def sync(self, sequence: int) -> list[Entry]:
        """Everything up to here is on disk; return what is new."""
        fresh = [self.entries[each] for each in range(self.synced + 1, sequence + 1)]
        for entry in fresh:
            self.synced_newest[entry.subject] = entry.sequence
        self.synced = max(self.synced, sequence)
        return fresh

    def after(self, sequence: int, limit: int = PULL_MAX, subject: Any = None) -> list[Entry]:
        """What a reader at this position is given next."""
        found: list[Entry] = []
        if sequence >= self.synced:
            return found
        for number in range(sequence + 1, self.synced + 1):
            entry = self.at(number)
            if entry is not None and subject in (None, entry.subject):
                found.append(entry)
                if len(found) >= limit:
                    break
        return found

    def at(self, sequence: int) -> Entry | None:
        """The message at a sequence, as a reader finds it."""
        entry = self.entries.get(sequence)
        if entry is None or sequence > self.synced:
            return None
        if self.is_compacted and self.synced_newest[entry.subject] != sequence:
            return None
        return entry

    def newest_of(self, subject: Any) -> Entry:
        """The newest message of a subject, as a reader finds it."""
        return self.entries[self.synced_newest[subject]]

    def upto(self, sequence: int) -> Stream:
        """A copy that ends at a sequence, all of it on disk."""
        made = Stream(self.is_compacted)
        for number in range(1, sequence + 1):
            entry = self.entries[number]
            made.append(entry.subject, entry.payload, entry.id)
        made.sync(made.last)
        return made


class Refused(NamedTuple):
    """Why a write was not taken. ``is_stale``: its compare-and-set lost."""

    reason: str
    is_stale: bool = False


Then = Callable[[int | Refused], None]


@dataclass(slots=True)
class Disk:
    """What a snapshot holds, and a restore brings back."""

    streams: dict[str, Stream]
    state: dict[str, Any]


class Store:
    """One region's streams and state, and who waits for news of them."""

    def __init__(self, machine: Machine, origins: list[str]) -> None:
        self.machine = machine
        self._origins = origins
        self._chance = machine.world.chance(f"disk {machine.name}")
        self.disk = self._empty()
        self.is_full = False
        self.slow_s = 0.0
        #: Told of every message that reaches the disk: the watch, which sees everything.
        self.on_synced: Callable[[str, Entry], None] = lambda _stream, _entry: None
        self.process: Process
        self.start()

    def _empty(self) -> Disk:
        streams = {LOG: Stream(is_compacted=True)}
        streams |= {bus(origin): Stream(is_compacted=False) for origin in self._origins}
        return Disk(streams, {})

    def stream(self, name: str) -> Stream:
        return self.disk.streams[name]

    @property
    def state(self) -> dict[str, Any]:
        """Small values by name, all on disk."""
        return self.disk.state

    # Life

    def start(self) -> None:
        self.process = Process(self.machine, "nats")
        self._waiting: dict[str, list[tuple[Process, Callable[[], None]]]] = {}
        self._unanswered: dict[int, tuple[Process, Then]] = {}
        self._asked = 0
        self._sync_due_s = 0.0

    def stop(self) -> None:
        """The server ends: whoever waits for an answer knows nothing of the outcome."""
        self.process.end()
        for process, then in self._unanswered.values():
            process.after(ACK_S, then, Refused("the store is gone"))
        for stream in self.disk.streams.values():
            # The page cache outlives the process.
            for entry in stream.sync(stream.last):
                self.on_synced(self._name(stream), entry)

    def _name(self, stream: Stream) -> str:
        return next(name for name, each in self.disk.streams.items() if each is stream)

    def lose_power(self) -> None:
        """Lose some of what was not synced; call before ``stop``."""
        for name, stream in self.disk.streams.items():
            self.disk.streams[name] = stream.upto(self._chance.randint(stream.synced, stream.last))
            for number in range(stream.synced + 1, self.disk.streams[name].last + 1):
                self.on_synced(name, stream.entries[number])

    def snapshot(self) -> Disk:
        """A backup of what is on disk now."""
        streams = {name: each.upto(each.synced) for name, each in self.disk.streams.items()}
        return Disk(streams, dict(self.disk.state))

    def restore(self, disk: Disk) -> None:
        """Bring an older backup back; call while stopped."""
        streams = {name: each.upto(each.synced) for name, each in disk.streams.items()}
        self.disk = Disk(streams, dict(disk.state))

    def wipe(self) -> None:
        self.disk = self._empty()

    # Writes

    def append(
        self,
        writer: Process,
        stream: str,
        subject: Any,
        payload: bytes,
        then: Then,
        *,
        identity: str = "",
        over: int | None = None,
        follows: int | None = None,
    ) -> None:
        """Append one message and answer when it is on disk.

        ``over`` is the newest sequence of the subject that the writer has seen, ``follows`` the
        stream's end.
        """
        refusal = self._refusal(stream, subject, identity, over, follows)
        if not self.process.is_running:
            writer.after(ACK_S, then, Refused("the store is down"))
            return
        self._asked += 1
        self._unanswered[self._asked] = (writer, then)
        if refusal is not None:
            # One after another: what refuses this one is on disk when the refusal is heard.
            self._sync_later(self._answer, self._asked, refusal)
            return
        held = self.stream(stream)
        sequence = held.append(subject, payload, identity)
        self._sync_later(self._sync, stream, held, sequence, self._asked)

    def _refusal(
        self, stream: str, subject: Any, identity: str, over: int | None, follows: int | None
    ) -> Refused | None:
        held = self.stream(stream)
        if self.is_full:
            return Refused("the disk is full")
        if identity and identity in held.ids:
            return Refused("it has that message already")
        if over is not None and held.newest.get(subject, 0) != over:
            return Refused("somebody wrote first", is_stale=True)
        if follows is not None and held.last != follows:
            return Refused(f"the stream ends at {held.last}")
        return None

    def put(self, writer: Process, name: str, value: Any, then: Then) -> None:
        """Write a small value and answer when it is on disk."""
        if not self.process.is_running or self.is_full:
            writer.after(ACK_S, then, Refused("the store does not take it"))
            return
        self._asked += 1
        self._unanswered[self._asked] = (writer, then)
        self._sync_later(self._put, name, value, self._asked)

    def _sync_later(self, call: Callable[..., None], *args: Any) -> None:
        # One disk: what was asked first is on it first.
        now_s = self.machine.world.now_s
        due_s = max(now_s + self._chance.uniform(*SYNC_S) + self.slow_s, self._sync_due_s)
        self._sync_due_s = due_s
        self.machine.world.at(due_s, self.process, call, *args)

    def _sync(self, name: str, held: Stream, sequence: int, asked: int) -> None:
        for entry in held.sync(sequence):
            self.on_synced(name, entry)
        for process, wake in self._waiting.pop(name, ()):
            process.after(WAKE_S, wake)
        self._answer(asked, sequence)

    def _put(self, name: str, value: Any, asked: int) -> None:
        self.disk.state[name] = value
        self._answer(asked, 0)

    def _answer(self, asked: int, result: int | Refused) -> None:
        process, then = self._unanswered.pop(asked)
        process.after(ACK_S, then, result)

    # Reads

    def when_news(self, process: Process, stream: str, wake: Callable[[], None]) -> None:
        """Wake a process once when the stream has something new."""
        self._waiting.setdefault(stream, []).append((process, wake))
