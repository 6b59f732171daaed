"""Distance between regions: a TCP proxy that hands on every byte a fixed time after it came.

It reads whatever comes at once and holds it for its time, so it delays and does not limit how much
is on its way. One process carries all connections of a bench.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast
from weakref import WeakSet

import msgspec

from isthmus.bench.plan import DelayPlan, Route

#: Bytes held for one direction, above which nothing more is read: gigabytes a second at 40 ms.
HELD_MAX_BYTES = 64 * 1024**2
#: The loop's clock counts in milliseconds.
CLOCK_STEP_S = 0.001


class DelayLine:
    """What is on its way in one direction: each piece with the time at which it arrives."""

    def __init__(self, one_way_s: float) -> None:
        self._one_way_s = one_way_s
        self._pieces: deque[tuple[float, bytes]] = deque()
        self.held_bytes = 0

    def put(self, now_s: float, data: bytes) -> None:
        self._pieces.append((now_s + self._one_way_s, data))
        self.held_bytes += len(data)

    @property
    def next_s(self) -> float | None:
        """When the next piece arrives."""
        return self._pieces[0][0] if self._pieces else None

    def take(self, now_s: float) -> bytes:
        """Everything that has arrived by now, in order."""
        arrived = []
        while self._pieces and self._pieces[0][0] <= now_s:
            arrived.append(self._pieces.popleft()[1])
        data = b"".join(arrived)
        self.held_bytes -= len(data)
        return data


class _End(asyncio.Protocol):
    """One end of a connection: what it hears arrives at the other end later."""

    def __init__(self, one_way_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._line = DelayLine(one_way_s)
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        self._is_blocked = False
        self._is_reading = True
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._line.put(self._loop.time(), data)
        self._read_or_wait()
        self._arm()

    def eof_received(self) -> bool:
        self._end()
        # Open until the other side has heard it, and has said its own last words.
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._end()

    def _end(self) -> None:
        """Nothing more comes; that takes its time to arrive as well."""
        if not self._is_over:
            self._is_over = True
            self._line.put(self._loop.time(), b"")
            self._arm()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.block(True)

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.block(False)

    def block(self, is_blocked: bool) -> None:
        """Whether the other end takes nothing at the moment."""
        self._is_blocked = is_blocked
        self._read_or_wait()

    def _read_or_wait(self) -> None:
        may_read = not self._is_blocked and self._line.held_bytes <= HELD_MAX_BYTES
        if may_read != self._is_reading and self.transport is not None:
            self._is_reading = may_read
            if may_read:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def join(self, other: _End) -> None:
        """The other end is there: what has come so far is on its way to it."""
        self.other = other
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None or self.other is None:
            return
        next_s = self._line.next_s
        if next_s is not None:
            self._timer = self._loop.call_at(next_s, self._arrive)
        elif self._is_over and self.other.transport is not None:
            self.other.transport.close()

    def _arrive(self) -> None:
        self._timer = None
        assert self.other is not None
        data = self._line.take(self._loop.time() + CLOCK_STEP_S / 2)
        if data and self.other.transport is not None:
            self.other.transport.write(data)
        self._read_or_wait()
        self._arm()


class Proxy:
    """Listens for one target."""

    def __init__(self, route: Route, one_way_s: float) -> None:
        self._route = route
        self._one_way_s = one_way_s
        self._server: asyncio.Server | None = None
        self._joining: set[asyncio.Task[None]] = set()
        self._ends: WeakSet[_End] = WeakSet()

    async def start(self) -> int:
        """Listen; returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, self._route.host, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Listen no more, and cut what is open."""
        if self._server is not None:
            self._server.close()
        for end in list(self._ends):
            if end.transport is not None:
                end.transport.abort()

    def _accept(self) -> _End:
        near = _End(self._one_way_s)
        self._ends.add(near)
        task = asyncio.get_running_loop().create_task(self._join(near))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)
        return near

    async def _join(self, near: _End) -> None:
        far = _End(self._one_way_s)
        self._ends.add(far)
        target = self._route.target
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: far, target.host, target.port)
        except OSError:
            if near.transport is not None:
                near.transport.abort()
            return
        near.join(far)
        far.join(near)


async def run_delay(plan: DelayPlan, ready: Callable[[], None]) -> None:
    """Delay until cancelled."""
    proxies = [Proxy(route, plan.one_way_s) for route in plan.routes]
    try:
        ports = [await proxy.start() for proxy in proxies]
        write = partial(Path(plan.ports_file).write_bytes, msgspec.json.encode(ports))
        await asyncio.to_thread(write)
        ready()
        await asyncio.Event().wait()
    finally:
        for proxy in proxies:
            proxy.close()
