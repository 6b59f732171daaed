"""Says what the clients of this gateway process subscribe to, and leave.

Noting it costs a client nothing but its place in a list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from isthmus.clock import monotonic_s, now_ms
from isthmus.core import subscription_events
from isthmus.core.limits import Buckets
from isthmus.core.session import Granted
from isthmus.core.view import View
from isthmus.gateway.delivery import Delivery

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

#: Events of one client in a second, and at once: all that it may be subscribed to, and a few more.
PER_S = 5.0
BURST = 100


class Subscribed:
    """What one gateway process has to say."""

    def __init__(
        self,
        hidden_prefix: str,
        view: View,
        delivery: Delivery,
        say: Callable[[str, bytes], None],
    ) -> None:
        #: Of clients that nobody is to hear of.
        self._hidden_prefix = hidden_prefix
        self._view = view
        self._delivery = delivery
        self._say = say
        #: What was done since it was last told: whether a filter was subscribed to, or left.
        self._changes: list[tuple[Connection, str, bool]] = []
        self._each = Buckets(PER_S, BURST)

    def join(self, connection: Connection, topic_filter: str, granted: Granted) -> None:
        """A client has subscribed."""
        self._changes.append((connection, topic_filter, True))
        self._delivery.join(connection, topic_filter, granted)

    def leave(self, connection: Connection, topic_filter: str, granted: Granted) -> None:
        """A client has unsubscribed; what ends with its connection it does not leave."""
        self._changes.append((connection, topic_filter, False))
        self._delivery.leave(connection, topic_filter, granted)

    def tell(self) -> None:
        """Say what was noted."""
        if not self._changes:
            return
        changes, self._changes = self._changes, []
        for connection, change in subscription_events.gathered(changes):
            source = connection.source
            if source is None or source.client.startswith(self._hidden_prefix):
                continue
            thing = self._view.exclusive_thing(source.principal) or ""
            event = subscription_events.event(source, thing, change, now_ms())
            if event is not None and self._each.take(source.client, monotonic_s()):
                self._say(event.topic, event.payload)
