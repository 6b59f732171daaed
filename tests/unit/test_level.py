"""A view is level with its log: what was there before somebody asked is never missing."""

from __future__ import annotations

import asyncio

import pytest

from isthmus.core.log_view import LogView
from isthmus.errors import Unavailable
from isthmus.region import level as level_module
from isthmus.region.level import Level


class Region:
    """A log that only counts, and its view, which is told by hand."""

    def __init__(self) -> None:
        self.head = 0
        self.asked: list[asyncio.Future[int]] = []
        self.view = LogView()
        self.level = Level(self.view, self._ask)

    async def _ask(self) -> int:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def reader(self) -> asyncio.Task[None]:
        """Somebody who asks; he waits already."""
        reading = asyncio.create_task(self.level.reached())
        await settled()
        return reading

    async def answer(self, head: int) -> None:
        """The log answers its newest question."""
        self.asked[-1].set_result(head)
        await settled()

    async def applied(self, position: int) -> None:
        self.view.view.table.position = position
        self.level.applied()
        await settled()


async def settled() -> None:
    """Let everybody run who can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_waits_for_the_head_that_was_there() -> None:
    region = Region()
    reading = await region.reader()
    await region.answer(2)
    for position in (1, 2):
        assert not reading.done()
        await region.applied(position)
    await reading


async def test_a_view_that_is_ahead_of_the_answer_waits_for_nothing() -> None:
    region = Region()
    reading = await region.reader()
    await region.applied(7)
    await region.answer(5)
    await reading


async def test_who_comes_while_one_asks_shares_the_next_question() -> None:
    region = Region()
    first = await region.reader()
    others = [await region.reader() for _ in range(10)]
    assert len(region.asked) == 1
    # What was written since the first question is missing in its answer.
    await region.answer(0)
    await first
    assert len(region.asked) == 2
    assert not any(each.done() for each in others)
    await region.answer(1)
    assert not any(each.done() for each in others)
    await region.applied(1)
    await asyncio.gather(*others)
    assert len(region.asked) == 2


async def test_who_leaves_takes_nobodys_answer_with_him() -> None:
    region = Region()
    leaving, staying = await region.reader(), await region.reader()
    later = await region.reader()
    leaving.cancel()
    staying.cancel()
    await settled()
    await region.answer(0)
    await region.answer(0)
    await later


async def test_a_question_that_fails_is_not_the_next_ones() -> None:
    region = Region()
    first, second = await region.reader(), await region.reader()
    region.asked[-1].set_exception(Unavailable("no answer"))
    with pytest.raises(Unavailable, match="no answer"):
        await first
    await settled()
    await region.answer(0)
    await second


async def test_a_log_that_ends_before_the_view_was_restored() -> None:
    region = Region()
    await region.applied(7)
    reading = await region.reader()
    await region.answer(6)
    with pytest.raises(Unavailable, match="ends at 6, before 7"):
        await reading


async def test_a_view_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level_module, "TIMEOUT_S", 0.0)
    region = Region()
    with pytest.raises(Unavailable, match="not level"):
        await region.level.reached()
