"""A view takes from the log what is what it says it is."""

from __future__ import annotations

from functools import cache

import pytest

from isthmus.adapters.nats.entries import Entry
from isthmus.adapters.nats.streams import log_subject
from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Flag
from isthmus.core.log_view import LogView
from isthmus.core.retained import RETAINED, retain
from isthmus.core.stamp import StampClock
from isthmus.core.view import Change
from isthmus.errors import InputError
from isthmus.region.log_view import take
from isthmus.wire.packets import Publish


def item(kind: str, key: str) -> Item:
    return Item(kind, key, {"eu.a": 1}, Fields({"revoked": Flag(True)}))


def test_entries_are_applied_in_order_and_the_position_follows() -> None:
    view = LogView()
    view.take(1, "thing", "a.b", item("thing", "a.b").encode())
    assert view.get("thing", "a.b") == item("thing", "a.b")
    assert (view.position, view.revision("thing", "a.b")) == (1, 1)


def test_views_of_one_process_may_share_what_they_read() -> None:
    decode = cache(items.decode)
    one, other = LogView(decode=decode), LogView(decode=decode)
    for view in (one, other):
        view.take(1, "thing", "a", item("thing", "a").encode())
    assert one.get("thing", "a") is other.get("thing", "a")


def retained(ms: int) -> Item:
    publish = Publish("t", str(ms).encode(), 1, retain=True)
    return retain(Item(RETAINED, "t"), StampClock("eu", "a"), publish, ms)


def test_what_a_batch_brought_is_not_undone_by_what_the_log_had_before() -> None:
    view = LogView()
    view.join(retained(2))
    view.take(1, RETAINED, "t", retained(1).encode())
    assert view.get(RETAINED, "t") == retained(2)
    view.take(2, RETAINED, "t", retained(3).encode())
    view.join(retained(2))
    assert view.get(RETAINED, "t") == retained(3)
    assert view.revision(RETAINED, "t") == 2


def test_an_item_under_another_items_name_is_refused() -> None:
    view = LogView()
    with pytest.raises(InputError, match="it is certificate 'b'"):
        view.take(1, "certificate", "a", item("certificate", "b").encode())
    assert len(view.view) == 0
    assert view.position == 1


def test_garbage_in_the_log_holds_up_nothing() -> None:
    view = LogView()
    good = item("thing", "b")
    entries = [
        Entry(1, log_subject("thing", "a"), b"\xff{", ""),
        Entry(2, log_subject("thing", "b"), good.encode(), ""),
    ]
    assert take(view, entries) == [Change(None, good)]
    assert view.get("thing", "b") == good
    assert view.position == 2


def test_an_older_revision_than_a_write_of_our_own_is_passed_over() -> None:
    view = LogView()
    newer = Item("thing", "a", {"eu.a": 2})
    view.apply(newer, 5)
    assert view.take(3, "thing", "a", item("thing", "a").encode()) is None
    assert view.get("thing", "a") == newer
