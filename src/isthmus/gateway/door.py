"""The door: accepted sockets wait here, unread, until it is their turn to shake hands.

A handshake is the dearest thing that a stranger can make a gateway do. So one connection is let in
per turn of the loop, in which whoever is connected is served too, and no more than the configured
rate. Who waits is a file descriptor and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from isthmus.clock import monotonic_s
from isthmus.config import Limits
from isthmus.core.connecting import CONNECT_TIMEOUT_S
from isthmus.core.limits import TokenBucket
from isthmus.gateway.shedding import Shedding

_log = logging.getLogger(__name__)

#: Accepted in one turn of the loop; what more there is waits in the kernel for the next.
ACCEPT_MAX = 100
#: After the system had no file or memory for another socket.
ACCEPT_AGAIN_S = 1.0
#: The other side has closed or reset; only Linux tells of a close that nobody has read up to.
_HAS_LEFT = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

#: Makes the protocol of a socket that is let in.
Make = Callable[[], asyncio.Protocol]
#: Takes a socket that was accepted, and the address that it came from.
Came = Callable[[socket.socket, str], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Guest:
    sock: socket.socket
    make: Make
    since_s: float

    def has_left(self) -> bool:
        # A storm's clients give up and come again: no handshake for those who have.
        poll = select.poll()
        poll.register(self.sock, _HAS_LEFT)
        return bool(poll.poll(0))


class Door:
    """Of one process; all its listeners lead here."""

    def __init__(self, limits: Limits, shedding: Shedding, connecting: Callable[[], int]) -> None:
        """``connecting``: how many are inside and have not connected yet."""
        self._limits = limits
        self._shedding = shedding
        self._connecting = connecting
        self._first = frozenset(limits.connects_first)
        self._bucket: TokenBucket | None = None
        if limits.connects_per_s:
            self._bucket = TokenBucket(limits.connects_per_s, limits.connects_burst)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Guest] = deque()
        self._entering: set[asyncio.Task[None]] = set()
        self._next: asyncio.Handle | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def came(self, sock: socket.socket, address: str, make: Make) -> None:
        """Somebody stands at the door."""
        guest = _Guest(sock, make, monotonic_s())
        if address in self._first:
            self._let_in(guest)
            return
        inside = self._connecting() + len(self._entering)
        if len(self._waiting) + inside >= self._limits.connects_waiting_max:
            self._send_away(guest, "full")
            return
        self._waiting.append(guest)
        if self._next is None:
            self._next = self._loop.call_soon(self._serve)

    def close(self) -> None:
        """Let nobody in any more."""
        if self._next is not None:
            self._next.cancel()
        while self._waiting:
            self._waiting.popleft().sock.close()

    def _serve(self) -> None:
        """Let one in, if one may be, and see when the next may."""
        self._next = None
        now_s = monotonic_s()
        wait_s = self._wait_s(now_s)
        while self._waiting:
            oldest = self._waiting[0]
            if now_s - oldest.since_s > CONNECT_TIMEOUT_S:
                self._send_away(self._waiting.popleft(), "waited-too-long")
            elif wait_s:
                # Not later than the oldest may wait.
                left_s = oldest.since_s + CONNECT_TIMEOUT_S - now_s
                self._next = self._loop.call_later(min(wait_s, left_s), self._serve)
                return
            elif oldest.has_left():
                self._send_away(self._waiting.popleft(), "left")
            else:
                if self._bucket is not None:
                    self._bucket.take(now_s)
                self._let_in(self._waiting.popleft())
                break
        if self._waiting:
            self._next = self._loop.call_soon(self._serve)

    def _wait_s(self, now_s: float) -> float:
        return self._bucket.wait_s(now_s) if self._bucket is not None else 0.0

    def _send_away(self, guest: _Guest, reason: str) -> None:
        guest.sock.close()
        self._shedding.refused(reason)

    def _let_in(self, guest: _Guest) -> None:
        entering = self._loop.create_task(self._enter(guest))
        self._entering.add(entering)
        entering.add_done_callback(self._entering.discard)

    async def _enter(self, guest: _Guest) -> None:
        try:
            await self._loop.connect_accepted_socket(guest.make, guest.sock)
        except OSError as error:
            guest.sock.close()
            _log.info("accept", extra={"action": "not-let-in", "reason": str(error)})


class Listening:
    """One listening socket."""

    def __init__(self, sock: socket.socket, came: Came) -> None:
        self._sock = sock
        self._came = came
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._again = None
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPT_MAX):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                _log.error("accept", extra={"action": "no-socket", "reason": str(error)})
                self._loop.remove_reader(self._sock)
                self._again = self._loop.call_later(ACCEPT_AGAIN_S, self._listen)
                return
            sock.setblocking(False)
            # Some systems say here that the other side has gone: so the door will find.
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._came(sock, address[0])

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()


async def listen(
    host: str, port: int, backlog: int, came: Came, *, is_shared: bool
) -> list[Listening]:
    """Listen at every address of a host, or at none; raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    opened: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            sock = socket.create_server(
                address[:2], family=family, backlog=backlog, reuse_port=is_shared
            )
            opened.append(sock)
            sock.setblocking(False)
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return [Listening(sock, came) for sock in opened]
