"""The interpreter's search for cycles, where it must not take long."""

from __future__ import annotations

import gc


def keep_for_good() -> None:
    """Never look for cycles in what is there by now, as a service calls that has read its items.

    A region of 200,000 certificates is millions of objects, and a look at all of them takes a
    second: as long as a pause after which a process may serve nobody.
    """
    gc.collect()
    gc.freeze()
