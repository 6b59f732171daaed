"""TLS contexts that follow their files, and the days: who replaces files drops nobody.

A context is never changed, only replaced, so a connection keeps the one it began with. Files that
cannot be used leave everything as it was, and are named in the log.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from isthmus.config import ServerFiles, TlsFiles
from isthmus.errors import ConfigError

#: A context is made anew at least so often, for the key of its tickets: whoever steals that reads
#: no more than a day of TLS 1.2, and whoever comes back by tickets proves his own key once a day.
CONTEXT_LIFETIME_S = 24 * 3600

_log = logging.getLogger(__name__)

#: What changes when a file is written or replaced; None where there is none.
_State = tuple[tuple[int, int, int] | None, ...]


F = TypeVar("F", bound=TlsFiles | ServerFiles)
T = TypeVar("T")


class Renewed(Generic[F, T]):
    """What is made of TLS files: contexts for new connections."""

    def __init__(self, files: F, make: Callable[[F], T], now_s: float) -> None:
        """Raises what ``make`` raises: a ConfigError that names the file, where one is broken."""
        self._files = files
        self._make = make
        self._seen = self._tried = _state(files)
        self._tried_s = now_s
        self.current = make(files)

    def look(self, now_s: float) -> None:
        """Take over files that have changed; called every second or so."""
        found = _state(self._files)
        if found != self._seen:
            # Perhaps only one of the two is there yet, or half of it: wait until they rest.
            self._seen = found
        elif found != self._tried or now_s - self._tried_s > CONTEXT_LIFETIME_S:
            self._tried, self._tried_s = found, now_s
            self._renew()

    def _renew(self) -> None:
        try:
            self.current = self._make(self._files)
        except ConfigError as error:
            extra = {"action": "tls-files", "reason": error.args[0]}
            _log.error("the TLS files cannot be used; what was loaded before stays", extra=extra)
        else:
            extra = {"action": "tls-files", "certificate": self._files.certificate}
            _log.info("new connections get the TLS files as they are now", extra=extra)


class RenewedContext(ssl.SSLContext):
    """For servers that are given one context for good: each connection gets the newest.

    asyncio and uvloop ask it for nothing but the TLS of a connection that was accepted.
    """

    _renewed: Renewed[ServerFiles, ssl.SSLContext]

    def __new__(cls, renewed: Renewed[ServerFiles, ssl.SSLContext]) -> Self:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made._renewed = renewed
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        newest = self._renewed.current
        return newest.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def _state(files: TlsFiles | ServerFiles) -> _State:
    return tuple(_state_of(file) for file in (files.certificate, files.key))


def _state_of(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
