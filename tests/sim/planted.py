"""Bugs of kinds that really happen, each a line of the core: what a simulator must find.

They are applied here and nowhere else: the core has no switch for any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

import isthmus.sim.gateway as gateway
import isthmus.sim.services as services
from isthmus.core import (
    cursor,
    direction,
    health,
    registry,
    repeat,
    routing,
    sessions,
    shadow_call,
    shadow_tree,
    shadows,
    zone,
)
from isthmus.core import item as items
from isthmus.core.admission import Admission, Gate
from isthmus.core.alone import AloneKeeper
from isthmus.core.confirm import AloneRange, Durability, Watermarks, Window
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Lattice, Live, Register, join
from isthmus.core.peers import Peers
from isthmus.core.pull import Pull
from isthmus.core.registry import CertificateStatus
from isthmus.core.returning import Returning
from isthmus.core.session import Session
from isthmus.core.session_keeper import SessionKeeper
from isthmus.core.sessions import Hold, State
from isthmus.core.shadow_telling import ShadowTelling
from isthmus.core.shadow_tree import ShadowTree
from isthmus.core.shadows import Documents
from isthmus.core.stamp import ZERO, Stamp, StampClock
from isthmus.core.update import Update
from isthmus.core.writer import Writer

Patch = pytest.MonkeyPatch
Stored = Mapping[str, int] | None
Plant = Callable[[Patch], None]


class Planted(NamedTuple):
    """A bug: how to plant it, and the invariant that it breaks."""

    plant: Plant
    invariant: str
    #: The first seed that found it when it was last looked for from the first; most are found soon.
    found_by: int


#: By name.
PLANTED: dict[str, Planted] = {}


def planted(invariant: str, found_by: int = 1) -> Callable[[Plant], Plant]:
    def note(plant: Plant) -> Plant:
        PLANTED[plant.__name__.replace("_", "-")] = Planted(plant, invariant, found_by)
        return plant

    return note


# Confirming and acknowledging


@planted("no-answer-before-its-promise", found_by=2)
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
    """And it never is."""

    def at_once(self: Writer[object], alone: bool) -> bool:
        self._window.alone = alone and self._window.durability is Durability.TWO_REGIONS
        return False

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


@planted("alone-after-silence-only", found_by=4)
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


@planted("alone-until-confirmed", found_by=96)
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


@planted("no-cursor-skips", found_by=2)
def keep_a_cursor_after_a_restore(patch: Patch) -> None:
    patch.setattr(cursor, "still_holds", lambda *_: True)


@planted("no-answer-before-its-promise", found_by=82)
def keep_the_incarnation_after_a_restore(patch: Patch) -> None:
    patch.setattr(services, "keeps_incarnation", lambda held, _, all_answered: bool(held))


@planted("no-cursor-skips", found_by=2)
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


@planted("no-subscription-lost")
def drop_what_one_side_lacks(patch: Patch) -> None:
    """A field that only the other side has is lost: a filter, or a revocation."""

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


@planted("later-writes-win", found_by=75)
def stamp_by_the_clock_alone(patch: Patch) -> None:
    """A clock that is behind loses what it writes over something newer."""
    stamp = StampClock.stamp

    def by_the_clock(self: StampClock, now_ms: int, seen: Any = ()) -> Stamp:
        if self.incarnation.startswith("g"):
            # A gateway's, for what is retained: it has a bug of its own below.
            return stamp(self, now_ms, seen)
        return Stamp(now_ms, 0, self.region, self.incarnation)

    patch.setattr(StampClock, "stamp", by_the_clock)


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


# Shadows


@planted("a-shadow-is-its-updates", found_by=16)
def choose_the_later_document(patch: Patch) -> None:
    """Of two documents the one that was written last, as a whole."""
    patch.setattr(
        ShadowTree,
        "join",
        lambda self, other: max(self, other, key=lambda each: (each.root.newest, repr(each))),
    )


@planted("a-shadow-is-its-updates", found_by=2)
def bring_back_what_was_taken_away(patch: Patch) -> None:
    """A leaf outlives a later cut above it."""
    join = shadow_tree._join
    patch.setattr(shadow_tree, "_join", lambda one, other, _: join(one, other, shadow_tree.NEVER))


@planted("a-shadow-is-its-updates", found_by=2)
def count_deletions_as_updates(patch: Patch) -> None:
    patch.setattr(shadows, "version", lambda item: item.version)


@planted("versions-are-said-once", found_by=10)
def look_at_no_version(patch: Patch) -> None:
    """An update is carried out whichever version it is meant for."""
    read = shadow_call.read_update
    patch.setattr(shadow_call, "read_update", lambda payload: read(payload)._replace(version=None))


@planted("conflicts-are-listed", found_by=8)
def list_no_conflicts_of_shadows(patch: Patch) -> None:
    patch.setattr(ShadowTree, "contests", lambda *_: iter(()))


@planted("changes-are-told-where-they-arrive")
def tell_nobody_of_what_comes(patch: Patch) -> None:
    """Who is connected elsewhere hears nothing of an update."""
    patch.setattr(shadows, "changed", lambda *_: None)


@planted("changes-are-told-where-they-arrive", found_by=247)
def take_what_is_merged_for_told(patch: Patch) -> None:
    """What was merged as the services died is never told."""
    patch.setattr(ShadowTelling, "_may_be_untold", lambda *_: False)


@planted("changes-are-told-where-they-arrive")
def tell_of_what_was_there(patch: Patch) -> None:
    """The delta is of the document before the change."""
    delta = Documents.delta

    def before(self: Documents) -> bytes | None:
        is_of_a_peer = type(self) is Documents and shadows.is_there(self.before)
        return delta(Documents(self.before, self.before) if is_of_a_peer else self)

    patch.setattr(Documents, "delta", before)


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


@planted("revoked-is-refused", found_by=4)
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


@planted("revoked-is-refused", found_by=15)
def admit_at_once(patch: Patch) -> None:
    patch.setattr(Gate, "admission", property(lambda self: Admission.OPEN))


@planted("revoked-is-refused", found_by=41)
def be_level_at_once(patch: Patch) -> None:
    patch.setattr(Pull, "is_level", lambda *_: True)


# Routes


@planted("failover-has-its-majority", found_by=2)
def majority_of_those_heard(patch: Patch) -> None:
    patch.setattr(routing, "majority_of", lambda _sites: 1)
    patch.setattr(health, "majority_of", lambda _sites: 1)


@planted("the-core-holds", found_by=65)
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


@planted("default-view-without-duplicates", found_by=2)
def take_no_copy_for_a_repeat(patch: Patch) -> None:
    patch.setattr(repeat, "_by_content", lambda *_: None)
    patch.setattr(repeat, "_by_identity", lambda *_: None)


# Sessions


@planted("no-session-lost")
def take_who_did_not_leave_for_gone(patch: Patch) -> None:
    """A session of whose end nobody has heard is over."""
    is_over = State.is_over
    patch.setattr(State, "is_over", lambda self, now_ms: self.left is None or is_over(self, now_ms))


@planted("no-session-lost", found_by=3)
def measure_expiry_in_milliseconds(patch: Patch) -> None:
    patch.setattr(
        State,
        "is_over",
        lambda self, now_ms: (
            self.owner is None
            or (self.left is not None and now_ms >= self.left.at_ms + self.left.expiry_s // 100)
        ),
    )


@planted("no-subscription-lost")
def begin_with_every_connect(patch: Patch) -> None:
    """Whoever takes a session over voids what it subscribed to before."""
    claim = Hold.claim
    patch.setattr(Hold, "claim", lambda self, owner, begins: claim(self, owner, begins=True))


@planted("no-subscription-lost")
def forget_what_was_subscribed_to(patch: Patch) -> None:
    """Only the newest subscription is kept."""

    def change(self: Hold, filters: Mapping[str, Any]) -> Item:
        self._count += 1
        return self._item({"filters": self._latest(dict(filters))})

    patch.setattr(Hold, "change", change)


@planted("no-subscription-lost", found_by=213)
def heed_no_filter_that_comes_late(patch: Patch) -> None:
    """A session has the filters that its region knew when it went on."""
    patch.setattr(SessionKeeper, "news", lambda *_: None)


@planted("nothing-missed")
def pass_over_who_is_leaving(patch: Patch) -> None:
    """Progress counts those who are connected, and nobody whose leaving is not stored yet."""
    floor = sessions.floor
    patch.setattr(sessions, "floor", lambda found: floor(found[-1:]))


@planted("nothing-missed")
def forget_what_is_not_acknowledged(patch: Patch) -> None:
    """A client has everything that it was sent."""
    patch.setattr(Session, "unacknowledged", lambda _: ())


@planted("nothing-missed")
def go_on_from_now(patch: Patch) -> None:
    """What was published while a client was away is not read for it."""
    patch.setattr(Returning, "begin_batch", lambda *_: False)
    patch.setattr(Returning, "reached", lambda self, origin, _: self.behind.discard(origin))


@planted("nothing-missed", found_by=51)
def believe_progress_from_before_the_connection(patch: Patch) -> None:
    """What a gateway told of others says something of a client that came to it later."""
    given = State.given

    def of_anybody(self: State, progress: Any) -> Any:
        return given(self, progress and progress.__class__(turn=2**31, places=progress.places))

    patch.setattr(State, "given", of_anybody)


@planted("in-order-per-connection", found_by=6)
def send_the_newest_again_first(patch: Patch) -> None:
    unacknowledged = Session.unacknowledged
    patch.setattr(Session, "unacknowledged", lambda self: unacknowledged(self)[::-1])


@planted("one-owner")
def ask_nobody_who_was_later(patch: Patch) -> None:
    """Whoever has connected stays the owner, whatever the log says."""
    patch.setattr(SessionKeeper, "taken_over", lambda *_: None)


@planted("one-owner", found_by=57)
def let_who_was_taken_for_dead_be_gone(patch: Patch) -> None:
    """A gateway that lives does not hear that others have ended its sessions."""
    patch.setattr(SessionKeeper, "reclaim", lambda *_: None)


@planted("one-owner")
def take_the_same_epoch_again(patch: Patch) -> None:
    """The newest connection is told apart by its name alone."""
    patch.setattr(Hold, "is_held", lambda self, item: sessions.read(item).epoch <= self.epoch)
    made = Hold.__init__

    def hold(self: Hold, client_id: str, _epoch: int, region: str, name: str) -> None:
        made(self, client_id, 1, region, name)

    patch.setattr(Hold, "__init__", hold)


@planted("retained-latest")
def count_what_is_retained_in_each_process(patch: Patch) -> None:
    """The stamp knows neither the time nor the message that it replaces."""
    retain = gateway.retain

    def count(present: Item, clock: StampClock, publish: Any, _: int) -> Item:
        return retain(Item(present.kind, present.key), clock, publish, 0)

    patch.setattr(gateway, "retain", count)
