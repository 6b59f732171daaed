"""Histories of one shadow in three regions, and the naive shadow that they are held against."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from isthmus.core import shadows
from isthmus.core.conflicts import item as conflict_item
from isthmus.core.item import Item, conflicts, join
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import read_update
from isthmus.core.stamp import StampClock
from isthmus.sim.naive_shadow import DELETES, Naive, Wrote

REGIONS = ("eu", "us", "ap")
NAMES = st.sampled_from(["a", "b"])
SCALARS = st.booleans() | st.integers(0, 2) | st.sampled_from(["", "on", "é"])
ARRAYS = st.recursive(
    st.lists(SCALARS, max_size=2),
    lambda inner: st.lists(inner | SCALARS | st.dictionaries(NAMES, inner, max_size=2), max_size=2),
    max_leaves=3,
)


def objects(levels: int) -> st.SearchStrategy[dict[str, Any]]:
    """Objects, many of them with null in them and in each other: that is where merges differ."""
    kinds = {"null": st.none(), "other": SCALARS | ARRAYS | st.just({})}
    if levels:
        kinds["object"] = objects(levels - 1)
    values = st.sampled_from(sorted(kinds)).flatmap(kinds.__getitem__)
    return st.dictionaries(NAMES, values, min_size=1, max_size=2)


SECTIONS = objects(2)
STATES = st.dictionaries(st.sampled_from(["desired", "reported"]), SECTIONS, max_size=2) | (
    st.none() | st.dictionaries(st.sampled_from(["desired", "reported"]), st.none(), max_size=2)
)


def updates() -> st.SearchStrategy[Any]:
    """Clocks of regions differ, and are behind at times."""
    times = st.integers(0, 20).map(lambda n: n * 700)
    return st.tuples(st.sampled_from(REGIONS), STATES, times)


DELETIONS = st.tuples(st.sampled_from(REGIONS), st.just(DELETES), st.integers(0, 14_000))
EXCHANGES = st.tuples(st.sampled_from(REGIONS), st.sampled_from(REGIONS), st.just(0))
STEPS = st.lists(
    st.one_of(updates(), updates(), updates(), EXCHANGES, DELETIONS), min_size=2, max_size=16
)


@dataclass
class World:
    """One shadow in three regions, each with a clock of its own."""

    items: dict[str, Item] = field(
        default_factory=lambda: {region: Item(shadows.SHADOW, "t") for region in REGIONS}
    )
    clocks: dict[str, StampClock] = field(
        default_factory=lambda: {region: StampClock(region, "i") for region in REGIONS}
    )
    #: What each region has heard of.
    seen: dict[str, set[str]] = field(default_factory=lambda: {region: set() for region in REGIONS})
    writes: dict[str, Wrote] = field(default_factory=dict)
    #: Every listed conflict, in the bytes in which each region lists it.
    listed: dict[str, set[bytes]] = field(default_factory=dict)

    def step(self, region: str, what: Any, ms: int) -> None:
        if what in REGIONS:
            self.take(region, what)
            return
        before, writer = self.items[region], Writer(self.clocks[region], ms)
        if what == DELETES:
            if not shadows.is_there(before):
                return
            after = shadows.delete(before, writer).item
        else:
            payload = json.dumps({"state": what}).encode()
            after = shadows.update(before, writer, read_update(payload)).item
        (dot,) = {f"{actor}:{n}" for actor, n in after.vv.items() if before.vv.get(actor) != n}
        mark = after.fields.get("document").root.newest
        self.items[region] = after
        self.writes[dot] = Wrote(mark, dot, what)
        self.seen[region].add(dot)

    def take(self, region: str, other: str) -> bool:
        mine, theirs = self.items[region], self.items[other]
        for conflict in conflicts(mine, theirs):
            self.listed.setdefault(conflict.id, set()).add(conflict_item(conflict).encode())
        self.items[region] = join(mine, theirs)
        self.seen[region] |= self.seen[other]
        return self.items[region].encode() != mine.encode()

    def exchange_all(self) -> None:
        for _ in REGIONS:
            for region in REGIONS:
                for other in REGIONS:
                    self.take(region, other)

    def naive(self, region: str) -> Naive:
        """What one region would hold that had taken these writes in the order of their stamps."""
        return Naive([self.writes[dot] for dot in self.seen[region]])


def world(steps: Any) -> World:
    made = World()
    for step in steps:
        made.step(*step)
    return made
