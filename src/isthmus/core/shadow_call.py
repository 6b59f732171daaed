"""One request to a shadow, from its payload to what is told of it.

Whoever carries it out has the change written, of the newest version and again if somebody else
wrote first, and tells everybody once the promise of that is kept. To read needs neither.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from isthmus.core import shadow_topics, shadows
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import UpdateRequest, read_token, read_update
from isthmus.core.shadow_topics import ACCEPTED, DELETE, GET, UPDATE, Messages
from isthmus.core.shadows import Deleted, Updated

M = TypeVar("M", bound=Updated | Deleted, covariant=True)


class Change(Generic[M]):
    """A write of one shadow; ``made`` is what came of it, once it is written."""

    made: M

    def __init__(self, make: Callable[[Item, Writer], M]) -> None:
        self._make: Callable[[Item, Writer], M] = make

    def __call__(self, item: Item, writer: Writer) -> Item:
        """The version that is to be; raises ShadowRefused."""
        self.made = self._make(item, writer)
        return self.made.item


def updating(request: UpdateRequest) -> Change[Updated]:
    """Create a shadow, or merge into it."""
    return Change(partial(shadows.update, request=request))


def deleting(client_token: str | None) -> Change[Deleted]:
    """Delete a shadow."""
    return Change(partial(shadows.delete, client_token=client_token))


class ShadowCall:
    """What a device asks by a message; every step raises ShadowRefused."""

    def __init__(self, topic: str, payload: bytes) -> None:
        asked = shadow_topics.request(topic)
        self.key = asked.key
        #: None where it only reads.
        self.change: Change[Updated | Deleted] | None = None
        self._token: str | None = None
        if asked.what == UPDATE:
            self.change = updating(read_update(payload))
            return
        self._token = read_token(payload)
        if asked.what == DELETE:
            self.change = deleting(self._token)

    def answers(self, item: Item, now_ms: int) -> Messages:
        """What who asked is told of a shadow as it is."""
        got = shadows.get(item, now_ms, self._token)
        return [(shadow_topics.told(self.key, GET, ACCEPTED), got)]

    def events(self) -> Messages:
        """What everybody may hear, once the promise of the change is kept."""
        assert self.change is not None
        made = self.change.made
        if isinstance(made, Updated):
            return shadow_topics.of_update(made)
        return [(shadow_topics.told(self.key, DELETE, ACCEPTED), made.accepted)]
