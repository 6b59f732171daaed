"""What the peers have of this region, by their reports.

Reports are cumulative and arrive at most once, so each replaces the one before it. What a peer held
under another incarnation it may have lost since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus.core.confirm import Watermarks
from isthmus.core.cursor import Cursor


@dataclass(slots=True)
class _Peer:
    incarnation: str
    log: Cursor
    heard_s: float
    confirmed: Watermarks = field(default_factory=Watermarks)


class Peers:
    """The newest word of each peer."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    def heard(
        self,
        region: str,
        incarnation: str,
        log: Cursor,
        writers: Mapping[str, int],
        now_s: float,
    ) -> bool:
        """Take a report in; True if it says something new of our log."""
        held = self._peers.get(region)
        is_news = held is None or held.log != log
        if held is None or held.incarnation != incarnation:
            held = self._peers[region] = _Peer(incarnation, log, now_s)
        held.log, held.heard_s = log, now_s
        for writer, number in writers.items():
            held.confirmed.raise_to(writer, number)
        return is_news

    def holds(self, region: str, incarnation: str, writers: Mapping[str, int]) -> None:
        """Take in a peer's answer of all that it holds of our bus.

        Reports repeat what moves; whoever starts while a peer stays in contact hears of the rest
        only so.
        """
        held = self._peers.get(region)
        if held is None or held.incarnation != incarnation:
            held = self._peers[region] = _Peer(incarnation, Cursor(), float("-inf"))
        for writer, number in writers.items():
            held.confirmed.raise_to(writer, number)

    def confirmed(self) -> Watermarks:
        """Per writer of this region, what some peer holds now."""
        union = Watermarks()
        for held in self._peers.values():
            for writer, number in held.confirmed.snapshot().items():
                union.raise_to(writer, number)
        return union

    def heard_within(self, region: str, now_s: float, limit_s: float) -> bool:
        held = self._peers.get(region)
        return held is not None and now_s - held.heard_s <= limit_s

    def applied(self, incarnation: str, revision: int) -> tuple[str, ...]:
        """The peers that have applied this region's log, of this incarnation, up to a revision."""
        return tuple(
            sorted(
                region
                for region, held in self._peers.items()
                if held.log.incarnation == incarnation and held.log.sequence >= revision
            )
        )
