"""What one gateway process holds back and turns away when there is too much, and counts of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from isthmus.clock import monotonic_s
from isthmus.config import Limits
from isthmus.core.confirm import Load
from isthmus.core.connecting import Refusal
from isthmus.core.limits import Backlog, Buckets, Pace, heaviest
from isthmus.core.session import Permissions, Session
from isthmus.protocol import Shed
from isthmus.wire.packets import Packet, Publish
from isthmus.wire.reason_codes import ReasonCode

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection


class Shedding:
    """Decides by the process's limits; what it decides, others do."""

    def __init__(self, limits: Limits, canary_prefix: str = "") -> None:
        self.limits = limits
        #: Observers publish here, in a lane of their own: no backlog is theirs.
        self._canary_prefix = canary_prefix
        self._backlog = Backlog(limits.backlog_max_messages, limits.backlog_max_bytes)
        self._connects: Buckets | None = None
        if limits.client_connects_per_s:
            rate_per_s, burst = limits.client_connects_per_s, limits.client_connects_burst
            self._connects = Buckets(rate_per_s, burst)
        #: Whether publishers wait, as too much does.
        self.is_holding = False
        #: Clients whose sockets take no more.
        self.full: set[Connection] = set()
        self._refused: Counter[str] = Counter()
        self._held = 0
        self.dropped = 0
        self.slow = 0
        self._unsent_bytes = 0

    def told(self, waiting: int) -> Shed:
        """The figures; ``waiting`` is how many stand at the door."""
        return Shed(
            waiting=waiting,
            refused=dict(self._refused),
            backlog_messages=self._backlog.messages,
            backlog_bytes=self._backlog.bytes,
            holding=self.is_holding,
            held=self._held,
            dropped=self.dropped,
            slow=self.slow,
            unsent_bytes=self._unsent_bytes,
        )

    # Connections

    def refused(self, reason: str) -> None:
        """Count one that was turned away."""
        self._refused[reason] += 1

    def refuse(
        self, client_id: str, permissions: Permissions, clients: int, *, is_there: bool
    ) -> Refusal | None:
        """Whether there is no room for a client that may connect; ``is_there``: it is already."""
        if self.is_holding and not self._observes(client_id, permissions):
            self.refused("backlog")
            reason = "too much waits to be stored or confirmed"
            return Refusal(ReasonCode.SERVER_BUSY, reason, is_passing=True)
        if clients >= self.limits.connections_max and not is_there:
            self.refused("connections")
            reason = f"{clients} clients are connected"
            return Refusal(ReasonCode.QUOTA_EXCEEDED, reason, is_passing=True)
        if self._connects is not None and not self._connects.take(client_id, monotonic_s()):
            self.refused("client-rate")
            reason = "too many CONNECTs under this client id"
            return Refusal(ReasonCode.CONNECTION_RATE_EXCEEDED, reason, is_passing=True)
        return None

    def _observes(self, client_id: str, permissions: Permissions) -> bool:
        """Or a region whose peer is slow would look dead."""
        topic = f"topic/{self._canary_prefix}{client_id}/"
        return permissions.allows("iot:Publish", topic)[0]

    # Publishers

    def weigh(self, loads: Iterable[Load]) -> bool:
        """Take what waits in the lanes; True if ``is_holding`` has changed."""
        messages = size = 0
        for load in loads:
            messages += load.messages
            size += load.bytes
        has_changed = self._backlog.weigh(messages, size)
        self.is_holding = self._backlog.is_over
        if has_changed and self.is_holding:
            self._held += 1
        return has_changed

    def holds(self, session: Session) -> bool:
        """Whether a client is one that is not read from while ``is_holding``."""
        prefix = self._canary_prefix
        return any(not topic.startswith(prefix) for topic in session.published_to)

    def rates(self, changed: Callable[[], None]) -> Rates | None:
        """Those of one connection, where they are limited."""
        if self.limits.publishes_per_s or self.limits.bytes_per_s:
            return Rates(self.limits, changed)
        return None

    # Subscribers

    def slowest(self, unsent: Mapping[Connection, int]) -> list[Connection]:
        """Who is to be cut off, for the others to have no more unsent than they may."""
        self._unsent_bytes = sum(unsent.values())
        return heaviest(unsent, self.limits.unsent_max_bytes)


class Rates:
    """One connection's, in both directions; over either of them it waits until it is within."""

    def __init__(self, limits: Limits, changed: Callable[[], None]) -> None:
        def pace(rate_per_s: float) -> Pace | None:
            return Pace(rate_per_s, rate_per_s) if rate_per_s else None

        self._received = (pace(limits.publishes_per_s), pace(limits.bytes_per_s))
        self._sent = (pace(limits.publishes_per_s), pace(limits.bytes_per_s))
        self._changed = changed
        self._over_until_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        return self._timer is not None

    def received(self, packets: Sequence[Packet], size: int) -> None:
        """Count what one reading of the socket has brought."""
        publishes = sum(type(each) is Publish for each in packets)
        self._charge(self._received, publishes, size)

    def sent(self, size: int) -> None:
        """Count one packet that the client is given."""
        self._charge(self._sent, 1, size)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _charge(self, paces: tuple[Pace | None, Pace | None], publishes: int, size: int) -> None:
        now_s = monotonic_s()
        for pace, amount in zip(paces, (publishes, size), strict=True):
            wait_s = pace.charge(now_s, amount) if pace is not None else 0.0
            if wait_s:
                self._over_until_s = max(self._over_until_s, now_s + wait_s)
        if self._timer is None and self._over_until_s > now_s:
            self._wait(now_s)
            self._changed()

    def _wait(self, now_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._over_until_s - now_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = monotonic_s()
        if self._over_until_s > now_s:
            self._wait(now_s)
        else:
            self._changed()
