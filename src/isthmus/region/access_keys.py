"""Access keys over the region's internal API: made, listed, and taken away."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from isthmus.adapters.sealing import Sealing
from isthmus.config import RegionConfig
from isthmus.core import access_keys
from isthmus.core.access_keys import ACCESS_KEY, AccessKeyStatus, Role
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.written import Written
from isthmus.errors import InputError
from isthmus.region import bodies
from isthmus.region.writes import Writes

#: As long as AWS's are: 20 characters, and 40.
ID_BYTES = 10
SECRET_BYTES = 30


class NewAccessKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for."""

    role: Role


class AccessKeys:
    """What the API does with access keys."""

    def __init__(self, config: RegionConfig, writes: Writes) -> None:
        self._sealing = Sealing.load(Path(config.secrets_key)) if config.secrets_key else None
        self._writes = writes

    async def create(self, request: web.Request) -> dict[str, Any]:
        """The only answer that a secret is in."""
        roles = f"role: {', '.join(Role)}"
        role = bodies.read(await request.read(), NewAccessKey, hint=roles).role
        if self._sealing is None:
            hint = "set secrets_key, the same in every region"
            raise InputError("this region has no key to seal secrets with", hint=hint)
        await self._writes.be_current()
        key_id = f"AKIA{base64.b32encode(secrets.token_bytes(ID_BYTES)).decode()}"
        secret = base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        sealed = self._sealing.seal(secret, access_keys.sealed_for(key_id, role))
        create = partial(_created, role=role, sealed=sealed)
        written = Written()
        item = await self._writes.make(written, ACCESS_KEY, key_id, create)
        return {**_shown(item), "secret": secret, **await self._writes.kept(written)}

    async def list(self, request: web.Request) -> dict[str, Any]:
        """All that were not deleted, without secrets."""
        there = [item for item in self._writes.view.of_kind(ACCESS_KEY) if access_keys.status(item)]
        return {"access_keys": [_shown(item) for item in there]}

    async def activate(self, request: web.Request) -> dict[str, Any]:
        await self._writes.be_current()
        return await self._changed(request, access_keys.activate, AccessKeyStatus.ACTIVE)

    # What takes rights away is right whatever was missed, so it waits for nobody.

    async def deactivate(self, request: web.Request) -> dict[str, Any]:
        return await self._changed(request, access_keys.deactivate, AccessKeyStatus.INACTIVE)

    async def delete(self, request: web.Request) -> dict[str, Any]:
        return await self._changed(request, access_keys.delete, None)

    async def _changed(
        self,
        request: web.Request,
        change: Callable[[Item, Writer], Item],
        wanted: AccessKeyStatus | None,
    ) -> dict[str, Any]:
        key_id = request.match_info["id"]
        item = self._writes.view.get(ACCESS_KEY, key_id)
        if item is None or (wanted and access_keys.status(item) is None):
            raise InputError(f"there is no access key {key_id[:80]!r}")

        def changed(item: Item, writer: Writer) -> Item:
            # Where it is as it should be, writing again is free.
            return item if access_keys.status(item) is wanted else change(item, writer)

        written = Written()
        item = await self._writes.make(written, ACCESS_KEY, key_id, changed)
        return {**_shown(item), **await self._writes.kept(written)}


def _created(item: Item, writer: Writer, role: Role, sealed: str) -> Item:
    # Another attempt of the same write finds what it wrote.
    return item if item.lives else access_keys.create(item, writer, role, sealed)


def _shown(item: Item) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": item.key, "status": access_keys.status(item)}
    grant = access_keys.grant(item)
    return {**shown, "role": grant.role, "created_ms": grant.created_ms} if grant else shown
