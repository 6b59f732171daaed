"""One start of a region's services: what region/services.py, answers.py, items.py and bus.py do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.core.admission import Absence
from isthmus.core.alone import AloneKeeper, AloneState
from isthmus.core.confirm import Watermarks
from isthmus.core.cursor import Cursor, keeps_incarnation, message_id, resume_after
from isthmus.core.item import Item
from isthmus.core.log_view import LogView
from isthmus.core.peers import Peers
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.core.update import Update
from isthmus.core.written import Written
from isthmus.errors import Unavailable
from isthmus.protocol import CursorsReply, HeadReply, HelloReply, HelloRequest, Report
from isthmus.sim.bus_reader import BusReader
from isthmus.sim.departures import Departures
from isthmus.sim.peer import Link
from isthmus.sim.shadows import ShadowRequests
from isthmus.sim.store import LOG, WAKE_S, Entry, Refused, Store, bus
from isthmus.sim.world import Process

if TYPE_CHECKING:
    from isthmus.sim.region import Region

INCARNATION = "incarnation"
ALONE = "alone"
LOG_TAKE_S = 0.0002


def entry_id(entry: Entry) -> str:
    """The id by which a cursor remembers an entry."""
    return entry.id or message_id("/".join(entry.subject), entry.payload)


def _name_of(state: AloneState) -> str:
    if state.ending:
        return "alone-ending"
    return "alone" if state.alone else "not-alone"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operator's write is answered: who confirmed it, or why it failed."""

    confirmed_by: tuple[str, ...] = ()
    #: What was written: kind, key, actor and the actor's count.
    dots: tuple[tuple[str, str, str, int], ...] = ()
    failure: str = ""


@dataclass(slots=True)
class _Waiting:
    """A write that is stored here and waits for its promise."""

    written: Written
    dots: tuple[tuple[str, str, str, int], ...]
    until_s: float
    reply: Callable[[Answer], None]


class Services:
    """Replicator, alone keeper and API of one region, in one process."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.name = region.name
        self.world = region.system.world
        self.timing = self.world.timing
        self.store: Store = region.store
        self.process: Process = Process(region.machine, "services")
        now_s = self.process.now_s()
        #: True time; the watch asks.
        self.started_s = self.world.now_s
        self.log: LogView = LogView(decode=region.system.decoded)
        self.peers = Peers()
        self.held = {name: self.held_on_disk(name) for name in region.system.regions_named}
        self.incarnation = ""
        self.clock: StampClock
        #: True time since when this region serves; the watch asks, nobody inside does.
        self.serving_s = math.inf
        others = [name for name in region.system.regions_named if name != self.name]
        alone = self.store.state.get(ALONE, AloneState())
        self.keeper = AloneKeeper(alone, len(others), self.timing.alone_after_s, now_s)
        self.absence = Absence(self.timing.alone_after_s, self.timing.alone_start_s, now_s)
        self.links = {name: Link(self, name) for name in others}
        self._waiting: list[_Waiting] = []
        self._is_writing_alone = False
        #: Messages of our own bus that a link is putting back; one link after another.
        self.filling = 0
        self._follow()
        self._bus_reader = BusReader(self)
        self.departures = Departures(self)
        self.shadows = ShadowRequests(self)
        self._ask_for_cursors()

    @property
    def who(self) -> str:
        return f"{self.name}/services"

    def held_on_disk(self, origin: str) -> Watermarks:
        """What the disk has of every writer; the streams are the truth, not a memory of them."""
        held = Watermarks()
        stream = self.store.stream(bus(origin))
        for writer, sequence in stream.synced_newest.items():
            entry = stream.entries[sequence]
            held.raise_to(writer, int(entry.id.rpartition(":")[2]))
        return held

    # The log

    def _follow(self) -> None:
        if not self.process.is_running:
            return
        entries = self.store.stream(LOG).after(self.log.position)
        for entry in entries:
            kind, key = entry.subject
            self.log.take(entry.sequence, kind, key, entry.payload)
        if entries:
            self.process.after(LOG_TAKE_S, self._follow)
        else:
            self.store.when_news(self.process, LOG, self._follow)

    def perform(self, update: Update, then: Callable[[bool], None]) -> None:
        """Write until the update has nothing more to propose."""
        try:
            wanted = update.proposal()
        except Unavailable:
            then(False)
            return
        if wanted is None:
            then(True)
            return
        self._perform_first(list(update.first()), update, wanted, then)

    def _perform_first(
        self, first: list[Update], update: Update, wanted: Item, then: Callable[[bool], None]
    ) -> None:
        """What must be on disk before the proposal, and then the proposal."""
        if first:

            def done(is_done: bool) -> None:
                if is_done:
                    self._perform_first(first[1:], update, wanted, then)
                else:
                    then(False)

            self.world.say(self.who, f"lists a conflict of {wanted.kind} {wanted.key}", "conflict")
            self.perform(first[0], done)
            return
        taken = partial(self._put, update, wanted, then)
        subject = (wanted.kind, wanted.key)
        self.store.append(self.process, LOG, subject, wanted.encode(), taken, over=update.revision)

    def _put(
        self, update: Update, wanted: Item, then: Callable[[bool], None], result: int | Refused
    ) -> None:
        if isinstance(result, int):
            update.written(wanted, result)
            self.perform(update, then)
        elif result.is_stale:
            newest = self.store.stream(LOG).newest_of((wanted.kind, wanted.key))
            update.stale(self.region.system.decoded(newest.payload), newest.sequence)
            self.perform(update, then)
        else:
            then(False)

    # Start

    def _ask_for_cursors(self) -> None:
        """Under which incarnation to go on: the peers' cursors prove whether anything is lost."""
        self._cursors: list[CursorsReply] = []
        self._asked = len(self.links)
        if not self.store.state.get(INCARNATION) or not self.links:
            self._decide_incarnation()
            return
        for link in self.links.values():
            link.ask("cursors", None, self._on_cursors, self._no_cursors)

    def _on_cursors(self, reply: CursorsReply) -> None:
        self._cursors.append(reply)
        self._no_cursors()

    def _no_cursors(self) -> None:
        self._asked -= 1
        if self._asked or self.incarnation:
            return
        waited_s = self.process.now_s() - self.absence.since_s
        some = self.timing.alone_after_s if self._cursors else self.timing.alone_start_s
        if len(self._cursors) == len(self.links) or waited_s >= some:
            self._decide_incarnation()
        else:
            self.process.after(self.timing.retry_s, self._ask_for_cursors)

    def _decide_incarnation(self) -> None:
        held = self.store.state.get(INCARNATION, "")
        found = []
        for reply in self._cursors:
            for cursor, stream in ((reply.log, LOG), (reply.bus, bus(self.name))):
                found.append((cursor, self.found_id(stream, cursor.sequence)))
        all_answered = len(self._cursors) == len(self.links)
        keep = keeps_incarnation(held, found, all_answered=all_answered)
        incarnation = held if keep else self.region.system.new_incarnation(self.name)
        self.store.put(
            self.process, INCARNATION, incarnation, partial(self._serve, incarnation, keep)
        )

    def found_id(self, stream: str, sequence: int) -> str | None:
        entry = self.store.stream(stream).at(sequence) if sequence else None
        return None if entry is None else entry_id(entry)

    def _serve(self, incarnation: str, kept: bool, result: int | Refused) -> None:
        if isinstance(result, Refused):
            self.process.after(self.timing.retry_s, self._decide_incarnation)
            return
        self.incarnation = incarnation
        self.clock = StampClock(self.name, incarnation)
        how = "the same" if kept else "a new"
        state = "incarnation-kept" if kept else "incarnation-new"
        self.world.say(self.who, f"serves under {how} incarnation, {incarnation}", state)
        self.serving_s = self.world.now_s
        self._tick()
        for link in self.links.values():
            link.start()

    # Time

    def _tick(self) -> None:
        """Everything that is done every heartbeat."""
        now_s = self.process.now_s()
        if self.absence.tick(now_s):
            self.world.say(self.who, "was paused and knows nothing until it asked again", "paused")
        self.tell_gateways()
        self._decide_alone()
        for link in self.links.values():
            link.tick()
        self._answer_late()
        left_s = self.keeper.deadline_s() - now_s
        beat_s = self.timing.heartbeat_s
        self.process.after(min(beat_s, left_s) if left_s > 0 else beat_s, self._tick)

    def tell_gateways(self) -> None:
        if not self.store.process.is_running:
            return
        state = self.keeper.state
        for gateway in self.region.gateways:
            gateway.process.after(
                WAKE_S, gateway.heard_region, self.incarnation, state.answers, state.epoch
            )

    def _decide_alone(self) -> None:
        if self._is_writing_alone:
            return
        stored = self._bus_reader.heads()
        now_s, now_ms = self.process.now_s(), self.process.now_ms()
        decision = self.keeper.tick(now_s, now_ms, stored, self.peers.confirmed())
        if decision is None:
            return
        state, reason = decision
        self.region.system.watch.decided_alone(self, state)
        self._is_writing_alone = True
        self.store.put(self.process, ALONE, state, partial(self._alone_written, state, reason))

    def _alone_written(self, state: AloneState, reason: str, result: int | Refused) -> None:
        self._is_writing_alone = False
        if isinstance(result, Refused):
            return
        self.keeper.entered(state)
        self.region.system.watch.alone(self.name, state.alone)
        self.world.say(self.who, reason, _name_of(state))
        self.answer_kept()
        self.tell_gateways()

    def store_restarted(self) -> None:
        """The connection to our own store broke and is back."""
        self._follow()
        self._bus_reader.store_restarted()

    def peer_disconnected(self, peer: str) -> None:
        self.links[peer].lose("its store closed the connection")

    # What peers say

    def heard_report(self, report: Report) -> None:
        link = self.links[report.region]
        now_s = self.process.now_s()
        if report.storing:
            self.keeper.heard(now_s)
        self.peers.heard(report.region, report.incarnation, report.log, report.writers, now_s)
        self.answer_kept()
        link.heard_incarnation(report.incarnation)

    def answer(self, what: str, peer: str, request: Any) -> Any:
        """What a peer asks; None where nothing can be said yet."""
        link = self.links[peer]
        if what == "cursors":
            return CursorsReply(link.pull.log, link.pull.bus)
        if not self.incarnation:
            return None
        if what == "hello":
            return self._hello(request)
        writers = self.held[peer].snapshot()
        return HeadReply(self.incarnation, self.store.stream(LOG).synced, writers)

    def _hello(self, request: HelloRequest) -> HelloReply:
        return HelloReply(
            self.incarnation,
            self._resume(request.log, LOG),
            self._resume(request.bus, bus(self.name)),
        )

    def _resume(self, cursor: Cursor, stream: str) -> int:
        return resume_after(cursor, self.incarnation, self.found_id(stream, cursor.sequence))

    # Operators

    def write(
        self,
        changes: list[tuple[str, str, Callable[[Item, Writer], Item | None]]],
        reply: Callable[[Answer], None],
        written: Written | None = None,
        dots: tuple[tuple[str, str, str, int], ...] = (),
        *,
        must_be_current: bool = True,
    ) -> None:
        """Make changes one after another, and answer when a second region has them all.

        What takes rights away need not be current: it is right whatever was missed.
        """
        if not self.incarnation:
            reply(Answer(failure="this region has just started"))
            return
        if must_be_current and not self.absence.is_over:
            self.catch_up(lambda _position: self.write(changes, reply, written, dots))
            return
        written = written or Written()
        if not changes:
            until_s = self.process.now_s() + self.timing.promise_timeout_s
            self._waiting.append(_Waiting(written, dots, until_s, reply))
            self.answer_kept()
            return
        (kind, key, change), *rest = changes
        writer = Writer(self.clock, self.process.now_ms())
        update = Update(self.log, kind, key, lambda item: change(item, writer))

        def then(is_done: bool) -> None:
            made = dots
            if update.is_written:
                actor = self.clock.actor
                made = (*dots, (kind, key, actor, update.item.vv[actor]))
                self.region.system.watch.wrote(made[-1], update.item)
            if is_done:
                written.note(kind, key, update.revision)
                self.write(rest, reply, written, made, must_be_current=must_be_current)
            else:
                reply(Answer(failure="the change log does not answer"))

        self.perform(update, then)

    def answer_kept(self) -> None:
        """Answer the writes whose promise is kept now."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            confirmed = self.peers.applied(self.incarnation, each.written.newest)
            if not self.links or self.keeper.state.answers or self._is_kept(confirmed, each):
                each.reply(Answer(confirmed, each.dots))
            else:
                self._waiting.append(each)

    def _is_kept(self, confirmed: tuple[str, ...], waiting: _Waiting) -> bool:
        # Nobody else writes this log, so what is known here is what is there.
        written = waiting.written
        newest = {name: self.log.revision(*name) for name in written.names}
        return bool(confirmed) and not written.is_overtaken(newest)

    def _answer_late(self) -> None:
        now_s = self.process.now_s()
        for each in [each for each in self._waiting if each.until_s <= now_s]:
            self._waiting.remove(each)
            each.reply(Answer(failure="no second region confirmed in time"))

    # Catching up

    def catch_up(self, reply: Callable[[int], None]) -> None:
        """Answer with the log's position once this region is level with every reachable peer."""
        if not self.incarnation:
            self.process.after(self.timing.retry_s, self.catch_up, reply)
            return
        levels: list[bool | None] = []
        absence = self.absence.number

        def note(level: bool | None) -> None:
            levels.append(level)
            if len(levels) < len(self.links):
                return
            if self.absence.may_serve(levels, absence, self.process.now_s()):
                reply(self.store.stream(LOG).synced)
            else:
                self.process.after(self.timing.retry_s, self.catch_up, reply)

        if not self.links:
            reply(self.store.stream(LOG).synced)
        for link in self.links.values():
            link.catch_up(note)
