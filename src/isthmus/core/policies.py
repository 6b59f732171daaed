"""Policies and their versions: how they are written, and what holds where regions wrote at once.

Provisioning templates have versions in the same way, and are written by the same functions.

A version's document is an item of its own, which is never changed. The policy's item says which
versions there are, under which numbers, and which of them are the default:

- *All concurrent defaults stay*, until somebody who has seen them chooses one; an action is allowed
  only if all of them allow it.
- *A default has its document.* Whoever makes a version the default lists it anew, and its item is
  written anew before that, so no deletion that has not seen this takes it away.
- *Versions have distinct numbers.* Two that regions made at once under one number keep it and the
  next free one; whoever writes then writes that down, so a number that was seen stays.
- A version belongs to the life of the policy that it was made in, and counts in no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from isthmus.core import lists, register_map
from isthmus.core.item import Item
from isthmus.core.lattice import Dot, Fields, Live
from isthmus.core.registry import POLICY, Writer
from isthmus.core.table import Path

#: AWS's limit. What regions made at once may pass it.
VERSIONS_MAX = 5


class Version(NamedTuple):
    """One version of a policy, as it is shown."""

    number: int
    #: Of the item that has the document.
    key: str
    created_ms: int
    is_default: bool


def version_key(name: str, number: int, document: str) -> str:
    """The key of an immutable version: two regions that write version 2 at once write two items."""
    return f"{name}:{number}:{hashlib.sha256(document.encode()).hexdigest()[:16]}"


# Writing


def put_version(item: Item, writer: Writer, document: str) -> Item:
    """Write the immutable item of one version, once."""
    return item if item.lives else keep_version(item, writer, document)


def keep_version(item: Item, writer: Writer, document: str) -> Item:
    """Write it anew, for what is about to refer to it: no deletion that is under way ends it."""
    return writer.write(item).begin().set("document", document).done()


def put(item: Item, writer: Writer, key: str, tags: Mapping[str, str] | None = None) -> Item:
    """Create a policy or change its default, in place of the defaults that are known here."""
    changes = _Changes(item, writer)
    changes.list(key)
    changes.choose(key)
    register_map.put(changes.write, item, "tags", tags or {})
    return changes.done()


def add_version(item: Item, writer: Writer, key: str) -> Item:
    """List a version that is not the default."""
    changes = _Changes(item, writer)
    changes.list(key)
    return changes.done()


def remove_version(item: Item, writer: Writer, key: str) -> Item:
    """List a version no longer, as far as it is known here."""
    changes = _Changes(item, writer)
    changes.remove(key)
    return changes.done(tightens=True)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What an entry says of a version."""

    number: int
    created_ms: int
    lives: frozenset[Dot]


class _Changes:
    """One write of a policy, with what it changes of the versions."""

    def __init__(self, item: Item, writer: Writer) -> None:
        self.write = writer.write(item)
        self._before = _held(item)
        if not item.lives:
            # What an earlier life has left is nothing to this one.
            self.write.create().kill("defaults").kill("last")
            self._before = {key: live.kill() for key, live in self._before.items()}
        self._after = dict(self._before)
        self._lives = frozenset(self.write.live("life").entries)
        self._last = last_number(item)
        self._settle(item)

    def _settle(self, item: Item) -> None:
        """Write down the numbers that are shown already.

        Not for more lives than before: nobody has written the documents anew.
        """
        for version in versions(item):
            entries = _entries(self._before[version.key])
            if {each.number for each in entries} != {version.number}:
                lives = self._lives & frozenset[Dot]().union(*(each.lives for each in entries))
                self._enter(version.key, version.number, version.created_ms, lives)

    def list(self, key: str) -> None:
        """List a version anew, under the number that it has or the next one."""
        entries = _entries(self._after.get(key, Live()))
        found = [each for each in entries if each.lives & self._lives]
        if found:
            # Settled, so there is one number.
            created_ms = min(each.created_ms for each in found)
            self._enter(key, found[0].number, created_ms, self._lives)
        else:
            self._enter(key, self._last + 1, self.write.stamp.ms, self._lives)

    def choose(self, key: str) -> None:
        """Make a version the default: of the lives that go on, and no other."""
        self.write.kill("defaults").add("defaults", {"key": key, "lives": sorted(self._lives)})

    def remove(self, key: str) -> None:
        self._after[key] = self._before.get(key, Live()).kill()

    def _enter(self, key: str, number: int, created_ms: int, lives: frozenset[Dot]) -> None:
        entry = {"number": number, "created_ms": created_ms, "lives": sorted(lives)}
        # In place of those from before: of this write there is one entry, whatever it changes.
        self._after[key] = self._before.get(key, Live()).kill().add(self.write.dot, entry)
        self._last = max(self._last, number)

    def done(self, *, tightens: bool = False) -> Item:
        self.write.put("versions", Fields(self._after)).kill("last").add("last", self._last)
        return self.write.touch().done(tightens=tightens)


# Reading


def _held(item: Item) -> dict[str, Live]:
    """The entries of every version there ever was, by key."""
    held = item.fields.get("versions")
    if not isinstance(held, Fields):
        return {}
    return {key: live for key, live in held.values.items() if isinstance(live, Live)}


def _entries(live: Live) -> list[_Listed]:
    return [
        _Listed(entry["number"], entry["created_ms"], frozenset(entry["lives"]))
        for _, entry in sorted(live.entries.items())
    ]


def _in_this_life(item: Item) -> dict[str, tuple[int, int]]:
    """Number and time of creation by key, as they are written."""
    found = {}
    for key, live in _held(item).items():
        entries = [each for each in _entries(live) if each.lives & item.lives]
        if entries:
            found[key] = min((each.number, each.created_ms) for each in entries)
    return found


def _defaults(item: Item) -> frozenset[str]:
    defaults = item.fields.get("defaults")
    chosen = defaults.entries.values() if isinstance(defaults, Live) else ()
    return frozenset(each["key"] for each in chosen if not item.lives.isdisjoint(each["lives"]))


def last_number(item: Item) -> int:
    """The highest number that a version of this life has had; 0 where there was none."""
    if not item.lives:
        return 0
    return max([*_last(item), *(version.number for version in versions(item))], default=0)


def _last(item: Item) -> list[int]:
    last = item.fields.get("last")
    return list(last.entries.values()) if isinstance(last, Live) else []


def versions(item: Item) -> list[Version]:
    """Every version, by its number: of those with one number the first keeps it."""
    listed, defaults = _in_this_life(item), _defaults(item)
    numbers: dict[int, str] = {}
    others = []
    for key in sorted(listed, key=lambda key: (*listed[key], key)):
        if numbers.setdefault(listed[key][0], key) != key:
            others.append(key)
    highest = max([*_last(item), *numbers], default=0)
    numbers |= {highest + n: key for n, key in enumerate(others, 1)}
    return [
        Version(number, key, listed[key][1], key in defaults)
        for number, key in sorted(numbers.items())
    ]


def default_versions(item: Item) -> list[str]:
    """Keys of the default versions: more than one where regions changed it at once."""
    return sorted(_defaults(item) & _in_this_life(item).keys())


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a policy is listed."""
    if item.lives:
        yield (POLICY,), lists.by_creation(item)
