"""The wall clock, anchored on monotonic time: it never runs backwards while the process lives."""

from __future__ import annotations

import time
from collections.abc import Callable

_anchor_ms = time.time() * 1000 - time.monotonic() * 1000


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(_anchor_ms + time.monotonic() * 1000)


#: Seconds of a clock that never jumps.
monotonic_s: Callable[[], float] = time.monotonic
