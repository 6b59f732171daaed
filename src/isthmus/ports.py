"""What services need from the outside world, as Protocols.

Adapters implement these; one contract suite per port runs over every adapter
(tests/contract), so that an in-memory adapter is a real implementation and not a mock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from isthmus.core.item import Item


class Resolver(Protocol):
    """Finds where a name leads now.

    Answers (address, port) pairs, best first. Raises OSError when nobody answered: that is
    never to be taken for a failover.
    """

    async def resolve(self, name: str) -> list[tuple[str, int]]: ...


#: Called with each change of the route of a name, in order of its epochs.
RouteListener = Callable[[str, int, str], Awaitable[None]]


class StoredItem(Protocol):
    """An item as a log has it; revision 0 where it has none."""

    @property
    def item(self) -> Item: ...
    @property
    def revision(self) -> int: ...


class ChangeLog(Protocol):
    """A region's change log.

    ``put`` is durable when it returns and is refused with StaleRevision unless ``revision`` is
    the present one (0: none yet); revisions grow over the whole log. Unavailable means that
    nothing is known of the outcome: read, and write again.
    """

    async def get(self, kind: str, key: str) -> StoredItem: ...
    async def put(self, item: Item, revision: int) -> int: ...
    async def head(self) -> int: ...
