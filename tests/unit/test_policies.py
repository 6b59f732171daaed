"""Policies and their versions under concurrent writes of three regions."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import policies, registry
from isthmus.core.item import Item, join
from isthmus.core.registry import POLICY, POLICY_VERSION, Writer
from isthmus.core.stamp import StampClock

REGIONS = ("eu", "us", "ap")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(REGIONS),
        st.sampled_from(["add", "add-default", "choose", "remove", "delete", *["takes"] * 4]),
        st.integers(0, 2),
    ),
    max_size=30,
)
Held = dict[tuple[str, str], Item]


@dataclass
class World:
    """Does what handlers do: a document is written before what refers to it."""

    held: dict[str, Held] = field(default_factory=lambda: {region: {} for region in REGIONS})
    clocks: dict[str, StampClock] = field(
        default_factory=lambda: {region: StampClock(region, "i") for region in REGIONS}
    )

    def get(self, region: str, kind: str, key: str) -> Item:
        return self.held[region].get((kind, key)) or Item(kind, key)

    def policy(self, region: str) -> Item:
        return self.get(region, POLICY, "p")

    def write(self, region: str, item: Item) -> None:
        self.held[region][item.kind, item.key] = item

    def step(self, region: str, what: str, value: int) -> None:
        if what == "takes":
            self.take(region, REGIONS[value])
            return
        writer, item = Writer(self.clocks[region], 10), self.policy(region)
        listed = policies.versions(item)
        if what in ("add", "add-default"):
            document = f"document {value}"
            key = policies.version_key("p", policies.last_number(item) + 1, document)
            self.keep(region, writer, key, document)
            put = policies.put if what == "add-default" or not item.lives else policies.add_version
            self.write(region, put(item, writer, key))
        elif what == "choose" and listed:
            key = listed[value % len(listed)].key
            self.keep(
                region, writer, key, self.get(region, POLICY_VERSION, key).register("document")
            )
            self.write(region, policies.put(item, writer, key))
        elif what == "remove" and not all(each.is_default for each in listed):
            key = next(each.key for each in listed if not each.is_default)
            self.write(region, policies.remove_version(item, writer, key))
            self.end(region, writer, key)
        elif what == "delete" and item.lives:
            self.write(region, registry.delete(item, writer))
            for each in listed:
                self.end(region, writer, each.key)

    def keep(self, region: str, writer: Writer, key: str, document: str) -> None:
        item = self.get(region, POLICY_VERSION, key)
        self.write(region, policies.keep_version(item, writer, document))

    def end(self, region: str, writer: Writer, key: str) -> None:
        self.write(region, registry.delete(self.get(region, POLICY_VERSION, key), writer))

    def take(self, region: str, other: str) -> None:
        for (kind, key), item in self.held[other].items():
            self.write(region, join(self.get(region, kind, key), item))


def check(world: World, region: str) -> None:
    item = world.policy(region)
    listed = policies.versions(item)
    assert len({each.number for each in listed}) == len({each.key for each in listed})
    assert [each.number for each in listed] == sorted(each.number for each in listed)
    assert bool(item.lives) == bool(listed) == bool(policies.default_versions(item))
    for each in listed:
        if each.is_default:
            document = world.get(region, POLICY_VERSION, each.key).register("document")
            assert document is not None


@given(STEPS)
@settings(max_examples=400)
def test_a_policy_that_is_there_has_a_default_with_its_document_whatever_was_done_at_once(steps):
    world = World()
    for step in steps:
        world.step(*step)
        check(world, step[0])
    for _ in range(2):
        for region in REGIONS:
            for other in REGIONS:
                world.take(region, other)
    encoded = [
        {name: item.encode() for name, item in world.held[region].items()} for region in REGIONS
    ]
    assert encoded[0] == encoded[1] == encoded[2]
    check(world, "eu")


@given(STEPS)
@settings(max_examples=300)
def test_the_order_of_joins_does_not_matter(steps):
    world = World()
    for step in steps:
        world.step(*step)
    versions = [world.policy(region) for region in REGIONS]
    joined = {join(join(a, b), c).encode() for a, b, c in permutations(versions)}
    assert len(joined) == 1


@given(STEPS)
@settings(max_examples=300)
def test_a_number_that_is_shown_stays_through_every_write_that_saw_it(steps):
    world = World()
    for step in steps:
        before = world.policy(step[0])
        world.step(*step)
        after = world.policy(step[0])
        if step[1] != "takes" and before.lives == after.lives:
            numbers = {each.key: each.number for each in policies.versions(after)}
            for each in policies.versions(before):
                assert numbers.get(each.key, each.number) == each.number
            fresh = numbers.keys() - {each.key for each in policies.versions(before)}
            assert all(numbers[key] > policies.last_number(before) for key in fresh)


def writers() -> tuple[Writer, Writer]:
    return Writer(StampClock("eu", "i"), 10), Writer(StampClock("us", "i"), 20)


def numbers(item: Item) -> dict[str, int]:
    return {each.key: each.number for each in policies.versions(item)}


def test_versions_made_at_once_under_one_number_get_two_and_keep_them():
    eu, us = writers()
    first = policies.put(Item(POLICY, "p"), eu, "p:1:a")
    both = join(policies.add_version(first, eu, "p:2:b"), policies.add_version(first, us, "p:2:c"))
    assert numbers(both) == {"p:1:a": 1, "p:2:b": 2, "p:2:c": 3}
    without = policies.remove_version(both, us, "p:2:b")
    assert numbers(without) == {"p:1:a": 1, "p:2:c": 3}
    assert numbers(policies.add_version(without, eu, "p:4:d"))["p:4:d"] == 4


def test_one_version_that_two_regions_made_at_once_is_one():
    eu, us = writers()
    first = policies.put(Item(POLICY, "p"), eu, "p:1:a")
    both = join(policies.add_version(first, eu, "p:2:b"), policies.put(first, us, "p:2:b"))
    assert numbers(both) == {"p:1:a": 1, "p:2:b": 2}
    assert policies.default_versions(both) == ["p:2:b"]


def test_a_number_is_not_used_again_in_one_life():
    eu, _ = writers()
    item = policies.add_version(policies.put(Item(POLICY, "p"), eu, "p:1:a"), eu, "p:2:b")
    item = policies.remove_version(item, eu, "p:2:b")
    assert policies.last_number(item) == 2
    again = policies.put(registry.delete(item, eu), eu, "p:1:a")
    assert numbers(again) == {"p:1:a": 1}
    assert policies.last_number(registry.delete(item, eu)) == 0


def test_what_was_written_for_an_earlier_life_counts_in_no_other():
    eu, us = writers()
    item = policies.put(Item(POLICY, "p"), eu, "p:1:a")
    late = policies.put(item, us, "p:2:b")
    again = policies.put(registry.delete(item, eu), eu, "p:1:c")
    both = join(again, late)
    assert policies.default_versions(both) == ["p:1:c"]
    assert numbers(both) == {"p:1:c": 1}


def test_a_version_that_was_chosen_outlives_its_concurrent_removal():
    eu, us = writers()
    item = policies.add_version(policies.put(Item(POLICY, "p"), eu, "p:1:a"), eu, "p:2:b")
    version = policies.put_version(Item(POLICY_VERSION, "p:2:b"), eu, "{}")
    chosen = (policies.put(item, eu, "p:2:b"), policies.keep_version(version, eu, "{}"))
    gone = (policies.remove_version(item, us, "p:2:b"), registry.delete(version, us))
    policy, document = (join(a, b) for a, b in zip(chosen, gone, strict=True))
    assert policies.default_versions(policy) == ["p:2:b"]
    assert document.register("document") == "{}"


def test_a_default_of_a_life_that_has_ended_is_none_of_the_others():
    eu, us = writers()
    here = registry.delete(policies.put(Item(POLICY, "p"), eu, "one"), eu)
    there = policies.put(policies.put(Item(POLICY, "p"), us, "one"), us, "two")
    assert policies.default_versions(join(here, there)) == ["two"]
    # Nor where who ended it had not heard of the choice.
    begun = policies.put(Item(POLICY, "q"), eu, "one")
    ended, chosen = registry.delete(begun, eu), policies.put(begun, us, "two")
    ap = Writer(StampClock("ap", "i"), 30)
    anew = policies.put(policies.put(Item(POLICY, "q"), ap, "two"), ap, "three")
    assert policies.default_versions(join(join(ended, chosen), anew)) == ["three"]
