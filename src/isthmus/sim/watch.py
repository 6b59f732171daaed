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

from isthmus.core import batch as batches
from isthmus.core import lattice, registry
from isthmus.core.health import Health, majority_of
from isthmus.core.item import Item
from isthmus.core.lattice import Live, Register
from isthmus.core.outbox import Message
from isthmus.core.pull import Pull
from isthmus.core.registry import CertificateStatus
from isthmus.core.routing import Route
from isthmus.core.writer import Writer
from isthmus.core.zone import SRV_PREFIX, Zone
from isthmus.sim.services import Answer
from isthmus.sim.store import LOG, Entry, bus

if TYPE_CHECKING:
    from isthmus.sim.clients import Client
    from isthmus.sim.gateway import Gateway
    from isthmus.sim.region import Region
    from isthmus.sim.site import Site
    from isthmus.sim.system import System

#: How long news may take between two regions in contact, and from a region's log to its gateways.
LAG_S = 4.0
LOCAL_LAG_S = 1.0
#: Slower than this, and questions are not answered in time.
SLOW_S = 0.1
#: How long the regions must have been in contact before another disk may be lost.
REPAIR_S = 6.0
#: A vote counts for its lifetime, and was on its way for a while.
VOTE_SLACK_S = 0.3

T = TypeVar("T")
ItemKey = tuple[str, str]
#: Kind and key of an item, and the actor and count of one write of it.
Dot = tuple[str, str, str, int]


class Violation(Exception):
    """A promise does not hold."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text


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
        #: By payload: the regions that have it on disk now, and those that ever had.
        self.copies: defaultdict[bytes, set[str]] = defaultdict(set)
        self._ever: defaultdict[bytes, set[str]] = defaultdict(set)
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
        self._link_since: dict[tuple[str, str], float] = {}
        self._well_since: dict[str, float] = {}
        self._checked: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._votes: defaultdict[tuple[str, str], list[tuple[float, Health]]] = defaultdict(list)
        #: The version of each item that was last shown with an answer.
        self._shown: dict[tuple[str, str, str], int] = {}
        #: What a write removed first.
        self.removals: list[Removal] = []
        self._killed: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        #: Things that somebody wanted deleted.
        self.deleted: set[str] = set()
        self._was_alone: set[str] = set()
        self._lost_last = ("", -math.inf)

    def fail(self, invariant: str, text: str) -> None:
        raise Violation(invariant, text)

    # Disks

    def look_at(self, region: Region) -> None:
        """Be told of all that reaches this region's disk."""
        region.store.on_synced = partial(self._synced, region.name)

    def _synced(self, region: str, stream: str, entry: Entry) -> None:
        if stream != LOG:
            self.stored[region, stream].add(entry.id)
            for message in batches.decode(entry.payload).messages:
                self.copies[message.payload].add(region)
                self._ever[message.payload].add(region)
            return
        item = self._system.decoded(entry.payload)
        at = (region, entry.subject)
        before = self._durable.get(at)
        if before is not None:
            self._check_version(region, before, item)
        self._durable[at] = item
        wrote = self._ever_wrote[at]
        for actor, count in item.vv.items():
            wrote[actor] = max(count, wrote.get(actor, 0))
        self._note_revoked(region, item)

    def _check_version(self, region: str, before: Item, item: Item) -> None:
        """``versions-never-go-down``: nor does any part of them."""
        for actor, count in before.vv.items():
            if item.vv.get(actor, 0) < count:
                text = f"{item.kind} {item.key} in {region}: {before.vv} became {item.vv}"
                self.fail("versions-never-go-down", text)

    def _note_revoked(self, region: str, item: Item) -> None:
        if item.kind != registry.CERTIFICATE:
            return
        if registry.certificate_status(item) is CertificateStatus.REVOKED:
            self._revoked[item.key].setdefault(region, self._world.now_s)
        elif region in self._revoked.get(item.key, {}):
            text = f"{item.key} was revoked on {region}'s disk and is not any more"
            self.fail("revoked-stays-revoked", text)

    def destroyed(self, region: Region) -> None:
        """A disk was replaced by an older one, or an empty one."""
        name = region.name
        self._lost_last = (name, self._world.now_s)
        kept = set()
        for origin in self._system.regions_named:
            self.stored[name, bus(origin)] = set(region.store.stream(bus(origin)).ids)
            for entry in region.store.stream(bus(origin)).after(0, limit=10**9):
                kept |= {each.payload for each in batches.decode(entry.payload).messages}
        for payload, regions in self.copies.items():
            if name in regions and payload not in kept:
                regions.remove(name)
                self._check_lost(payload, regions)
        for payload in kept:
            self.copies[payload].add(name)
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
        self.fail("acknowledged-is-stored", f"the only copy of {payload.decode()} is gone")

    def may_destroy(self, region: str) -> bool:
        """Whether losing this disk is the loss of one region: others have had time to recover."""
        last, lost_s = self._lost_last
        if last in ("", region):
            return True
        names = self._system.regions_named
        pairs = [(a, b) for a in names for b in names if a != b]
        since_s = max(
            max(self._link_since.get(pair, math.inf) for pair in pairs),
            max(self._serving_since(name) for name in names),
            lost_s,
        )
        return self._world.now_s - since_s >= REPAIR_S

    # Contact

    def contacts_changed(self) -> None:
        """Something was done to ways or machines: note since when each is well."""
        now_s = self._world.now_s
        system = self._system
        for one in system.regions_named:
            self._note_since(self._well_since, one, self._is_well(system.regions[one]), now_s)
            for other in system.regions_named:
                if one != other:
                    way = system.net.way(one, other)
                    is_good = not (way.is_cut or way.loss or way.extra_s > SLOW_S)
                    self._note_since(self._link_since, (one, other), is_good, now_s)

    @staticmethod
    def _note_since(since: dict[T, float], key: T, is_good: bool, now_s: float) -> None:
        if not is_good:
            since.pop(key, None)
        else:
            since.setdefault(key, now_s)

    @staticmethod
    def _is_well(region: Region) -> bool:
        store, services = region.store, region.services
        return (
            region.machine.is_up
            and not region.is_frozen
            and services.process.is_running
            and not services.process.is_paused
            and not store.is_full
            and not store.slow_s
        )

    def _link_s(self, one: str, other: str) -> float:
        """Since when two regions reach each other."""
        pairs = ((one, other), (other, one))
        return max(self._link_since.get(pair, math.inf) for pair in pairs)

    def disturbed(self, region: str) -> None:
        """Something short happened to a region's services or store."""
        self._well_since.pop(region, None)

    def _serving_since(self, region: str) -> float:
        """Since when a region's services answer without disturbance; infinity if they do not."""
        services = self._system.regions[region].services
        return max(self._well_since.get(region, math.inf), services.serving_s)

    # Messages

    def connected(self, client: Client) -> None:
        self._sent[client.name].clear()
        self._session[client.name] += 1

    def sent(self, client: Client, message: Message[None]) -> None:
        self._sent[client.name].append(message.packet_id)
        self._in_flight[client.name, message.packet_id] = message

    def kept(self, gateway: Gateway, writer: Writer[Any], client: str, packet_id: int) -> None:
        """``no-answer-before-its-promise``: a gateway is about to acknowledge."""
        message = self._in_flight.get((client, packet_id))
        if message is None:
            return
        region = gateway.region
        has = self._ever[message.payload]
        text = message.payload.decode()
        if region.name not in has:
            self.fail("no-answer-before-its-promise", f"{text} is not on {region.name}'s disk")
        if message.topic.startswith("local/"):
            self.acknowledged_alone[message.payload] = region.name
            return
        ranges = region.store.state.get(f"alone-range {writer.id}", ())
        is_alone = region.name in self._was_alone and any(last == 0 for _, last, _ in ranges)
        if message.payload.startswith(b"closed") and is_alone:
            # Which of several equal ones this is, nobody can tell.
            self.acknowledged_alone[message.payload] = region.name
        elif len(has) < 2 and len(self._system.regions_named) > 1:
            if not is_alone:
                text = f"{text} is in {region.name} only, which is not alone on its disk"
                self.fail("no-answer-before-its-promise", text)
            self.acknowledged_alone[message.payload] = region.name

    def acknowledged_by(self, client: Client, packet_id: int, message: Message[None]) -> None:
        """``answers-in-order``: PUBACKs leave in the order of the PUBLISHes of a connection."""
        sent = self._sent[client.name]
        if not sent or sent.popleft() != packet_id:
            self.fail("answers-in-order", f"{client.name} was answered {packet_id} out of turn")
        del self._in_flight[client.name, packet_id]
        payload = message.payload
        if payload.startswith(b"closed"):
            self.same[client.name, payload][self._session[client.name]] += 1
        self.acknowledged[payload] = client.region
        if not self.copies[payload]:
            self._check_lost(payload, self.copies[payload])

    def alone(self, region: str, is_alone: bool) -> None:
        """A region's state is on its disk."""
        if is_alone:
            self._was_alone.add(region)

    # Items

    def wrote(self, dot: Dot, item: Item) -> None:
        """``a-dot-is-one-write``: whoever forgot its writes writes under another name."""
        if dot in self._dots:
            self.fail("a-dot-is-one-write", f"{dot} was written before")
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
        for dot in answer.dots:
            for place in (region, *answer.confirmed_by):
                kind, key, actor, count = dot
                if self._ever_wrote[place, (kind, key)].get(actor, 0) < count:
                    self.fail("no-answer-before-its-promise", f"{place} was named and lacks {dot}")
            self.promised[dot] = bool(answer.confirmed_by)
            if answer.confirmed_by:
                self._check_visible(region, kind, key)

    def _check_visible(self, region: str, kind: str, key: str) -> None:
        """``versions-never-go-down``, as a client of this region's API sees them."""
        item = self._system.item(region, kind, key)
        shown = self._shown.get((region, kind, key), 0)
        if not self._caught_up_with_all(region):
            shown = 0
        if item is None or item.version < shown:
            self.fail("versions-never-go-down", f"{region} shows {kind} {key} below {shown}")
            return
        self._shown[region, kind, key] = item.version

    def _caught_up_with_all(self, region: str) -> bool:
        """Whether every other region could be asked for what this one's disk has lost."""
        since_s = self._system.regions[region].services.serving_s
        others = [name for name in self._system.regions_named if name != region]
        return all(
            self._was_serving(other, since_s) and self._link_s(region, other) <= since_s
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
                if now_s - max(since_s, back_s, self._well_since.get(own, now_s)) > LOCAL_LAG_S:
                    self.fail("revoked-is-refused", f"{gateway.who} admits {principal}")
                continue
            link_s = self._link_s(own, region)
            if since_s < back_s and link_s <= back_s and self._was_serving(region, back_s):
                text = f"{gateway.who} admits {principal}, revoked in {region} before it started"
                self.fail("revoked-is-refused", text)
            both_s = max(link_s, self._serving_since(region), self._serving_since(own))
            if now_s - max(since_s, back_s, both_s) > LAG_S:
                text = f"{gateway.who} admits {principal}, long revoked in {region}"
                self.fail("revoked-is-refused", text)

    def _was_serving(self, region: str, at_s: float) -> bool:
        return self._serving_since(region) <= at_s - LOCAL_LAG_S

    def served(self, gateway: Gateway, principal: str) -> None:
        """``revoked-is-refused``, of who is connected already."""
        since_s = self._revoked.get(principal, {}).get(gateway.region.name)
        if since_s is None:
            return
        own = gateway.region.name
        well_s = max(self._well_since.get(own, math.inf), gateway.opened_after_s)
        if self._world.now_s - max(since_s, well_s) > LOCAL_LAG_S:
            self.fail("revoked-is-refused", f"{gateway.who} still serves {principal}")

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
        store = self._system.regions[peer].store
        for entry in self._passed(region, peer, LOG, pull.incarnation, pull.log.sequence):
            theirs = self._system.decoded(entry.payload)
            mine = self._durable.get((region, entry.subject))
            have = mine.vv if mine else {}
            if any(have.get(actor, 0) < count for actor, count in theirs.vv.items()):
                text = f"{region} is past {entry.sequence} of {peer} and lacks {entry.subject}"
                self.fail("no-cursor-skips", text)
        numbers: dict[str, int] = {}
        copies = self._system.regions[region].store.stream(bus(peer)).ids
        for entry in self._passed(region, peer, "bus", pull.incarnation, pull.bus.sequence):
            writer, _, number = entry.id.rpartition(":")
            first = store.stream(bus(peer)).first_number(writer)
            if entry.id not in copies and int(number) == numbers.get(writer, first - 1) + 1:
                text = f"{region} is past {entry.sequence} of {peer}'s bus and lacks {entry.id}"
                self.fail("no-cursor-skips", text)
            numbers[writer] = int(number)

    def _passed(
        self, region: str, peer: str, what: str, incarnation: str, upto: int
    ) -> list[Entry]:
        """The entries that a cursor has passed since this was last asked."""
        name = LOG if what == LOG else bus(peer)
        known, after = self._checked.get((region, peer, what), ("", 0))
        if known != incarnation:
            after = 0
        self._checked[region, peer, what] = (incarnation, upto)
        stream = self._system.regions[peer].store.stream(name)
        return [entry for entry in stream.after(after, limit=10**9) if entry.sequence <= upto]

    # Routes

    def voted(self, site: Site, region: str, health: Health) -> None:
        self._votes[site.name, region].append((self._world.now_s, health))

    def decided(self, site: Site, route: Route) -> None:
        """``failover-has-its-majority``: of votes that were really cast, and lately."""
        if not route.votes:
            return
        target = site.direction.route.target
        against = [name for name, vote in route.votes.items() if vote is Health.UNHEALTHY]
        cast = [name for name in against if self._was_unhealthy(name, target)]
        needed = majority_of(self._system.sites_named)
        if len(cast) < needed:
            text = f"{site.name} leaves {target} for {route.target} by the votes of {against}"
            self.fail("failover-has-its-majority", f"{text}; {cast} had voted so")

    def _was_unhealthy(self, site: str, region: str) -> bool:
        """Whether a site's vote was so at some time within a vote's lifetime."""
        since_s = self._world.now_s - self._world.timing.vote_lifetime_s - VOTE_SLACK_S
        last = Health.UNKNOWN
        for at_s, health in self._votes[site, region]:
            if at_s >= since_s and Health.UNHEALTHY in (health, last):
                return True
            last = health
        return last is Health.UNHEALTHY

    def adopted(self, site: Site, route: Route) -> None:
        """``a-route-never-goes-back``, nor leads to nobody."""
        held = site.direction.route
        if route.epoch < held.epoch:
            self.fail("a-route-never-goes-back", f"{site.name}: {held.epoch} to {route.epoch}")
        if route.target not in self._system.regions_named:
            self.fail("zone-never-empty", f"{site.name} would lead to {route.target!r}")

    def published(self, site: Site, zone: Zone) -> None:
        """``zone-never-empty``."""
        held = {(each.name, each.type) for each in zone.records if each.data}
        apex = zone.apex
        needed = {(apex, "SOA"), (apex, "NS"), (apex, "A"), (SRV_PREFIX + apex, "SRV")}
        if not needed <= held:
            self.fail("zone-never-empty", f"{site.name} publishes {sorted(held)}")
