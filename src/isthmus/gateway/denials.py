"""Says of a CONNECT that policies deny that it was denied, as an event that clients may hear.

Who is denied mostly comes again at once, and under any name that it likes. So one client has few
events and a process has not many, whoever they are about: what is above that is not said.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from isthmus.clock import monotonic_s, now_ms
from isthmus.core import presence_events
from isthmus.core.limits import Buckets, TokenBucket
from isthmus.core.presence_events import Denied
from isthmus.core.view import View

#: Events of one client: so many at once, and then one in so many seconds.
CLIENT_BURST = 3
CLIENT_EVERY_S = 10.0
#: Events of a process in a second, and at once.
PER_S = 10.0
BURST = 50


class Denials:
    """Those of one gateway process."""

    def __init__(self, view: View, say: Callable[[str, bytes], None], hidden_prefix: str) -> None:
        self._view = view
        self._say = say
        #: Of clients that nobody is to hear of.
        self._hidden_prefix = hidden_prefix
        self._all = TokenBucket(PER_S, BURST)
        self._each = Buckets(1 / CLIENT_EVERY_S, CLIENT_BURST)

    def denied(self, client_id: str, principal: str, address: str) -> None:
        """A client may not connect, or not with its will."""
        now_s = monotonic_s()
        if client_id.startswith(self._hidden_prefix) or self._all.level(now_s) < 1:
            return
        thing = self._view.exclusive_thing(principal) or ""
        found = Denied(client_id, principal, address, now_ms(), secrets.token_hex(8), thing)
        event = presence_events.connect_failed(found)
        if event is not None and self._each.take(client_id, now_s) and self._all.take(now_s):
            self._say(*event)
