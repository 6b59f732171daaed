"""Several processes write one region's log at once, and no write is lost or made twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import item as items
from isthmus.core.conflicts import CONFLICT
from isthmus.core.item import Item, Write, join
from isthmus.core.log_view import LogView
from isthmus.core.stamp import StampClock
from isthmus.core.update import ATTEMPTS_MAX, Merge, Update
from isthmus.errors import StaleRevision, Unavailable

AT = ("thing", "t")


class Log:
    """A log with compare-and-set, and a history that views follow."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, bytes]] = []

    def get(self, kind: str, key: str) -> tuple[Item, int]:
        for revision, (*at, raw) in reversed(list(enumerate(self.entries, 1))):
            if at == [kind, key]:
                return items.decode(raw), revision
        return Item(kind, key), 0

    def put(self, item: Item, revision: int) -> int:
        if revision != self.get(item.kind, item.key)[1]:
            raise StaleRevision
        self.entries.append((item.kind, item.key, item.encode()))
        return len(self.entries)

    def follow(self, view: LogView) -> None:
        for sequence in range(view.position + 1, len(self.entries) + 1):
            view.take(sequence, *self.entries[sequence - 1])


def steps(update: Update, log: Log) -> Iterator[None]:
    """Perform an update as the shell does, giving way wherever that waits."""
    while (wanted := update.proposal()) is not None:
        for each in update.first():
            yield from steps(each, log)
        yield
        try:
            revision = log.put(wanted, update.revision)
        except StaleRevision:
            yield
            update.stale(*log.get(wanted.kind, wanted.key))
        else:
            yield
            update.written(wanted, revision)


def perform(update: Update, log: Log) -> int:
    """Perform an update that nobody disturbs; say how many writes that took."""
    before = len(log.entries)
    for _ in steps(update, log):
        pass
    return len(log.entries) - before


def clock(region: str = "eu") -> StampClock:
    return StampClock(region, "i")


def added(base: Item, by: StampClock, value: int) -> Item:
    return Write(base, by, 1).create().add("values", value).done()


def values(item: Item) -> list[int]:
    return sorted(Write(item, clock(), 1).live("values").entries.values())


def named(value: str, region: str, base: Item | None = None) -> Item:
    return Write(base or Item(*AT), clock(region), 1).create().set("name", value).done()


def written(item: Item) -> tuple[Log, LogView]:
    """A log with one item, and a view of it."""
    log, view = Log(), LogView()
    log.put(item, 0)
    log.follow(view)
    return log, view


# One writer


def test_a_change_is_written_once_over_the_version_that_it_saw():
    log, view = written(named("old", "eu"))
    update = Update(view, *AT, lambda item: named("new", "eu", item))
    wanted = update.proposal()
    assert wanted.register("name") == "new"
    assert update.revision == 1
    update.written(wanted, log.put(wanted, update.revision))
    assert update.proposal() is None
    assert (update.item, update.revision) == (wanted, 2)


def test_who_writes_reads_his_own_writes():
    log, view = Log(), LogView()
    assert perform(Update(view, *AT, lambda item: named("new", "eu", item)), log) == 1
    assert view.get(*AT).register("name") == "new"
    assert view.revision(*AT) == 1


def test_what_the_view_has_already_is_newer_than_ones_own_write():
    log, view = Log(), LogView()
    update = Update(view, *AT, lambda item: named("mine", "eu", item))
    wanted = update.proposal()
    revision = log.put(wanted, update.revision)
    log.put(named("later", "eu", wanted), revision)
    log.follow(view)
    update.written(wanted, revision)
    assert view.get(*AT).register("name") == "later"
    assert view.revision(*AT) == 2
    assert (update.item, update.revision) == (wanted, 1)


def test_a_change_that_is_not_wanted_is_not_proposed():
    _, view = written(named("old", "eu"))
    update = Update(view, *AT, lambda item: None)
    assert update.proposal() is None
    assert (update.item, update.revision) == (view.get(*AT), 1)


def test_the_present_bytes_are_not_written_again():
    log, view = written(named("old", "eu"))
    assert perform(Update(view, *AT, lambda item: item), log) == 0


def test_whoever_was_too_late_decides_again_on_the_newest_version():
    log, view = written(named("old", "eu"))
    seen = []

    def change(item: Item) -> Item | None:
        seen.append(item.register("name"))
        return None if item.register("name") == "theirs" else named("mine", "eu", item)

    update = Update(view, *AT, change)
    assert update.proposal() is not None
    theirs = named("theirs", "eu", view.get(*AT))
    update.stale(theirs, log.put(theirs, 1))
    assert update.proposal() is None
    assert seen == ["old", "theirs"]
    assert (update.item, update.revision) == (theirs, 2)


def test_who_always_comes_too_late_gives_up():
    view, by = LogView(), clock()
    update = Update(view, *AT, lambda item: added(item, by, 0))
    item = Item(*AT)
    for revision in range(1, ATTEMPTS_MAX + 1):
        assert update.proposal() is not None
        item = added(item, by, revision)
        update.stale(item, revision)
    with pytest.raises(Unavailable, match=f"thing 't' changed {ATTEMPTS_MAX} times"):
        update.proposal()


def test_the_last_attempt_may_succeed():
    log, view, by = Log(), LogView(), clock()
    update = Update(view, *AT, lambda item: added(item, by, 0))
    for _ in range(ATTEMPTS_MAX - 1):
        update.proposal()
        update.stale(Item(*AT), 0)
    assert perform(update, log) == 1


# Several writers

JOBS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["write", "merge"])), max_size=8)
TURNS = st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=60)


@given(JOBS, TURNS)
def test_writers_on_one_key_lose_nothing_however_they_are_interleaved(jobs, turns):
    log, views, by = Log(), [LogView() for _ in range(3)], clock()
    running: dict[int, Iterator[None]] = {}
    theirs = Item(*AT)
    for value, (process, what) in enumerate(jobs):
        view = views[process]
        if what == "write":
            update = Update(view, *AT, lambda item, value=value: added(item, by, value))
        else:
            theirs = added(theirs, clock("us"), value)
            update = Merge(view, theirs)
        running[value] = steps(update, log)
    for number, follows in turns:
        if number < len(jobs):
            view = views[jobs[number][0]]
            before = view.revision(*AT)
            if follows:
                log.follow(view)
            elif number in running and next(running[number], "done") == "done":
                del running[number]
            assert view.revision(*AT) >= before
    for rest in running.values():
        for _ in rest:
            pass
    final, revision = log.get(*AT)
    assert values(final) == list(range(len(jobs)))
    # No dot was used twice: every write counted on the one before it.
    assert final.version == len(jobs)
    for view in views:
        log.follow(view)
        assert view.revision(*AT) == revision
        assert view.get(*AT) == final


# Merges

WRITES = st.lists(
    st.tuples(st.sampled_from(["eu", "us"]), st.sampled_from(["add", "name", "take"])), max_size=12
)


def two_regions(history) -> tuple[Item, Item]:
    """One item as two regions have it after some writes and some exchanges."""
    clocks = {region: clock(region) for region in ("eu", "us")}
    held = {region: Item(*AT) for region in clocks}
    for number, (region, what) in enumerate([("eu", "add"), ("us", "add"), *history]):
        mine, by = held[region], clocks[region]
        if what == "take":
            held[region] = join(held["eu"], held["us"])
        elif what == "add":
            held[region] = added(mine, by, number)
        else:
            held[region] = Write(mine, by, 1).create().set("name", number).done()
    return held["eu"], held["us"]


@given(WRITES)
def test_after_a_full_exchange_both_logs_have_the_same_and_nobody_writes(history):
    eu, us = two_regions(history)
    here, there = written(eu), written(us)
    perform(Merge(here[1], us), here[0])
    perform(Merge(there[1], eu), there[0])
    assert here[0].get(*AT)[0].encode() == there[0].get(*AT)[0].encode()
    both = here[0].get(*AT)[0]
    for theirs in (eu, us, both):
        for log, view in (here, there):
            merge = Merge(view, theirs)
            assert merge.proposal() is None
            assert merge.conflicts == []
            assert perform(merge, log) == 0


def test_a_peers_item_that_is_new_here_is_written_as_it_is():
    log, view = Log(), LogView()
    theirs = named("theirs", "us")
    merge = Merge(view, theirs)
    assert perform(merge, log) == 1
    assert log.entries == [(*AT, theirs.encode())]
    assert merge.conflicts == []


def test_even_an_empty_item_of_a_peer_is_taken_once():
    log, view = Log(), LogView()
    assert perform(Merge(view, Item(*AT)), log) == 1
    assert perform(Merge(view, Item(*AT)), log) == 0


@given(WRITES)
def test_the_conflicts_of_a_merge_are_listed_once_and_alike_in_both_regions(history):
    eu, us = two_regions(history)
    found = {each.id for each in items.conflicts(eu, us)}
    listed = []
    for mine, theirs in ((eu, us), (us, eu)):
        log, view = written(mine)
        merge = Merge(view, theirs)
        perform(merge, log)
        assert {each.id for each in merge.conflicts} == found
        assert sum(perform(each, log) for each in merge.first()) == 0
        listed.append({entry for entry in log.entries if entry[0] == CONFLICT})
    assert listed[0] == listed[1]
    assert {key for _, key, _ in listed[0]} == found


def test_two_writers_that_list_the_same_conflict_list_it_once():
    log, view = written(named("mine", "eu"))
    _, other = written(named("mine", "eu"))
    theirs = named("theirs", "us")
    assert perform(Merge(view, theirs), log) == 2
    # The other process had heard of neither: it is refused, and then has nothing to write.
    assert perform(Merge(other, theirs), log) == 0


@given(WRITES, st.integers(0, 6))
def test_a_crash_between_any_two_writes_leaves_no_conflict_unlisted(history, steps_done):
    eu, us = two_regions(history)
    found = {each.id for each in items.conflicts(eu, us)}
    log, view = written(eu)
    for _ in zip(range(steps_done), steps(Merge(view, us), log), strict=False):
        pass
    started_again = LogView()
    log.follow(started_again)
    perform(Merge(started_again, us), log)
    assert {key for kind, key, _ in log.entries if kind == CONFLICT} >= found


def test_what_somebody_else_wrote_is_in_the_view_when_nothing_is_left_to_write():
    log, view = written(named("old", "eu"))
    newer = named("newer", "eu", view.get(*AT))
    log.put(newer, 1)
    update = Update(view, *AT, lambda item: None if item == newer else newer)
    assert perform(update, log) == 0
    assert view.get(*AT) == newer


def test_a_conflict_is_with_the_version_that_was_overwritten_and_not_with_one_before():
    log, view = written(named("mine", "eu"))
    theirs = named("theirs", "us")
    merge = Merge(view, theirs)
    assert merge.proposal() is not None
    assert [each.kept.value for each in merge.conflicts] == ["theirs"]
    # Meanwhile somebody here wrote over both.
    newer = named("newer", "eu", join(view.get(*AT), theirs))
    merge.stale(newer, log.put(newer, 1))
    assert perform(merge, log) == 0
    assert merge.first() == []
