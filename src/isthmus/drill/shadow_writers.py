"""Clients in two regions that update the same shadows, as a split brain has it.

What the regions make of it is read from outside: what clients were told, what GetThingShadow and
the operators' API answer. Only the stamps, which nobody is told, are read from each region's log.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from isthmus.adapters.nats import connection
from isthmus.adapters.nats.change_log import NatsChangeLog
from isthmus.bench.client import Dialler, Faults
from isthmus.bench.plan import Client
from isthmus.clock import monotonic_s
from isthmus.core import shadows
from isthmus.core.shadows import SHADOW
from isthmus.drill import shadow_updates
from isthmus.drill.scenario import Shadows
from isthmus.drill.shadow_accounts import Accepted, Held, Shown, SplitAccount, held
from isthmus.drill.shadow_client import WINDOW, ShadowClient
from isthmus.drill.shadow_updates import Update
from isthmus.errors import Unavailable
from isthmus.local.bring_up import device, document
from isthmus.local.operator import Operator
from isthmus.local.system import LocalSystem
from isthmus.tasks import end

T = TypeVar("T")

POLICY = "drill-shadows"
CLIENTS = "updates-"
#: Shadows that are read at once.
READS_AT_ONCE = 32
RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class _Gateway:
    """Where the clients of one region connect, as a dialler wants it."""

    host: str
    port: int
    hostname: str
    ca_file: str
    sources: tuple[str, ...] = ()


@dataclass
class ShadowWriters:
    """The clients in both regions, and what they found."""

    system: LocalSystem
    operator: Operator
    shadows: Shadows
    seed: int
    #: By region and thing.
    clients: dict[str, dict[str, ShadowClient]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        #: The first thing that went wrong with any of them.
        self._faults = Faults()
        self.account = SplitAccount(
            shadow_updates.keys(self.shadows),
            shadow_updates.leaves(self.shadows),
            shadow_updates.FIRST,
            {region: [] for region in self.system.settings.regions},
        )

    # Before the cut

    async def create(self) -> None:
        """Connect everybody, and make the shadows in the home region; raises Unavailable."""
        await self._register()
        for region in self.account.accepted:
            self.clients[region] = {
                thing: await self._connected(region, thing)
                for thing in shadow_updates.things(self.shadows)
            }
        home = next(iter(self.clients))
        work = (partial(self._write, home, each) for each in shadow_updates.first(self.shadows))
        await _all(work, WINDOW * self.shadows.writers)

    async def _register(self) -> None:
        home = self.system.settings.regions[0]
        names = [
            _name(region, thing)
            for region in self.system.settings.regions
            for thing in shadow_updates.things(self.shadows)
        ]
        devices = [device(self.system, name, {}, POLICY) for name in names]
        rights = document(home, f"{CLIENTS}*", "$aws/things/*/shadow/*")
        await self.operator.register(home, devices, [{"name": POLICY, "document": rights}])

    async def _connected(self, region: str, thing: str) -> ShadowClient:
        """A client, as soon as its region knows it."""
        address, name = self.system.address(region), _name(region, thing)
        gateway = _Gateway(
            address.host,
            address.ports["mqtt"],
            self.system.hostname(region),
            str(self.system.pki.ca_file),
        )
        identity = self.system.pki.device(name)
        spec = Client(
            client_id=name, certificate=str(identity.chain), key=str(identity.key), topic=""
        )
        dialler = Dialler(gateway)
        while True:
            try:
                client = await dialler.connect(ShadowClient(spec, self._faults, thing))
            except Unavailable:
                # Whoever waits for all of this has a bound.
                await asyncio.sleep(RETRY_S)
            else:
                await client.subscribe()
                return client

    def _client(self, region: str, key: str) -> ShadowClient:
        """Who asks for a shadow in a region."""
        return self.clients[region][shadows.of(key)[0]]

    # While they are apart

    async def update(self, seconds: float) -> None:
        """Update the shadows in every region for a time; raises Unavailable for what is refused."""
        from_s = monotonic_s()
        due = {each: self._due(each, from_s, from_s + seconds) for each in self.account.accepted}
        await _together(
            self._update(region, updates)
            for region, updates in due.items()
            for _ in range(WINDOW * self.shadows.writers)
        )
        self.account.apart_s = monotonic_s() - from_s

    def _due(self, region: str, from_s: float, to_s: float) -> Iterator[tuple[float, Update]]:
        """A region's updates and when each is due, until the time is over."""
        planned = shadow_updates.updates(self.shadows, self.seed, region)
        for number in itertools.count():
            at_s = from_s + number / self.shadows.updates_per_s
            if max(at_s, monotonic_s()) >= to_s:
                return
            yield at_s, next(planned)

    async def _update(self, region: str, due: Iterator[tuple[float, Update]]) -> None:
        for at_s, each in due:
            await asyncio.sleep(max(0.0, at_s - monotonic_s()))
            version = await self._write(region, each)
            self.account.accepted[region].append(Accepted(each, version))

    async def _write(self, region: str, update: Update) -> int:
        return await self._client(region, update.key).update(update.key, update.state())

    async def read_logs(self) -> None:
        """Read how each write stands in its own region's log; nothing more will be written."""
        for region in self.account.accepted:
            async with self._log(region) as log:

                async def read(key: str, log: NatsChangeLog = log) -> Held:
                    return held((await log.get(SHADOW, key)).item)

                self.account.held[region] = await self._of_each(read)

    @asynccontextmanager
    async def _log(self, region: str) -> AsyncIterator[NatsChangeLog]:
        access = self.system.nats_access(region, "services")
        client = await connection.connect(access, name="drill")
        try:
            yield NatsChangeLog(client)
        finally:
            await client.close()

    # Afterwards

    async def read(self) -> None:
        """Read what both regions show and list."""
        for region in self.account.accepted:
            shown = await self._of_each(partial(self._shown, region))
            self.account.shown[region] = shown
            listed = self.operator.conflicts(region)
            self.account.conflicts[region] = [each async for each in listed]

    async def _shown(self, region: str, key: str) -> Shown:
        answer = await self._client(region, key).get(key)
        document = {name: answer.get(name) for name in ("state", "metadata")}
        return Shown(answer["version"], document)

    async def _of_each(self, read: Callable[[str], Awaitable[T]]) -> dict[str, T]:
        keys = self.account.shadows
        found = await _all((partial(read, key) for key in keys), READS_AT_ONCE)
        return dict(zip(keys, found, strict=True))

    def leave(self) -> None:
        """Disconnect everybody."""
        for client in (each for clients in self.clients.values() for each in clients.values()):
            client.leave()
        with suppress(Unavailable):
            # Whoever was asked something then has been told of it.
            self._faults.check()


def _name(region: str, thing: str) -> str:
    return f"{CLIENTS}{thing}-in-{region}"


async def _all(work: Iterable[Callable[[], Awaitable[T]]], at_once: int) -> list[T]:
    """Do all of it, so much at a time; what comes of it, in its order."""
    waiting, done = enumerate(work), dict[int, T]()

    async def take() -> None:
        for number, each in waiting:
            done[number] = await each()

    await _together(take() for _ in range(at_once))
    return [done[number] for number in sorted(done)]


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at once; raises what goes wrong first, as it is, and stops the rest."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for each in done:
            each.result()
    finally:
        await end(tasks)
