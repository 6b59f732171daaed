"""Whether a gateway may let anybody in, after an absence of any kind.

*A returning region admits nobody before it has caught up*: a gateway starts closed, and closes
again when its process was paused, or heard nothing of its region's services, for longer than
``pause_limit_s``, because somebody may have been revoked meanwhile. It opens when its view has
applied the position up to which the region's replicator had taken in the head of every reachable
peer, asked for *after* the absence (docs/correctness.md, section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Admission(StrEnum):
    """What a gateway does with a CONNECT."""

    OPEN = "open"
    CATCHING_UP = "catching-up"


@dataclass(slots=True)
class Absence:
    """Whether a region's services have been level with its peers since they last were absent."""

    #: A process that did not run for longer than this may have missed that others went on alone.
    pause_limit_s: float
    #: Without any peer a region serves after this long.
    alone_start_s: float
    since_s: float
    #: Counts the absences: what was asked before the newest one ends nothing.
    number: int = 1
    is_over: bool = False
    _ticked_s: float = 0.0

    def __post_init__(self) -> None:
        self._ticked_s = self.since_s

    def tick(self, now_s: float) -> float:
        """Note that the process runs; return for how long it had been paused, 0 if it was not."""
        paused_s = now_s - self._ticked_s
        self._ticked_s = now_s
        if paused_s <= self.pause_limit_s:
            return 0.0
        self.is_over = False
        self.number += 1
        self.since_s = now_s
        return paused_s

    def may_serve(self, levels: Sequence[bool | None], asked: int, now_s: float) -> bool:
        """Decide after asking every peer, and note the end of the absence.

        A level is True for a peer that we are level with, False for one that we are behind, and
        None for one that cannot be reached. ``asked`` is ``number`` as it was before asking.
        """
        if asked != self.number or any(level is False for level in levels):
            return False
        waited = now_s - self.since_s > self.alone_start_s
        if not (any(levels) or not levels or self.is_over or waited):
            return False
        self.is_over = True
        return True


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
