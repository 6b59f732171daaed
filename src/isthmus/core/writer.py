"""One writer: gathers publishes into numbered batches, and says whose promise is kept.

A writer is one start of one lane of a gateway process. Its batches are numbered 1, 2, 3 ... and
stored in that order. A writer whose stream refuses or loses a batch is given up with everything
that waits, and another one begins at 1: nothing is ever acknowledged past a gap
(docs/correctness.md, section 2).

``T`` is whatever the shell needs to answer one publish; nobody here looks at it.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from isthmus.core.batch import Batch, Message, Share, Source
from isthmus.core.confirm import AloneRange, Durability, Load, Window
from isthmus.wire.properties import PublishProperties, size_of

T = TypeVar("T")

BATCH_MESSAGES_MAX = 2_000
BATCH_BYTES_MAX = 1024 * 1024


class Writer(Generic[T]):
    """Numbers, promises and ranges of one writer; the caller stores and waits."""

    def __init__(self, origin: str, writer: str, durability: Durability) -> None:
        self.id = writer
        self._origin = origin
        self._number = 0
        self._window: Window[list[T]] = Window(durability)
        self._is_alone = False
        self._counted_alone = 0
        #: By the name of the connection, which is random: hashed once, and not its three fields.
        self._indices: dict[str, int] = {}
        self._sources: list[Source] = []
        self._messages: list[Message] = []
        self._items: list[bytes] = []
        self._bytes = 0
        self._waiting: list[T] = []

    # In

    def add(
        self,
        source: Source,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        dup: bool,
        at_ms: int,
        token: T | None,
        identity: str = "",
        properties: PublishProperties | None = None,
        retain: bool = False,
        shares: tuple[Share, ...] = (),
        is_handed_over: bool = False,
    ) -> bool:
        """Take a publish for the next batch; True if that is full and must not wait longer."""
        index = self._indices.get(source.connection)
        if index is None:
            index = self._indices[source.connection] = len(self._sources)
            self._sources.append(source)
        self._messages.append(
            Message(
                index,
                topic,
                payload,
                qos,
                dup,
                at_ms,
                identity,
                properties,
                retain,
                shares,
                is_handed_over,
            )
        )
        self._bytes += len(payload) if properties is None else len(payload) + size_of(properties)
        if token is not None:
            self._waiting.append(token)
        return len(self._messages) >= BATCH_MESSAGES_MAX or self._bytes >= BATCH_BYTES_MAX

    def carry(self, item: bytes, token: T | None) -> bool:
        """Take an item for the next batch; as ``add``."""
        self._items.append(item)
        self._bytes += len(item)
        if token is not None:
            self._waiting.append(token)
        return len(self._items) >= BATCH_MESSAGES_MAX or self._bytes >= BATCH_BYTES_MAX

    def flush(self, now_s: float) -> Batch | None:
        """Close the batch that was gathered, if any; it is to be stored after those before it."""
        if not self._messages and not self._items:
            return None
        self._number += 1
        batch = Batch(
            self._origin,
            self.id,
            self._number,
            tuple(self._sources),
            tuple(self._messages),
            tuple(self._items),
        )
        load = self._gathered()
        self._window.sent(self._number, self._waiting, now_s, len(self._waiting), load)
        self._indices, self._sources, self._messages, self._items = {}, [], [], []
        self._waiting = []
        self._bytes = 0
        return batch

    def _gathered(self) -> Load:
        return Load(len(self._messages) + len(self._items), self._bytes)

    def load(self) -> Load:
        """Everything that was taken and whose promise is not kept yet."""
        sent, gathered = self._window.load, self._gathered()
        return Load(sent.messages + gathered.messages, sent.bytes + gathered.bytes)

    # What happened

    def stored(self, number: int) -> bool:
        """This region's stream has a batch; False if not in order: the writer must be given up."""
        if number != self._window.stored + 1:
            return False
        self._window.stored = number
        return True

    def confirmed(self, number: int) -> bool:
        """A peer holds every batch up to ``number``; True if that is news."""
        if number <= self._window.confirmed:
            return False
        self._window.confirmed = number
        return True

    def set_alone(self, alone: bool) -> bool:
        """The region's state has changed; True if ``ranges`` must be recorded now.

        Nothing is acknowledged alone before ``recorded`` was called.
        """
        if alone == self._is_alone or self._window.durability is Durability.REGION:
            return False
        self._is_alone = alone
        self._window.alone = False
        return True

    def ranges(self) -> list[AloneRange]:
        """What was acknowledged alone, and, in that state, what will be: 0 says no end."""
        known = [AloneRange(each.first, each.last, each.messages) for each in self._window.ranges]
        if self._is_alone:
            known.append(AloneRange(self._window.confirmed + 1, 0, 0))
        return known

    def recorded(self) -> None:
        """The ranges are on disk."""
        self._window.alone = self._is_alone

    # Out

    def release(self) -> list[T]:
        """Whose promise is kept now, in the order of their publishes."""
        return [token for batch in self._window.release() for token in batch]

    def newly_alone(self) -> int:
        """Messages released without a second region since this was last asked."""
        total = sum(each.messages for each in self._window.ranges)
        new, self._counted_alone = total - self._counted_alone, total
        return new

    @property
    def outstanding(self) -> int:
        """Batches that are on their way: sent, and not released."""
        return len(self._window)

    def overdue(self, now_s: float, timeout_s: float) -> bool:
        """Whether a promise has been outstanding for longer than it may be."""
        return self._window.overdue(now_s, timeout_s)

    def abandon(self) -> list[T]:
        """Give up: everybody who waits must hear nothing, and be closed."""
        waiting = [token for batch in self._window.abandon() for token in batch] + self._waiting
        self._waiting = []
        return waiting
