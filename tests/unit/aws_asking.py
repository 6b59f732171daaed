"""Asking a region's API, and what tests want to know of it."""

from __future__ import annotations

import asyncio

import pytest
from botocore.exceptions import ClientError

from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock


def refusal(operation, **parameters):
    """Name and message of the error that a call ends with."""
    with pytest.raises(ClientError) as refused:
        operation(**parameters)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def writes(region):
    return asyncio.run(region.store.log.head())


def exchange(one, other):
    """Each takes all that the other has."""
    for here, there in ((one, other), (other, one)):
        for at in list(there.store.view.digests()):
            item = there.store.get(*at.split("/", 1))
            asyncio.run(here.store.merge(item))


def overtake(region, kind, key, change):
    """Have somebody else be first with the next write of a kind."""
    log = region.store.log
    put = log.put

    async def instead(item, revision):
        if item.kind == kind:
            log.put = put
            stored = await log.get(kind, key)
            writer = Writer(StampClock(region.naming.region, "other"), region.now_ms)
            await put(change(stored.item, writer), stored.revision)
        return await put(item, revision)

    log.put = instead
