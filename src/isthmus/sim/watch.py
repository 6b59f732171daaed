"""Who sees everything: each promise of docs/correctness.md, held against what really happens.

The watch knows true time, every disk and every answer. Its checks are named after the invariants;
one that does not hold raises Violation on the spot. What can be said only at the end, after
healing, is in ``verdict``.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from isthmus.core import lattice, registry
from isthmus.core.alone import AloneState
from isthmus.core.batch import Batch
from isthmus.core.confirm import Standing, Watermarks
from isthmus.core.item import Item
from isthmus.core.lattice import Flag, Live, Register
from isthmus.core.outbox import Message
from isthmus.core.pull import Pull
from isthmus.core.shadows import SHADOW
from isthmus.core.writer import Writer
from isthmus.sim.reach import LAG_S, LOCAL_LAG_S, Reach
from isthmus.sim.route_watch import RouteWatch
from isthmus.sim.services import ALONE, Answer, Services
from isthmus.sim.session_watch import SessionWatch
from isthmus.sim.shadow_watch import ShadowWatch
from isthmus.sim.store import LOG, Entry, bus
from isthmus.sim.violation import fail

if TYPE_CHECKING:
    from isthmus.sim.clients import Client
    from isthmus.sim.gateway import Gateway
    from isthmus.sim.region import Region
    from isthmus.sim.system import System

#: How long the regions must have been in contact before another disk may be lost.
REPAIR_S = 6.0
#: Of a time that a process measures; clocks drift.
ALONE_LEAST = 0.97

T = TypeVar("T")
ItemKey = tuple[str, str]
#: Kind and key of an item, and the actor and count of one write of it.
Dot = tuple[str, str, str, int]


class RegisterWrite(NamedTuple):
    """One write of one field, and the version that it made."""

    dot: Dot
    register: Register
    item: Item


class Removal(NamedTuple):
    """One entry that a write removed from a field."""

    by: Dot
    field: str
    entry: str


class Watch:
    """Follows one run."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._world = system.world
        self.reach = Reach(system)
        self.routes = RouteWatch(system)
        self.sessions = SessionWatch(system)
        self.shadows = ShadowWatch(system)
        #: By payload: the regions that have it on disk now, and those that ever had.
        self.copies: defaultdict[bytes, set[str]] = defaultdict(set)
        #: By batch: the regions that ever had it on disk.
        self._batches: defaultdict[str, set[str]] = defaultdict(set)
        self._numbers: defaultdict[tuple[str, bytes], deque[int]] = defaultdict(deque)
        #: By client and packet: whose promise was kept.
        self._kept: set[tuple[str, int]] = set()
        #: By region: when a storing peer was last heard there.
        self._heard_s: dict[str, float] = {}
        self._left_s: dict[str, float] = {}
        #: Batches that were answered alone, by region.
        self._alone_batches: defaultdict[str, set[str]] = defaultdict(set)
        #: By region and bus: the batches that reached this disk.
        self.stored: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        #: Acknowledged payloads, and the region that answered alone, or nothing.
        self.acknowledged_alone: dict[bytes, str] = {}
        self.acknowledged: dict[bytes, str] = {}
        #: By client and content: how often it was acknowledged on each connection.
        self.same: defaultdict[tuple[str, bytes], defaultdict[int, int]] = defaultdict(
            lambda: defaultdict(int)
        )
        #: What was lost with the one disk that had it, and was promised no more than that.
        self.forfeited: set[bytes] = set()
        self._sent: defaultdict[str, deque[int]] = defaultdict(deque)
        self._in_flight: dict[tuple[str, int], Message[None]] = {}
        self._session: defaultdict[str, int] = defaultdict(int)
        #: Per region and item: the newest version on disk.
        self._durable: dict[tuple[str, ItemKey], Item] = {}
        self._ever_wrote: defaultdict[tuple[str, ItemKey], dict[str, int]] = defaultdict(dict)
        self._dots: set[Dot] = set()
        #: By kind, key and path: every write of a register that an operator asked for.
        self.writes: defaultdict[tuple[str, str, str], list[RegisterWrite]] = defaultdict(list)
        #: Writes that an operator was told are done, and whether in two regions.
        self.promised: dict[Dot, bool] = {}
        #: Per principal and region: since when the disk knows of the revocation.
        self._revoked: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._checked: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._contiguous: defaultdict[tuple[str, str], Watermarks] = defaultdict(Watermarks)
        #: The version of each item that was last shown with an answer.
        self._shown: dict[tuple[str, str, str], int] = {}
        #: What a write removed first.
        self.removals: list[Removal] = []
        self._killed: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        self._lost_last = ("", -math.inf)

    # Disks

    @property
    def has_lost_a_disk(self) -> bool:
        """Whether any region came back with an older disk or an empty one."""
        return bool(self._lost_last[0])

    def look_at(self, region: Region) -> None:
        """Be told of all that reaches this region's disk."""
        region.store.on_synced = partial(self._synced, region.name)

    def _synced(self, region: str, stream: str, entry: Entry) -> None:
        if stream != LOG:
            self.stored[region, stream].add(entry.id)
            batch = self._system.batch(entry.payload)
            self.sessions.stored(region, batch)
            # Once: a batch that was lost may be put back.
            if entry.id not in self._batches:
                self._note_numbers(batch)
            self._batches[entry.id].add(region)
            for message in batch.messages:
                self.copies[message.payload].add(region)
            return
        item = self._system.decoded(entry.payload)
        at = (region, entry.subject)
        before = self._durable.get(at)
        if before is not None:
            self._check_version(region, before, item)
        if item.kind == SHADOW:
            self.shadows.synced(region, before, item)
        self._durable[at] = item
        wrote = self._ever_wrote[at]
        for actor, count in item.vv.items():
            wrote[actor] = max(count, wrote.get(actor, 0))
        self._note_revoked(region, item)

    def _note_numbers(self, batch: Batch) -> None:
        """In which batches of its writer each content waits for its answer."""
        for message in batch.messages:
            self._numbers[batch.writer, message.payload].append(batch.number)

    def _check_version(self, region: str, before: Item, item: Item) -> None:
        """``versions-never-go-down``: nor does any part of them."""
        for actor, count in before.vv.items():
            if item.vv.get(actor, 0) < count:
                text = f"{item.kind} {item.key} in {region}: {before.vv} became {item.vv}"
                fail("versions-never-go-down", text)

    def _note_revoked(self, region: str, item: Item) -> None:
        if item.kind != registry.CERTIFICATE:
            return
        # By the bare field: what it means is the core's to get wrong.
        if item.fields.get("revoked") == Flag(True):
            self._revoked[item.key].setdefault(region, self._world.now_s)
        elif region in self._revoked.get(item.key, {}):
            text = f"{item.key} was revoked on {region}'s disk and is not any more"
            fail("revoked-stays-revoked", text)

    def destroyed(self, region: Region) -> None:
        """A disk was replaced by an older one, or an empty one."""
        name = region.name
        self._lost_last = (name, self._world.now_s)
        kept = set()
        for origin in self._system.regions_named:
            self.stored[name, bus(origin)] = set(region.store.stream(bus(origin)).ids)
            for entry in region.store.stream(bus(origin)).after(0, limit=10**9):
                kept |= {each.payload for each in self._system.batch(entry.payload).messages}
        self.sessions.destroyed(region)
        self.shadows.destroyed(name)
        for payload, regions in self.copies.items():
            if name in regions and payload not in kept:
                regions.remove(name)
                self._check_lost(payload, regions)
        for payload in kept:
            self.copies[payload].add(name)
        self._alone_batches.pop(name, None)
        for at in [at for at in self._durable if at[0] == name]:
            del self._durable[at]
        for revoked in self._revoked.values():
            revoked.pop(name, None)
        for entry in region.store.stream(LOG).after(0, limit=10**9):
            item = self._system.decoded(entry.payload)
            self._durable[name, entry.subject] = item
            self._note_revoked(name, item)
        # A write that nobody else has seen is as if it had never been, and so is its name.
        self._dots = {dot for dot in self._dots if self._is_somewhere(dot)}
        self.promised = {
            dot: is_replicated
            for dot, is_replicated in self.promised.items()
            if is_replicated or self._is_somewhere(dot)
        }
        self._checked = {at: upto for at, upto in self._checked.items() if name not in at}

    def _is_somewhere(self, dot: Dot) -> bool:
        kind, key, actor, count = dot
        held = (self._durable.get((name, (kind, key))) for name in self._system.regions_named)
        return any(item is not None and item.vv.get(actor, 0) >= count for item in held)

    def _check_lost(self, payload: bytes, regions: set[str]) -> None:
        """``acknowledged-is-stored``: one region's loss costs only what it was alone with."""
        if regions or payload not in self.acknowledged:
            return
        if self.acknowledged_alone.get(payload):
            self.forfeited.add(payload)
            return
        fail("acknowledged-is-stored", f"the only copy of {payload.decode()} is gone")

    def may_destroy(self, region: str) -> bool:
        """Whether losing this disk is the loss of one region: others have had time to recover."""
        last, lost_s = self._lost_last
        if last in ("", region):
            return True
        names = self._system.regions_named
        pairs = [(a, b) for a in names for b in names if a != b]
        since_s = max(
            max(self.reach.way_s(*pair) for pair in pairs),
            max(self.reach.serving_since(name) for name in names),
            lost_s,
        )
        return self._world.now_s - since_s >= REPAIR_S

    # Messages

    def connected(self, client: Client) -> None:
        self._sent[client.name].clear()
        self._session[client.name] += 1

    def sent(self, client: Client, message: Message[None]) -> None:
        self._sent[client.name].append(message.packet_id)
        self._in_flight[client.name, message.packet_id] = message
        self.sessions.sent(message.topic, message.payload)

    def kept(self, gateway: Gateway, writer: Writer[Any], client: str, packet_id: int) -> None:
        """``no-answer-before-its-promise``: a gateway is about to acknowledge."""
        message = self._in_flight.get((client, packet_id))
        if message is None:
            return
        numbers = self._numbers[writer.id, message.payload]
        if not numbers and (client, packet_id) in self._kept:
            return
        if not numbers:
            text = f"{message.payload.decode()} is in no batch of {writer.id} on its disk"
            fail("no-answer-before-its-promise", text)
        self._kept.add((client, packet_id))
        # Equal contents are answered in their order.
        number = numbers.popleft()
        has = self._batches[f"{writer.id}:{number}"]
        region = gateway.region.name
        if message.topic.startswith("local/"):
            self.acknowledged_alone[message.payload] = region
        elif len(has) < 2 and len(self._system.regions_named) > 1:
            self._check_alone(gateway.region, writer.id, number, message.payload.decode())
            self.acknowledged_alone[message.payload] = region

    def kept_item(self, gateway: Gateway, writer: Writer[Any], item: bytes) -> None:
        """``no-answer-before-its-promise``, of what waits for an item: CONNACK and SUBACK."""
        region = gateway.region
        batches = [name for name in self.sessions.batches_of(item) if name.startswith(writer.id)]
        if not batches:
            fail("no-answer-before-its-promise", f"an item is in no batch of {writer.id} on disk")
        if len(self._batches[batches[-1]]) < 2 and len(self._system.regions_named) > 1:
            number = int(batches[-1].rpartition(":")[2])
            self._check_alone(region, writer.id, number, "an item")

    def _check_alone(self, region: Region, writer: str, number: int, what: str) -> None:
        """The state is on the disk, and a range of this writer that holds this batch."""
        ranges = region.store.state.get(f"alone-range {writer}", ())
        in_range = any(
            first <= number and (not last or number <= last) for first, last, _ in ranges
        )
        # Gateways hear of its end a moment later than the disk.
        since_s = self._world.now_s - self._left_s.get(region.name, -math.inf)
        if not in_range or not (self.is_alone(region.name) or since_s < LOCAL_LAG_S):
            text = f"{what} is in {region.name} only, which is not alone on its disk"
            fail("no-answer-before-its-promise", text)
        self._alone_batches[region.name].add(f"{writer}:{number}")

    def acknowledged_by(self, client: Client, packet_id: int, message: Message[None]) -> None:
        """``answers-in-order``: PUBACKs leave in the order of the PUBLISHes of a connection."""
        sent = self._sent[client.name]
        if not sent or sent.popleft() != packet_id:
            fail("answers-in-order", f"{client.name} was answered {packet_id} out of turn")
        del self._in_flight[client.name, packet_id]
        payload = message.payload
        if (client.name, packet_id) not in self._kept:
            text = f"{client.name} is answered {payload.decode()}, whose promise nobody kept"
            fail("no-answer-before-its-promise", text)
        self._kept.discard((client.name, packet_id))
        if payload.startswith(b"closed"):
            self.same[client.name, payload][self._session[client.name]] += 1
        self.acknowledged[payload] = client.region
        self.sessions.acknowledged(payload)
        if not self.copies[payload]:
            self._check_lost(payload, self.copies[payload])

    # Alone

    def heard(self, region: str) -> None:
        """The report of a peer that stores has reached a region's services."""
        self._heard_s[region] = self._world.now_s

    def decided_alone(self, services: Services, state: AloneState) -> None:
        """``alone-after-silence-only``, and until a second region has what was answered alone."""
        region = services.name
        if state.answers:
            heard_s = max(self._heard_s.get(region, 0.0), services.started_s)
            silent_s = self._world.now_s - heard_s
            if silent_s < ALONE_LEAST * self._world.timing.alone_after_s:
                text = f"{region} goes on alone though it heard a peer {silent_s:.2f} s ago"
                fail("alone-after-silence-only", text)
            return
        if state.alone:
            return
        for batch in sorted(self._alone_batches.pop(region, ())):
            if len(self._batches[batch]) < 2:
                fail("alone-until-confirmed", f"{batch} is in {region} only, which was alone")

    def alone(self, region: str, is_alone: bool) -> None:
        """A region's state is on its disk."""
        if not is_alone:
            self._left_s[region] = self._world.now_s

    def is_alone(self, region: str) -> bool:
        """Whether its disk says so: it may have died before it heard that it does."""
        state: AloneState | None = self._system.regions[region].store.state.get(ALONE)
        return state is not None and state.alone

    # Items

    def wrote(self, dot: Dot, item: Item) -> None:
        """``a-dot-is-one-write``: whoever forgot its writes writes under another name."""
        if dot in self._dots:
            fail("a-dot-is-one-write", f"{dot} was written before")
        self._dots.add(dot)
        kind, key, actor, count = dot
        for path, register in lattice.registers(item.fields):
            if register.dot == f"{actor}:{count}":
                self.writes[kind, key, path].append(RegisterWrite(dot, register, item))
        for name, value in item.fields.values.items():
            if isinstance(value, Live):
                known = self._killed[kind, key, name]
                self.removals += [Removal(dot, name, each) for each in sorted(value.dead - known)]
                known |= value.dead

    def answered(self, region: str, answer: Answer) -> None:
        """``no-answer-before-its-promise``, of an operator's write."""
        since_s = self._world.now_s - self._left_s.get(region, -math.inf)
        if not answer.confirmed_by and not self.is_alone(region) and since_s > LOCAL_LAG_S:
            text = f"{region} names nobody, and is not alone on its disk"
            fail("no-answer-before-its-promise", text)
        for dot in answer.dots:
            for place in (region, *answer.confirmed_by):
                kind, key, actor, count = dot
                if self._ever_wrote[place, (kind, key)].get(actor, 0) < count:
                    fail("no-answer-before-its-promise", f"{place} was named and lacks {dot}")
            self.promised[dot] = bool(answer.confirmed_by)
            is_current = self._system.regions[region].services.absence.is_over
            if answer.confirmed_by and is_current:
                self._check_visible(region, kind, key)

    def _check_visible(self, region: str, kind: str, key: str) -> None:
        """``versions-never-go-down``, as a client of this region's API sees them."""
        item = self._system.item(region, kind, key)
        shown = self._shown.get((region, kind, key), 0)
        if not self._caught_up_with_all(region):
            shown = 0
        if item is None or item.version < shown:
            fail("versions-never-go-down", f"{region} shows {kind} {key} below {shown}")
            return
        self._shown[region, kind, key] = item.version

    def _caught_up_with_all(self, region: str) -> bool:
        """Whether every other region could be asked for what this one's disk has lost."""
        since_s = self._system.regions[region].services.serving_s
        others = [name for name in self._system.regions_named if name != region]
        return all(
            self.reach.was_serving(other, since_s) and self.reach.link_s(region, other) <= since_s
            for other in others
        )

    # Rights

    def admitted(self, gateway: Gateway, principal: str) -> None:
        """``revoked-is-refused``: nobody is let in who was revoked, beyond the stated bound."""
        known = self._revoked.get(principal)
        if not known:
            return
        own = gateway.region.name
        now_s, back_s = self._world.now_s, gateway.opened_after_s
        for region, since_s in known.items():
            if region == own:
                if now_s - max(since_s, back_s, self.reach.well_since(own, now_s)) > LOCAL_LAG_S:
                    fail("revoked-is-refused", f"{gateway.who} admits {principal}")
                continue
            link_s = self.reach.link_s(own, region)
            if since_s < back_s and link_s <= back_s and self.reach.was_serving(region, back_s):
                text = f"{gateway.who} admits {principal}, revoked in {region} before it started"
                fail("revoked-is-refused", text)
            both_s = max(link_s, self.reach.serving_since(region), self.reach.serving_since(own))
            if now_s - max(since_s, back_s, both_s) > LAG_S:
                text = f"{gateway.who} admits {principal}, long revoked in {region}"
                fail("revoked-is-refused", text)

    def served(self, gateway: Gateway, principal: str) -> None:
        """``revoked-is-refused``, of who is connected already."""
        since_s = self._revoked.get(principal, {}).get(gateway.region.name)
        if since_s is None:
            return
        own = gateway.region.name
        well_s = max(self.reach.well_since(own, math.inf), gateway.opened_after_s)
        if self._world.now_s - max(since_s, well_s) > LOCAL_LAG_S:
            fail("revoked-is-refused", f"{gateway.who} still serves {principal}")

    # Cursors

    def resumed(self, region: str, peer: str, pull: Pull) -> None:
        """Contact: what the cursor says is applied must be, however it came to say so."""
        self._checked.pop((region, peer, LOG), None)
        self._checked.pop((region, peer, "bus"), None)
        self.moved(region, peer, pull)

    def moved(self, region: str, peer: str, pull: Pull) -> None:
        """``no-cursor-skips``: all that lies before a cursor is on this region's disk."""
        source = self._system.regions[peer].services
        if source.incarnation != pull.incarnation:
            return
        for entry in self._passed(region, peer, LOG, pull.incarnation, pull.log.sequence):
            theirs = self._system.decoded(entry.payload)
            mine = self._durable.get((region, entry.subject))
            have = mine.vv if mine else {}
            if any(have.get(actor, 0) < count for actor, count in theirs.vv.items()):
                text = f"{region} is past {entry.sequence} of {peer} and lacks {entry.subject}"
                fail("no-cursor-skips", text)
        copies = self.stored[region, bus(peer)]
        for entry in self._passed(region, peer, "bus", pull.incarnation, pull.bus.sequence):
            writer, _, number = entry.id.rpartition(":")
            # Beyond a gap of its writer's own making nobody copies.
            standing = self._contiguous[region, peer].advance(writer, int(number))
            if standing is Standing.NEW and entry.id not in copies:
                text = f"{region} is past {entry.sequence} of {peer}'s bus and lacks {entry.id}"
                fail("no-cursor-skips", text)

    def _passed(
        self, region: str, peer: str, what: str, incarnation: str, upto: int
    ) -> list[Entry]:
        """The entries that a cursor has passed since this was last asked."""
        name = LOG if what == LOG else bus(peer)
        known, after = self._checked.get((region, peer, what), ("", 0))
        if known != incarnation:
            after = 0
        if not after and what != LOG:
            self._contiguous[region, peer] = Watermarks()
        self._checked[region, peer, what] = (incarnation, upto)
        stream = self._system.regions[peer].store.stream(name)
        return [entry for entry in stream.after(after, limit=10**9) if entry.sequence <= upto]
