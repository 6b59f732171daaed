"""What must hold of shadows that two regions updated while they were cut off from each other.

Each check bears the name that the report has for it, and yields what does not hold. Names that the
simulator has too are of the same promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from isthmus.core.shadows import SHADOW
from isthmus.drill.shadow_accounts import Held, Race, SplitAccount, Write, conflict
from isthmus.drill.shadow_updates import Leaf

#: Of the shadows, those in which each leaf must have been raced for: else little was tried.
RACED_SHARE = 0.2
SHOWN_MAX = 3


def failures(account: SplitAccount) -> dict[str, list[str]]:
    """What does not hold, by the name of the check; an empty list is what does."""
    races = account.races()
    return {name: list(check(account, races)) for name, check in CHECKS.items()}


def _accepted_is_stored(account: SplitAccount, races: Sequence[Race]) -> Iterator[str]:
    """Before the regions met, each one's log held what its clients were told, write by write."""
    for region, accepted in account.accepted.items():
        held = account.held.get(region, {})
        told: dict[str, list[int]] = {}
        for each in accepted:
            told.setdefault(each.update.key, []).append(each.version)
        for key, versions in told.items():
            newest = held[key].version if key in held else 0
            # Each is told a version of its own, up to the newest.
            if sorted(versions) != list(range(newest - len(versions) + 1, newest + 1)):
                some = f"versions {_some(sorted(versions))} were accepted"
                yield f"{key}: {some} in {region}, whose log has version {newest}"
        for (key, leaf), (value, version) in account.last_accepted(region).items():
            if key not in held:
                continue
            write = held[key].writes.get(leaf)
            if write is None or not _is_write(write, value, version, held[key], region):
                found = write and (write.value, write.dot)
                name = "/".join(leaf)
                yield f"{key} {name}: {region} accepted {value!r}, and its log has {found!r}"


def _is_write(write: Write, value: object, version: int, held: Held, region: str) -> bool:
    """Whether a log has just the write that was accepted under a version."""
    count = held.vv.get(f"{write.stamp.region}.{write.stamp.incarnation}", 0)
    # Apart from the others, a region's own writes are all that adds to the version.
    number = count - (held.version - version)
    return (write.stamp.region, write.value, write.number) == (region, value, number)


def _leaves_are_raced(account: SplitAccount, races: Sequence[Race]) -> Iterator[str]:
    """A drill in which nobody meets proves nothing."""
    counts = dict.fromkeys(account.leaves, 0)
    for race in races:
        counts[race.leaf] += 1
    wanted = RACED_SHARE * len(account.shadows)
    for leaf, count in counts.items():
        if count < wanted:
            name = "/".join(leaf)
            yield f"{name} was updated by both regions in {count} shadows, wanted are {wanted:.0f}"


def _documents_are_equal(account: SplitAccount, races: Sequence[Race]) -> Iterator[str]:
    one, other = account.shown
    for key in account.shadows:
        here, there = (account.shown[region].get(key) for region in (one, other))
        if here is None or there is None:
            yield f"{key}: not shown in {one if here is None else other}"
        elif here.document != there.document:
            mine, theirs = here.leaves(), there.leaves()
            paths = [p for p in {**mine, **theirs} if mine.get(p) != theirs.get(p)]
            where = "/".join(paths[0]) if paths else "metadata"
            yield f"{key}: {where} is another in {one} than in {other}"


def _versions_are_equal(account: SplitAccount, races: Sequence[Race]) -> Iterator[str]:
    """And each is the number of updates: that which made the shadow, and all that were accepted."""
    wanted = dict.fromkeys(account.shadows, 1)
    for accepted in account.accepted.values():
        for each in accepted:
            wanted[each.update.key] += 1
    for key, count in wanted.items():
        found = {r: shown[key].version for r, shown in account.shown.items() if key in shown}
        if set(found.values()) != {count}:
            versions = ", ".join(f"{version} in {region}" for region, version in found.items())
            yield f"{key}: version {versions or 'of none'}, after {count} updates"


def _later_writes_win(account: SplitAccount, races: Sequence[Race]) -> Iterator[str]:
    """In each region every leaf is the later one of the writes by their stamps, or as at first."""
    standing: dict[str, dict[Leaf, object]] = {
        key: dict.fromkeys(account.leaves, account.first) for key in account.shadows
    }
    for region in account.accepted:
        for (key, leaf), (value, _) in account.last_accepted(region).items():
            standing[key][leaf] = value
    for race in races:
        standing[race.key][race.leaf] = race.kept.value
    for region, shown in account.shown.items():
        for key, wanted in standing.items():
            found = shown[key].leaves() if key in shown else {}
            for leaf in {**wanted, **found}:
                if found.get(leaf) != wanted.get(leaf):
                    values = f"{found.get(leaf)!r}, the later write is {wanted.get(leaf)!r}"
                    yield f"{key} {'/'.join(leaf)}: {region} has {values}"


def _conflicts_are_listed(account: SplitAccount, races: Sequence[Race]) -> Iterator[str]:
    for region, conflicts in account.conflicts.items():
        listed = {conflict(each) for each in conflicts if each["kind"] == SHADOW}
        for race in races:
            if race.is_lost and race.conflict not in listed:
                values = f"{race.gave_way.value!r} gave way to {race.kept.value!r}"
                yield f"{race.key} {'/'.join(race.leaf)}: {values}, not listed in {region}"


def _only_conflicts_are_listed(account: SplitAccount, races: Sequence[Race]) -> Iterator[str]:
    lost, keys = {race.conflict for race in races if race.is_lost}, set(account.shadows)
    for region, conflicts in account.conflicts.items():
        for each in conflicts:
            if each["kind"] == SHADOW and each["key"] in keys and conflict(each) not in lost:
                yield f"{each['key']} {each['path']}: listed in {region}, and nothing was lost"


def _lists_are_equal(account: SplitAccount, races: Sequence[Race]) -> Iterator[str]:
    (one, here), (other, there) = account.conflicts.items()
    mine, theirs = ({each["id"]: each for each in side} for side in (here, there))
    for each in {**mine, **theirs}:
        if mine.get(each) != theirs.get(each):
            found = mine.get(each) or theirs[each]
            is_in_both = each in mine and each in theirs
            alone = f"listed in {one if each in mine else other} alone"
            where = f"another in {one} than in {other}" if is_in_both else alone
            yield f"{found['key']} {found['path']}: {where}"
    if mine == theirs and here != there:
        yield f"{one} and {other} list the same in another order"


Check = Callable[[SplitAccount, Sequence[Race]], Iterable[str]]
CHECKS: dict[str, Check] = {
    "accepted-is-stored": _accepted_is_stored,
    "leaves-are-raced": _leaves_are_raced,
    "documents-are-equal": _documents_are_equal,
    "versions-are-equal": _versions_are_equal,
    "later-writes-win": _later_writes_win,
    "conflicts-are-listed": _conflicts_are_listed,
    "only-conflicts-are-listed": _only_conflicts_are_listed,
    "conflict-lists-are-equal": _lists_are_equal,
}


def _some(found: Sequence[object]) -> str:
    shown = ", ".join(str(each) for each in found[:SHOWN_MAX])
    return shown if len(found) <= SHOWN_MAX else f"{shown} and {len(found) - SHOWN_MAX} more"
