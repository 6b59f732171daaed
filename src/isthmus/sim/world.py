"""Time, chance and processes: the queue of events that everything else is scheduled on."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

#: When every world begins, in milliseconds since 1970; any constant will do.
EPOCH_MS = 1_767_225_600_000


@dataclass(frozen=True, slots=True)
class Timing:
    """How often things happen, in seconds.

    The same rules as a real region's with fewer heartbeats, so that a run shows more decisions and
    less idle time.
    """

    heartbeat_s: float = 0.25
    alone_after_s: float = 1.0
    alone_start_s: float = 6.0
    promise_timeout_s: float = 5.0
    request_timeout_s: float = 0.5
    #: What an answer to a device's request may take beside its promise.
    handling_s: float = 2.0
    retry_s: float = 0.2
    pull_expires_s: float = 1.5
    cursor_save_s: float = 0.5
    #: A gateway or a region that was not heard for so long counts as dead.
    lease_s: float = 3.0
    gather_s: float = 0.004
    probe_interval_s: float = 0.6
    probe_timeout_s: float = 0.6
    probe_pause_s: float = 1.0
    mesh_interval_s: float = 0.5
    vote_lifetime_s: float = 1.5
    start_grace_s: float = 3.0
    drain_pause_s: float = 0.05


class World:
    """The queue, and what everybody in it shares."""

    def __init__(self, seed: int, timing: Timing, *, transcript: bool = False) -> None:
        self.seed = seed
        self.timing = timing
        #: True time in seconds, which nobody inside may read.
        self.now_s = 0.0
        self.events = 0
        #: How often each fault struck, and each state worth telling of was reached.
        self.faults: Counter[str] = Counter()
        self.reached: Counter[str] = Counter()
        self.lines: list[str] | None = [] if transcript else None
        self.queue: list[tuple[float, int, Process | None, Callable[..., None], Any]] = []
        #: What falls due in the same moment happens in the order in which it was asked for.
        self.order = count(1)

    def chance(self, purpose: str) -> random.Random:
        """A source of chance of its own, so that one part's draws never shift another's."""
        return random.Random(f"{self.seed}/{purpose}")

    def at(
        self, when_s: float, process: Process | None, call: Callable[..., None], *args: Any
    ) -> None:
        """Call at a true time, unless the process is gone by then."""
        heapq.heappush(self.queue, (when_s, next(self.order), process, call, args))

    def run(self, until_s: float) -> None:
        """Let everything happen up to a true time."""
        queue, pop = self.queue, heapq.heappop
        while queue and queue[0][0] <= until_s:
            self.now_s, _, process, call, args = pop(queue)
            if process is not None:
                if not process.is_running:
                    continue
                if process.is_paused:
                    process.hold(call, args)
                    continue
            self.events += 1
            call(*args)
        self.now_s = until_s

    def say(self, who: str, text: str, reached: str = "") -> None:
        """Write a line of the transcript, and note a state that was reached."""
        if reached:
            self.reached[reached] += 1
        if self.lines is not None:
            self.lines.append(f"{self.now_s:9.3f}  {who:<14} {text}")


class Machine:
    """One machine's clocks. Its wall clock may be wrong and may jump; its monotonic one drifts."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.is_up = True
        self.rate = 1.0
        self.wall_offset_ms = 0
        self._since_s = 0.0
        self._reading_s = 1_000.0

    def monotonic_s(self) -> float:
        return self._reading_s + (self.world.now_s - self._since_s) * self.rate

    def drift(self, rate: float) -> None:
        """Run faster or slower from now on."""
        self._reading_s, self._since_s = self.monotonic_s(), self.world.now_s
        self.rate = rate

    def wall_ms(self) -> int:
        return EPOCH_MS + self.wall_offset_ms + int(self.world.now_s * 1000)


class Process:
    """One start of one program. Whatever is scheduled for it is dropped when it has ended."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.is_running = True
        self.is_paused = False
        self._held: list[tuple[Callable[..., None], Any]] = []
        # As in clock.py: the wall clock is read once, and then follows the monotonic one.
        self._anchor_ms = machine.wall_ms() - machine.monotonic_s() * 1000

        self.world = machine.world
        #: This machine's monotonic clock.
        self.now_s = machine.monotonic_s

    def now_ms(self) -> int:
        return int(self._anchor_ms + self.machine.monotonic_s() * 1000)

    def after(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call after a delay by this machine's clock."""
        world = self.world
        when_s = world.now_s + delay_s / self.machine.rate
        heapq.heappush(world.queue, (when_s, next(world.order), self, call, args))

    def hand(self, call: Callable[..., None], *args: Any) -> None:
        """What arrives from elsewhere: heeded at once where the process runs."""
        if self.is_paused:
            self.hold(call, args)
        elif self.is_running:
            call(*args)

    def hold(self, call: Callable[..., None], args: Any) -> None:
        """What falls due or arrives during a pause waits in sockets and timers."""
        self._held.append((call, args))

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        held, self._held = self._held, []
        for call, args in held:
            self.world.at(self.world.now_s, self, call, *args)

    def end(self) -> None:
        self.is_running = False
        self._held.clear()
