"""What the operators' API writes, and the promise of that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from isthmus.clock import now_ms
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.core.view import View
from isthmus.core.written import Written
from isthmus.errors import Unavailable

if TYPE_CHECKING:
    from isthmus.region.services import Services

T = TypeVar("T")

#: Of one request; each waits for a disk.
AT_ONCE = 64


class Writes:
    """Those of one region."""

    def __init__(self, services: Services, clock: StampClock) -> None:
        self._services = services
        self._clock = clock

    @property
    def view(self) -> View:
        return self._services.store.view

    async def be_current(self) -> None:
        """Return when nothing of the peers is missed; raises Unavailable."""
        await self._services.be_current()

    async def make(
        self, written: Written, kind: str, key: str, change: Callable[[Item, Writer], Item]
    ) -> Item:
        """Make one change of one item, and note it as written; returns it."""
        writer, store = Writer(self._clock, now_ms()), self._services.store
        item, revision = await store.update(kind, key, lambda item: change(item, writer))
        written.note(kind, key, revision)
        return item

    async def at_once(self, writes: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
        """Make many, so many at a time; returns what each gives, in their order."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(write: Callable[[], Awaitable[T]]) -> T:
            async with limit:
                return await write()

        return await asyncio.gather(*map(one, writes))

    async def kept(self, written: Written) -> dict[str, Any]:
        """Wait until the promise of it is kept; returns what the answer says of that."""
        try:
            return await self._kept(written, wanted=1)
        except TimeoutError:
            raise Unavailable(
                "stored in this region, but no second region confirmed in time",
                hint="send the request again: it changes nothing that is already as you want it",
            ) from None

    async def kept_by_all(self, written: Written, is_waiting: bool) -> dict[str, Any]:
        """As ``kept``, and where that is waited for by every peer that confirms in time."""
        answer, peers = await self.kept(written), set(self._services.links)
        with contextlib.suppress(TimeoutError):
            if is_waiting:
                all_of_them = await self._kept(written, wanted=len(peers))
                answer["confirmed_by"] = all_of_them["confirmed_by"]
        return {**answer, "not_confirmed_by": sorted(peers - set(answer["confirmed_by"]))}

    async def _kept(self, written: Written, wanted: int) -> dict[str, Any]:
        services = self._services
        kept = await services.promises.kept(
            self._clock.incarnation,
            written,
            len(services.links),
            services.config.promise_timeout_s,
            wanted,
        )
        return {"replicated": kept.replicated, "confirmed_by": kept.confirmed_by}
