"""The list of expected devices over the region's internal API: put on it, taken off it, shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Annotated, Any

import msgspec
from aiohttp import web

from isthmus.core import expected_devices
from isthmus.core.expected_devices import EXPECTED_DEVICE, Expected
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.view import View
from isthmus.core.written import Written
from isthmus.region import bodies
from isthmus.region.writes import Writes

#: Devices of one request, and of one page of the list.
DEVICES_MAX = 1000
#: AWS's, for a name or for none.
_Thing = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9:_-]{0,128}\Z")]
_Policy = Annotated[str, msgspec.Meta(pattern=r"^[\w+=,.@-]{0,128}\Z")]


class _Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device, by its certificate or by its CA and its common name."""

    certificate: str = ""
    ca: str = ""
    common_name: str = ""

    @property
    def key(self) -> str:
        return expected_devices.key(self.certificate, self.ca, self.common_name)


class _Expected(_Named, frozen=True):
    """A device, and what it is attached to."""

    thing: _Thing = ""
    policy: _Policy = ""


class _Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    devices: Annotated[tuple[_Expected, ...], msgspec.Meta(max_length=DEVICES_MAX)]


class _Forget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    devices: Annotated[tuple[_Named, ...], msgspec.Meta(max_length=DEVICES_MAX)]


class ExpectedDevices:
    """What the API does with the list."""

    def __init__(self, writes: Writes) -> None:
        self._writes = writes

    async def expect(self, request: web.Request) -> dict[str, Any]:
        """Put devices on the list; all of them are checked before one is written."""
        asked = bodies.read(await request.read(), _Expect).devices
        changes = {
            each.key: partial(_expect, expected=Expected(each.thing, each.policy)) for each in asked
        }
        await self._writes.be_current()
        return await self._changed(changes)

    async def forget(self, request: web.Request) -> dict[str, Any]:
        """Take devices off the list: right whatever was missed, so it waits for nobody."""
        asked = bodies.read(await request.read(), _Forget).devices
        return await self._changed({each.key: expected_devices.forget for each in asked})

    async def _changed(
        self, changes: Mapping[str, Callable[[Item, Writer], Item]]
    ) -> dict[str, Any]:
        written = Written()
        await self._writes.at_once(
            partial(self._writes.make, written, EXPECTED_DEVICE, *each) for each in changes.items()
        )
        return {"devices": len(changes), **await self._writes.kept(written)}

    async def list(self, request: web.Request) -> dict[str, Any]:
        """Those on the list, a page at a time: the next one begins behind ``next``."""
        behind = request.query.get("after")
        keys = list(
            islice(self._writes.view.catalogue.after(EXPECTED_DEVICE, name=behind), DEVICES_MAX)
        )
        return {
            "devices": [_shown(self._writes.view, key) for key in keys],
            "next": keys[-1] if len(keys) == DEVICES_MAX else None,
        }


def _expect(item: Item, writer: Writer, expected: Expected) -> Item:
    return expected_devices.expect(item, writer, expected)


def _shown(view: View, key: str) -> dict[str, Any]:
    found = expected_devices.expected(view.get(EXPECTED_DEVICE, key) or Item(EXPECTED_DEVICE, key))
    first, is_named, common_name = key.partition(":")
    by = {"ca": first, "common_name": common_name} if is_named else {"certificate": first}
    return {**by, **(found._asdict() if found else {})}
