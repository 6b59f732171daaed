"""How far one region has pulled from one peer, and what it may confirm to it.

What a peer has not answered for in this contact is never assumed from an earlier one. The order of
a contact is the caller's to keep: say hello with the cursors, resume where the peer says, ask for
its head, fill up what our own bus has lost, and only then follow and confirm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus.core.confirm import Watermarks
from isthmus.core.cursor import Cursor

#: Confirmations are repeated in every report for this long, as a report may be lost.
CONFIRM_REPEAT_S = 12.0


@dataclass(slots=True)
class Pull:
    """The cursors and confirmations of one region towards one peer."""

    log: Cursor = field(default_factory=Cursor)
    bus: Cursor = field(default_factory=Cursor)
    #: The peer's incarnation in this contact; empty while there is none.
    incarnation: str = ""
    #: Per writer of the peer: what our stream holds, and until when to repeat it.
    _confirmed: dict[str, tuple[int, float]] = field(default_factory=dict)

    def resume(self, incarnation: str, log_after: int, bus_after: int) -> None:
        """The peer has said where its streams still are as our cursors left them; else at 0."""
        if log_after == 0:
            self.log = Cursor(incarnation)
        if bus_after == 0:
            self.bus = Cursor(incarnation)
        self.incarnation = incarnation

    def lost(self) -> None:
        """Contact is over; the next one begins with hello."""
        self.incarnation = ""

    def is_void(self, incarnation: str) -> bool:
        """Whether a report shows that what we pull by belongs to a former incarnation."""
        return bool(self.incarnation) and incarnation != self.incarnation

    def took_log(self, sequence: int, message_id: str) -> Cursor:
        """Everything in the peer's log up to here is merged into ours, on disk."""
        self.log = Cursor(self.incarnation, sequence, message_id)
        return self.log

    def took_bus(self, sequence: int, message_id: str) -> Cursor:
        """Everything in the peer's bus up to here is in our own copy of it, on disk."""
        self.bus = Cursor(self.incarnation, sequence, message_id)
        return self.bus

    def confirm(self, numbers: Mapping[str, int], now_s: float) -> None:
        """Our copy holds these writers' batches up to these numbers, on disk."""
        for writer, number in numbers.items():
            self._confirmed[writer] = (number, now_s + CONFIRM_REPEAT_S)

    def confirmations(self, now_s: float) -> dict[str, int]:
        """What a report says now."""
        for writer in [each for each, (_, until_s) in self._confirmed.items() if until_s < now_s]:
            del self._confirmed[writer]
        return {writer: number for writer, (number, _) in self._confirmed.items()}

    def is_level(
        self, incarnation: str, log_sequence: int, writers: Mapping[str, int], own_bus: Watermarks
    ) -> bool:
        """Whether we have all of the peer's log, and all that it holds of our own bus."""
        return (
            self.log.incarnation == incarnation
            and self.log.sequence >= log_sequence
            and own_bus.covers(writers)
        )
