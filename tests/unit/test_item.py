"""Items written in several regions at once, exchanged in part and in any order, converge."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import lattice, shadows
from isthmus.core.conflicts import item as conflict_item
from isthmus.core.item import (
    CONFLICTS_MAX,
    MAX_ITEM_BYTES,
    Item,
    Write,
    conflicts,
    decode,
    join,
)
from isthmus.core.lattice import Fields, Flag, GrowSet, Opaque, Register
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import read_update
from isthmus.core.shadows import SHADOW
from isthmus.core.stamp import Stamp, StampClock
from isthmus.errors import InputError

REGIONS = ("eu", "us", "ap")
WRITES = st.tuples(
    st.sampled_from(REGIONS),
    st.sampled_from(
        ["create", "delete", "set-a", "set-b", "attribute", "add", "kill", "flag", "grow", "later"]
    ),
    st.integers(0, 3),
    st.integers(0, 20),
)
EXCHANGES = st.tuples(
    st.sampled_from(REGIONS), st.just("takes"), st.integers(0, 2), st.integers(0, 0)
)
HISTORIES = st.lists(WRITES | EXCHANGES, max_size=25)


def change(write: Write, what: str, value: int) -> Write:
    match what:
        case "create":
            return write.create()
        case "delete":
            return write.delete()
        case "set-a" | "set-b":
            return write.set(what[-1], value)
        case "add":
            return write.add("live", value)
        case "kill":
            return write.kill("live")
        case "flag":
            return write.put("flag", Flag(True))
        case "grow":
            return write.put("grow", GrowSet(frozenset({str(value)})))
        case "later":
            return write.put("later", Opaque("zzz", value))
    return write.put("map", Fields({str(value): Register(write.stamp, write.dot, value)}))


@dataclass
class World:
    """One item in three regions, each with a clock of its own."""

    items: dict[str, Item] = field(
        default_factory=lambda: {region: Item("thing", "t") for region in REGIONS}
    )
    clocks: dict[str, StampClock] = field(
        default_factory=lambda: {region: StampClock(region, "i") for region in REGIONS}
    )
    listed: dict[str, set[bytes]] = field(default_factory=dict)
    #: Every register that was ever written, by path.
    stamps: dict[str, Stamp] = field(default_factory=dict)

    def step(self, region: str, what: str, value: int, now_ms: int) -> None:
        before = self.items[region]
        if what == "takes":
            self.take(region, REGIONS[value])
        else:
            write = Write(before, self.clocks[region], now_ms)
            base = change(write, what, value).done()
            # A field is set to what is there, joined with what is new.
            self.items[region] = Item("thing", "t", base.vv, before.fields.join(base.fields))
            for path, register in lattice.registers(self.items[region].fields):
                self.stamps[path] = max(register.stamp, self.stamps.get(path, register.stamp))
        assert self.items[region].version >= before.version

    def take(self, region: str, other: str) -> bool:
        mine, theirs = self.items[region], self.items[other]
        for conflict in conflicts(mine, theirs):
            self.listed.setdefault(conflict.id, set()).add(conflict_item(conflict).encode())
        self.items[region] = join(mine, theirs)
        return self.items[region].encode() != mine.encode()

    def exchange_all(self) -> None:
        for _ in REGIONS:
            for region in REGIONS:
                for other in REGIONS:
                    self.take(region, other)


def world(history) -> World:
    made = World()
    for step in history:
        made.step(*step)
    return made


@given(HISTORIES)
def test_after_a_full_exchange_all_regions_hold_the_same_bytes_and_nobody_writes(history):
    made = world(history)
    made.exchange_all()
    assert len({item.encode() for item in made.items.values()}) == 1
    assert not any(made.take(region, other) for region in REGIONS for other in REGIONS)


@given(HISTORIES)
def test_join_is_commutative_associative_and_idempotent(history):
    a, b, c = world(history).items.values()
    assert join(a, b).encode() == join(b, a).encode()
    assert join(join(a, b), c).encode() == join(a, join(b, c)).encode()
    assert join(a, a).encode() == a.encode()
    assert join(join(a, b), b).encode() == join(a, b).encode()


@given(HISTORIES, HISTORIES)
def test_who_has_seen_the_same_writes_shows_the_same_version_and_content(history, more):
    made = world(history)
    seen: dict[str, bytes] = {}
    for step in more:
        made.step(*step)
        for item in made.items.values():
            key = json.dumps(dict(item.vv), sort_keys=True)
            assert seen.setdefault(key, item.encode()) == item.encode()


@given(HISTORIES)
def test_a_write_raises_the_version_and_a_join_never_lowers_it(history):
    made = world(history)
    for region in REGIONS:
        item = made.items[region]
        written = Write(item, made.clocks[region], 0).set("a", 1).done()
        assert written.version == item.version + 1
        for other in made.items.values():
            both = join(written, other)
            assert both.version >= max(written.version, other.version)


@given(HISTORIES)
def test_both_sides_list_the_same_conflicts(history):
    a, b, _ = world(history).items.values()
    here = {each.id: conflict_item(each).encode() for each in conflicts(a, b)}
    there = {each.id: conflict_item(each).encode() for each in conflicts(b, a)}
    assert here == there


@given(HISTORIES)
def test_a_conflict_has_the_same_bytes_wherever_it_was_found(history):
    made = world(history)
    made.exchange_all()
    assert all(len(found) == 1 for found in made.listed.values())


@given(HISTORIES)
def test_there_is_no_conflict_with_what_was_seen(history):
    made = world(history)
    for region in REGIONS:
        item = made.items[region]
        newer = Write(item, made.clocks[region], 0).set("a", 1).delete().done()
        assert conflicts(item, newer) == conflicts(newer, item) == []


@given(HISTORIES)
def test_a_register_never_loses_its_greatest_stamp(history):
    made = world(history)
    made.exchange_all()
    kept = {path: each.stamp for path, each in lattice.registers(made.items["eu"].fields)}
    assert kept == made.stamps


@given(HISTORIES)
def test_an_item_is_read_back(history):
    for item in world(history).items.values():
        again = decode(item.encode())
        assert again == item
        assert again.encode() == item.encode()


def clocks() -> tuple[StampClock, StampClock]:
    return StampClock("eu", "i"), StampClock("us", "i")


def test_a_deleted_item_is_a_tombstone_and_a_later_creation_is_another_life():
    eu, _ = clocks()
    first = Write(Item("thing", "t"), eu, 1).create().set("a", "old").done()
    dead = Write(first, eu, 2).delete().done()
    again = Write(dead, eu, 3).create().done()
    assert (first.register("a"), dead.register("a"), again.register("a")) == ("old", None, None)
    assert not dead.lives
    assert again.lives
    assert again.lives.isdisjoint(first.lives)
    # Somebody who still has the first life brings it back to nobody.
    assert join(again, first).lives == again.lives
    assert join(dead, first).lives == frozenset()


def test_two_regions_that_create_at_once_lock_nobody_out():
    eu, us = clocks()
    here = Write(Item("thing", "t"), eu, 1).create().set("a", 1).done()
    there = Write(Item("thing", "t"), us, 5).create().set("b", 2).done()
    both = join(here, there)
    assert both.lives == here.lives | there.lives
    assert (both.register("a"), both.register("b")) == (1, 2)


def test_a_creation_that_the_deletion_had_not_seen_survives_it():
    eu, us = clocks()
    here = Write(Item("thing", "t"), eu, 1).create().done()
    gone = Write(here, eu, 2).delete().done()
    there = Write(Item("thing", "t"), us, 1).create().done()
    assert join(gone, there).lives == there.lives


def test_what_was_written_while_the_other_side_deleted_is_listed():
    eu, us = clocks()
    here = Write(Item("thing", "t"), eu, 1).create().set("a", 1).done()
    written = Write(here, us, 2).set("a", 2).done()
    deleted = Write(here, eu, 2).delete().done()
    (found,) = conflicts(written, deleted)
    assert (found.kept, found.discarded.value) == (None, 2)


def test_a_write_is_greater_than_what_it_refers_to():
    eu, us = clocks()
    ahead = Write(Item("policy", "p"), us, 1_000_000).create().set("a", 1).done()
    write = Write(Item("attachment", "x"), eu, 5, [ahead])
    assert write.stamp > max(ahead.stamps())


def test_a_write_is_greater_than_what_it_overwrites_however_late_its_clock():
    eu, us = clocks()
    ahead = Write(Item("thing", "t"), us, 1_000_000).create().set("a", "old").done()
    newer = Write(ahead, eu, 5).set("a", "new").done()
    assert join(newer, ahead).register("a") == "new"


def test_an_item_that_is_too_large_to_replicate_is_refused():
    eu, _ = clocks()
    with pytest.raises(InputError, match="would pass"):
        Write(Item("thing", "t"), eu, 1).set("a", "x" * MAX_ITEM_BYTES).done()


GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["a", "eu.i:1", "1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["life", "reg", "live", "entries", "dead", "grow", "eu.i:1"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(
    st.one_of(
        GARBAGE,
        st.fixed_dictionaries(
            {"kind": GARBAGE, "key": GARBAGE, "vv": GARBAGE, "fields": GARBAGE},
        ),
        st.fixed_dictionaries(
            {
                "kind": st.just("thing"),
                "key": st.just("t"),
                "vv": st.dictionaries(st.sampled_from(["eu.i", "us.i"]), st.integers(-2, 3)),
                "fields": st.fixed_dictionaries(
                    {
                        "life": st.fixed_dictionaries(
                            {
                                "live": st.fixed_dictionaries(
                                    {
                                        "entries": st.dictionaries(st.just("eu.i:1"), GARBAGE),
                                        "dead": st.just([]),
                                    }
                                )
                            }
                        )
                    }
                ),
            }
        ),
    )
)
def test_garbage_is_refused_and_whatever_is_not_refused_can_be_worked_with(raw):
    try:
        item = decode(json.dumps(raw).encode())
    except InputError:
        return
    sound = Write(Item(item.kind, item.key), StampClock("us", "j"), 1).create().set("a", 1).done()
    assert decode(item.encode()) == item
    assert join(item, sound).encode() == join(sound, item).encode()
    conflicts(item, sound)
    assert Write(item, StampClock("us", "j"), 1).create().set("a", 1).done().version > 0


@given(st.binary(max_size=40))
def test_bytes_that_are_no_item_are_refused(raw):
    with pytest.raises(InputError):
        decode(raw)


def test_a_bottomless_item_is_refused():
    deep = '{"map":{"x":' * 5_000 + "null" + "}}" * 5_000
    raw = f'{{"kind":"k","key":"x","vv":{{}},"fields":{{"x":{deep}}}}}'
    with pytest.raises(InputError):
        decode(raw.encode())


@pytest.mark.parametrize("count", [-1, 0, True, "1", 1.5, None])
def test_a_version_vector_counts_writes(count):
    raw = json.dumps({"kind": "k", "key": "x", "vv": {"eu.i": count}, "fields": {}})
    with pytest.raises(InputError):
        decode(raw.encode())


def test_of_many_conflicts_both_sides_list_the_same_few():
    def updated(region, value):
        state = {f"leaf-{number:03}": value for number in range(CONFLICTS_MAX * 2)}
        payload = json.dumps({"state": {"reported": state}}).encode()
        writer = Writer(StampClock(region, "i"), 1_000)
        return shadows.update(Item(SHADOW, "t"), writer, read_update(payload)).item

    a, b = updated("eu", 1), updated("us", 2)
    here = {conflict_item(each).encode() for each in conflicts(a, b)}
    assert len(here) == CONFLICTS_MAX
    assert here == {conflict_item(each).encode() for each in conflicts(b, a)}
