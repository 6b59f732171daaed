"""Suspensions over the region's internal API: begun, ended, and listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Annotated, Any

import msgspec
from aiohttp import web

from isthmus.core import suspensions
from isthmus.core.item import Item
from isthmus.core.registry import THING, Writer
from isthmus.core.suspensions import REASON_CHARACTERS_MAX, SUSPENSION, Suspension
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.written import Written
from isthmus.region import bodies
from isthmus.region.writes import Writes

#: Things, and groups, of one request: each is one write of its own, of whatever size a group is.
NAMES_MAX = 1000
#: Entries of one page of the list.
PAGE = 1000

_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9:_-]{1,128}\Z")]
_Names = Annotated[tuple[_Name, ...], msgspec.Meta(max_length=NAMES_MAX)]


class _Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a request is about, and when it is to be answered."""

    things: _Names = ()
    groups: _Names = ()
    #: Wait for every region rather than for one; who has not confirmed in time is named.
    wait_for_all: bool = False

    def targets(self) -> Iterator[tuple[str, str]]:
        yield from ((THING, name) for name in dict.fromkeys(self.things))
        yield from ((THING_GROUP, name) for name in dict.fromkeys(self.groups))


class _Suspend(_Named, frozen=True):
    """What is to be suspended, and why."""

    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARACTERS_MAX)] = ""


class Suspensions:
    """What the API does with suspensions."""

    def __init__(self, writes: Writes) -> None:
        self._writes = writes

    async def suspend(self, request: web.Request) -> dict[str, Any]:
        """Whatever was missed: what takes rights away waits for nobody.

        So names that are not known here are suspended too, and the answer says which they are.
        """
        asked = bodies.read(await request.read(), _Suspend)

        def suspend(target: Item, item: Item, writer: Writer) -> Item:
            return suspensions.suspend(item, writer, target, asked.reason)

        return await self._changed(asked, suspend)

    async def resume(self, request: web.Request) -> dict[str, Any]:
        """End what is known here, of a region that knows what others have suspended meanwhile."""
        asked = bodies.read(await request.read(), _Named)
        await self._writes.be_current()

        def resume(target: Item, item: Item, writer: Writer) -> Item:
            return suspensions.resume(item, writer)

        return await self._changed(asked, resume)

    async def _changed(
        self, asked: _Named, change: Callable[[Item, Item, Writer], Item]
    ) -> dict[str, Any]:
        written = Written()

        async def changed(kind: str, name: str) -> dict[str, Any]:
            def with_target(item: Item, writer: Writer) -> Item:
                return change(self._target(kind, name), item, writer)

            key = suspensions.key(kind, name)
            item = await self._writes.make(written, SUSPENSION, key, with_target)
            is_suspended = suspensions.suspension(item) is not None
            is_known = bool(self._target(kind, name).lives)
            return {_NAMED[kind]: name, "suspended": is_suspended, "known": is_known}

        done = await self._writes.at_once(partial(changed, *each) for each in asked.targets())
        return {"of": done, **await self._writes.kept_by_all(written, asked.wait_for_all)}

    def _target(self, kind: str, name: str) -> Item:
        return self._writes.view.get(kind, name) or Item(kind, name)

    async def list(self, request: web.Request) -> dict[str, Any]:
        """Those that hold, a page at a time: the next one begins behind ``next``."""
        behind = request.query.get("after")
        keys = list(
            islice(self._writes.view.catalogue.after(suspensions.LISTED, name=behind), PAGE)
        )
        items = (self._writes.view.get(SUSPENSION, key) for key in keys)
        held = (suspensions.suspension(item) for item in items if item)
        return {
            "suspensions": [_shown(each) for each in held if each],
            "next": keys[-1] if len(keys) == PAGE else None,
        }


_NAMED = {THING: "thing", THING_GROUP: "group"}


def _shown(held: Suspension) -> dict[str, Any]:
    named = {_NAMED.get(held.kind, held.kind): held.name}
    return {**named, "reasons": held.reasons, "since_ms": held.since_ms}
