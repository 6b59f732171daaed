"""When a region goes on alone, and when it stops being alone.

A state of a region, not of a process: it is entered after ``after_s`` without a heartbeat of any
peer, made durable before anybody acknowledges in it, and left when a peer has confirmed the head,
and then what was acknowledged alone until then.
A process that slept must not conclude from its own silence that the others fell silent: a late
tick starts the measurement anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.core.confirm import Watermarks


@dataclass(frozen=True, slots=True)
class AloneState:
    """What is written to the region's own stream before it takes effect."""

    alone: bool = False
    #: Counts the transitions, so that a late copy never undoes a newer one.
    epoch: int = 0
    since_ms: int = 0
    #: On the way out: nothing more is acknowledged alone, and what was is not yet elsewhere.
    ending: bool = False

    @property
    def answers(self) -> bool:
        """Whether this region may acknowledge by itself."""
        return self.alone and not self.ending


class AloneKeeper:
    """Decides the transitions of one region; the caller makes them durable."""

    def __init__(self, state: AloneState, peers: int, after_s: float, now_s: float) -> None:
        self.state = state
        self._peers = peers
        self._after_s = after_s
        self._heard_s = now_s
        self._ticked_s = now_s
        #: Whether a peer was heard since the last silence, pause or start.
        self._in_contact = False
        self._head: dict[str, int] | None = None
        #: Since when the state that ends it is known to be on disk.
        self._ending_since_s: float | None = None

    def heard(self, now_s: float) -> None:
        """A heartbeat of some peer arrived."""
        self._heard_s = now_s
        self._in_contact = True

    def deadline_s(self) -> float:
        """When, without a heartbeat, the next decision falls due."""
        return self._heard_s + self._after_s

    def tick(
        self, now_s: float, now_ms: int, stored: Mapping[str, int] | None, confirmed: Watermarks
    ) -> tuple[AloneState, str] | None:
        """Decide; call at least four times within ``after_s``.

        ``stored`` is the head of each of this region's writers, None while not all of them are
        known, and ``confirmed`` what the peers hold.
        Returns the state to make durable and why, or None where nothing changes.
        """
        # Not only a pause as long as the silence itself: after a shorter one, too, this tick may
        # run before the heartbeats that wait in the socket are read.
        slept = now_s - self._ticked_s > self._after_s / 2
        self._ticked_s = now_s
        if slept:
            self._heard_s = now_s
            self._lose_contact()
        if not self._peers:
            return None
        silent_s = now_s - self._heard_s
        if not self.state.alone:
            return self._enter(now_ms, silent_s) if silent_s >= self._after_s else None
        if silent_s >= self._after_s:
            self._lose_contact()
            return self._enter(now_ms, silent_s) if self.state.ending else None
        if not self._in_contact:
            return None
        return self._leave(now_s, now_ms, stored, confirmed)

    def _lose_contact(self) -> None:
        """What was confirmed before says nothing of what a peer holds now."""
        self._in_contact = False
        self._head = None

    def _enter(self, now_ms: int, silent_s: float) -> tuple[AloneState, str]:
        state = AloneState(True, self.state.epoch + 1, now_ms)
        return state, f"no peer was heard for {silent_s:.2f} s: this region goes on alone"

    def _leave(
        self, now_s: float, now_ms: int, stored: Mapping[str, int] | None, confirmed: Watermarks
    ) -> tuple[AloneState, str] | None:
        """Leave in two steps, each when a peer has confirmed a head.

        A head is read once: under load it moves on, and waiting for a moving head would never end.
        The first may be hours of messages, which nobody should wait for. Then nothing more is
        acknowledged alone; what was since the first head is in the second, which is short.
        """
        if self.state.ending:
            if self._ending_since_s is None:
                self._ending_since_s = now_s
            if now_s - self._ending_since_s < self._after_s:
                # Until every gateway has heard of it, or has closed because it heard nothing.
                return None
        if self._head is None:
            if stored is None:
                return None
            self._head = dict(stored)
        if not confirmed.covers(self._head):
            return None
        self._head = None
        epoch = self.state.epoch + 1
        if self.state.ending:
            state = AloneState(False, epoch, now_ms)
            return state, "a peer has everything: this region is not alone any more"
        self._ending_since_s = None
        state = AloneState(True, epoch, self.state.since_ms, ending=True)
        return state, "a peer has confirmed the head: nothing more is acknowledged alone"

    def entered(self, state: AloneState) -> None:
        """The state has been made durable."""
        if state.epoch > self.state.epoch:
            self.state = state
