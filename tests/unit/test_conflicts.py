"""Conflicts as items, and as the operators' API lists them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import make_mocked_request

from isthmus.cli import conflicts as shown
from isthmus.core import conflicts, registry
from isthmus.core import item as items
from isthmus.core.conflicts import CONFLICT, Side
from isthmus.core.item import Conflict, Item, Write, join
from isthmus.core.lattice import Fields, GrowSet, Lattice, Register
from isthmus.core.registry import Writer
from isthmus.core.stamp import Stamp, StampClock
from isthmus.core.view import View
from isthmus.region import conflicts as listing
from isthmus.region.conflicts import Conflicts
from isthmus.region.services import LISTED


def contest(value: Any, *, at_ms: int = 1, key: str = "a") -> Conflict:
    """Of an item that us has written a millisecond later than eu."""
    empty = Item(registry.THING, key)
    here = Write(empty, StampClock("eu", "i"), at_ms).set("x", value).done()
    there = Write(empty, StampClock("us", "j"), at_ms + 1).set("x", 7).done()
    (found,) = items.conflicts(here, there)
    return found


@pytest.mark.parametrize("value", [None, [], "x", {"a": 1}])
def test_what_is_listed_is_read_again(value: Any) -> None:
    found = contest(value, at_ms=5)
    item = conflicts.item(found)
    assert (item.kind, item.key) == (CONFLICT, found.id)
    assert join(item, items.decode(item.encode())).encode() == item.encode()
    read = conflicts.read(item)
    assert read is not None
    assert (read.id, read.kind, read.key, read.path) == (found.id, "thing", "a", "/x")
    assert read.kept == Side(7, "us.j:1", Stamp(6, 0, "us", "j"))
    assert read.discarded == Side(value, "eu.i:1", Stamp(5, 0, "eu", "i"))
    assert (read.discarded.region, read.at_ms) == ("eu", 6)


def test_what_gave_way_to_a_deletion_is_read_again() -> None:
    writer = Writer(StampClock("eu", "i"), 3)
    base = registry.put_thing(Item(registry.THING, "a"), writer, {"x": "1"})
    there = registry.delete(base, Writer(StampClock("us", "j"), 9))
    here = registry.put_thing(base, writer, {"x": "2"})
    (found,) = (conflicts.read(conflicts.item(each)) for each in items.conflicts(here, there))
    assert found is not None
    assert found.kept is None
    assert found.discarded.value == "2"


def listing_of(key: str, field: Lattice) -> Item:
    return Item(CONFLICT, key, {}, Fields({"conflict": field}))


def of_an_older_release(item: Item) -> Item:
    """Before stamps were listed."""
    field = item.fields.get("conflict")
    assert isinstance(field, GrowSet)
    (text,) = field.members
    said = json.loads(text)
    for side in said["sides"]:
        del side["stamp"]
    return listing_of(item.key, GrowSet(frozenset({json.dumps(said)})))


def test_what_regions_of_two_releases_list_is_read_with_its_stamps() -> None:
    new = conflicts.item(contest("x"))
    old = of_an_older_release(new)
    alone = conflicts.read(old)
    assert alone is not None
    assert (alone.discarded, alone.at_ms) == (Side("x", "eu.i:1", None), 0)
    for both in (join(old, new), join(new, old)):
        assert conflicts.read(both) == conflicts.read(new)


@pytest.mark.parametrize(
    "field",
    [
        *(
            GrowSet(frozenset({text}))
            for text in (
                "{",
                "[]",
                '{"of":["a"]}',
                '{"of":["a","b"],"path":"","sides":[null,null]}',
                '{"of":["a","b"],"path":"","sides":[null,"x"]}',
                '{"of":["a","b"],"path":"","sides":[null,{"dot":1,"value":1}]}',
                '{"of":["a","b"],"path":"","sides":[null,{"dot":"a.b:1","value":1,"stamp":[1]}]}',
            )
        ),
        Register(Stamp(1, 0, "", ""), "a.b:1", 1),
    ],
)
def test_what_says_nothing_is_listed_nowhere(field: Lattice) -> None:
    item = listing_of("c", field)
    assert conflicts.read(item) is None
    assert list(conflicts.listed(item)) == []


@pytest.mark.parametrize("at_ms", [10**20, -1])
def test_whatever_a_clock_said_is_listed_at_some_time(at_ms: int) -> None:
    contested = Conflict("a", "b", "/x", None, Register(Stamp(at_ms, 0, "eu", "i"), "eu.i:1", 1))
    ((_, name),) = conflicts.listed(conflicts.item(contested))
    assert name in (f"{'9' * 14}:{contested.id}", f"{'0' * 14}:{contested.id}")


async def pages(view: View, **asked: str) -> list[list[dict[str, Any]]]:
    """What the API answers, page by page."""
    found = []
    while True:
        request = make_mocked_request("GET", f"/v1/conflicts?{urlencode(asked)}")
        page = await Conflicts(view).list(request)
        found.append(page["conflicts"])
        if page["next"] is None:
            return found
        asked["after"] = page["next"]


async def test_the_newest_are_listed_first_a_page_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)
    view = View(listed=LISTED)
    # 9 and 10: by time, and not by how it is written.
    for at_ms in (9, 100_000, 10):
        view.apply(conflicts.item(contest(str(at_ms), at_ms=at_ms, key=f"k{at_ms}")))
    shown = await pages(view)
    assert [[each["key"] for each in page] for page in shown] == [["k100000", "k10"], ["k9"]]
    assert shown[1][0] == {
        "id": contest("9", at_ms=9, key="k9").id,
        "kind": "thing",
        "key": "k9",
        "path": "/x",
        "kept": {"value": 7, "region": "us", "at_ms": 10, "write": "us.j:1"},
        "discarded": {"value": "9", "region": "eu", "at_ms": 9, "write": "eu.i:1"},
    }


async def test_those_of_a_kind_or_a_key_are_found_behind_pages_without_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "PAGE", 1)
    view = View(listed=LISTED)
    for key in ("a", "b", "c"):
        view.apply(conflicts.item(contest("x", key=key)))
    assert [each["key"] for page in await pages(view, key="b") for each in page] == ["b"]
    assert await pages(view, kind="thing", key="b") == await pages(view, key="b")
    assert await pages(view, kind="shadow") == [[], [], [], []]
    assert sum(len(page) for page in await pages(view, kind="thing")) == 3


def test_names_that_a_device_has_chosen_move_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    side = {"value": "\x1b[2J", "region": "eu", "at_ms": 10**18, "write": "eu.i:1"}
    found = {"kind": "shadow", "key": "car", "path": f"/a\x1b]0;b\n{'x' * 200}"}
    shown._show([{**found, "kept": None, "discarded": side}], has_more=False)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "shadow car" in said
    assert "1000000000000000000 ms" in said
    assert "x" * 61 not in said
