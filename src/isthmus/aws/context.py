"""What a handler acts on: the items of the region that was asked, and by what names it goes.

A write is a change of one item, made of its newest version and again if somebody else wrote first,
so whatever must hold of it is checked in the change and nowhere else. The answer leaves when the
promise of all of a request's writes is kept; a handler need not wait for that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from itertools import groupby
from typing import Protocol

from isthmus.aws.buckets import Buckets
from isthmus.aws.hooks import Hooks
from isthmus.aws.ownership import Sealing
from isthmus.aws.requests import Call
from isthmus.aws.service_error import invalid
from isthmus.aws.x509 import X509
from isthmus.core.arns import Naming
from isthmus.core.catalogue import Catalogue
from isthmus.core.item import Item
from isthmus.core.limits import TokenBucket
from isthmus.core.presence import Word
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.core.view import View
from isthmus.core.written import Written
from isthmus.errors import InputError
from isthmus.wire.packets import Publish

#: From the newest version and a writer to the version that is to be; the same one changes nothing.
Change = Callable[[Item, Writer], Item]
#: Waits for its turn among those that gave the same names.
Turn = Callable[..., AbstractAsyncContextManager[None]]


class Items(Protocol):
    """The items of a region, as ``region.items.ItemStore`` keeps them."""

    @property
    def catalogue(self) -> Catalogue: ...

    @property
    def view(self) -> View: ...

    def get(self, kind: str, key: str) -> Item:
        """The newest version that is known here, or an empty item."""
        ...

    def read(self, kind: str, key: str) -> Awaitable[Item]:
        """The same, of a kind too whose items are not held."""
        ...

    def update(
        self, kind: str, key: str, change: Callable[[Item], Item | None]
    ) -> Awaitable[tuple[Item, int]]: ...


class Connectivity(Protocol):
    """Who is connected, as the region's services know; raises Unavailable where they do not say."""

    async def known(self, clients: Sequence[str]) -> list[Word]:
        """The newest word of each of these clients of whom anything is known."""
        ...

    async def connected(self, behind: str) -> list[Word]:
        """The words of the next who are connected, in order; none where there is nobody more."""
        ...

    async def subscriptions(self, word: Word) -> dict[str, int]:
        """The filters of a connection, and at which QoS, as its gateway knows; in any region."""
        ...


class Messages(Protocol):
    """The gateways of this region, which take in what is published by no connection."""

    async def publish(self, message: Publish, principal: str) -> None:
        """Return when the promise of a checked message is kept; raises Unavailable."""
        ...


@dataclass(slots=True)
class Context:
    """One request."""

    call: Call
    items: Items
    naming: Naming
    clock: StampClock
    now_ms: int
    x509: X509
    #: For limits on what is counted over several items: no other request of this process writes
    #: between the look and the write. Those of other processes and regions may, and pass a limit.
    turn: Turn
    connectivity: Connectivity
    messages: Messages
    #: Lets other requests go on: for whoever looks at more than one page of a list.
    give_way: Callable[[], Awaitable[None]]
    buckets: Buckets
    sealing: Sealing
    hooks: Hooks
    #: Of the certificates that devices ask this process for.
    creations: TokenBucket
    #: Whether the caller may carry out an operation, be it another one than this.
    may: Callable[[str], bool]
    #: The access key that signed.
    caller: str = ""
    #: What this request wrote, or found as it wanted it.
    written: Written = field(default_factory=Written)
    #: Topics and payloads: what everybody may hear of it once its promise is kept.
    events: list[tuple[str, bytes]] = field(default_factory=list)

    def get(self, kind: str, key: str) -> Item:
        """The newest version that is known here, or an empty item."""
        return self.items.get(kind, key)

    async def read(self, kind: str, key: str) -> Item:
        """The same, of a kind too of which there are so many that none is held here."""
        return await self.items.read(kind, key)

    def listed(self, *path: str, after: str | None, descending: bool = False) -> Iterator[str]:
        """What the catalogue has under a path, behind a name."""
        return self.items.catalogue.after(*path, name=after, descending=descending)

    def beginning(self, *path: str, prefix: str, after: str | None) -> Iterator[str]:
        """What the catalogue has under a path that begins so, behind a name."""
        return self.items.catalogue.beginning(*path, prefix=prefix, name=after)

    def of_lives(
        self, head: str, item: Item, *, after: str | None, prefix: str = ""
    ) -> Iterator[str]:
        """What is listed under an item by ``core.lives``, behind a name, each once."""
        lives = (
            self.beginning(head, item.key, life, prefix=prefix, after=after)
            for life in sorted(item.lives)
        )
        return (name for name, _ in groupby(merge(*lives)))

    async def write(self, kind: str, key: str, change: Change) -> Item:
        """Change an item; what the change raises is raised, and nothing is written then.

        Input that the core refuses is refused as this operation refuses input.
        """
        writer = Writer(self.clock, self.now_ms)
        try:
            item, revision = await self.items.update(kind, key, partial(_changed, change, writer))
        except InputError as error:
            raise invalid(self.call.operation, str(error)) from None
        self.written.note(kind, key, revision)
        return item


def _changed(change: Change, writer: Writer, item: Item) -> Item | None:
    wanted = change(item, writer)
    return None if wanted is item else wanted
