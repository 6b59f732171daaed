"""Bugs of kinds that really happen, each a line of the core: what a simulator must find.

They are applied here and nowhere else: the core has no switch for any of them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import isthmus.core.session as sessions
import isthmus.sim.services as services
from isthmus.core import cursor, direction, health, repeat, routing, zone
from isthmus.core import item as items
from isthmus.core.admission import Admission, Gate
from isthmus.core.confirm import Durability, Window
from isthmus.core.contact import Contact
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Lattice, Live, Register, join
from isthmus.core.peers import Peers
from isthmus.core.pull import Pull
from isthmus.core.session import Session
from isthmus.core.stamp import ZERO, Stamp, StampClock
from isthmus.core.update import Update
from isthmus.core.writer import Writer

Patch = pytest.MonkeyPatch
PLANTED: dict[str, Callable[[Patch], None]] = {}


def planted(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    PLANTED[plant.__name__.replace("_", "-")] = plant
    return plant


# Confirming and acknowledging


@planted
def confirm_by_sequence(patch: Patch) -> None:
    """A peer's position counts, whatever life of the stream it belongs to."""
    patch.setattr(
        Peers,
        "applied",
        lambda self, _incarnation, revision: tuple(
            sorted(name for name, held in self._peers.items() if held.log.sequence >= revision)
        ),
    )


@planted
def acknowledge_on_send(patch: Patch) -> None:
    """A batch is answered when it was handed to the stream, not when the stream has it."""
    patch.setattr(
        Window,
        "release",
        lambda self: [self._pending.popleft().tokens for _ in range(len(self._pending))],
    )


@planted
def acknowledge_when_stored_here(patch: Patch) -> None:
    """Nobody waits for the second region."""
    patch.setattr(Window, "_promise_is_local", lambda self: True)


@planted
def answer_alone_before_it_is_recorded(patch: Patch) -> None:
    set_alone = Writer.set_alone

    def at_once(self: Writer[object], alone: bool) -> bool:
        changed = set_alone(self, alone)
        self._window.alone = alone and self._window.durability is Durability.TWO_REGIONS
        return changed

    patch.setattr(Writer, "set_alone", at_once)


@planted
def answer_in_the_order_of_promises(patch: Patch) -> None:
    """PUBACKs leave as they are earned, not in the order of the PUBLISHes."""

    def answers(self: Session) -> bytes:
        kept = [ticket for ticket in self._owed if ticket.kept]
        for ticket in kept:
            self._owed.remove(ticket)
        return b"".join(sessions.mqtt3.encode_puback(ticket.packet_id) for ticket in kept)

    patch.setattr(Session, "answers", answers)


# Cursors


@planted
def keep_a_cursor_after_a_restore(patch: Patch) -> None:
    patch.setattr(cursor, "still_holds", lambda *_: True)


@planted
def keep_the_incarnation_after_a_restore(patch: Patch) -> None:
    patch.setattr(services, "keeps_incarnation", lambda held, _, peers_answered: bool(held))


@planted
def resume_where_we_were(patch: Patch) -> None:
    """Whatever the peer says of our cursors."""
    patch.setattr(
        Pull, "resume", lambda self, incarnation, *_: setattr(self, "incarnation", incarnation)
    )


# Joins


@planted
def forget_tombstones(patch: Patch) -> None:
    patch.setattr(
        Live, "join", lambda self, other: Live({**self.entries, **other.entries}, frozenset())
    )


@planted
def choose_the_later_item(patch: Patch) -> None:
    """Wholesale last writer wins."""

    def later(a: Item, b: Item) -> Item:
        return max(a, b, key=lambda each: (max(each.stamps(), default=ZERO), each.encode()))

    patch.setattr(items, "join", later)


@planted
def drop_what_one_side_lacks(patch: Patch) -> None:
    """A field that only the other side has is lost: a revocation, for instance."""

    def known_only(self: Fields, other: Fields) -> Fields:
        values: dict[str, Lattice] = {
            name: join(mine, other.values.get(name, mine)) for name, mine in self.values.items()
        }
        return Fields(values or other.values)

    patch.setattr(Fields, "join", known_only)


@planted
def stamp_without_region(patch: Patch) -> None:
    """Two writes of one millisecond are in no order."""
    patch.setattr(Register, "_rank", lambda self: (self.stamp.ms, self.stamp.counter))


@planted
def stamp_by_the_clock_alone(patch: Patch) -> None:
    """A clock that is behind loses what it writes over something newer."""
    patch.setattr(
        StampClock,
        "stamp",
        lambda self, now_ms, _seen=(): Stamp(now_ms, 0, self.region, self.incarnation),
    )


@planted
def count_versions_of_one_side(patch: Patch) -> None:
    patch.setattr(
        items,
        "join",
        lambda a, b: Item(a.kind, a.key, dict(a.vv), a.fields.join(b.fields)),
    )


@planted
def write_though_nothing_differs(patch: Patch) -> None:
    patch.setattr(
        Update, "proposal", lambda self: None if self.is_written else self._change(self.item)
    )


# Admission


@planted
def admit_at_once(patch: Patch) -> None:
    patch.setattr(Gate, "admission", property(lambda self: Admission.OPEN))


@planted
def be_level_at_once(patch: Patch) -> None:
    patch.setattr(Pull, "is_level", lambda *_: True)


# Routes


@planted
def majority_of_those_heard(patch: Patch) -> None:
    patch.setattr(routing, "majority_of", lambda _sites: 1)
    patch.setattr(health, "majority_of", lambda _sites: 1)


@planted
def count_votes_of_any_age(patch: Patch) -> None:
    patch.setattr(Contact, "fresh", lambda self, _now_s: self.known())


@planted
def take_the_route_that_came_last(patch: Patch) -> None:
    patch.setattr(
        direction,
        "join",
        lambda mine, theirs, _: theirs if theirs.epoch >= mine.epoch else mine,
    )


@planted
def publish_an_empty_zone(patch: Patch) -> None:
    patch.setattr(zone, "_service", lambda *_: ())
    patch.setattr(zone, "check_zone_never_empty", lambda _: None)


# Repeats


@planted
def take_every_copy_for_a_repeat(patch: Patch) -> None:
    """What is equal is the same message, even on one connection."""
    patch.setattr(repeat._Client, "fits", lambda *_: True)


@planted
def take_no_copy_for_a_repeat(patch: Patch) -> None:
    patch.setattr(repeat, "_by_content", lambda *_: None)
    patch.setattr(repeat, "_by_identity", lambda *_: None)
