"""Places in the bus streams of a region: how far a client has been given what they hold."""

from __future__ import annotations

from typing import NamedTuple

#: All messages of a batch.
ALL = 0x7FFF_FFFF


class Place(NamedTuple):
    """A batch of a stream: all before it counts, and of itself so many messages.

    Sequence 0 is before the first.
    """

    sequence: int = 0
    id: str = ""
    given: int = ALL

    @property
    def after(self) -> int:
        """The sequence after which the rest begins, where the place's sequence holds."""
        return self.sequence if self.given == ALL else self.sequence - 1


#: By origin.
Places = dict[str, Place]


class Owed(NamedTuple):
    """A message that the client has not acknowledged, and where it stands in the bus."""

    origin: str
    sequence: int
    id: str
    #: Which message of the batch.
    at: int
    #: Under which it was sent; 0 if it was not yet.
    packet_id: int = 0
    #: The shared subscription by which it is the client's, if it is by one.
    share: str = ""
