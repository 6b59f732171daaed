"""What planted.py does to some shadows of a split, to each in its own way.

Of what regions join and list, and of what they answer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from isthmus.core import conflicts, shadow_tree, shadows
from isthmus.core import item as items
from isthmus.core.conflicts import ListedConflict
from isthmus.core.item import Conflict, Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import UpdateRequest
from isthmus.core.shadow_tree import NEVER, Node
from isthmus.core.shadows import Updated

#: Things of a split of few shadows.
THINGS = 4
#: By the check that has to find it, the shadow that is mistreated.
MISTREATED = {
    name: shadows.key(f"split-{number % THINGS:02}", f"s{number:04}")
    for number, name in enumerate(
        (
            "later-writes-win",
            "conflicts-are-listed",
            "conflict-lists-are-equal",
            "versions-are-equal",
            "documents-are-equal",
            "accepted-is-stored",
            "only-conflicts-are-listed",
        )
    )
}


def is_in(region: str) -> bool:
    """Whether this process is one of a region's, by the settings that it is to read."""
    return f"/{region}/" in " ".join(sys.argv)


def keep_the_earlier_of(key: str) -> None:
    """The join of one shadow takes the earlier write of a leaf, in both regions alike."""
    join, later = items.join, shadow_tree._later
    joining = [""]

    def chosen(one: Node, other: Node) -> Node:
        found = later(one, other)
        if joining != [key] or NEVER in (one.cut, other.cut):
            return found
        return other if found is one else one

    def joined(a: Item, b: Item) -> Item:
        joining[0] = a.key
        try:
            return join(a, b)
        finally:
            joining[0] = ""

    items.join, shadow_tree._later = joined, chosen


def list_no_conflict_of(key: str) -> None:
    """What one shadow loses is listed nowhere."""
    found = items.conflicts
    items.conflicts = lambda a, b: [] if a.key == key else found(a, b)


def list_a_conflict_too_many_of(key: str) -> None:
    """A conflict is listed of a path that nobody wrote."""
    found = items.conflicts

    def more(a: Item, b: Item) -> list[Conflict]:
        some = found(a, b)
        extra = [replace(each, path="/document/nowhere") for each in some[:1] if a.key == key]
        return [*some, *extra]

    items.conflicts = more


def list_less_in_us_of(key: str) -> None:
    """One region does not say what it lists of one shadow.

    It does list that: where one keeps nothing of what it finds, the other one may find nothing
    either, as it reads a version that is joined already.
    """
    if not is_in("us"):
        return
    read = conflicts.read

    def forgetful(listing: Item) -> ListedConflict | None:
        found = read(listing)
        return None if found and found.key == key else found

    conflicts.read = forgetful


def show_otherwise_in_us(key: str, change: Callable[[dict[str, Any]], object]) -> None:
    """One region answers GetThingShadow otherwise than it should."""
    if not is_in("us"):
        return
    get = shadows.get

    def changed(item: Item, now_ms: int, client_token: str | None = None) -> bytes:
        said = get(item, now_ms, client_token)
        if item.key != key:
            return said
        document = msgspec.json.decode(said)
        change(document)
        return msgspec.json.encode(document)

    shadows.get = changed


def accept_and_forget_in_eu(key: str) -> None:
    """From its third update on, one shadow's are accepted and are not written."""
    if not is_in("eu"):
        return
    update = shadows.update

    def forgetful(item: Item, writer: Writer, request: UpdateRequest) -> Updated:
        made = update(item, writer, request)
        if item.key == key and item.version > 2:
            made.item = item
        return made

    shadows.update = forgetful


def mistreat_shadows() -> None:
    """Each of these in its own way."""
    keep_the_earlier_of(MISTREATED["later-writes-win"])
    list_no_conflict_of(MISTREATED["conflicts-are-listed"])
    list_a_conflict_too_many_of(MISTREATED["only-conflicts-are-listed"])
    list_less_in_us_of(MISTREATED["conflict-lists-are-equal"])
    accept_and_forget_in_eu(MISTREATED["accepted-is-stored"])
    document, version = MISTREATED["documents-are-equal"], MISTREATED["versions-are-equal"]
    show_otherwise_in_us(document, lambda said: said["metadata"].popitem())
    show_otherwise_in_us(version, lambda said: said.update(version=said["version"] + 1))
