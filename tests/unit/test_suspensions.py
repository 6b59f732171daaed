"""A suspended device is let in nowhere before somebody who has seen the suspension resumes it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import (
    access_keys,
    attachments,
    memberships,
    registry,
    suspensions,
    thing_groups,
)
from isthmus.core import item as items
from isthmus.core.access_keys import ACCESS_KEY, Role
from isthmus.core.item import Item
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, THING, Writer
from isthmus.core.stamp import StampClock
from isthmus.core.suspensions import SUSPENSION, Suspension
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.view import Concerned, View

DEVICE, THING_NAME = "c" * 64, "t:1"
#: Each is in the one before it.
GROUPS = ("g", "h:i", "j")
TARGETS = ((THING, THING_NAME), *((THING_GROUP, name) for name in GROUPS))
REGIONS = ("eu", "us", "ap")


class World:
    """Regions that suspend, resume and arrange one device, and now and then hear of each other."""

    def __init__(self) -> None:
        self.items: dict[str, dict[tuple[str, str], Item]] = {each: {} for each in REGIONS}
        self.clocks = {region: StampClock(region, "i") for region in REGIONS}
        #: The suspensions that a region has heard of, and of these the ones whose resuming it has.
        self.known: dict[str, set[tuple[str, str, int]]] = {each: set() for each in REGIONS}
        self.resumed: dict[str, set[tuple[str, str, int]]] = {each: set() for each in REGIONS}
        #: Those of a group that was deleted before: nobody was in it any more.
        self.late: set[int] = set()
        self.count = 0
        writer = self.writer("eu", 0)
        certificate = registry.register_certificate(
            Item(CERTIFICATE, DEVICE), writer, "x", active=True
        )
        thing = registry.put_thing(Item(THING, THING_NAME), writer, {})
        self.put("eu", certificate)
        self.put("eu", thing)
        parent = None
        for name in GROUPS:
            parent = thing_groups.create(Item(THING_GROUP, name), writer, {}, {}, parent)
            self.put("eu", parent)
        for region in REGIONS:
            self.take(region, "eu")

    def writer(self, region: str, now_ms: int) -> Writer:
        return Writer(self.clocks[region], now_ms)

    def get(self, region: str, kind: str, key: str) -> Item:
        return self.items[region].get((kind, key)) or Item(kind, key)

    def put(self, region: str, item: Item) -> None:
        self.items[region][item.kind, item.key] = item

    def take(self, region: str, other: str) -> None:
        for (kind, key), item in self.items[other].items():
            self.put(region, items.join(self.get(region, kind, key), item))
        self.known[region] |= self.known[other]
        self.resumed[region] |= self.resumed[other]

    def step(self, region: str, what: str, number: int, now_ms: int) -> None:
        writer, (kind, name) = self.writer(region, now_ms), TARGETS[number]
        target, thing = self.get(region, kind, name), self.get(region, THING, THING_NAME)
        suspension = self.get(region, SUSPENSION, suspensions.key(kind, name))
        key = attachments.key(THING_NAME, DEVICE)
        match what:
            case "take":
                self.take(region, REGIONS[number % 3])
            case "suspend":
                self.count += 1
                self.put(region, suspensions.suspend(suspension, writer, target, str(self.count)))
                self.known[region].add((kind, name, self.count))
                self.late |= set() if target.lives else {self.count}
            case "resume":
                self.put(region, suspensions.resume(suspension, writer))
                self.resumed[region] |= {
                    each for each in self.known[region] if each[:2] == (kind, name)
                }
            case "attach":
                held = self.get(region, ATTACHMENT, key)
                certificate = self.get(region, CERTIFICATE, DEVICE)
                self.put(region, registry.attach(held, writer, thing, certificate))
            case "enter" if kind == THING_GROUP and target.lives:
                held = self.get(region, MEMBERSHIPS, THING_NAME)
                self.put(region, memberships.changed(held, writer, thing, add=[target]))
            case "delete" if number == 3:
                self.put(region, thing_groups.delete(target, writer))
            case "activate":
                held = self.get(region, CERTIFICATE, DEVICE)
                self.put(region, registry.activate(held, writer))

    def is_suspended(self, region: str, kind: str, name: str) -> bool:
        left = self.known[region] - self.resumed[region]
        return any(each[:2] == (kind, name) for each in left)

    def is_its(self, region: str, kind: str, name: str) -> bool:
        """Whether the device's certificate is of this thing, or of a thing in this group."""
        if not registry.attaches(self.get(region, ATTACHMENT, attachments.key(THING_NAME, DEVICE))):
            return False
        entered = set(memberships.names(self.get(region, MEMBERSHIPS, THING_NAME)))
        # The last is in all others, unless it was deleted: then it is in none but itself.
        is_there = bool(self.get(region, THING_GROUP, GROUPS[2]).lives)
        within = {GROUPS[0]: set(GROUPS[:2]), GROUPS[1]: {GROUPS[1]}, GROUPS[2]: set()}
        left = self.known[region] - self.resumed[region]
        was_there = any(each[1] == name and each[2] not in self.late for each in left)
        inner = {GROUPS[2]} if is_there or (name == GROUPS[2] and was_there) else set()
        return kind == THING or bool(entered & (within[name] | inner))

    def view(self, region: str) -> View:
        view = View()
        for item in self.items[region].values():
            view.apply(item)
        return view


STEPS = st.lists(
    st.tuples(
        st.sampled_from(REGIONS),
        st.sampled_from(
            [
                *("take", "take", "suspend", "suspend", "resume", "attach"),
                *("enter", "enter", "delete", "delete", "activate"),
            ]
        ),
        st.integers(0, 3),
        st.integers(0, 5),
    ),
    max_size=40,
)


@given(st.booleans(), STEPS)
@settings(max_examples=300)
def test_a_device_is_refused_while_a_suspension_of_it_is_known_and_no_resuming_of_that(
    is_arranged, steps
):
    world = one_device() if is_arranged else World()
    for step in steps:
        world.step(*step)
    # As each region has it by now, and then as all do.
    for _ in range(2):
        for region in REGIONS:
            view = world.view(region)
            for target in TARGETS:
                held = suspensions.suspension(
                    world.get(region, SUSPENSION, suspensions.key(*target))
                )
                assert (held is not None) == world.is_suspended(region, *target)
            wanted = any(
                world.is_suspended(region, *target) and world.is_its(region, *target)
                for target in TARGETS
            )
            assert bool(view.refusal(DEVICE)) == wanted
        for region in REGIONS * 2:
            for other in REGIONS:
                world.take(region, other)
    assert len({world.view(region).digest for region in REGIONS}) == 1


def one_device() -> World:
    world = World()
    world.step("eu", "attach", 0, 1)
    world.step("eu", "enter", 2, 1)
    return world


def test_what_is_suspended_says_why_and_since_when():
    world = one_device()
    world.step("eu", "suspend", 1, 7)
    world.step("us", "suspend", 1, 5)
    world.take("eu", "us")

    held = suspensions.suspension(world.get("eu", SUSPENSION, suspensions.key(*TARGETS[1])))

    assert held == Suspension(THING_GROUP, "g", ("1", "2"), held.lives, 5)
    assert held.lives == world.get("eu", THING_GROUP, "g").lives
    assert world.view("eu").refusal(DEVICE) == "the thing group g is suspended"
    assert world.view("eu").catalogue.count(suspensions.LISTED) == 1


def test_what_is_suspended_again_while_it_is_resumed_elsewhere_is_suspended_since_then():
    world = one_device()
    world.step("eu", "suspend", 0, 3)
    world.take("us", "eu")
    world.step("us", "resume", 0, 9)
    world.step("eu", "suspend", 0, 5)
    world.take("us", "eu")
    item = world.get("us", SUSPENSION, suspensions.key(*TARGETS[0]))
    held = suspensions.suspension(item)
    assert held
    assert (held.reasons, held.since_ms) == (("2",), 5)
    world.step("us", "resume", 0, 10)
    assert world.view("us").refusal(DEVICE) == ""


@pytest.mark.parametrize("number", [0, 1, 2])
def test_who_is_concerned_is_said_when_it_begins_and_when_it_ends(number):
    world = one_device()
    view, kind = world.view("eu"), TARGETS[number][0]
    for what, reason in (("suspend", "suspended"), ("resume", "")):
        world.step("eu", what, number, 9)
        item = world.get("eu", SUSPENSION, suspensions.key(*TARGETS[number]))
        concerned = Concerned((DEVICE,), False) if kind == THING else Concerned((), True)
        assert view.concerned([view.apply(item)]) == concerned
        assert view.refusal(DEVICE).endswith(reason)
        assert bool(view.refusal(DEVICE)) == bool(reason)


def test_a_view_that_begins_with_a_table_knows_what_is_suspended_there():
    world = one_device()
    world.step("eu", "suspend", 0, 1)
    before = world.view("eu")
    assert View(before.table).refusal(DEVICE) == "the thing t:1 is suspended"


def test_a_detached_certificate_is_not_the_suspended_things_any_more():
    world = one_device()
    world.step("eu", "suspend", 0, 1)
    key = attachments.key(THING_NAME, DEVICE)
    held = world.get("eu", ATTACHMENT, key)
    world.put("eu", registry.detach(held, world.writer("eu", 2)))
    assert world.view("eu").refusal(DEVICE) == ""


def test_who_deletes_a_suspended_group_resumes_nobody():
    world = one_device()
    world.step("eu", "enter", 3, 1)
    world.step("eu", "suspend", 3, 2)
    world.step("eu", "delete", 3, 3)
    assert world.view("eu").refusal(DEVICE) == "the thing group j is suspended"
    world.step("eu", "resume", 3, 4)
    assert world.view("eu").refusal(DEVICE) == ""


def test_a_contested_attachment_counts():
    world = one_device()
    world.take("us", "eu")
    key = attachments.key(THING_NAME, DEVICE)
    here, there = world.get("eu", ATTACHMENT, key), world.get("us", ATTACHMENT, key)
    world.put("eu", registry.detach(here, world.writer("eu", 2)))
    world.step("us", "attach", 0, 2)
    assert there != world.get("us", ATTACHMENT, key)
    world.step("us", "suspend", 0, 3)
    world.take("eu", "us")
    assert world.view("eu").things(DEVICE) == ()
    assert world.view("eu").refusal(DEVICE) == "the thing t:1 is suspended"


def test_a_resume_where_nothing_is_suspended_writes_nothing():
    world = one_device()
    item = world.get("eu", SUSPENSION, suspensions.key(*TARGETS[0]))
    assert suspensions.resume(item, world.writer("eu", 1)) is item
    world.step("eu", "suspend", 0, 1)
    world.step("eu", "resume", 0, 2)
    item = world.get("eu", SUSPENSION, suspensions.key(*TARGETS[0]))
    assert suspensions.resume(item, world.writer("eu", 3)) is item


def test_no_access_key_is_suspended():
    world, key = one_device(), "AKIA" + "A" * 16
    world.step("eu", "suspend", 0, 1)
    world.put(
        "eu", access_keys.create(Item(ACCESS_KEY, key), world.writer("eu", 1), Role.ADMIN, "")
    )
    assert world.view("eu").refusal(key) == ""
