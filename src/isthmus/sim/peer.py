"""The link to one peer region: the sequence of region/peer.py, a message at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.core.confirm import Standing, Watermarks
from isthmus.core.cursor import Cursor
from isthmus.core.pull import Pull
from isthmus.core.shadow_telling import FirstFill, Told, first_fill
from isthmus.core.update import Merge
from isthmus.protocol import HeadReply, HelloReply, HelloRequest, Report
from isthmus.sim.shadows import ShadowTeller
from isthmus.sim.store import LOG, Entry, Refused, Store, bus
from isthmus.sim.world import Process

if TYPE_CHECKING:
    from isthmus.sim.services import Services


#: Until a link asks again whether another one is still filling up our own bus.
FILL_AGAIN_S = 0.01


class Link:
    """One peer, as this region pulls from it."""

    def __init__(self, services: Services, peer: str) -> None:
        self.services = services
        self.peer = peer
        self.system = services.region.system
        self.world = services.world
        self.timing = services.timing
        self.process: Process = services.process
        self.store: Store = services.store
        self.pull = Pull(
            self.store.state.get(self._cursor("log"), Cursor()),
            self.store.state.get(self._cursor("bus"), Cursor()),
        )
        self._teller = ShadowTeller(services, self._is_told)
        #: Up to here everything is told: what is written down.
        self._told = Told(self.pull.log, self.store.state.get(self._told_name, 0))
        self._first: FirstFill = self.store.state.get(self._first_fill, FirstFill())
        self._number = 0
        self._open: dict[int, tuple[Callable[[Any], None], Callable[[], None]]] = {}
        #: Counts the contacts; what belongs to an earlier one is dropped.
        self._contact = 0
        self._is_started = False
        self._storing = True
        #: By name on our disk.
        self._unsaved: dict[str, Any] = {}
        self._saved_s = self.process.now_s()
        self._levels: list[tuple[HeadReply, float, Callable[[bool | None], None]]] = []

    def _cursor(self, stream: str) -> str:
        return f"cursor {self.peer} {stream}"

    @property
    def _told_name(self) -> str:
        return f"told {self.peer}"

    @property
    def _first_fill(self) -> str:
        return f"first fill {self.peer}"

    # Questions

    def ask(
        self,
        what: str,
        request: Any,
        then: Callable[[Any], None],
        failed: Callable[[], None],
    ) -> None:
        """Ask the peer's services; they may not be there, or not answer in time."""
        self._number += 1
        number = self._number
        self._open[number] = (then, failed)
        own = self.services.name
        self.system.net.send(own, self.peer, self._asked, what, request, number)
        self.process.after(self.timing.request_timeout_s, self._expire, number)

    def _asked(self, what: str, request: Any, number: int) -> None:
        """At the peer."""
        services = self.system.services(self.peer)
        if services is not None:
            services.process.hand(self._answer_at_peer, services, what, request, number)

    def _answer_at_peer(self, services: Services, what: str, request: Any, number: int) -> None:
        reply = services.answer(what, self.services.name, request)
        if reply is not None and services.store.process.is_running:
            self.system.net.send(self.peer, self.services.name, self._replied, number, reply)

    def _replied(self, number: int, reply: Any) -> None:
        self.process.hand(self._take_reply, number, reply)

    def _take_reply(self, number: int, reply: Any) -> None:
        if number in self._open:
            then, _ = self._open.pop(number)
            then(reply)

    def _expire(self, number: int) -> None:
        if number in self._open:
            _, failed = self._open.pop(number)
            failed()

    # Contact

    def start(self) -> None:
        """The incarnation is decided: begin to pull, and to report."""
        self._is_started = True
        self._begin()

    def _begin(self) -> None:
        self._contact += 1
        contact = self._contact
        request = HelloRequest(self.pull.log, self.pull.bus)
        lost = partial(self._lose, contact, "it does not answer hello")
        self.ask("hello", request, partial(self._on_hello, contact), lost)

    def lose(self, reason: str) -> None:
        """Contact is over; it begins again with hello."""
        if self._is_started:
            self._lose(self._contact, reason)

    def _lose(self, contact: int, reason: str) -> None:
        if contact != self._contact:
            return
        if self.pull.incarnation:
            self.world.say(self.services.who, f"lost {self.peer}: {reason}", "contact-lost")
        self._contact += 1
        self.pull.lost()
        self.process.after(self.timing.retry_s, self._begin)

    def heard_incarnation(self, incarnation: str) -> None:
        if self.pull.is_void(incarnation):
            self.lose("it has started again")

    def _on_hello(self, contact: int, reply: HelloReply) -> None:
        if contact != self._contact:
            return
        rewound = (
            self.pull.log.sequence > reply.log_after or self.pull.bus.sequence > reply.bus_after
        )
        self.pull.resume(reply.incarnation, reply.log_after, reply.bus_after)
        self.system.watch.resumed(self.services.name, self.peer, self.pull)
        where = f"log after {self.pull.log.sequence}, bus after {self.pull.bus.sequence}"
        state = "rewound" if rewound else "contact"
        self.world.say(self.services.who, f"in contact with {self.peer}: {where}", state)
        lost = partial(self._lose, contact, "it does not answer head")
        self.ask("head", None, partial(self._on_head, contact), lost)

    def _on_head(self, contact: int, head: HeadReply) -> None:
        if contact != self._contact:
            return
        if self.pull.is_void(head.incarnation):
            self.lose("it has started again")
            return
        first = first_fill(self._first, self._told.cursor, head.incarnation, head.log_sequence)
        if first == self._first:
            self._begin_pulls(contact, head)
            return

        def noted(result: int | Refused) -> None:
            if isinstance(result, Refused):
                self._lose(contact, "our own disk does not take what it begins with")
            elif contact == self._contact:
                self._first = first
                self._begin_pulls(contact, head)

        self.store.put(self.process, self._first_fill, first, noted)

    def _begin_pulls(self, contact: int, head: HeadReply) -> None:
        self._teller.telling.begin(
            self._told,
            head.incarnation,
            head.log_sequence,
            self.store.stream(LOG).synced,
            self._first,
        )
        own = self.services.name
        held = self.services.held[own]
        self.services.peers.holds(self.peer, head.incarnation, head.writers)
        self._look_again(head.writers)
        missing = sorted(
            writer for writer, number in head.writers.items() if held.get(writer) < number
        )
        self._back_fill(contact, head, missing, 0)

    def _look_again(self, writers: dict[str, int]) -> None:
        """See whether our own stream has these batches by now: gateways write it."""
        held = self.services.held[self.services.name]
        stream = self.store.stream(bus(self.services.name))
        for writer in writers:
            sequence = stream.synced_newest.get(writer)
            if sequence is not None:
                held.raise_to(writer, int(stream.entries[sequence].id.rpartition(":")[2]))

    def _back_fill(self, contact: int, head: HeadReply, missing: list[str], after: int) -> None:
        """Fetch batches of our own that the peer has and our restored or wiped disk lacks."""
        if contact != self._contact:
            return
        own = self.services.name
        held = self.services.held[own]
        while missing and held.get(missing[0]) >= head.writers[missing[0]]:
            missing, after = missing[1:], 0
        if not missing:
            self._follow(contact)
            return
        self.world.say(self.services.who, f"fetches its own batches from {self.peer}", "back-fill")

        def take(entries: list[Entry]) -> None:
            last = entries[-1].sequence
            self._copy(own, entries, lambda _: self._back_fill(contact, head, missing, last))

        self._pull_from(contact, bus(own), after, take, missing[0])

    def _follow(self, contact: int) -> None:
        self.pull.confirm(self.services.held[self.peer].snapshot(), self.process.now_s())
        self.report()
        self._pull_log(contact)
        self._pull_bus(contact)

    # Pulling

    def _pull_from(
        self,
        contact: int,
        stream: str,
        after: int,
        take: Callable[[list[Entry]], None],
        subject: Any = None,
    ) -> None:
        """Ask the peer's store for what follows a position; it answers when there is something."""
        self._number += 1
        number = self._number

        def failed() -> None:
            self._lose(contact, "its stream is silent")

        def then(entries: list[Entry]) -> None:
            if contact != self._contact:
                return
            if entries:
                take(entries)
            else:
                self._pull_from(contact, stream, after, take, subject)

        self._open[number] = (then, failed)
        request = (stream, after, subject, number)
        self.system.net.send(self.services.name, self.peer, self._pulled, *request)
        self.process.after(2 * self.timing.pull_expires_s, self._expire, number)

    def _pulled(self, stream: str, after: int, subject: Any, number: int) -> None:
        """At the peer's store, which holds the request open for a while."""
        process = self.system.regions[self.peer].store.process
        until_s = process.now_s() + self.timing.pull_expires_s
        process.hand(self._serve_pull, stream, after, subject, number, until_s)

    def _serve_pull(
        self, stream: str, after: int, subject: Any, number: int, until_s: float
    ) -> None:
        store = self.system.regions[self.peer].store
        entries = store.stream(stream).after(after, subject=subject)
        left_s = until_s - store.process.now_s()
        if entries or left_s <= 0:
            self.system.net.send(self.peer, self.services.name, self._replied, number, entries)
            return
        call = partial(self._serve_pull, stream, after, subject, number, until_s)
        done = [False]

        def once() -> None:
            if not done[0]:
                done[0] = True
                call()

        store.when_news(store.process, stream, once)
        store.process.after(left_s, once)

    def _pull_log(self, contact: int) -> None:
        take = partial(self._merge_all, contact)
        self._pull_from(contact, LOG, self.pull.log.sequence, take)

    def _merge_all(self, contact: int, entries: list[Entry]) -> None:
        left = [len(entries)]

        def done(is_merged: bool) -> None:
            if not is_merged:
                self._lose(contact, "our own log does not take its items")
                return
            left[0] -= 1
            if not left[0] and contact == self._contact:
                self._took_log(contact, entries[-1])

        for entry in entries:
            merge = Merge(self.services.log, self.system.decoded(entry.payload))
            self.services.perform(merge, partial(self._merged, contact, entry, merge, done))

    def _merged(
        self,
        contact: int,
        entry: Entry,
        merge: Merge,
        done: Callable[[bool], None],
        is_merged: bool,
    ) -> None:
        if is_merged and contact == self._contact:
            self._teller.telling.merged(entry.sequence, merge.mine, merge.item, merge.revision)
        done(is_merged)

    def _took_log(self, contact: int, last: Entry) -> None:
        from isthmus.sim.services import entry_id

        self._teller.telling.reached(self.pull.took_log(last.sequence, entry_id(last)))
        self._teller.tell()
        self.system.watch.moved(self.services.name, self.peer, self.pull)
        self.report()
        self._check_levels()
        self._pull_log(contact)

    def _is_told(self, told: Told) -> None:
        self._told = told
        self._unsaved[self._cursor("log")] = told.cursor
        self._unsaved[self._told_name] = told.revision

    def _pull_bus(self, contact: int) -> None:
        def take(entries: list[Entry]) -> None:
            self._copy(self.peer, entries, partial(self._took_bus, contact, entries[-1]))

        self._pull_from(contact, bus(self.peer), self.pull.bus.sequence, take)

    def _took_bus(self, contact: int, last: Entry, risen: dict[str, int]) -> None:
        if contact != self._contact:
            return
        self.pull.confirm(risen, self.process.now_s())
        self._unsaved[self._cursor("bus")] = self.pull.took_bus(last.sequence, last.id)
        self.system.watch.moved(self.services.name, self.peer, self.pull)
        self.report()
        self._pull_bus(contact)

    def _copy(
        self, origin: str, entries: list[Entry], then: Callable[[dict[str, int]], None]
    ) -> None:
        """Store what is new, in order; nothing is confirmed unless all of it is on disk."""
        services = self.services
        is_own = origin == services.name
        if is_own and services.filling:
            self.process.after(FILL_AGAIN_S, self._copy, origin, entries, then)
            return
        held = self.services.held[origin]
        ahead = Watermarks(held.snapshot())
        new = []
        for entry in entries:
            writer, _, number = entry.id.rpartition(":")
            if ahead.advance(writer, int(number)) is Standing.NEW:
                new.append((writer, int(number), entry))
        if not new:
            self._storing = True
            then({})
            return
        risen: dict[str, int] = {}
        contact = self._contact

        def stored(writer: str, number: int, is_last: bool, result: int | Refused) -> None:
            services.filling -= is_own
            if isinstance(result, Refused):
                self._storing = False
                self._reload(origin)
                self._lose(contact, f"our own bus takes no copy: {result.reason}")
                return
            held.advance(writer, number)
            risen[writer] = number
            if is_last and contact == self._contact:
                self._storing = True
                then(risen)

        stream = self.store.stream(bus(origin))
        end = stream.last
        for index, (writer, batch, entry) in enumerate(new):
            is_last = index == len(new) - 1
            services.filling += is_own
            self.store.append(
                self.process,
                bus(origin),
                entry.subject,
                entry.payload,
                partial(stored, writer, batch, is_last),
                identity=entry.id,
                follows=None if is_own else end + index,
            )

    def _reload(self, origin: str) -> None:
        self.services.held[origin] = self.services.held_on_disk(origin)

    # Being heard

    def tick(self) -> None:
        self.report()
        self._check_levels()
        if self.process.now_s() - self._saved_s >= self.timing.cursor_save_s:
            self._save()

    def _save(self) -> None:
        self._saved_s = self.process.now_s()
        unsaved, self._unsaved = self._unsaved, {}
        for name, value in unsaved.items():
            self.store.put(self.process, name, value, partial(self._saved, name, value))

    def _saved(self, name: str, value: Any, result: int | Refused) -> None:
        if isinstance(result, Refused):
            self._unsaved.setdefault(name, value)

    def report(self) -> None:
        """Tell the peer's services and gateways what we have of theirs."""
        services = self.services
        if not services.incarnation:
            return
        report = Report(
            services.name,
            services.incarnation,
            self.pull.log,
            self.pull.confirmations(self.process.now_s()),
            self._storing,
        )
        self.system.net.send(services.name, self.peer, self._heard, report)

    def _heard(self, report: Report) -> None:
        """At the peer."""
        region = self.system.regions[self.peer]
        if not region.store.process.is_running or not region.machine.is_up:
            return
        if report.storing:
            self.system.watch.heard(self.peer)
        region.services.process.hand(region.services.heard_report, report)
        for gateway in region.gateways:
            gateway.process.hand(gateway.heard_report, report)

    # Being level

    def catch_up(self, note: Callable[[bool | None], None]) -> None:
        """True when level with the peer, False to try again, None if it cannot be reached."""

        def unreachable() -> None:
            now_s = self.process.now_s()
            heard = self.services.peers.heard_within(self.peer, now_s, self.timing.alone_after_s)
            note(False if heard else None)

        def wait(head: HeadReply) -> None:
            self._levels.append((head, self.process.now_s(), note))
            self._check_levels()

        self.ask("head", None, wait, unreachable)

    def _check_levels(self) -> None:
        levels, self._levels = self._levels, []
        now_s = self.process.now_s()
        for head, since_s, note in levels:
            self._look_again(head.writers)
            own_bus = self.services.held[self.services.name]
            if self.pull.is_level(head.incarnation, head.log_sequence, head.writers, own_bus):
                note(True)
            elif self.pull.is_void(head.incarnation) or now_s - since_s > 2.0:
                heard = self.services.peers.heard_within(
                    self.peer, now_s, self.timing.alone_after_s
                )
                note(False if heard else None)
            else:
                self._levels.append((head, since_s, note))
