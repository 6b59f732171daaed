"""TLS contexts that follow their files, and the days: who replaces files drops nobody.

A context is never changed, only replaced, so a connection keeps the one it began with. Files that
cannot be used leave everything as it was, and are named in the log.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Generic, TypeVar

from isthmus.clock import monotonic_s
from isthmus.config import TlsFiles
from isthmus.errors import ConfigError

#: A context is made anew at least so often, for the key of its tickets: whoever steals that reads
#: no more than a day of TLS 1.2, and whoever comes back by tickets proves his own key once a day.
CONTEXT_LIFETIME_S = 24 * 3600

_log = logging.getLogger(__name__)

#: What changes when a file is written or replaced; None where there is none.
_State = tuple[tuple[int, int, int] | None, ...]


T = TypeVar("T")


class Renewed(Generic[T]):
    """What is made of TLS files: contexts for new connections."""

    def __init__(self, files: TlsFiles, make: Callable[[TlsFiles], T]) -> None:
        self._files = files
        self._make = make
        self._seen = self._tried = _state(files)
        self._tried_s = monotonic_s()
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


def _state(files: TlsFiles) -> _State:
    return tuple(_state_of(file) for file in (files.certificate, files.key))


def _state_of(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
