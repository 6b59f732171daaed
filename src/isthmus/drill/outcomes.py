"""What the steps of a drill found; the report is made of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Outcomes:
    """Times are seconds since 1970."""

    began_s: float = field(default_factory=time.time)
    timeline: list[tuple[float, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    outage_s: float = 0.0
    back_s: float = 0.0
    away: str = ""
    items: int = 0
    diverged: list[str] = field(default_factory=list)
    alone_history: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    acknowledged_alone: int = 0
    ended_s: float = 0.0

    def fail(self, name: str, detail: str) -> None:
        """A promise broke: its name, and what was seen."""
        self.failures.append(f"{name}: {detail}")
