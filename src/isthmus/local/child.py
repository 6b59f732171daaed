"""One process that we start: ready, frozen, killed, restarted; never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from isthmus.errors import Unavailable
from isthmus.process import READY_LINE

#: A region that finds no peer waits 30 s for one before it serves what its disk has.
READY_TIMEOUT_S = 60.0
#: nats-server may take its time to leave; then it is killed, which its streams are made for.
STOP_TIMEOUT_S = 5.0
RESTART_S = 0.5
LOG_TAIL_BYTES = 2_000
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> Callable[[], None] | None:
    """Linux: have the kernel kill the child when this process dies, however it dies."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A process by name; an unexpected end is noticed and told."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log_file: Path,
        *,
        probe: tuple[str, int] | None = None,
        on_end: Callable[[Child, int], None] | None = None,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._log_file = log_file
        #: Ready when this address accepts a connection; without it, when the process says so.
        self._probe = probe
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._wanted = False

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process and process.returncode is None else None

    async def start(self) -> None:
        """Start it and wait until it is ready; raises Unavailable with the end of its log."""
        self._wanted = True
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                # The leash: a child of ours that reads from it ends when we do.
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if self._probe is None else log,
                stderr=log,
                # Ctrl-C goes to us alone, and we decide who stops when.
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        self._watch = asyncio.create_task(self._until_end(self._process))
        ready = asyncio.create_task(self._until_ready(self._process))
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await asyncio.wait({ready, self._watch}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise Unavailable(f"{self.name} ended before it was ready{self.log_tail()}")
            await ready
        except TimeoutError:
            raise Unavailable(f"{self.name} is not ready{self.log_tail()}") from None
        finally:
            ready.cancel()

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        if self._probe is None:
            assert process.stdout is not None
            while (line := await process.stdout.readline()).strip() != READY_LINE.encode():
                if not line:
                    raise Unavailable(f"{self.name} ended before it was ready{self.log_tail()}")
            return
        while True:
            try:
                _, writer = await asyncio.open_connection(*self._probe)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return

    async def _until_end(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if self._wanted and self._on_end:
            self._on_end(self, code)

    def log_tail(self) -> str:
        """The end of its log, for an error message."""
        with contextlib.suppress(OSError), self._log_file.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace").strip()
            return f"; the end of {self._log_file}:\n{text}" if text else ""
        return ""

    def signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                assert self._process is not None
                self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, on purpose: nobody restarts it."""
        self._wanted = False
        self.signal(signal.SIGKILL)

    async def ended(self) -> None:
        """Wait until it is gone."""
        if self._watch:
            await asyncio.shield(self._watch)

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """SIGTERM, and SIGKILL for who does not leave in time; True if it ran."""
        ran = self.pid is not None
        self._wanted = False
        # A frozen process hears nothing but this.
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await self.ended()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended()
        return ran
