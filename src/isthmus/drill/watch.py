"""Watches a system from outside while it is drilled: what DNS answers, what memory it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import dns.asyncquery
import dns.exception
import dns.message
import psutil

from isthmus.core.zone import SRV_PREFIX

DNS_POLL_S = 0.05
DNS_TIMEOUT_S = 0.2
MEMORY_POLL_S = 0.5


class RouteWatch:
    """Asks nameservers where the stable name leads, and notes when the answer changes."""

    def __init__(self, name: str, nameservers: Iterable[tuple[str, int]], *, by_port: bool) -> None:
        # Where all regions share an address, only the service record tells them apart.
        query = (f"{SRV_PREFIX}{name}", "SRV") if by_port else (name, "A")
        self._query = dns.message.make_query(*query)
        self._nameservers = list(nameservers)
        #: When which answer was first given, newest last.
        self.changes: list[tuple[float, str]] = []

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            for host, port in self._nameservers:
                answer = await self._ask(host, port)
                if answer and (not self.changes or self.changes[-1][1] != answer):
                    self.changes.append((time.time(), answer))
            await asyncio.sleep(DNS_POLL_S)

    async def _ask(self, host: str, port: int) -> str:
        try:
            answer = await dns.asyncquery.udp(self._query, host, DNS_TIMEOUT_S, port)
        except (OSError, dns.exception.DNSException):
            return ""
        found = [str(item) for records in answer.answer for item in records]
        return found[0] if found else ""


class MemoryWatch:
    """The greatest resident memory of a set of processes, all together."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self.peak_bytes = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self.peak_bytes = max(self.peak_bytes, sum(map(_resident, self._pids())))
            await asyncio.sleep(MEMORY_POLL_S)


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
