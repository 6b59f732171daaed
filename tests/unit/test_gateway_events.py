"""What a gateway says for its region is stored until it is there, and only so much of it waits."""

from __future__ import annotations

import asyncio

import pytest

from isthmus.core import presence_events
from isthmus.gateway import events
from isthmus.gateway.events import WAITING_MAX, Event, Events
from isthmus.wire.packets import Publish


class Lane:
    """Where events are put, and what becomes of them, as the test says."""

    def __init__(self) -> None:
        self.put: asyncio.Queue[tuple[Event, Publish, str]] = asyncio.Queue()
        self.events = Events(self._put)

    def _put(self, client: Event, publish: Publish, identity: str) -> None:
        self.put.put_nowait((client, publish, identity))


async def test_an_event_is_the_regions_own_message() -> None:
    lane = Lane()
    lane.events.say("$aws/events/x", b"e")
    client, publish, _ = lane.put.get_nowait()
    assert (client.source.client, client.source.principal) == (presence_events.CLIENT, "")
    assert publish == Publish("$aws/events/x", b"e", 1)


async def test_what_was_not_stored_is_stored_again_as_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "AGAIN_S", 0.0)
    lane = Lane()
    lane.events.say("t", b"e")
    client, publish, identity = lane.put.get_nowait()
    client.fail("the stream is away")
    again = await lane.put.get()
    assert (again[0].source, *again[1:]) == (client.source, publish, identity)
    again[0].kept([])
    assert lane.events.waiting == 0


async def test_only_so_many_wait() -> None:
    lane = Lane()
    for _ in range(WAITING_MAX + 1):
        lane.events.say("t", b"e")
    assert lane.put.qsize() == WAITING_MAX
    client, *_ = lane.put.get_nowait()
    client.kept([])
    lane.events.say("t", b"again")
    assert lane.put.qsize() == WAITING_MAX


async def test_only_so_many_bytes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WAITING_MAX_BYTES", 10)
    lane = Lane()
    for _ in range(3):
        lane.events.say("t", b"x" * 6)
    assert lane.put.qsize() == 2
    client, *_ = lane.put.get_nowait()
    client.kept([])
    lane.events.say("t", b"again")
    assert lane.put.qsize() == 2
