"""What every change log does, the one in memory like the one on a real nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.adapters.memory import MemoryChangeLog
from isthmus.adapters.nats import streams
from isthmus.adapters.nats.change_log import TOGETHER_MAX, TOGETHER_MIN, NatsChangeLog
from isthmus.core import registry
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.errors import StaleRevision
from isthmus.ports import ChangeLog
from real_nats import real_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = StampClock("eu", "0001")

KEYS = [
    "plain",
    "with.dots.",
    ".",
    "with spaces ",
    "*",
    ">",
    "a.>",
    "100%",
    "a%2Eb",
    "a.b",
    "grüße 你好 🌍",
    "tab\tand\nline",
    "policy:fleet:" + "0" * 64,
    "/:=+@,~!$&;()#?[]{}|\\^`\"'<",
    "x" * 128,
    "é" * 128,
    "🌍" * 128,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "nats"])
async def log(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ChangeLog]:
    if request.param == "memory":
        yield MemoryChangeLog()
        return
    async with (
        real_nats(tmp_path_factory.mktemp("nats")) as server,
        server.user("services") as client,
    ):
        yield NatsChangeLog(client)


def thing(key: str, **attributes: str) -> Item:
    return registry.put_thing(Item("thing", key), Writer(CLOCK, 1_000), attributes)


async def test_what_is_not_there_is_an_empty_item_at_revision_0(log: ChangeLog) -> None:
    found = await log.get("thing", "never written")

    assert found.item == Item("thing", "never written")
    assert found.revision == 0


async def test_what_was_written_is_read_back(log: ChangeLog) -> None:
    item = thing("read back", vin="1")

    revision = await log.put(item, 0)
    found = await log.get("thing", "read back")

    assert found.item.encode() == item.encode()
    assert found.revision == revision > 0


async def test_a_write_needs_the_present_revision(log: ChangeLog) -> None:
    first = await log.put(thing("guarded", vin="1"), 0)
    second = await log.put(thing("guarded", vin="2"), first)

    for stale in (0, first, second + 1):
        with pytest.raises(StaleRevision):
            await log.put(thing("guarded", vin="3"), stale)

    found = await log.get("thing", "guarded")
    assert found.revision == second
    assert registry.attributes(found.item) == {"vin": "2"}


async def test_what_does_not_exist_is_not_replaced(log: ChangeLog) -> None:
    with pytest.raises(StaleRevision):
        await log.put(thing("not there"), 1)

    assert (await log.get("thing", "not there")).revision == 0


async def test_of_writers_at_once_exactly_one_wins(log: ChangeLog) -> None:
    wanted = [thing("contested", vin=str(number)) for number in range(8)]

    found = await asyncio.gather(*(log.put(each, 0) for each in wanted), return_exceptions=True)

    won = [each for each in found if isinstance(each, int)]
    assert len(won) == 1
    assert {type(each) for each in found} == {int, StaleRevision}
    stored = await log.get("thing", "contested")
    assert stored.revision == won[0]
    assert stored.item.encode() == wanted[found.index(won[0])].encode()


async def test_revisions_grow_over_the_whole_log_and_the_head_is_the_newest(
    log: ChangeLog,
) -> None:
    revisions = [await log.head()]
    for number in range(3):
        revisions.append(await log.put(thing(f"growing-{number}"), 0))
        assert await log.head() == revisions[-1]
    revisions.append(await log.put(thing("growing-0", vin="2"), revisions[1]))
    with pytest.raises(StaleRevision):
        await log.put(thing("growing-0"), 0)

    assert revisions == sorted(set(revisions))
    assert await log.head() == revisions[-1]


#: More than go to the disk together, and so many that some do.
MANY = 2 * TOGETHER_MAX + 3


async def test_of_many_writes_at_once_each_has_its_own_revision(log: ChangeLog) -> None:
    before = await log.head()
    wanted = [thing(f"at-once-{number}", n=str(number)) for number in range(MANY)]

    revisions = await asyncio.gather(*(log.put(each, 0) for each in wanted))

    assert len(set(revisions)) == MANY
    assert min(revisions) > before
    assert await log.head() == max(revisions)
    for each, revision in zip(wanted, revisions, strict=True):
        stored = await log.get(each.kind, each.key)
        assert (stored.item.encode(), stored.revision) == (each.encode(), revision)


async def test_a_stale_write_takes_none_with_it_that_comes_together_with_it(log: ChangeLog) -> None:
    present = [await log.put(thing(f"together-{number}"), 0) for number in range(TOGETHER_MIN)]
    stale = {2, TOGETHER_MIN - 1}
    seen = [0 if number in stale else each for number, each in enumerate(present)]
    wanted = [thing(f"together-{number}", n=str(number)) for number in range(TOGETHER_MIN)]

    found = await asyncio.gather(*map(log.put, wanted, seen), return_exceptions=True)

    assert {number for number, each in enumerate(found) if isinstance(each, StaleRevision)} == stale
    for number, each in enumerate(found):
        stored = await log.get("thing", f"together-{number}")
        assert stored.revision == (present[number] if number in stale else each)


async def test_of_writes_of_one_item_among_many_one_wins(log: ChangeLog) -> None:
    wanted = [thing("one of many", n=str(number)) for number in range(3)]
    others = [thing(f"many-{number}") for number in range(TOGETHER_MIN)]

    found = await asyncio.gather(
        *(log.put(each, 0) for each in (*wanted, *others)), return_exceptions=True
    )

    assert [type(each) for each in found[3:]] == [int] * TOGETHER_MIN
    won = [number for number, each in enumerate(found[:3]) if isinstance(each, int)]
    assert len(won) == 1
    stored = await log.get("thing", "one of many")
    assert stored.item.encode() == wanted[won[0]].encode()


async def test_every_key_has_an_item_of_its_own(log: ChangeLog) -> None:
    for number, key in enumerate(KEYS):
        await log.put(thing(key, number=str(number)), 0)

    for number, key in enumerate(KEYS):
        found = await log.get("thing", key)
        assert found.item.key == key
        assert registry.attributes(found.item) == {"number": str(number)}


async def test_kinds_are_apart(log: ChangeLog) -> None:
    await log.put(thing("same key"), 0)

    assert (await log.get("policy", "same key")).revision == 0


@pytest.mark.parametrize("key", KEYS)
async def test_a_subject_names_its_item_again(key: str) -> None:
    subject = streams.log_subject("thing", key)

    assert streams.log_name(subject) == ("thing", key)
    assert len(subject.split(".")) == 3
    assert not set(subject) & set("*> \t\r\n")
