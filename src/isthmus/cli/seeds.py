"""Many seeds on several processes, added up in the order of the seeds."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process

from isthmus.process import look_for_cycles_seldom
from isthmus.sim.run import Outcome, run_seed

#: Seeds handed to a process at once: small enough for Ctrl-C and for a progress bar.
CHUNK = 4


@dataclass(slots=True)
class Total:
    """What many runs came to."""

    seeds: int = 0
    events: int = 0
    #: Of the run with the fewest, of those that went to their end.
    events_least: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    broken: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.events += outcome.events
        self.faults.update(outcome.faults)
        self.reached.update(outcome.reached)
        if outcome.invariant:
            self.broken.append(outcome)
        else:
            self.events_least = min(self.events_least or outcome.events, outcome.events)


def run_seeds(first: int, count: int, jobs: int) -> Iterator[Outcome]:
    """Run seeds one after another, in order; with several jobs they run side by side."""
    seeds = range(first, first + count)
    if jobs == 1:
        look_for_cycles_seldom()
        yield from map(run_seed, seeds)
        return
    # Not forked: a child that inherits nothing is the same child on every system.
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin) as pool:
        try:
            yield from pool.map(run_seed, seeds, chunksize=CHUNK)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    look_for_cycles_seldom()
    _end_with_the_first()


def _end_with_the_first() -> None:
    """Ctrl-C reaches every process of a terminal, and only the first one is to answer it.

    When that one is gone, however it went, there is nobody to work for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    first = parent_process()
    assert first is not None

    def wait() -> None:
        first.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
