"""The way up from a group ends, whatever the regions' clocks say and however their groups merge."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import lives, thing_groups
from isthmus.core.item import Item, join
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.core.thing_groups import THING_GROUP

REGIONS, GROUPS = ("eu", "us", "ap"), ("a", "b", "c", "d")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(REGIONS),
        st.sampled_from(["create", "create", "create", "delete", "take", "take"]),
        st.sampled_from(GROUPS),
        st.none() | st.sampled_from(GROUPS),
        st.integers(0, 3),
    ),
    max_size=50,
)


class World:
    """Groups that are deleted and created again in any order, children or not."""

    def __init__(self) -> None:
        self.items = {r: {g: Item(THING_GROUP, g) for g in GROUPS} for r in REGIONS}
        self.clocks = {region: StampClock(region, "i") for region in REGIONS}

    def step(self, region, what, group, other, number):
        held = self.items[region]
        writer = Writer(self.clocks[region], number)
        if what == "take":
            theirs = self.items[REGIONS[number % 3]]
            self.items[region] = {name: join(held[name], theirs[name]) for name in GROUPS}
        elif what == "delete":
            held[group] = thing_groups.delete(held[group], writer)
        elif not held[group].lives and (other is None or held[other].lives):
            parent = held[other] if other else None
            held[group] = thing_groups.create(held[group], writer, {}, {}, parent)


@given(STEPS)
@settings(max_examples=300)
def test_each_group_on_the_way_up_began_before_the_one_below_it(steps):
    world = World()
    for step in steps:
        world.step(*step)
    for region in REGIONS:
        for other in range(3):
            world.step(region, "take", "", None, other)
    for held in world.items.values():
        for item in held.values():
            way = [*thing_groups.above(item, held.__getitem__), item]
            begun = [lives.first(each) for each in way]
            assert begun == sorted(begun) if item.lives else way == [item]
            # That it ends is not the guard's doing.
            root = thing_groups.parent(way[0])
            assert root is None or not root.holds_for(held[root.name])


def test_items_of_another_make_lead_nobody_round():
    clock = StampClock("eu", "i")
    first = thing_groups.create(Item(THING_GROUP, "a"), Writer(clock, 1), {}, {}, None)
    held = {"a": thing_groups.create(Item(THING_GROUP, "a"), Writer(clock, 1), {}, {}, first)}
    assert thing_groups.above(held["a"], held.__getitem__) == []
