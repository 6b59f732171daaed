"""What a split drill finds of shadows that two regions updated apart, without any process.

Two regions are played with the product's own items: the checks know nothing of how these merge.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from isthmus.core import conflicts, shadows
from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import read_update
from isthmus.core.shadows import SHADOW
from isthmus.core.stamp import StampClock
from isthmus.drill import shadow_checks, shadow_updates
from isthmus.drill.scenario import Shadows
from isthmus.drill.shadow_accounts import Accepted, Shown, SplitAccount, held
from isthmus.drill.shadow_updates import FIRST
from isthmus.region.conflicts import _shown

REGIONS = ("eu", "us")
SHADOWS = Shadows(count=10, leaves=8, writers=2, updates_per_s=1)
UPDATES = 60


def update(item: Item, writer: Writer, state: dict[str, Any]) -> tuple[Item, int]:
    request = read_update(msgspec.json.encode({"state": state}))
    made = shadows.update(item, writer, request)
    return made.item, made.version


def shown(item: Item) -> Shown:
    said = msgspec.json.decode(shadows.get(item, 1))
    return Shown(said["version"], {name: said.get(name) for name in ("state", "metadata")})


def an_account() -> SplitAccount:
    """Of two regions that did what they should."""
    account = SplitAccount(
        shadow_updates.keys(SHADOWS),
        shadow_updates.leaves(SHADOWS),
        FIRST,
        {r: [] for r in REGIONS},
    )
    clocks = {region: StampClock(region, "i") for region in REGIONS}
    made = {
        each.key: update(Item(SHADOW, each.key), Writer(clocks["eu"], 1), each.state())[0]
        for each in shadow_updates.first(SHADOWS)
    }
    has = {region: dict(made) for region in REGIONS}
    planned = {region: shadow_updates.updates(SHADOWS, 7, region) for region in REGIONS}
    for now_ms in range(2, 2 + UPDATES):
        # Of one millisecond are some of both regions.
        for region in REGIONS:
            each = next(planned[region])
            writer = Writer(clocks[region], now_ms)
            item, version = update(has[region][each.key], writer, each.state())
            has[region][each.key] = item
            account.accepted[region].append(Accepted(each, version))
    account.held = {
        region: {key: held(item) for key, item in of.items()} for region, of in has.items()
    }
    joined = {key: items.join(has["eu"][key], has["us"][key]) for key in made}
    listed = [
        conflicts.item(each)
        for key in made
        for each in items.conflicts(has["eu"][key], has["us"][key])
    ]
    read = [found for each in listed if (found := conflicts.read(each))]
    for region in REGIONS:
        account.shown[region] = {key: shown(item) for key, item in joined.items()}
        account.conflicts[region] = [_shown(each) for each in read]
    return account


GOOD = an_account()
KEY = GOOD.shadows[0]
RACE = next(each for each in GOOD.races() if each.is_lost and each.key == KEY)


def failed(account: SplitAccount) -> dict[str, list[str]]:
    return {name: found for name, found in shadow_checks.failures(account).items() if found}


def test_regions_that_merge_as_they_should_pass_every_check() -> None:
    assert failed(GOOD) == {}
    races = GOOD.races()
    assert 0 < sum(each.is_lost for each in races) < len(races)
    assert {each.kept.stamp.region for each in races} == set(REGIONS)
    # What one side took away may stand, and may give way.
    assert None in {each.kept.value for each in races if each.is_lost}
    assert None in {each.gave_way.value for each in races if each.is_lost}


def forget_an_update(account: SplitAccount) -> None:
    """It was told, and the log of its region has it not."""
    first = next(each for each in account.accepted["us"] if each.update.key == KEY)
    account.accepted["us"].append(Accepted(first.update, first.version + 100))


def store_another_value(account: SplitAccount) -> None:
    of = account.held[RACE.gave_way.stamp.region][KEY]
    of.writes[RACE.leaf] = of.writes[RACE.leaf]._replace(value="x")  # type: ignore[index]


def store_another_write(account: SplitAccount) -> None:
    """The value is right, and it is said to be of an earlier write."""
    of = account.held[RACE.kept.stamp.region][KEY]
    write = of.writes[RACE.leaf]
    of.writes[RACE.leaf] = write._replace(number=write.number - 1)  # type: ignore[index]


def race_for_little(account: SplitAccount) -> None:
    for each in account.accepted["us"]:
        for leaf in set(each.update.leaves) & {account.leaves[0]}:
            each.update.leaves.pop(leaf)  # type: ignore[attr-defined]


def show_another_time(account: SplitAccount) -> None:
    metadata = account.shown["us"][KEY].document["metadata"]
    metadata.popitem()


def show_nothing(account: SplitAccount) -> None:
    del account.shown["us"][KEY]


def show_another_version(account: SplitAccount) -> None:
    account.shown["us"][KEY] = account.shown["us"][KEY]._replace(version=1)


def count_an_update_twice(account: SplitAccount) -> None:
    for shown in account.shown.values():
        shown[KEY] = shown[KEY]._replace(version=shown[KEY].version + 1)


def keep_the_earlier(account: SplitAccount) -> None:
    for shown in account.shown.values():
        section = shown[KEY].document["state"]
        *above, name = RACE.leaf
        for each in above:
            section = section[each]
        section[name] = RACE.gave_way.value


def show_a_leaf_that_nobody_wrote(account: SplitAccount) -> None:
    for shown in account.shown.values():
        shown[KEY].document["state"]["reported"]["strange"] = 1


def list_nothing_of_one(account: SplitAccount) -> None:
    for region, listed in account.conflicts.items():
        account.conflicts[region] = [each for each in listed if each["key"] != KEY]


def list_the_wrong_one_as_kept(account: SplitAccount) -> None:
    for listed in account.conflicts.values():
        each = next(each for each in listed if each["key"] == KEY)
        each["kept"], each["discarded"] = each["discarded"], each["kept"]


def list_what_was_not_lost(account: SplitAccount) -> None:
    for listed in account.conflicts.values():
        listed.append({**listed[0], "id": "x", "path": "/document/desired/nothing"})


def list_less_in_one_region(account: SplitAccount) -> None:
    account.conflicts["us"].pop(0)


def list_in_another_order(account: SplitAccount) -> None:
    account.conflicts["us"].reverse()


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (forget_an_update, {"accepted-is-stored", "versions-are-equal"}),
        (store_another_value, {"accepted-is-stored"}),
        (store_another_write, {"accepted-is-stored"}),
        (race_for_little, {"leaves-are-raced"}),
        (show_another_time, {"documents-are-equal"}),
        (show_nothing, {"documents-are-equal", "later-writes-win"}),
        (show_another_version, {"versions-are-equal"}),
        (count_an_update_twice, {"versions-are-equal"}),
        (keep_the_earlier, {"later-writes-win"}),
        (show_a_leaf_that_nobody_wrote, {"later-writes-win"}),
        (list_nothing_of_one, {"conflicts-are-listed"}),
        (list_the_wrong_one_as_kept, {"conflicts-are-listed", "only-conflicts-are-listed"}),
        (list_what_was_not_lost, {"only-conflicts-are-listed"}),
        (list_less_in_one_region, {"conflicts-are-listed", "conflict-lists-are-equal"}),
        (list_in_another_order, {"conflict-lists-are-equal"}),
    ],
)
def test_a_fault_is_named(fault: Callable[[SplitAccount], None], named: set[str]) -> None:
    account = copy.deepcopy(GOOD)
    fault(account)
    found = failed(account)
    assert named <= found.keys()
    texts = [text for name in named for text in found[name]]
    assert any(KEY in text or "/leaf-" in text or "order" in text for text in texts)


def test_every_check_is_seen_to_fail() -> None:
    marks = test_a_fault_is_named.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert set().union(*(named for _, named in marks)) == shadow_checks.CHECKS.keys()


def test_the_seed_says_what_is_updated() -> None:
    def some(seed: int, region: str) -> list[shadow_updates.Update]:
        return list(itertools.islice(shadow_updates.updates(SHADOWS, seed, region), 50))

    assert some(7, "eu") == some(7, "eu")
    assert some(7, "eu") != some(8, "eu")
    assert [each.key for each in some(7, "eu")] != [each.key for each in some(7, "us")]
    # Each shadow once before any twice.
    assert sorted(each.key for each in some(7, "eu")[:10]) == sorted(GOOD.shadows)
    said = [value for each in some(7, "eu") for value in each.leaves.values()]
    assert None in said
    assert len(set(shadow_updates.leaves(SHADOWS))) == SHADOWS.leaves
