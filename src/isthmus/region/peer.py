"""The link to one peer region: pull its change log and its bus, confirm, and be heard.

Everything that crosses regions is pulled, resumable and idempotent. The link runs its whole
sequence again after any loss of contact: say hello with our cursors, learn where we may resume,
fill up what our own bus has lost, then follow log and bus. What a peer has not answered for in
this contact is never assumed from an earlier one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.adapters.nats import connection, streams
from isthmus.adapters.nats.entries import Entry, entry_id
from isthmus.adapters.nats.follow import follow
from isthmus.clock import monotonic_s
from isthmus.config import Peer, RegionConfig
from isthmus.core import item as items
from isthmus.core.cursor import Cursor
from isthmus.core.pull import Pull
from isthmus.core.shadow_telling import FirstFill, Told, first_fill
from isthmus.errors import InputError, Unavailable
from isthmus.protocol import SubscriptionsReply
from isthmus.region.bus import BusCopies
from isthmus.region.items import ItemStore
from isthmus.region.own_messages import OwnMessages
from isthmus.region.shadow_teller import ShadowTeller
from isthmus.region.state import StateStore, cursor_name, first_fill_name, told_name
from isthmus.tasks import end

T = TypeVar("T")

_log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 1.0
RETRY_S = 0.1
#: Items merged at once: each waits for a disk.
MERGES_AT_ONCE = 64
#: Cursors are written down at most this often; an older one only repeats work.
CURSOR_SAVE_S = 0.5
#: For one writer's lost batches; then the whole contact begins again, from what was stored.
BACK_FILL_S = 30.0


class PeerLink:
    """One peer, as this region pulls from it."""

    def __init__(
        self,
        config: RegionConfig,
        peer: Peer,
        store: ItemStore,
        copies: BusCopies,
        state: StateStore,
        incarnation: asyncio.Future[str],
        on_head: Callable[[str, protocol.HeadReply], None],
        own: OwnMessages,
    ) -> None:
        self.region = peer.region
        self.pull = Pull()
        self._own = config.region
        self._peer = peer
        self._store = store
        self._copies = copies
        self._state = state
        self._own_incarnation = incarnation
        self._on_head = on_head
        self._teller = ShadowTeller(own, self._is_told)
        #: Up to here everything is told: what is written down.
        self._told = Told()
        self._first = FirstFill()
        self._client: Client | None = None
        #: Whether our own streams took the last copy: who cannot store must not be counted on.
        self._storing = True
        self._lost = asyncio.Event()
        self._moved = asyncio.Event()
        #: By name in the state stream.
        self._unsaved: dict[str, object] = {}
        self._loss = ""

    # Life

    async def load(self) -> None:
        """Read how far we had pulled; before anybody may ask us."""
        self.pull.log = await self._state.get(self._cursor("log"), Cursor) or Cursor()
        self.pull.bus = await self._state.get(self._cursor("bus"), Cursor) or Cursor()
        revision = await self._state.get(told_name(self.region), int) or 0
        self._told = Told(self.pull.log, revision)
        name = first_fill_name(self.region)
        self._first = await self._state.get(name, FirstFill) or FirstFill()

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        self._client = await connection.connect(
            self._peer.nats, name=f"peer-{self._own}", on_disconnect=self._on_disconnect
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._report_for_ever())
                group.create_task(self._save_for_ever())
                group.create_task(self._pull_for_ever())
                group.create_task(self._teller.run())
        finally:
            await self._client.close()

    def _cursor(self, stream: str) -> str:
        return cursor_name(self.region, stream)

    async def _on_disconnect(self) -> None:
        self._lost.set()

    def heard_incarnation(self, incarnation: str) -> None:
        """The peer reports under some incarnation; under another one, what we pull by is void."""
        if self.pull.is_void(incarnation):
            self._lost.set()

    # Being heard

    async def _report_for_ever(self) -> None:
        while True:
            await self.report()
            await asyncio.sleep(protocol.HEARTBEAT_S)

    async def report(self) -> None:
        """Tell the peer what we have of its log and bus."""
        client = self._client
        # Before this region knows its own incarnation it has nothing to say, and a client that is
        # reconnecting would keep the report and deliver it when it is no longer true.
        if client is None or not client.is_connected or not self._own_incarnation.done():
            return
        report = protocol.Report(
            self._own,
            self._own_incarnation.result(),
            self.pull.log,
            self.pull.confirmations(monotonic_s()),
            self._storing,
        )
        try:
            await client.publish(f"peer.{self._own}.report", protocol.encode(report))
        except NatsError as error:
            _log.debug("report", extra={"action": "report-lost", "reason": repr(error)})

    # Pulling

    async def _pull_for_ever(self) -> None:
        await self._own_incarnation
        while True:
            self._lost.clear()
            try:
                await self._contact()
            except (Unavailable, InputError) as error:
                self._note_loss(str(error))
            self.pull.lost()
            await asyncio.sleep(RETRY_S)

    def _note_loss(self, reason: str) -> None:
        # Once per reason: a peer that is away for a day is not news ten times a second.
        if reason != self._loss:
            self._loss = reason
            extra = {"action": "peer-lost", "peer": self.region, "reason": reason}
            _log.warning("a peer is out of reach", extra=extra)

    async def _contact(self) -> None:
        hello = await self._hello()
        self._resume(hello)
        head = await self.head()
        if self.pull.is_void(head.incarnation):
            raise Unavailable(f"{self.region} has started again")
        self._on_head(self.region, head)
        await self._note_first_fill(head)
        # After contact was lost: what was on its way into our log may still have come there.
        own_head = await self._store.log.head()
        self._teller.begin(self._told, head.incarnation, head.log_sequence, own_head, self._first)
        await self._back_fill(head)
        await self._confirm_all()
        pulls = [
            asyncio.create_task(self._pull_log()),
            asyncio.create_task(self._pull_bus()),
            asyncio.create_task(self._lost.wait()),
        ]
        try:
            done, _ = await asyncio.wait(pulls, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(pulls)

    async def _hello(self) -> protocol.HelloReply:
        request = protocol.HelloRequest(self.pull.log, self.pull.bus)
        return await self._ask("hello", request, protocol.HelloReply)

    async def head(self) -> protocol.HeadReply:
        """Ask what level with the peer is, now. Raises Unavailable."""
        return await self._ask("head", None, protocol.HeadReply)

    async def cursors(self) -> protocol.CursorsReply:
        """Ask how far the peer has pulled from us. Raises Unavailable."""
        return await self._ask("cursors", None, protocol.CursorsReply)

    async def subscribed(self, request: protocol.SubscriptionsRequest) -> SubscriptionsReply:
        """Ask what a connection of the peer's subscribes to. Raises Unavailable."""
        return await self._ask("subscribed", request, SubscriptionsReply)

    async def _ask(self, what: str, request: object, kind: type[T]) -> T:
        client = self._client
        if client is None or not client.is_connected:
            raise Unavailable(f"no connection to {self.region}")
        try:
            subject = f"peer.{self._own}.{what}"
            reply = await client.request(subject, protocol.encode(request), REQUEST_TIMEOUT_S)
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"{self.region} does not answer {what}: {error!r}") from error
        return protocol.decode(reply.data, kind)

    def _resume(self, hello: protocol.HelloReply) -> None:
        self.pull.resume(hello.incarnation, hello.log_after, hello.bus_after)
        self._loss = ""
        extra = {
            "action": "contact",
            "peer": self.region,
            "log_after": hello.log_after,
            "bus_after": hello.bus_after,
        }
        _log.info("in contact with a peer", extra=extra)

    async def _back_fill(self, head: protocol.HeadReply) -> None:
        """Fetch batches of our own that the peer has and our restored or wiped disk lacks."""
        await self._copies.look_again(head.writers)
        for writer, number in sorted(head.writers.items()):
            if self._copies.held[self._own].get(writer) >= number:
                continue
            subject = streams.bus_subject(self._own, writer)
            try:
                async with asyncio.timeout(BACK_FILL_S):
                    await self._fetch(subject, writer, number)
            except TimeoutError:
                raise Unavailable(f"{self.region} does not send {subject}") from None

    async def _fetch(self, subject: str, writer: str, number: int) -> None:
        async with aclosing(self._follow(streams.bus(self._own), 0, [subject])) as batches:
            async for entries in batches:
                await self._copy(self._own, entries)
                # Asked each time: what is held is read anew when a write has failed.
                if self._copies.held[self._own].get(writer) >= number:
                    return

    async def _copy(self, origin: str, entries: list[Entry]) -> dict[str, int]:
        try:
            risen = await self._copies.store(origin, entries)
        except Unavailable:
            self._storing = False
            raise
        self._storing = True
        return risen

    async def _confirm_all(self) -> None:
        """Say once per contact what we hold of every writer, not only of those that move."""
        self.pull.confirm(self._copies.held[self.region].snapshot(), monotonic_s())
        await self.report()

    def _follow(
        self, stream: str, after: int, subjects: Sequence[str] = ()
    ) -> AsyncGenerator[list[Entry], None]:
        assert self._client is not None
        return follow(self._client, stream, after, subjects=subjects)

    async def _pull_log(self) -> None:
        limit = asyncio.Semaphore(MERGES_AT_ONCE)

        async def merge(entry: Entry) -> None:
            async with limit:
                try:
                    theirs = items.decode(entry.payload)
                except InputError as error:
                    # It would be the same on every attempt; the rest must not wait for it.
                    extra = {"action": "bad-item", "peer": self.region, "reason": str(error)}
                    _log.error("an entry of a peer's log cannot be read", extra=extra)
                    return
                self._teller.merged(entry.sequence, await self._store.merge(theirs))

        async for entries in self._follow(streams.LOG, self.pull.log.sequence):
            # All of them, whatever becomes of one: what is merged is noted.
            merges = (merge(entry) for entry in entries)
            for failure in await asyncio.gather(*merges, return_exceptions=True):
                if failure is not None:
                    raise failure
            last = entries[-1]
            self._teller.reached(self.pull.took_log(last.sequence, entry_id(last)))
            await self._progressed()

    async def _note_first_fill(self, head: protocol.HeadReply) -> None:
        """Write down what this region is given of a peer that it knew nothing of."""
        first = first_fill(self._first, self._told.cursor, head.incarnation, head.log_sequence)
        if first != self._first:
            await self._state.put(first_fill_name(self.region), first)
            self._first = first

    def _is_told(self, told: Told) -> None:
        self._told = told
        self._unsaved[self._cursor("log")] = told.cursor
        self._unsaved[told_name(self.region)] = told.revision

    async def _pull_bus(self) -> None:
        stream = streams.bus(self.region)
        async for entries in self._follow(stream, self.pull.bus.sequence):
            self.pull.confirm(await self._copy(self.region, entries), monotonic_s())
            last = entries[-1]
            self._unsaved[self._cursor("bus")] = self.pull.took_bus(last.sequence, entry_id(last))
            await self._progressed()

    async def _progressed(self) -> None:
        await self.report()
        self._moved.set()
        self._moved = asyncio.Event()

    async def _save_for_ever(self) -> None:
        """Write cursors down, the last one of a burst too."""
        while True:
            await asyncio.sleep(CURSOR_SAVE_S)
            unsaved, self._unsaved = self._unsaved, {}
            for name, value in unsaved.items():
                try:
                    await self._state.put(name, value)
                except Unavailable as error:
                    self._unsaved.setdefault(name, value)
                    _log.info("a cursor is not saved yet", extra={"reason": str(error)})

    async def level_with(self, head: protocol.HeadReply) -> None:
        """Wait until we have what the peer had; raises Unavailable if contact is lost meanwhile."""
        while not self._is_level(head):
            await self._copies.look_again(head.writers)
            if self._is_level(head):
                return
            if self.pull.is_void(head.incarnation):
                raise Unavailable(f"{self.region} has started again")
            moved, lost = self._moved, self._lost
            waits = [asyncio.create_task(each.wait()) for each in (moved, lost)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=RETRY_S)
            await end(waits)

    def _is_level(self, head: protocol.HeadReply) -> bool:
        own_bus = self._copies.held[self._own]
        return self.pull.is_level(head.incarnation, head.log_sequence, head.writers, own_bus)
