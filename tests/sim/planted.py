"""Bugs of kinds that really happen, each a line of the core: what a simulator must find.

They are applied here and nowhere else: the core has no switch for any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

import isthmus.sim.services as services
from isthmus.core import cursor, direction, health, registry, repeat, routing, zone
from isthmus.core import item as items
from isthmus.core.admission import Admission, Gate
from isthmus.core.alone import AloneKeeper
from isthmus.core.confirm import AloneRange, Durability, Watermarks, Window
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Lattice, Live, Register, join
from isthmus.core.peers import Peers
from isthmus.core.pull import Pull
from isthmus.core.registry import CertificateStatus
from isthmus.core.session import Session
from isthmus.core.stamp import ZERO, Stamp, StampClock
from isthmus.core.update import Update
from isthmus.core.writer import Writer

Patch = pytest.MonkeyPatch
Stored = Mapping[str, int] | None
Plant = Callable[[Patch], None]
#: By name: how to plant it, and the invariant that it breaks.
PLANTED: dict[str, tuple[Plant, str]] = {}


def planted(invariant: str) -> Callable[[Plant], Plant]:
    def note(plant: Plant) -> Plant:
        PLANTED[plant.__name__.replace("_", "-")] = (plant, invariant)
        return plant

    return note


# Confirming and acknowledging


@planted("no-answer-before-its-promise")
def confirm_by_sequence(patch: Patch) -> None:
    """A peer's position counts, whatever life of the stream it belongs to."""
    patch.setattr(
        Peers,
        "applied",
        lambda self, _incarnation, revision: tuple(
            sorted(name for name, held in self._peers.items() if held.log.sequence >= revision)
        ),
    )


@planted("no-answer-before-its-promise")
def acknowledge_on_send(patch: Patch) -> None:
    """A batch is answered when it was handed to the stream, not when the stream has it."""
    patch.setattr(
        Window,
        "release",
        lambda self: [self._pending.popleft().tokens for _ in range(len(self._pending))],
    )


@planted("no-answer-before-its-promise")
def acknowledge_when_stored_here(patch: Patch) -> None:
    """Nobody waits for the second region."""
    patch.setattr(Window, "_promise_is_local", lambda self: True)


@planted("no-answer-before-its-promise")
def answer_alone_before_it_is_recorded(patch: Patch) -> None:
    set_alone = Writer.set_alone

    def at_once(self: Writer[object], alone: bool) -> bool:
        changed = set_alone(self, alone)
        self._window.alone = alone and self._window.durability is Durability.TWO_REGIONS
        return changed

    patch.setattr(Writer, "set_alone", at_once)


@planted("answers-in-order")
def answer_in_the_order_of_promises(patch: Patch) -> None:
    """PUBACKs leave as they are earned, not in the order of the PUBLISHes."""

    def answers(self: Session) -> bytes:
        kept = [ticket for ticket in self._owed if ticket.kept]
        for ticket in kept:
            self._owed.remove(ticket)
        return b"".join(self.codec.encode_puback(ticket.packet_id) for ticket in kept)

    patch.setattr(Session, "answers", answers)


@planted("no-answer-before-its-promise")
def answer_whatever_is_owed(patch: Patch) -> None:
    """When one promise is kept, all of the connection's are."""

    def answers(self: Session) -> bytes:
        if not any(ticket.kept for ticket in self._owed):
            return b""
        owed = [self._owed.popleft() for _ in range(len(self._owed))]
        return b"".join(self.codec.encode_puback(ticket.packet_id) for ticket in owed)

    patch.setattr(Session, "answers", answers)


# Being alone


@planted("alone-after-silence-only")
def go_alone_without_silence(patch: Patch) -> None:
    tick = AloneKeeper.tick

    def hasty(self: AloneKeeper, now_s: float, now_ms: int, stored: Stored, confirmed: Watermarks):
        if not self.state.alone and now_ms % 5 == 0:
            return self._enter(now_ms, 0.0)
        return tick(self, now_s, now_ms, stored, confirmed)

    patch.setattr(AloneKeeper, "tick", hasty)


@planted("alone-after-silence-only")
def take_a_pause_for_silence(patch: Patch) -> None:
    """A process that slept concludes that the others fell silent."""
    tick = AloneKeeper.tick

    def sleepy(self: AloneKeeper, now_s: float, now_ms: int, stored: Stored, confirmed: Watermarks):
        self._ticked_s = now_s
        return tick(self, now_s, now_ms, stored, confirmed)

    patch.setattr(AloneKeeper, "tick", sleepy)


@planted("alone-ends")
def stay_alone_for_ever(patch: Patch) -> None:
    patch.setattr(AloneKeeper, "_leave", lambda *_: None)


@planted("alone-until-confirmed")
def leave_alone_unconfirmed(patch: Patch) -> None:
    """To be in contact is enough."""
    patch.setattr(Watermarks, "covers", lambda *_: True)


@planted("no-answer-before-its-promise")
def forget_the_ranges(patch: Patch) -> None:
    """What was acknowledged alone is written down too late: from a later batch on."""
    ranges = Writer.ranges

    def later(self: Writer[object]) -> list[AloneRange]:
        return [AloneRange(each.first + 1_000, each.last, 0) for each in ranges(self)]

    patch.setattr(Writer, "ranges", later)


# Cursors


@planted("no-cursor-skips")
def keep_a_cursor_after_a_restore(patch: Patch) -> None:
    patch.setattr(cursor, "still_holds", lambda *_: True)


@planted("no-answer-before-its-promise")
def keep_the_incarnation_after_a_restore(patch: Patch) -> None:
    patch.setattr(services, "keeps_incarnation", lambda held, _, all_answered: bool(held))


@planted("no-cursor-skips")
def resume_where_we_were(patch: Patch) -> None:
    """Whatever the peer says of our cursors."""
    patch.setattr(
        Pull, "resume", lambda self, incarnation, *_: setattr(self, "incarnation", incarnation)
    )


# Joins


@planted("removals-hold")
def forget_tombstones(patch: Patch) -> None:
    patch.setattr(
        Live, "join", lambda self, other: Live({**self.entries, **other.entries}, frozenset())
    )


@planted("no-cursor-skips")
def choose_the_later_item(patch: Patch) -> None:
    """Wholesale last writer wins."""

    def later(a: Item, b: Item) -> Item:
        return max(a, b, key=lambda each: (max(each.stamps(), default=ZERO), each.encode()))

    patch.setattr(items, "join", later)


@planted("revoked-is-refused")
def drop_what_one_side_lacks(patch: Patch) -> None:
    """A field that only the other side has is lost: a revocation, for instance."""

    def known_only(self: Fields, other: Fields) -> Fields:
        values: dict[str, Lattice] = {
            name: join(mine, other.values.get(name, mine)) for name, mine in self.values.items()
        }
        return Fields(values or other.values)

    patch.setattr(Fields, "join", known_only)


@planted("equal-views")
def stamp_without_region(patch: Patch) -> None:
    """Two writes of one millisecond are in no order."""
    patch.setattr(Register, "_rank", lambda self: (self.stamp.ms, self.stamp.counter))


@planted("later-writes-win")
def stamp_by_the_clock_alone(patch: Patch) -> None:
    """A clock that is behind loses what it writes over something newer."""
    patch.setattr(
        StampClock,
        "stamp",
        lambda self, now_ms, _seen=(): Stamp(now_ms, 0, self.region, self.incarnation),
    )


@planted("no-cursor-skips")
def count_versions_of_one_side(patch: Patch) -> None:
    patch.setattr(
        items,
        "join",
        lambda a, b: Item(a.kind, a.key, dict(a.vv), a.fields.join(b.fields)),
    )


@planted("zero-writes-after-full-exchange")
def write_though_nothing_differs(patch: Patch) -> None:
    patch.setattr(
        Update, "proposal", lambda self: None if self.is_written else self._change(self.item)
    )


@planted("conflicts-are-listed")
def list_no_conflicts(patch: Patch) -> None:
    patch.setattr(items, "conflicts", lambda *_: [])


# Rights


def status_without(field: str) -> Callable[[Item], CertificateStatus | None]:
    status = registry.certificate_status

    def blind(item: Item) -> CertificateStatus | None:
        known = {name: value for name, value in item.fields.values.items() if name != field}
        return status(Item(item.kind, item.key, item.vv, Fields(known)))

    return blind


@planted("revoked-is-refused")
def ignore_revocations(patch: Patch) -> None:
    patch.setattr(registry, "certificate_status", status_without("revoked"))


@planted("revoked-is-refused")
def ignore_blocks(patch: Patch) -> None:
    """A deactivated certificate is as good as any."""
    patch.setattr(registry, "certificate_status", status_without("blocks"))


def contested(is_contested: bool) -> Callable[..., object]:
    attach = registry._attach

    def judged(*arguments: Any) -> object:
        return replace(attach(*arguments), contested=is_contested)

    return judged


@planted("revoked-is-refused")
def allow_what_is_contested(patch: Patch) -> None:
    patch.setattr(registry, "_attach", contested(False))


@planted("everybody-is-served")
def contest_everything(patch: Patch) -> None:
    patch.setattr(registry, "_attach", contested(True))


# Admission


@planted("revoked-is-refused")
def admit_at_once(patch: Patch) -> None:
    patch.setattr(Gate, "admission", property(lambda self: Admission.OPEN))


@planted("revoked-is-refused")
def be_level_at_once(patch: Patch) -> None:
    patch.setattr(Pull, "is_level", lambda *_: True)


# Routes


@planted("failover-has-its-majority")
def majority_of_those_heard(patch: Patch) -> None:
    patch.setattr(routing, "majority_of", lambda _sites: 1)
    patch.setattr(health, "majority_of", lambda _sites: 1)


@planted("the-core-holds")
def take_the_route_that_came_last(patch: Patch) -> None:
    patch.setattr(
        direction,
        "join",
        lambda mine, theirs, _: theirs if theirs.epoch >= mine.epoch else mine,
    )


@planted("zone-never-empty")
def publish_an_empty_zone(patch: Patch) -> None:
    patch.setattr(zone, "_service", lambda *_: ())
    patch.setattr(zone, "check_zone_never_empty", lambda _: None)


# Repeats


@planted("default-view-has-everything")
def take_every_copy_for_a_repeat(patch: Patch) -> None:
    """What is equal is the same message, even on one connection."""
    patch.setattr(repeat._Client, "fits", lambda *_: True)


@planted("default-view-without-duplicates")
def take_no_copy_for_a_repeat(patch: Patch) -> None:
    patch.setattr(repeat, "_by_content", lambda *_: None)
    patch.setattr(repeat, "_by_identity", lambda *_: None)
