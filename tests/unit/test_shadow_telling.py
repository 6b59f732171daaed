"""What devices are told of what comes from a peer, whichever of the two starts again."""

from __future__ import annotations

import json

from isthmus.core import shadows
from isthmus.core.cursor import Cursor
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import read_update
from isthmus.core.shadow_telling import FirstFill, ShadowTelling, Told, first_fill
from isthmus.core.shadows import SHADOW
from isthmus.core.stamp import StampClock

NOBODY = Item(SHADOW, "car")


def updated(item: Item, **desired: int) -> Item:
    payload = json.dumps({"state": {"desired": desired}}).encode()
    writer = Writer(StampClock("eu", "i"), 1_000)
    return shadows.update(item, writer, read_update(payload)).item


WANTED = updated(NOBODY, a=1)
FIRST = FirstFill("i", 0)


def begun(told: Told, incarnation: str = "i", head: int = 9, own_head: int = 50) -> ShadowTelling:
    telling = ShadowTelling()
    telling.begin(told, incarnation, head, own_head, FIRST)
    return telling


def read(telling: ShadowTelling) -> tuple[list[str], Told]:
    """The ends of the topics on which something is told of all that is noted, and how far it is."""
    telling.reached(Cursor("i", 9, "x"))
    ends, told = [], Told()
    while (step := telling.next()) is not None:
        ends += [message.topic.rpartition("/")[2] for message in step.messages]
        told = step.told or told
        telling.done()
    return ends, told


def test_what_a_crash_left_untold_is_told_though_the_peer_began_its_log_anew():
    # Merged as our revision 41, and then this process died; 40 is what was written down.
    telling = begun(Told(Cursor("before", 7, "x"), 40), "anew")
    telling.merged(1, WANTED, WANTED, 41)
    assert read(telling) == (["delta"], Told(Cursor("i", 9, "x"), 41))


def test_what_a_crash_left_untold_is_told_when_a_peer_that_lost_it_has_it_from_us():
    # Its log ends at 3 when contact begins.
    telling = begun(Told(Cursor("before", 7, "x"), 40), "anew", head=3, own_head=41)
    telling.merged(4, WANTED, WANTED, 41)
    assert read(telling)[0] == ["delta"]


def test_what_was_told_is_not_told_again_though_the_peer_began_its_log_anew():
    telling = begun(Told(Cursor("before", 7, "x"), 40), "anew")
    telling.merged(1, WANTED, WANTED, 40)
    assert read(telling)[0] == []


def test_what_was_merged_as_contact_was_lost_is_told_at_the_next_one():
    telling = begun(Told())
    telling.merged(1, NOBODY, WANTED, 5)
    assert read(telling)[0] == ["documents", "delta"]
    # Its merge was written, and contact lost before anybody could note that.
    telling.begin(Told(Cursor("i", 1, "x"), 5), "anew", 3, 6, FIRST)
    telling.merged(2, WANTED, WANTED, 6)
    assert read(telling)[0] == ["delta"]


def test_what_is_read_once_more_is_told_in_whatever_order_it_comes():
    # Both were merged as contact was lost, and nothing of them is told; the peer's log, which it
    # began anew, has first what ours has last.
    telling = begun(Told(Cursor("before", 7, "x"), 40), "anew", head=2)
    telling.merged(1, WANTED, WANTED, 45)
    telling.reached(Cursor("i", 1, "x"))
    telling.merged(2, WANTED, WANTED, 41)
    telling.reached(Cursor("i", 2, "x"))
    told = []
    while (step := telling.next()) is not None:
        told.append((len(step.messages), step.told and step.told.revision))
        telling.done()
    # No more than before is said to be told until all has come that was there at first.
    assert told == [(1, 40), (1, 45)]


def test_no_more_counts_as_told_than_our_own_log_has():
    # It was restored, and what it has taken in since has old numbers.
    telling = begun(Told(Cursor("i", 7, "x"), 40), own_head=20)
    telling.merged(8, WANTED, WANTED, 21)
    assert read(telling)[0] == ["delta"]


def test_what_comes_back_from_the_peer_that_was_told_of_it_is_not_told():
    telling = begun(Told(), head=3, own_head=7)
    telling.merged(4, WANTED, WANTED, 8)
    assert read(telling) == ([], Told(Cursor("i", 9, "x"), 8))


def test_a_first_fill_is_noted_once():
    noted = first_fill(FirstFill(), Cursor(), "i", 7)
    assert noted == FirstFill("i", 7)
    assert first_fill(noted, Cursor(), "another", 9) == noted
    assert first_fill(FirstFill(), Cursor("i", 3, "x"), "i", 7) == FirstFill("i", 0)
