"""Executions of commands under concurrent writes of three regions, and of their gateways."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import carried, command_executions, registry
from isthmus.core.command_executions import (
    COMMAND_EXECUTION,
    INVALID_TRANSITION,
    LISTED_PENDING,
    Asked,
    ExecutionStatus,
    Report,
    read,
)
from isthmus.core.commands import TIMEOUT_MAX_S
from isthmus.core.item import Item, conflicts, decode, join
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.errors import InputError

REGIONS = ("eu", "us", "ap")
ASKED = Asked(command="open", kind="thing", name="lamp", content="YQ==", content_type="a/b")
STATUS = ExecutionStatus
FINALS = (STATUS.SUCCEEDED, STATUS.FAILED, STATUS.REJECTED, STATUS.TIMED_OUT)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(REGIONS),
        st.sampled_from(
            ["start", "start", "deliver", "progress", *FINALS[:2], "delete", *["takes"] * 4]
        ),
        st.sampled_from(REGIONS),
    ),
    max_size=25,
)


def writer(clock, now_ms=1_000):
    return Writer(clock, now_ms)


def started(now_ms=1_000, **asked):
    changed = Asked(**{**{f: getattr(ASKED, f) for f in ASKED.__struct_fields__}, **asked})
    item = Item(COMMAND_EXECUTION, "e")
    return command_executions.start(item, writer(StampClock("eu", "i"), now_ms), changed)


def said(status, **more):
    return Report(status=status, **more)


def versions(steps):
    """What regions have after some steps, and the steps' first words for good, as a naive account.

    A region takes in a last word only where it knows of none, as those who write them look first.
    """
    held = {region: Item(COMMAND_EXECUTION, "e") for region in REGIONS}
    clocks = {region: StampClock(region, "i") for region in REGIONS}
    for now_ms, (region, what, other) in enumerate(steps, 1_000):
        item, by = held[region], Writer(clocks[region], now_ms)
        execution = read(item)
        if what == "takes":
            held[region] = join(item, held[other])
        elif what == "start" and (execution is not None or not item.vv):
            held[region] = command_executions.start(item, by, ASKED)
        elif what == "deliver" and execution is not None:
            held[region] = join(item, carried.read(command_executions.delivered("e").encode()))
        elif what == "progress" and execution is not None and execution.final is None:
            report = said(STATUS.IN_PROGRESS, reason_code=f"{now_ms}")
            held[region] = command_executions.report(item, by, report)
        elif what in FINALS and execution is not None and execution.final is None:
            held[region] = command_executions.report(item, by, said(what))
        elif what == "delete" and execution is not None and execution.final is not None:
            held[region] = command_executions.delete(item, by)
    return held


@given(STEPS)
@settings(deadline=None)
def test_in_whichever_order_regions_exchange_there_is_one_execution(steps):
    held = versions(steps)
    joined = set()
    for order in permutations(REGIONS):
        item = Item(COMMAND_EXECUTION, "e")
        for region in order:
            item = join(join(item, held[region]), held[region])
        joined.add(item.encode())
        assert decode(item.encode()) == item
    (encoded,) = joined
    found = read(decode(encoded))
    finals = [each for item in held.values() if (each := read(item)) and each.final]
    # Who deletes takes away what he has seen: what others did meanwhile stays, and nothing else.
    is_whole = all(what != "delete" for _, what, _ in steps)
    if found is not None and finals and is_whole:
        # Of the last words the earliest, which some region has shown already.
        first = min(finals, key=lambda each: each.completed_ms)
        assert (found.final, found.completed_ms) == (first.final, first.completed_ms)
    if found is not None and is_whole:
        known = [each for item in held.values() if (each := read(item)) is not None]
        assert found.created == min(each.created for each in known)
        assert found.is_delivered == any(
            item.fields.get("delivered") is not None for item in held.values()
        )


@given(STEPS)
@settings(deadline=None)
def test_what_a_device_has_answered_is_pending_nowhere(steps):
    for item in versions(steps).values():
        execution = read(item)
        paths = {path[0] for path, _ in command_executions.listed(item)}
        assert bool(paths) == (execution is not None)
        is_open = execution is not None and execution.is_untouched
        assert (LISTED_PENDING in paths) == is_open
        assert set(command_executions.pending(item)) <= set(command_executions.listed(item))


def test_the_status_goes_one_way_but_for_time():
    item = started()
    at = lambda item, now_ms: read(item).status(now_ms)  # noqa: E731
    assert [at(item, 10_999), at(item, 11_000)] == [STATUS.CREATED, STATUS.TIMED_OUT]
    clock = StampClock("us", "i")
    begun = command_executions.report(item, writer(clock, 2_000), said(STATUS.IN_PROGRESS))
    assert [at(begun, 10_999), at(begun, 11_000)] == [STATUS.IN_PROGRESS, STATUS.TIMED_OUT]
    for status in FINALS:
        ended = command_executions.report(begun, writer(clock, 20_000), said(status))
        assert [at(ended, 0), at(ended, 99_000)] == [status] * 2
        assert read(ended).completed_ms == 20_000


def test_of_two_last_words_the_earlier_one_holds_everywhere():
    item = started()
    one = command_executions.report(
        item, Writer(StampClock("eu", "i"), 3_000), said(STATUS.FAILED, reason_code="A")
    )
    other = command_executions.report(
        item, Writer(StampClock("us", "i"), 2_000), said(STATUS.SUCCEEDED)
    )
    for merged in (join(one, other), join(other, one)):
        assert read(merged).final.status is STATUS.SUCCEEDED
        assert read(merged).completed_ms == 2_000


def test_an_execution_that_two_regions_start_under_one_token_is_one():
    here = started(now_ms=1_000)
    item = Item(COMMAND_EXECUTION, "e")
    there = command_executions.start(item, Writer(StampClock("us", "i"), 2_000), ASKED)
    assert conflicts(here, there) == []
    assert read(join(here, there)).deadline_ms == 11_000
    again = command_executions.start(here, Writer(StampClock("us", "i"), 2_000), ASKED)
    assert again is here
    with pytest.raises(InputError, match="another execution"):
        command_executions.start(started(name="pump"), writer(StampClock("us", "i")), ASKED)


def test_an_execution_is_for_the_thing_in_the_lives_that_were_known():
    clock = StampClock("eu", "i")
    thing = registry.put_thing(Item(registry.THING, "lamp"), writer(clock), {})
    there = registry.put_thing(
        Item(registry.THING, "lamp"), Writer(StampClock("us", "i"), 1_000), {}
    )
    item = Item(COMMAND_EXECUTION, "e")
    by = Writer(StampClock("ap", "i"), 500)
    execution = read(command_executions.start(item, by, ASKED, thing))
    assert execution.created > max(thing.stamps()), "whoever has it can tell which came first"
    assert execution.is_for(thing)
    assert execution.is_for(join(thing, there))
    gone = registry.delete(thing, writer(clock))
    for other in (gone, there, registry.put_thing(gone, writer(clock), {})):
        assert not execution.is_for(other)
    assert read(started(kind="client")).is_for(thing)


def test_a_deleted_execution_is_not_started_again():
    by = writer(StampClock("eu", "i"))
    item = command_executions.report(started(), by, said(STATUS.SUCCEEDED))
    with pytest.raises(InputError, match="another execution"):
        command_executions.start(command_executions.delete(item, by), by, ASKED)


def test_the_same_word_twice_is_no_write():
    by = writer(StampClock("eu", "i"))
    for status in (STATUS.IN_PROGRESS, *FINALS):
        item = command_executions.report(started(), by, said(status, result={"a": {"s": "b"}}))
        assert command_executions.report(item, by, said(status, result={"a": {"s": "b"}})) is item


def test_a_batch_says_only_that_an_execution_was_delivered():
    item = command_executions.delivered("e")
    assert carried.read(item.encode()) == item
    for other in (started(), join(started(), item), Item(COMMAND_EXECUTION, "e")):
        with pytest.raises(InputError, match="delivered, and nothing else"):
            carried.read(other.encode())


def test_that_it_was_delivered_may_be_heard_before_the_execution():
    early = command_executions.delivered("e")
    assert read(early) is None
    assert list(command_executions.listed(early)) == []
    begun = command_executions.start(early, writer(StampClock("eu", "i")), ASKED)
    assert read(begun).is_delivered
    assert list(command_executions.pending(begun)) == []


def test_what_a_later_release_wrote_is_nothing_here():
    item = started()
    later = Writer(StampClock("eu", "i"), 2_000).write(item).set("progress", {"status": "PAUSED"})
    assert read(later.done()) is None


def test_of_a_deleted_execution_nothing_stays_that_was_asked_or_said():
    by = writer(StampClock("eu", "i"))
    content = "YWJj" * 1_000
    item = command_executions.report(started(content=content), by, said(STATUS.IN_PROGRESS))
    item = command_executions.report(item, by, said(STATUS.FAILED, result={"a": {"s": content}}))
    gone = command_executions.delete(item, by)
    assert read(gone) is None
    for merged in (gone, join(gone, item), join(item, gone)):
        assert len(merged.encode()) < 1_000


def test_when_an_execution_is_over_its_device_may_say_nothing_more():
    execution = read(started(timeout_s=60))
    over = 1_000 + 1_000 * (60 + TIMEOUT_MAX_S)
    for status in (STATUS.IN_PROGRESS, *FINALS):
        late = command_executions.refuse(execution, said(status), over - 1)
        assert (late is None) == (status in FINALS)
        assert command_executions.refuse(execution, said(status), over) == INVALID_TRANSITION
    assert not execution.is_over(over - 1)
    assert execution.is_over(over)
    ended = command_executions.report(started(), writer(StampClock("eu", "i")), said(FINALS[0]))
    assert read(ended).is_over(0)
