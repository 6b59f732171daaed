"""When a write's promise counts as kept, by what peers report."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import msgspec
import pytest

from isthmus.core.cursor import Cursor
from isthmus.core.written import Name, Written
from isthmus.protocol import Heartbeat, Report
from isthmus.region.promise import Kept, Promises
from isthmus.region.standing import Standing

WRITTEN = Written({("thing", "a"): 5, ("thing", "b"): 7})


async def level() -> None:
    """The view has all that is in the log."""


async def as_written(_: Collection[Name]) -> dict[Name, int]:
    """Nothing was written since."""
    return {("thing", "a"): 5, ("thing", "b"): 7}


def report(incarnation: str, sequence: int) -> Report:
    return Report("us", "theirs", Cursor(incarnation, sequence, "id"), {})


async def test_a_peer_that_has_applied_the_revision_confirms() -> None:
    promises = Promises(lambda: False, level, as_written)
    promises.heard(report("i", 6), 0.0)
    with pytest.raises(TimeoutError):
        await promises.kept("i", WRITTEN, 1, 0.0)
    promises.heard(report("i", 7), 0.0)
    assert await promises.kept("i", WRITTEN, 1, 0.0) == Kept(("us",), 1)


async def test_what_was_overtaken_is_kept_with_what_came_after_it() -> None:
    newest: dict[Name, int] = {("thing", "a"): 9, ("thing", "b"): 7}
    asked: asyncio.Queue[int] = asyncio.Queue()

    async def as_now(names: Collection[Name]) -> dict[Name, int]:
        assert set(names) == set(newest)
        asked.put_nowait(max(newest.values()))
        return dict(newest)

    promises = Promises(lambda: False, level, as_now)
    # The peer is beyond 5, and the log had that no more when it came there.
    promises.heard(report("i", 8), 0.0)
    with pytest.raises(TimeoutError):
        await promises.kept("i", WRITTEN, 1, 0.0)
    waiting = asyncio.create_task(promises.kept("i", WRITTEN, 1, 10.0))
    assert [await asked.get(), await asked.get()] == [9, 9]
    # And it is overtaken again.
    newest["thing", "a"] = 12
    promises.heard(report("i", 9), 0.0)
    assert await asked.get() == 12
    promises.heard(report("i", 12), 0.0)
    assert await waiting == Kept(("us",), 1)
    # Whoever else waits for the same is told of it as it was written.
    assert WRITTEN.newest == 7


async def test_alone_or_without_peers_nobody_asks_what_is_newest() -> None:
    async def never(_: Collection[Name]) -> dict[Name, int]:
        raise AssertionError

    assert (
        await Promises(lambda: True, level, never).kept("i", WRITTEN, 1, 0.0)
    ).confirmed_by == ()
    assert (await Promises(lambda: False, level, never).kept("i", WRITTEN, 0, 0.0)).replicated


async def test_what_another_process_has_overtaken_counts() -> None:
    newest: dict[Name, int] = {("thing", "a"): 5, ("thing", "b"): 7}

    async def come() -> None:
        newest["thing", "a"] = 8

    async def as_known(_: Collection[Name]) -> dict[Name, int]:
        return dict(newest)

    promises = Promises(lambda: False, come, as_known)
    promises.heard(report("i", 7), 0.0)
    with pytest.raises(TimeoutError):
        await promises.kept("i", WRITTEN, 1, 0.0)


async def test_as_many_peers_confirm_as_are_wanted() -> None:
    promises = Promises(lambda: False, level, as_written)
    promises.heard(report("i", 7), 0.0)
    with pytest.raises(TimeoutError):
        await promises.kept("i", WRITTEN, 2, 0.0, 2)
    promises.heard(msgspec.structs.replace(report("i", 7), region="ap"), 0.0)
    assert await promises.kept("i", WRITTEN, 2, 0.0, 2) == Kept(("ap", "us"), 2)


async def test_what_a_peer_has_of_another_incarnation_is_something_else() -> None:
    promises = Promises(lambda: False, level, as_written)
    promises.heard(report("later", 100), 0.0)
    with pytest.raises(TimeoutError):
        await promises.kept("i", WRITTEN, 1, 0.0)


async def test_alone_nobody_confirms_and_the_answer_says_so() -> None:
    kept = await Promises(lambda: True, level, as_written).kept("i", WRITTEN, 1, 0.0)
    assert (kept.confirmed_by, kept.replicated) == ((), False)


async def test_where_there_is_no_other_region_nothing_is_missing() -> None:
    assert (await Promises(lambda: False, level, as_written).kept("i", WRITTEN, 0, 0.0)).replicated


def test_an_older_heartbeat_changes_nothing() -> None:
    standing = Standing()
    assert standing.heard(Heartbeat("i", True, 3))
    assert not standing.heard(Heartbeat("i", True, 3))
    assert not standing.heard(Heartbeat("i", False, 2))
    assert (standing.incarnation, standing.is_alone) == ("i", True)
    # A wiped region begins to count again.
    assert standing.heard(Heartbeat("j", False, 0))
    assert (standing.incarnation, standing.is_alone) == ("j", False)


def test_who_found_nothing_and_wrote_nothing_waits_for_nobody() -> None:
    written = Written()
    # Revision 0: there is no such item, and there was to be none.
    written.note("thing", "a", 0)
    assert not written
    written.note("thing", "a", 3)
    written.note("thing", "a", 2)
    assert (bool(written), written.newest, list(written.names)) == (True, 3, [("thing", "a")])
