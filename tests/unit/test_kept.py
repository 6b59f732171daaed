"""When a write's promise counts as kept, by what peers report."""

from __future__ import annotations

import msgspec
import pytest

from isthmus.core.cursor import Cursor
from isthmus.protocol import Heartbeat, Report
from isthmus.region.promise import Kept, Promises
from isthmus.region.standing import Standing


def report(incarnation: str, sequence: int) -> Report:
    return Report("us", "theirs", Cursor(incarnation, sequence, "id"), {})


async def test_a_peer_that_has_applied_the_revision_confirms() -> None:
    promises = Promises(lambda: False)
    promises.heard(report("i", 6), 0.0)
    with pytest.raises(TimeoutError):
        await promises.kept("i", 7, 1, 0.0)
    promises.heard(report("i", 7), 0.0)
    assert await promises.kept("i", 7, 1, 0.0) == Kept(("us",), 1)


async def test_as_many_peers_confirm_as_are_wanted() -> None:
    promises = Promises(lambda: False)
    promises.heard(report("i", 7), 0.0)
    with pytest.raises(TimeoutError):
        await promises.kept("i", 7, 2, 0.0, 2)
    promises.heard(msgspec.structs.replace(report("i", 7), region="ap"), 0.0)
    assert await promises.kept("i", 7, 2, 0.0, 2) == Kept(("ap", "us"), 2)


async def test_what_a_peer_has_of_another_incarnation_is_something_else() -> None:
    promises = Promises(lambda: False)
    promises.heard(report("later", 100), 0.0)
    with pytest.raises(TimeoutError):
        await promises.kept("i", 7, 1, 0.0)


async def test_alone_nobody_confirms_and_the_answer_says_so() -> None:
    kept = await Promises(lambda: True).kept("i", 7, 1, 0.0)
    assert (kept.confirmed_by, kept.replicated) == ((), False)


async def test_where_there_is_no_other_region_nothing_is_missing() -> None:
    assert (await Promises(lambda: False).kept("i", 7, 0, 0.0)).replicated


def test_an_older_heartbeat_changes_nothing() -> None:
    standing = Standing()
    assert standing.heard(Heartbeat("i", True, 3))
    assert not standing.heard(Heartbeat("i", True, 3))
    assert not standing.heard(Heartbeat("i", False, 2))
    assert (standing.incarnation, standing.is_alone) == ("i", True)
    # A wiped region begins to count again.
    assert standing.heard(Heartbeat("j", False, 0))
    assert (standing.incarnation, standing.is_alone) == ("j", False)
