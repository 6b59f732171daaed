"""A client that is given what it missed: which messages of which batch, and when it has enough.

It is read for from the streams in their order, one batch after another. A client that does not
acknowledge as fast is left where it is, at a message of a batch, and goes on there when it has
room.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus.core.place import Owed, Place, Places
from isthmus.core.session import Session

#: Messages that may wait behind what a client has not acknowledged.
AHEAD_MAX = 50


@dataclass(slots=True, eq=False)
class Returning:
    """One client that returned."""

    session: Session
    #: What it has been given, as whoever knew last has told, and then as it is given more.
    places: Places
    #: What it was sent before and has not acknowledged: the first that it is given.
    owed: list[Owed]
    #: Origins of which it does not have everything yet. It is given nothing of them live.
    behind: set[str]
    #: By origin: the sequence in this region's stream after which the rest begins.
    after: dict[str, int] = field(default_factory=dict)
    #: It was full when more was offered: that waits until the stream is read again from its place.
    _has_stopped: bool = False

    @property
    def is_full(self) -> bool:
        """Whether it must acknowledge something first."""
        return self.session.backlog >= AHEAD_MAX

    def locate(self, origin: str, place: Place) -> None:
        """The place in a stream that somebody told of, as this region's copy has it."""
        self.places[origin] = place
        self.after[origin] = place.after

    @property
    def is_located(self) -> bool:
        """Whether all its places are this region's, which alone can be compared with others."""
        return not self.owed and self.behind <= self.after.keys()

    @property
    def is_level(self) -> bool:
        """Whether it has everything."""
        return not self.behind and not self.owed

    def given(self, live: Places) -> Places:
        """What it has, where what is delivered live has come to ``live``.

        That may be less far than was read for it: of a stream that is not followed it is only about
        where it ends.
        """
        ahead = {
            origin
            for origin, after in self.after.items()
            if after > live.get(origin, Place()).after
        }
        told = {origin: self.places.get(origin, Place()) for origin in self.behind | ahead}
        return {**live, **told}

    # One reading of a stream

    def begin_reading(self, origin: str) -> bool:
        """Whether a stream is to be read for it now, from what it has on.

        Not before it was sent again what it was sent before: that is older.
        """
        self._has_stopped = bool(self.owed)
        return self.is_read_for(origin)

    def is_read_for(self, origin: str) -> bool:
        """Whether it still waits for more of what is read.

        Who has stopped does not go on in the middle, though it may have room again before those
        who are read for beside it have enough.
        """
        is_behind = origin in self.behind and origin in self.after
        return is_behind and not self._has_stopped and not self.is_full

    # One batch

    def begin_batch(self, origin: str, sequence: int) -> bool:
        """Whether it wants a batch; then ask for each message, and end the batch."""
        if origin not in self.behind or self.after[origin] >= sequence:
            return False
        self._has_stopped |= self.is_full
        return not self._has_stopped

    def take(self, origin: str, sequence: int, batch: str, at: int, share: str = "") -> Owed | None:
        """Take a message, to be delivered as what is answered; None if not, or had already."""
        place = self.places.get(origin, Place())
        if self._has_stopped or (batch == place.id and at < place.given):
            return None
        if self.is_full:
            self._has_stopped = True
            self.places[origin] = Place(sequence, batch, at)
            return None
        return Owed(origin, sequence, batch, at, 0, share)

    def end_batch(self, origin: str, sequence: int, batch: str) -> None:
        """Everything of the batch was offered."""
        if not self._has_stopped:
            self.after[origin] = sequence
            self.places[origin] = Place(sequence, batch)

    def reached(self, origin: str, sequence: int) -> None:
        """What comes after a sequence is delivered live, or is nothing that it missed."""
        if self.after.get(origin, -1) >= sequence:
            self.behind.discard(origin)
