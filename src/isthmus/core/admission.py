"""Whether a gateway may let anybody in, after an absence of any kind.

*A returning region admits nobody before it has caught up*: a gateway starts closed, and closes
again when its process was paused, or heard nothing of its region's services, for longer than
``pause_limit_s``, because somebody may have been revoked meanwhile. It opens when its view has
applied the position up to which the region's replicator had taken in the head of every reachable
peer, asked for *after* the absence (docs/correctness.md, section 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Admission(StrEnum):
    """What a gateway does with a CONNECT."""

    OPEN = "open"
    CATCHING_UP = "catching-up"


@dataclass(slots=True)
class Gate:
    """Admission of one gateway process."""

    #: A pause shorter than this cannot have hidden a region that went on alone without us.
    pause_limit_s: float
    #: Counts the absences: a catch-up asked for before the newest one opens nothing.
    absence: int = 1
    _needed: int | None = None
    _applied: int = 0
    _ticked_s: float | None = None
    _heard_s: float | None = None

    def tick(self, now_s: float) -> bool:
        """Note that the process runs; True if it had been paused and is closed now."""
        paused = self._ticked_s is not None and now_s - self._ticked_s > self.pause_limit_s
        self._ticked_s = now_s
        if paused:
            self._shut()
        return paused

    def heard(self, now_s: float) -> None:
        """The region's services sent a heartbeat."""
        self._heard_s = now_s

    def cut_off(self, now_s: float) -> bool:
        """True, once, when the services fell silent: what they no longer tell us, we cannot know.

        Nobody new is admitted then; who is connected stays, and waits for answers.
        """
        if self._heard_s is None or now_s - self._heard_s <= self.pause_limit_s:
            return False
        self._heard_s = None
        self._shut()
        return True

    def _shut(self) -> None:
        self.absence += 1
        self._needed = None

    def caught_up(self, absence: int, position: int) -> None:
        """The replicator answers: the peers' heads are in this region's log up to ``position``."""
        if absence == self.absence:
            self._needed = position

    def applied(self, position: int) -> None:
        """The view has applied this region's log up to ``position``."""
        self._applied = max(self._applied, position)

    @property
    def admission(self) -> Admission:
        if self._needed is None or self._applied < self._needed:
            return Admission.CATCHING_UP
        return Admission.OPEN
