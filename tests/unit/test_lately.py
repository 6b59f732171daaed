"""What a process keeps of items that it does not hold, and how a store reads and writes them."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.adapters.memory import MemoryChangeLog
from isthmus.core.catalogue import ByKey
from isthmus.core.item import Item
from isthmus.core.lately import DECODED, Lately
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.errors import InputError
from isthmus.region.items import ItemStore

MANY = "many"
KEYS = ("a", "b", "c", "d")
PATH = ("listed",)


def named(key: str, name: str, base: Item | None = None) -> Item:
    writer = Writer(StampClock("eu", "i"), 1_000)
    return writer.write(base or Item(MANY, key)).set("name", name).done()


def is_there(item: Item) -> bool:
    found = item.fields.get("name")
    return found is not None and found.encode()[-1] != "gone"


LISTED = ByKey(lambda key: [(PATH, key)] if key != "unlisted" else [], is_there)


STEPS = st.one_of(
    *(st.tuples(st.just(what), st.sampled_from(KEYS[:2])) for what in ("write", "ask", "read")),
    *(st.tuples(st.just(what), st.just("")) for what in ("deliver", "answer", "answer")),
)


@settings(max_examples=400)
@given(st.lists(STEPS, min_size=15, max_size=60), st.booleans())
def test_nothing_is_kept_that_is_older_than_what_has_come(
    steps: list[tuple[str, str]], comes_at_once: bool
) -> None:
    lately = Lately(items_max=1)
    log: list[tuple[str, int]] = []
    on_its_way: deque[tuple[str, int]] = deque()
    answers: deque[tuple[str, int]] = deque()
    newest = dict.fromkeys(KEYS, 0)
    for what, key in steps:
        match what:
            case "write":
                log.append((key, len(log) + 1))
                on_its_way.append(log[-1])
            case "ask":
                # The log says what it has now; that is heard later.
                found = [revision for name, revision in log if name == key]
                answers.append((key, max(found, default=0)))
            case "read":
                lately.get(MANY, key)
            case "answer" if answers:
                name, revision = answers.popleft()
                lately.apply(named(name, str(revision)), revision)
        if on_its_way and (comes_at_once or what == "deliver"):
            name, revision = on_its_way.popleft()
            newest[name] = revision
            lately.note(MANY, name, named(name, str(revision)).encode(), revision)
        assert len(lately) <= 1
        for name, wanted in newest.items():
            if (MANY, name) in lately:
                revision = lately.revision(MANY, name)
                assert revision >= wanted
                assert lately.get(MANY, name) == named(name, str(revision))


def test_what_is_decoded_counts_for_more() -> None:
    size = len(named("a", "x").encode())
    lately = Lately(bytes_max=DECODED * size + size)
    for number, key in enumerate("ab", 1):
        lately.note(MANY, key, named(key, "x").encode(), number)
        assert lately.get(MANY, key) == named(key, "x")
    assert [(MANY, key) in lately for key in "ab"] == [False, True]
    lately.apply(named("c", "x"), 3)
    assert [(MANY, key) in lately for key in "bc"] == [False, True]


def test_what_is_kept_has_so_many_bytes() -> None:
    size = len(named("a", "x").encode())
    lately = Lately(bytes_max=2 * size)
    for number, key in enumerate("aabcb", 1):
        lately.note(MANY, key, named(key, "x").encode(), number)
    assert [(MANY, key) in lately for key in "abc"] == [False, True, True]
    lately.note(MANY, "d", named("d", "x" * 3 * size).encode(), 6)
    assert len(lately) == 0
    lately.note(MANY, "a", named("a", "x").encode(), 7)
    assert lately.revision(MANY, "a") == 7


@pytest.fixture
def log() -> MemoryChangeLog:
    return MemoryChangeLog()


def store(log: MemoryChangeLog) -> ItemStore:
    return ItemStore(log, listed={MANY: LISTED}, without={MANY})


async def follow(log: MemoryChangeLog, *stores: ItemStore) -> None:
    """Have all of them take what the log has."""
    found = [await log.get(MANY, key) for key in (*KEYS, "unlisted")]
    for stored in sorted(found, key=lambda each: each.revision):
        for each in stores:
            if stored.revision > each.position:
                each.take(stored.revision, MANY, stored.item.key, stored.item.encode())


async def test_what_is_not_held_is_read_from_the_log(log: MemoryChangeLog) -> None:
    one, other = store(log), store(log)
    assert await one.read(MANY, "a") == Item(MANY, "a")
    written, revision = await one.update(MANY, "a", lambda item: named("a", "1", item))
    assert (await log.get(MANY, "a")).revision == revision
    assert await one.read(MANY, "a") == await other.read(MANY, "a") == written
    assert one.get(MANY, "a") == Item(MANY, "a")
    assert len(one.view) == 0


async def test_who_was_overtaken_writes_over_the_newest(log: MemoryChangeLog) -> None:
    one, other = store(log), store(log)
    for number in range(6):
        writer = (one, other)[number % 2]
        item, _ = await writer.update(MANY, "a", lambda item: named("a", "x", item))
        assert item.version == number + 1
    await follow(log, one, other)
    assert (await one.read(MANY, "a")).version == (await other.read(MANY, "a")).version == 6


async def test_what_its_key_says_is_listed_though_it_is_not_held(log: MemoryChangeLog) -> None:
    one, other = store(log), store(log)
    for key in ("b", "a", "unlisted"):
        await one.update(MANY, key, lambda item: named(item.key, "x", item))
    await follow(log, one, other)
    assert list(other.catalogue.after(*PATH)) == ["a", "b"]
    await one.update(MANY, "a", lambda item: named("a", "gone", item))
    await follow(log, one, other)
    assert list(other.catalogue.after(*PATH)) == ["b"]


def test_an_entry_that_is_another_item_is_refused(log: MemoryChangeLog) -> None:
    with pytest.raises(InputError, match="it is many 'b'"):
        store(log).take(1, MANY, "a", named("b", "x").encode())
