"""A shadow that three regions write at once is the naive one, in whatever order they hear of it."""

from __future__ import annotations

import json
from itertools import permutations

import pytest
from hypothesis import given, settings
from shadow_histories import REGIONS, STEPS, World, world
from shadow_nodes import NODES

from isthmus.core import shadows
from isthmus.core.item import Item, Write, conflicts, decode, join
from isthmus.core.lattice import Opaque
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import read_update
from isthmus.core.shadow_tree import NEVER, Node, ShadowTree
from isthmus.core.shadow_view import view
from isthmus.core.stamp import StampClock
from isthmus.sim.naive_shadow import DELETES

CASES = pytest.mark.parametrize(
    "cases",
    [300, pytest.param(100_000, marks=[pytest.mark.nightly, pytest.mark.timeout(7200)])],
)


def tree(item: Item) -> ShadowTree:
    return item.fields.get("document") or ShadowTree()


def text(value) -> str:
    """Equal only where JSON is: to Python, true and 1 are equal."""
    return json.dumps(value, sort_keys=True)


def check(made: World, region: str) -> None:
    item, naive = made.items[region], made.naive(region)
    shown = view(tree(item))
    assert text(shown.state) == text(naive.state)
    assert text(shown.metadata) == text(naive.metadata)
    assert shadows.is_there(item) == naive.is_there
    updates = [dot for dot in made.seen[region] if made.writes[dot].state != DELETES]
    assert shadows.version(item) == len(updates)


@CASES
def test_a_region_shows_what_the_naive_shadow_makes_of_the_writes_that_it_has_heard_of(cases):
    @given(STEPS)
    @settings(max_examples=cases)
    def holds(steps):
        made = World()
        for step in steps:
            made.step(*step)
            check(made, step[0])
        made.exchange_all()
        for region in REGIONS:
            check(made, region)
        assert len({item.encode() for item in made.items.values()}) == 1
        assert not any(made.take(region, other) for region in REGIONS for other in REGIONS)

    holds()


@CASES
def test_join_is_commutative_associative_and_idempotent(cases):
    @given(STEPS)
    @settings(max_examples=cases)
    def holds(steps):
        versions = list(world(steps).items.values())
        assert len({join(join(a, b), c).encode() for a, b, c in permutations(versions)}) == 1
        a, b, c = versions
        both = join(a, b)
        assert join(a, join(b, c)).encode() == join(both, c).encode()
        assert join(both, both).encode() == join(both, b).encode() == both.encode()

    holds()


@given(STEPS)
def test_a_version_never_goes_down_and_an_update_adds_one(steps):
    made = World()
    for region, what, ms in steps:
        before = shadows.version(made.items[region])
        made.step(region, what, ms)
        after = shadows.version(made.items[region])
        if what not in REGIONS:
            assert after == before + (what != DELETES)
        assert after >= before


@given(STEPS)
def test_a_shadow_is_read_back(steps):
    for item in world(steps).items.values():
        again = decode(item.encode())
        assert again == item
        assert again.encode() == item.encode()


def inner(node: Node):
    """Every node below one, with its name."""
    for name, each in node.nodes.items():
        yield name, each
        yield from inner(each)


def check_pruned(node: Node, above) -> None:
    assert node.cut == NEVER or node.cut >= above
    assert node.obj == NEVER or node.obj >= max(above, node.cut)
    assert node.value is None or not node.is_object
    for each in node.nodes.values():
        assert each != Node()
        check_pruned(each, max(above, node.cut))


@given(NODES, NODES)
@settings(max_examples=300)
def test_nothing_is_kept_that_cannot_matter_any_more(one, other):
    check_pruned(ShadowTree(one).join(ShadowTree(other)).root, NEVER)


@given(STEPS)
def test_no_write_leaves_what_cannot_matter_any_more(steps):
    for item in world(steps).items.values():
        check_pruned(tree(item).root, NEVER)


# Conflicts


@given(STEPS)
def test_both_sides_list_the_same_conflicts(steps):
    made = world(steps)
    made.exchange_all()
    assert all(len(found) == 1 for found in made.listed.values())
    for a, b in permutations(world(steps).items.values(), 2):
        assert {each.id for each in conflicts(a, b)} == {each.id for each in conflicts(b, a)}


def leaves(node: Node, path: str = ""):
    """Path, write and value of every leaf that is shown."""
    if node.is_object:
        for name, each in node.nodes.items():
            yield from leaves(each, f"{path}/{name}")
    elif node.value is not None:
        yield path, f"{node.cut[2]}.{node.cut[3]}:{node.cut[4]}", node.value


@given(STEPS)
@settings(max_examples=300)
def test_a_leaf_that_gave_way_unseen_is_listed_and_no_other_is(steps):
    for a, b in permutations(world(steps).items.values(), 2):
        listed = {(each.path, each.discarded.dot) for each in conflicts(a, b)}
        kept = {path: text(value) for path, _, value in leaves(tree(join(a, b)).root)}
        writes = {(path, dot) for path, dot, _ in leaves(tree(join(a, b)).root)}
        lost = {
            (f"/document{path}", dot)
            for path, dot, value in leaves(tree(a).root)
            if (path, dot) not in writes and kept.get(path) != text(value) and not b.saw(dot)
        }
        assert lost <= listed
        for each in conflicts(a, b):
            assert each.kept.stamp > each.discarded.stamp
            assert not (a.saw(each.discarded.dot) and b.saw(each.discarded.dot))


def writers() -> tuple[Writer, Writer]:
    return Writer(StampClock("eu", "i"), 1000), Writer(StampClock("us", "i"), 2000)


def put(item: Item, writer: Writer, state) -> Item:
    return shadows.update(item, writer, read_update(json.dumps({"state": state}).encode())).item


def conflict(a: Item, b: Item) -> list[tuple]:
    return sorted((each.path, each.kept.value, each.discarded.value) for each in conflicts(a, b))


@pytest.mark.parametrize(
    ("earlier", "later", "expected"),
    [
        ({"a": 1}, {"a": 2}, [("/a", 2, 1)]),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, [("/a", True, 1)]),
        ({"a": 1}, {"a": None}, [("/a", None, 1)]),
        ({"a": None}, {"a": 2}, [("/a", 2, None)]),
        ({"a": {"x": 1, "y": 2}}, {"a": 5}, [("/a/x", 5, 1), ("/a/y", 5, 2)]),
        ({"a": {"x": 1}}, {"a": None}, [("/a/x", None, 1)]),
        ({"a": {}}, {"a": 5}, [("/a", 5, {})]),
        ({"a": {"x": {}}}, {"a": 5}, [("/a/x", 5, {})]),
        ({"a": 5}, {"a": {"x": 1}}, [("/a", {}, 5)]),
        ({"a": {"x": None}}, {"a": 5}, []),
        ({"a": 1, "b": 1}, {"c": 1}, []),
        ({"a": [1]}, {"a": [1, 2]}, [("/a", [1, 2], [1])]),
        ({"a/b~": 1}, {"a/b~": 2}, [("/a~1b~0", 2, 1)]),
    ],
)
def test_what_two_regions_said_at_once_is_listed_leaf_by_leaf(earlier, later, expected):
    eu, us = writers()
    base = put(Item(shadows.SHADOW, "t"), eu, {"desired": {"there": 1}})
    a, b = put(base, eu, {"desired": earlier}), put(base, us, {"desired": later})
    named = [(f"/document/desired{path}", kept, lost) for path, kept, lost in expected]
    assert conflict(a, b) == conflict(b, a) == named


def test_what_is_deleted_while_it_is_updated_is_what_came_later():
    eu, us = writers()
    base = put(Item(shadows.SHADOW, "t"), eu, {"desired": {"old": 1}})
    earlier = join(put(base, eu, {"desired": {"a": 1}}), shadows.delete(base, us).item)
    assert not shadows.is_there(earlier)
    later = join(shadows.delete(base, eu).item, put(base, us, {"desired": {"a": 1}}))
    assert view(tree(later)).state == {"desired": {"a": 1}}
    gone, kept = put(base, eu, {"desired": {"a": 1}}), shadows.delete(base, us).item
    assert conflict(gone, kept) == [("/document/desired/a", None, 1)]


def test_what_is_taken_away_where_it_is_not_known_is_taken_away_elsewhere():
    eu, us = writers()
    base = put(Item(shadows.SHADOW, "t"), eu, {"desired": {"there": 1}})
    a, b = (
        put(base, eu, {"desired": {"x": {"y": 1}}}),
        put(base, us, {"desired": {"x": {"y": None}}}),
    )
    assert view(tree(join(a, b))).state == {"desired": {"there": 1, "x": {}}}
    assert view(tree(join(join(b, base), a))).state == view(tree(join(a, b))).state


def test_two_values_that_a_bug_gave_one_mark_are_joined_alike_everywhere():
    one, other = (ShadowTree(Node(cut=(1, 0, "eu", "i", 1), value=value)) for value in (1, True))
    assert text(one.join(other).root.value) == text(other.join(one).root.value)


def test_what_a_later_release_put_beside_the_document_is_kept():
    eu, _ = writers()
    item = put(Item(shadows.SHADOW, "t"), eu, {"desired": {"a": 1}})
    item = Write(item, eu.clock, 1000).put("later", Opaque("zzz", 7)).done()
    item = join(put(item, eu, {"desired": {"a": 2}}), item)
    assert item.fields.get("later") == Opaque("zzz", 7)


def test_what_is_taken_away_as_a_whole_leaves_nothing_of_what_was_in_it():
    eu, _ = writers()
    item = put(Item(shadows.SHADOW, "t"), eu, {"desired": {"a": {"b": {"c": 1}}, "d": [1]}})
    item = put(item, eu, {"desired": None})
    assert [name for name, _ in inner(tree(item).root)] == ["desired"]
    assert [name for name, _ in inner(tree(shadows.delete(item, eu).item).root)] == []
