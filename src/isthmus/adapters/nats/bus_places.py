"""Finds in this region's bus streams the places that another region told of.

Copies of a stream hold the same batches in the same order under sequences of their own. A place
names a batch by its id, so its sequence is only where to look first.
"""

from __future__ import annotations

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from isthmus.adapters.nats import streams
from isthmus.adapters.nats.entries import Entry, entry_at, looked_up
from isthmus.core.place import ALL, Place


async def locate(client: Client, origin: str, place: Place) -> Place:
    """A place as this region's copy has it; raises NatsError and TimeoutError.

    Where this region lacks the batch, it has nothing that comes after it either, but for batches of
    other writers: those are given once more.
    """
    found = await _nearest(client, origin, place) if place.sequence else None
    if found is None:
        return Place()
    return Place(found.sequence, found.id, place.given if found.id == place.id else ALL)


async def fetch(client: Client, origin: str, place: Place) -> Entry | None:
    """The batch at a place, or None where this region does not have it."""
    found = await _nearest(client, origin, place)
    return found if found is not None and found.id == place.id else None


async def _nearest(client: Client, origin: str, place: Place) -> Entry | None:
    """The batch of a place, or the last one before it of the same writer."""
    stream = streams.bus(origin)
    first = await entry_at(client, stream, place.sequence)
    if first is not None and first.id == place.id:
        return first
    writer, _, wanted = place.id.rpartition(":")
    subject = streams.bus_subject(origin, writer)
    if not writer or not wanted.isdecimal():
        return None
    try:
        last = looked_up(await client.jetstream().get_last_msg(stream, subject, direct=True))
    except NotFoundError:
        return None
    # A writer's batches are numbered in the order of their sequences.
    best, low, high = None, 1, last.sequence
    while low <= high:
        middle = (low + high) // 2
        entry = await entry_at(client, stream, middle, subject)
        if entry is None or _number(entry) > int(wanted):
            high = middle - 1
        else:
            best, low = entry, entry.sequence + 1
    return best


def _number(entry: Entry) -> int:
    number = entry.id.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0
