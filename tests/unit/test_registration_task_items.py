"""Bulk registrations: who holds one, and what two regions make of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import registration_tasks as tasks
from isthmus.core.item import Item, join
from isthmus.core.registration_tasks import Progress, TaskStatus
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock

SAID = dict.fromkeys((tasks.TEMPLATE, tasks.BUCKET, tasks.KEY, tasks.ROLE), "x")


def writer(region="eu"):
    return Writer(StampClock(region, "i"), 10)


def begun():
    said = SAID | {tasks.REGION: "eu", tasks.DIRECTORY: "file:///d"}
    return tasks.begin(Item(tasks.REGISTRATION_TASK, "t"), writer(), said)


def test_a_task_is_held_by_one_goes_on_and_ends():
    item = begun()
    assert (tasks.status(item), tasks.sign(item)) == (TaskStatus.IN_PROGRESS, None)
    held = tasks.claim(item, writer(), "a", None)
    assert tasks.is_held_by(held, "a")
    assert tasks.claim(held, writer(), "b", None) is held
    half = Progress(offset=5, size=10, succeeded=1)
    kept = tasks.keep(held, writer(), "a", half)
    assert (tasks.progress(kept), tasks.percentage(kept)) == (half, 50)
    assert tasks.sign(kept) != tasks.sign(held)
    assert tasks.keep(kept, writer(), "b", Progress()) is kept
    # Who has seen no sign takes it over, and who had it cannot go on.
    assert tasks.claim(kept, writer(), "b", tasks.sign(held)) is kept
    taken = tasks.claim(kept, writer(), "b", tasks.sign(kept))
    assert tasks.progress(taken) == half
    assert tasks.keep(taken, writer(), "a", Progress()) is taken
    assert tasks.end(taken, writer(), "a", half, TaskStatus.COMPLETED, "") is taken
    ended = tasks.end(taken, writer(), "b", half, TaskStatus.FAILED, "why")
    assert (tasks.status(ended), tasks.message(ended)) == (TaskStatus.FAILED, "why")
    assert tasks.claim(ended, writer(), "c", tasks.sign(ended)) is ended
    assert tasks.stop(ended, writer()) is ended


def test_a_task_is_listed_as_open_until_it_ends():
    held = tasks.claim(begun(), writer(), "a", None)
    paths = {path for path, _ in tasks.listed(held)}
    assert (tasks.LISTED_OPEN, "eu") in paths
    assert (tasks.LISTED_BY_STATUS, "InProgress") in paths
    ended = tasks.end(held, writer(), "a", Progress(), TaskStatus.COMPLETED, "")
    assert tasks.percentage(ended) == 100
    paths = {path for path, _ in tasks.listed(ended)}
    assert paths == {(tasks.REGISTRATION_TASK,), (tasks.LISTED_BY_STATUS, "Completed")}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["eu", "us", "ap"]),
            st.sampled_from(["work", "stop", "end", "take"]),
            st.sampled_from(["eu", "us", "ap"]),
        ),
        max_size=20,
    )
)
@settings(max_examples=300)
def test_a_stop_from_anywhere_is_never_forgotten_and_progress_is_the_own_regions(steps):
    """Only one region works on it and ends it; what it has said stands in all of them."""
    held = dict.fromkeys(("eu", "us", "ap"), tasks.claim(begun(), writer(), "a", None))
    clocks = {region: StampClock(region, "i") for region in held}
    done, is_stopped = 0, False
    for region, what, other in steps:
        item, by = held[region], Writer(clocks[region], 10)
        if what == "work" and region == "eu" and tasks.is_held_by(item, "a"):
            done += 1
            held[region] = tasks.keep(item, by, "a", Progress(lines=done))
        elif what == "stop":
            held[region] = tasks.stop(item, by)
            is_stopped = is_stopped or held[region] is not item
        elif what == "end" and region == "eu" and tasks.is_held_by(item, "a"):
            status = TaskStatus.CANCELLED if tasks.is_stopped(item) else TaskStatus.COMPLETED
            held[region] = tasks.end(item, by, "a", Progress(lines=done), status, "")
        elif what == "take":
            held[region] = join(item, held[other])
    joined = join(join(held["eu"], held["us"]), held["ap"])
    assert joined.encode() == join(held["ap"], join(held["us"], held["eu"])).encode()
    assert tasks.progress(joined).lines == done
    assert tasks.is_stopped(joined) == is_stopped
    ended = tasks.status(held["eu"]) in (TaskStatus.CANCELLED, TaskStatus.COMPLETED)
    expected = tasks.status(held["eu"]) if ended else None
    if expected is None:
        expected = TaskStatus.CANCELLING if is_stopped else TaskStatus.IN_PROGRESS
    assert tasks.status(joined) is expected
