"""What a device client tells its owner, in the order in which it happens."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.core.reconnect import Ending


@dataclass(frozen=True, slots=True)
class Connected:
    """A region accepted the session."""

    region: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The session with a region ended; ``moved`` means that we ended it."""

    region: str
    how: Ending
    detail: str


@dataclass(frozen=True, slots=True)
class Acked:
    """A publish was acknowledged; ``token`` is what ``send`` was given with it."""

    token: object


@dataclass(frozen=True, slots=True)
class Moved:
    """Where the client turns to next, after what delay, and why, in one sentence."""

    region: str
    delay_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """A region refused, after a reconnect, a filter that was granted before."""

    region: str | None
    topic_filter: str


Event = Connected | Lost | Acked | Moved | Unsubscribed
