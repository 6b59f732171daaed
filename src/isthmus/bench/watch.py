"""CPU time around a measurement: of the generator, of the servers, and of everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, TypedDict

import psutil

from isthmus.clock import monotonic_s
from isthmus.errors import Unavailable


class Used(TypedDict):
    """Fields of an outcome: seconds, and CPU seconds in each of them."""

    seconds: float
    generator_cpu: float
    server_cpu: dict[str, float]
    other_cpu: float


class Watch:
    """Reads clocks when the measured time begins and when it ends."""

    def __init__(self, servers: Mapping[str, int]) -> None:
        self._servers = {name: psutil.Process(pid) for name, pid in servers.items()}
        self._generator = psutil.Process()
        self._before = _Clocks(0.0, 0.0, 0.0, {})
        self.seconds = 0.0
        #: CPU seconds per second.
        self.generator_cpu = 0.0
        self.server_cpu: dict[str, float] = {}
        #: What neither of them used: whether a figure was measured on a quiet machine.
        self.other_cpu = 0.0

    def begin(self) -> None:
        self._before = self._read()

    def end(self) -> None:
        before, after = self._before, self._read()
        self.seconds = after.at_s - before.at_s
        self.generator_cpu = (after.generator - before.generator) / self.seconds
        self.server_cpu = {
            name: (used - before.servers[name]) / self.seconds
            for name, used in after.servers.items()
        }
        ours = self.generator_cpu + sum(self.server_cpu.values())
        self.other_cpu = max(0.0, (after.machine - before.machine) / self.seconds - ours)

    def memory(self) -> dict[str, int]:
        """Bytes that each server has in memory now."""
        with _told():
            return {name: each.memory_info().rss for name, each in self._servers.items()}

    def figures(self) -> Used:
        """What an outcome says of it."""
        return Used(
            seconds=self.seconds,
            generator_cpu=self.generator_cpu,
            server_cpu=self.server_cpu,
            other_cpu=self.other_cpu,
        )

    def _read(self) -> _Clocks:
        with _told():
            servers = {name: _used(each) for name, each in self._servers.items()}
        machine = psutil.cpu_times()
        busy = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0)
        # Linux counts a guest's time as a user's too.
        busy -= getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)
        return _Clocks(monotonic_s(), busy, _used(self._generator), servers)


class _Clocks(NamedTuple):
    """CPU seconds used until some time."""

    at_s: float
    machine: float
    generator: float
    servers: dict[str, float]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess as error:
        raise Unavailable(f"a server has ended: process {error.pid}") from None


def _used(process: psutil.Process) -> float:
    """CPU seconds of a process, and of those that it has started; those that ended included."""
    used = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        used += times.user + times.system + times.children_user + times.children_system
    return used
