"""Keeps the gate of a process that serves clients from a view of its own.

It asks the region's services from which position it may admit, and again after every absence
(``core.admission``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.clock import monotonic_s
from isthmus.core.admission import Admission, Gate
from isthmus.core.log_view import LogView
from isthmus.errors import InputError

_log = logging.getLogger(__name__)

RETRY_S = 0.1
CATCH_UP_TIMEOUT_S = 10.0


class Entrance:
    """The gate, and who asks for it to be opened."""

    def __init__(self, client: Client, log: LogView, pause_limit_s: float) -> None:
        self._client = client
        self._log = log
        self._gate = Gate(pause_limit_s)
        self._shut = asyncio.Event()
        self._shut.set()

    @property
    def admission(self) -> Admission:
        return self._gate.admission

    def notice_pause(self) -> bool:
        """Note that the process runs; True if it had been paused, so that it is shut now."""
        if not self._gate.tick(monotonic_s()):
            return False
        _log.warning("this process was paused", extra={"action": "paused"})
        self._shut.set()
        return True

    def notice_silence(self) -> None:
        """Shut where the services have been silent for too long."""
        if self._gate.cut_off(monotonic_s()):
            _log.warning("the region's services are silent", extra={"action": "cut-off"})
            self._shut.set()

    def heard(self) -> None:
        """The region's services sent a heartbeat."""
        self._gate.heard(monotonic_s())

    def applied(self) -> None:
        """The view has applied more of the log."""
        self._gate.applied(self._log.position)

    async def keep(self, caught_up: Callable[[], None]) -> None:
        """Ask whenever it is shut, for ever; ``caught_up`` hears of every answer that counts."""
        while True:
            await self._shut.wait()
            absence = self._gate.absence
            with contextlib.suppress(NatsError, TimeoutError, InputError):
                reply = await self._client.request("region.catch-up", b"", CATCH_UP_TIMEOUT_S)
                position = protocol.decode(reply.data, protocol.CatchUpReply).position
                self._gate.caught_up(absence, position)
                self.applied()
                if absence == self._gate.absence:
                    self._shut.clear()
                    extra = {"action": "caught-up", "position": position}
                    _log.info("admission", extra=extra)
                    caught_up()
                    continue
            await asyncio.sleep(RETRY_S)
