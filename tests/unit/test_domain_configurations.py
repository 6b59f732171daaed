"""Domain configurations that regions write and merge at random are as a naive account says."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import domain_configurations, registry
from isthmus.core.domain_configurations import DOMAIN_CONFIGURATION
from isthmus.core.item import Item, join
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock

REGIONS = 3
SETTINGS = ("a", "b")


class Region:
    """An item, and what was done to it as far as this region has seen."""

    def __init__(self, name: str) -> None:
        self.item = Item(DOMAIN_CONFIGURATION, "d")
        self._clock = StampClock(name, "i")
        #: Switchings off that nobody who has seen them has undone, and those that were undone.
        self.disables: set[tuple[str, int]] = set()
        self.undone: set[tuple[str, int]] = set()
        #: Everything that was ever written, by the setting.
        self.written: dict[str, set[int]] = {name: set() for name in SETTINGS}
        self._name, self._count = name, 0

    def writer(self) -> Writer:
        self._count += 1
        return Writer(self._clock, self._count)

    def create(self) -> None:
        self.item = domain_configurations.create(self.item, self.writer(), {}, {}, {})

    def do(self, what: str, value: int) -> None:
        settings, enabled = {}, None
        if what in SETTINGS:
            settings[what] = value
            self.written[what].add(value)
        else:
            enabled = what == "enable"
            if enabled:
                self.undone |= self.disables
            elif not self.disables - self.undone:
                self.disables.add((self._name, self._count))
        changed = domain_configurations.update(self.item, self.writer(), settings, enabled=enabled)
        assert (
            domain_configurations.update(changed, self.writer(), settings, enabled=enabled)
            is changed
        )
        self.item = changed

    def take(self, other: Region) -> None:
        self.item = join(self.item, other.item)
        self.disables |= other.disables
        self.undone |= other.undone
        for name in SETTINGS:
            self.written[name] |= other.written[name]


STEPS = st.lists(
    st.tuples(
        st.integers(0, REGIONS - 1),
        st.sampled_from(["enable", "disable", "merge", *SETTINGS]),
        st.integers(0, REGIONS - 1),
    ),
    max_size=30,
)


@given(STEPS)
def test_it_is_disabled_until_somebody_who_has_seen_that_enables_it(steps):
    regions = [Region(name) for name in ("eu", "us", "ap")]
    regions[0].create()
    for each in regions[1:]:
        each.take(regions[0])
    for at, what, value in steps:
        if what == "merge":
            regions[at].take(regions[value])
        else:
            regions[at].do(what, value)
        region = regions[at]
        held = domain_configurations.is_enabled(region.item)
        assert held == (not region.disables - region.undone)
        for name in SETTINGS:
            assert region.item.register(name) in (region.written[name] or {None})
    merged = set()
    for order in permutations(regions):
        item = order[0].item
        for each in order[1:]:
            item = join(item, each.item)
        merged.add(item.encode())
    assert len(merged) == 1


def test_how_long_it_has_been_disabled_is_counted_from_the_last_switch():
    region = Region("eu")
    region.create()
    assert domain_configurations.disabled_ms(region.item, 1_000) == 0
    region.do("disable", 0)
    at = domain_configurations.switched_ms(region.item)
    region.do("a", 1)
    assert domain_configurations.disabled_ms(region.item, at + 1_000) == 1_000


@given(st.booleans())
def test_what_is_deleted_stays_so_though_it_is_enabled_at_once(is_first):
    eu, us = Region("eu"), Region("us")
    eu.create()
    eu.do("disable", 0)
    us.take(eu)
    us.do("enable", 0)
    deleted = registry.delete(eu.item, eu.writer())
    item = join(deleted, us.item) if is_first else join(us.item, deleted)
    assert not item.lives
    again = domain_configurations.create(item, us.writer(), {}, {}, {})
    assert domain_configurations.is_enabled(again)
