"""Who has which batches, and which of them may be acknowledged.

*No answer before its promise is kept*: a batch is released when this region's own stream has it
and a second region has confirmed its writer up to its number, or this region is alone and has
made that state durable. Never by stream sequence: a restored stream re-uses sequences.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

from isthmus.errors import BrokenInvariant

T = TypeVar("T")


class Standing(Enum):
    """What a batch is, by its writer's numbers."""

    NEW = "new"
    KNOWN = "known"
    #: Beyond a gap. Its writer never acknowledged it, as nothing is acknowledged past a gap, and
    #: nobody copies or reads it: its clients were closed, and sent its messages again.
    VOID = "void"


class Watermarks:
    """Per writer, the highest number up to which no batch is missing."""

    def __init__(self, numbers: Mapping[str, int] | None = None) -> None:
        self._numbers = dict(numbers or {})

    def get(self, writer: str) -> int:
        return self._numbers.get(writer, 0)

    def advance(self, writer: str, number: int) -> Standing:
        """Note a stored batch, and say what it is to who counts this way."""
        held = self._numbers.get(writer, 0)
        if number <= held:
            return Standing.KNOWN
        if number != held + 1:
            return Standing.VOID
        self._numbers[writer] = number
        return Standing.NEW

    def raise_to(self, writer: str, number: int) -> bool:
        """Take in a cumulative confirmation; False if it says nothing new."""
        if number <= self._numbers.get(writer, 0):
            return False
        self._numbers[writer] = number
        return True

    def snapshot(self) -> dict[str, int]:
        return dict(self._numbers)

    def covers(self, other: Mapping[str, int]) -> bool:
        """Whether everything in ``other`` is here too."""
        return all(self._numbers.get(writer, 0) >= number for writer, number in other.items())


class Durability(Enum):
    """What an acknowledgement of a lane's batches promises."""

    REGION = "region"
    TWO_REGIONS = "two-regions"


class Load(NamedTuple):
    """What a batch weighs while it waits: everything that is in it, answered or not."""

    messages: int = 0
    bytes: int = 0


_NOTHING = Load()


@dataclass(slots=True)
class _Pending(Generic[T]):
    number: int
    sent_s: float
    messages: int
    tokens: T
    load: Load


@dataclass(slots=True)
class AloneRange:
    """Batches of one writer that were acknowledged without a second region."""

    first: int
    last: int
    messages: int


@dataclass(slots=True)
class Window(Generic[T]):
    """The unacknowledged batches of one writer, oldest first.

    ``T`` is what the shell needs to answer a batch's clients; the window never looks at it.
    """

    durability: Durability
    stored: int = 0
    confirmed: int = 0
    alone: bool = False
    ranges: list[AloneRange] = field(default_factory=list)
    #: Of all batches that wait.
    load: Load = _NOTHING
    _pending: deque[_Pending[T]] = field(default_factory=deque)

    def sent(
        self, number: int, tokens: T, now_s: float, messages: int, load: Load = _NOTHING
    ) -> None:
        """A batch was handed to this region's stream."""
        if self._pending and number != self._pending[-1].number + 1:
            raise BrokenInvariant(f"batch {number} follows {self._pending[-1].number}")
        self._pending.append(_Pending(number, now_s, messages, tokens, load))
        self.load = Load(self.load.messages + load.messages, self.load.bytes + load.bytes)

    def release(self) -> list[T]:
        """The batches whose promise is kept now, in order."""
        limit = self.stored if self._promise_is_local() else min(self.stored, self.confirmed)
        released = []
        while self._pending and self._pending[0].number <= limit:
            batch = self._pending.popleft()
            self.load = Load(
                self.load.messages - batch.load.messages, self.load.bytes - batch.load.bytes
            )
            if batch.number > self.confirmed and self.durability is Durability.TWO_REGIONS:
                self._note_alone(batch)
            released.append(batch.tokens)
        return released

    def _promise_is_local(self) -> bool:
        return self.alone or self.durability is Durability.REGION

    def _note_alone(self, batch: _Pending[T]) -> None:
        if self.ranges and self.ranges[-1].last == batch.number - 1:
            self.ranges[-1].last = batch.number
            self.ranges[-1].messages += batch.messages
        else:
            self.ranges.append(AloneRange(batch.number, batch.number, batch.messages))

    def overdue(self, now_s: float, timeout_s: float) -> bool:
        """Whether the oldest batch has waited longer than a promise may."""
        return bool(self._pending) and now_s - self._pending[0].sent_s > timeout_s

    def abandon(self) -> list[T]:
        """Give up on every batch that waits: its clients must hear nothing, and be closed."""
        tokens = [batch.tokens for batch in self._pending]
        self._pending.clear()
        self.load = Load()
        return tokens

    def __len__(self) -> int:
        return len(self._pending)
