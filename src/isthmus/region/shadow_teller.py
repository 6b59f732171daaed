"""Tells the devices of this region what another region has made of a shadow.

The region in which a shadow is updated tells its own devices (``aws.devices.shadows``); here, by
messages in the bus, those hear of it who are connected where it arrives by the log.

*What has come is told, if this process lives or not.* A cursor is written down when all before it
is told. Whoever starts after a crash merges again what came behind it, and tells that again though
nothing changes by it: without what was before, which nobody knows any more.
"""

from __future__ import annotations

from isthmus.core import shadow_topics, shadows
from isthmus.core.batch import Message
from isthmus.core.cursor import Cursor
from isthmus.core.shadow_topics import Messages
from isthmus.core.shadows import SHADOW
from isthmus.region.items import Merged
from isthmus.region.own_messages import OwnMessages


class ShadowTeller:
    """What is to be told of one peer's log."""

    def __init__(self, region: str, own: OwnMessages) -> None:
        self._region = region
        self._own = own
        self._messages: list[Message] = []
        self._has_begun = False
        #: Up to here nothing is told: to a region that had nothing of its peer, all is new.
        self._silent_until = 0
        #: Behind the first and up to the second, what is known already may not have been told.
        self._again = 0, 0

    async def begin(self, held: Cursor, incarnation: str, head: int) -> None:
        """The log is read, in which we ``held`` a place; it ends at ``head`` now.

        Perhaps from its start, where nothing proves the place. Raises Unavailable as ``tell`` does.
        """
        if held == Cursor():
            self._silent_until = head
        elif held.incarnation == incarnation and not self._has_begun:
            self._again = held.sequence, head
        self._has_begun = True
        await self.tell()

    def merged(self, sequence: int, merged: Merged) -> None:
        """Note what is to be told of an item that has come."""
        if merged.after.kind != SHADOW or sequence <= self._silent_until:
            return
        told: Messages = []
        after, until = self._again
        changed = shadows.changed(merged.before, merged.after)
        if changed is not None:
            told = shadow_topics.of_change(changed)
        elif after < sequence <= until:
            told = shadow_topics.again(merged.after, self._region)
        at_ms = merged.after.modified_ms
        self._messages += (Message(0, topic, payload, 1, False, at_ms) for topic, payload in told)

    async def tell(self) -> None:
        """Return when all that is noted is stored; raises Unavailable where it may not be."""
        if self._messages:
            await self._own.store(self._messages)
            self._messages.clear()
