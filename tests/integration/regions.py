"""Two real regions for the tests of one file, which can be cut off from each other."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import random
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from mqtt_wire import Sender, Wire

from isthmus import config as configs
from isthmus.adapters import lake
from isthmus.adapters.lake import LakeRow
from isthmus.adapters.nats import connection
from isthmus.adapters.nats.change_log import NatsChangeLog
from isthmus.adapters.pki import Identity
from isthmus.config import RegionConfig, SiteConfig
from isthmus.core.item import Item
from isthmus.errors import Unavailable
from isthmus.local import bring_up
from isthmus.local.operator import Operator
from isthmus.local.system import LAUNCHER, LocalSystem, Settings

HOME, OTHER = "eu", "us"
POLL_S = 0.02
WITHIN_S = 40.0
#: For how long a machine that runs tests may stand still before a region takes another for dead.
STALL_S = 3.0
FAILURES_NEVER_REACHED = 10_000


async def until(
    what: str, holds: Callable[[], bool | Awaitable[bool]], within_s: float = WITHIN_S
) -> None:
    """Wait until something holds that no event here tells of: it happens in another process."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                held = holds()
                if await held if inspect.isawaitable(held) else held:
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {what}") from None


class Regions:
    """The system, and what tests ask of it."""

    def __init__(self, system: LocalSystem, operator: Operator) -> None:
        self.system = system
        self.operator = operator
        #: What ended without being asked to.
        self.ended: list[str] = []

    # Devices

    async def device(self, name: str, region: str = HOME, **attributes: str) -> str:
        """Register a device with the fleet's policy; returns its name."""
        await self.register([name], region, **attributes)
        return name

    async def who_may(self, name: str, *actions: str, only: str = "") -> str:
        """Register a device that may do these things with everything; returns its name.

        Or ``only`` with what has an ARN of this end.
        """
        resource = f"arn:aws:iot:{HOME}:{bring_up.ACCOUNT}:{only}" if only else "*"
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        entry = bring_up.device(self.system, name, {}, f"policy-of-{name}")
        policy = {"name": f"policy-of-{name}", "document": document}
        await self.operator.register(HOME, [entry], [policy])
        return name

    async def register(
        self, names: Iterable[str], region: str = HOME, **attributes: str
    ) -> dict[str, Any]:
        devices = [bring_up.device(self.system, name, attributes) for name in names]
        return await self.operator.register(region, devices, [bring_up.fleet_policy(HOME)])

    def identity(self, name: str) -> Identity:
        return self.system.pki.device(name)

    def topic(self, name: str, last: str = "telemetry") -> str:
        return f"{bring_up.TOPIC_ROOT}/{name}/{last}"

    # Clients

    def tls(self, identity: Identity | None) -> ssl.SSLContext:
        """What a client verifies the region with, and what it shows."""
        context = ssl.create_default_context(cafile=str(self.system.pki.ca_file))
        if identity:
            context.load_cert_chain(str(identity.chain), str(identity.key))
        return context

    def place(self, region: str) -> tuple[str, int]:
        address = self.system.address(region)
        return address.host, address.ports["mqtt"]

    @asynccontextmanager
    async def wire(
        self,
        region: str,
        identity: Identity | str | None,
        tls: ssl.SSLContext | None = None,
        name: str | None = None,
    ) -> AsyncIterator[Wire]:
        """A TLS connection without its CONNECT yet."""
        if isinstance(identity, str):
            identity = self.identity(identity)
        host, port = self.place(region)
        hostname = name or self.system.hostname(region)
        wire = await Wire.open(host, port, tls or self.tls(identity), hostname)
        try:
            yield wire
        finally:
            await wire.abort()

    @asynccontextmanager
    async def client(self, region: str, name: str, **connect: Any) -> AsyncIterator[Wire]:
        """A connected device."""
        async with self.wire(region, name) as wire:
            assert await wire.connect(name, **connect) == 0
            yield wire

    @asynccontextmanager
    async def sender(self, region: str, name: str) -> AsyncIterator[Sender]:
        """A device that publishes numbers, and again what was not acknowledged."""
        tls, (host, port) = self.tls(self.identity(name)), self.place(region)
        hostname = self.system.hostname(region)
        sender = Sender(name, self.topic(name), lambda: Wire.open(host, port, tls, hostname))
        running = asyncio.create_task(sender.run())
        try:
            yield sender
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def admitted(self, region: str, name: str) -> bool:
        """Whether a device can connect now."""
        try:
            async with self.wire(region, name) as wire:
                return await wire.connect(name) == 0
        except OSError:
            return False

    # What the regions hold

    def lake(self, region: str, client: str | None = None, *, raw: bool = False) -> list[LakeRow]:
        rows = lake.read(self.system.lake_file(region), raw=raw)
        return [row for row in rows if client in (None, row.client)]

    def numbers(self, region: str, client: str, *, raw: bool = False) -> list[int]:
        """The numbers that a sender's messages in a lake carry, in the lake's order."""
        return [
            msgspec.json.decode(row.body())["seq"] for row in self.lake(region, client, raw=raw)
        ]

    async def in_lake(self, region: str, client: str, numbers: Iterable[int]) -> None:
        """Wait until the lake of a region holds these numbers of a client."""
        wanted = set(numbers)
        await until(
            f"the lake of {region} has {len(wanted)} numbers of {client}",
            lambda: wanted <= set(self.numbers(region, client)),
        )

    async def in_lake_as(self, region: str, client: str, payloads: list[str]) -> None:
        """Wait until the lake of a region holds just these payloads of a client, in any order."""
        await until(
            f"the lake of {region} has what {client} published",
            lambda: sorted(row.payload for row in self.lake(region, client)) == sorted(payloads),
        )

    async def in_both_lakes(self, sender: Sender) -> None:
        """Wait until both lakes hold everything that was acknowledged."""
        for region in self.system.settings.regions:
            await self.in_lake(region, sender.name, sender.acked)

    def config(self, region: str) -> RegionConfig:
        """What the region's processes have read."""
        return configs.load(self.system.region_dir(region) / "region.toml", RegionConfig)

    async def status(self, region: str) -> dict[str, Any]:
        return await self.operator.status(region)

    async def item(self, region: str, kind: str, key: str) -> Item:
        """An item as a region's log has it."""
        client = await connection.connect(self.config(region).nats, name="services")
        try:
            return (await NatsChangeLog(client).get(kind, key)).item
        finally:
            await client.close()

    async def level(self) -> dict[str, str]:
        """Wait until the regions' items are equal; returns their digests."""
        held: list[dict[str, str]] = []

        async def equal() -> bool:
            held[:] = [await self.operator.digests(each) for each in self.system.settings.regions]
            return all(each == held[0] for each in held)

        await until("both regions hold equal items", equal)
        return held[0]

    async def is_alone(self, region: str) -> bool:
        return bool((await self.status(region))["alone"])

    async def alone(self, region: str) -> None:
        await until(f"{region} is alone", lambda: self.is_alone(region))

    async def together(self) -> None:
        """Wait until every region is healthy and none is alone."""
        await bring_up.healthy(self.system, self.operator)
        for region in self.system.settings.regions:

            async def in_company(region: str = region) -> bool:
                # It may just be starting again.
                with contextlib.suppress(Unavailable):
                    return not await self.is_alone(region)
                return False

            await until(f"{region} is not alone any more", in_company)

    # Outages

    def signal(self, region: str, part: str, number: int) -> int:
        """Send a signal to one process of a region; returns its pid."""
        pid = self.system.pids(region)[f"{region}-{part}"]
        os.kill(pid, number)
        return pid

    async def kill_part(self, region: str, part: str) -> None:
        """SIGKILL one process, as a bug or the kernel would; it is started again."""
        pid = self.signal(region, part, signal.SIGKILL)
        name = f"{region}-{part}"
        await until(f"another {name} runs", lambda: self.system.pids().get(name, pid) != pid)

    async def kill(self, region: str) -> None:
        self.system.kill(region)
        await self.system.gone(region)


@asynccontextmanager
async def two_regions(
    directory: Path,
    *,
    cuttable: bool = False,
    launcher: Sequence[str] = LAUNCHER,
    aws_api: bool = True,
    **changes: Any,
) -> AsyncIterator[Regions]:
    """Two regions and a witness, healthy; ``changes`` are settings of both regions.

    ``launcher`` starts their processes, where they are to be other ones than the product's. Without
    ``aws_api`` they have no process for AWS's clients, which takes a quarter of their start.
    """
    changes.setdefault("alone_after_s", STALL_S)
    ended: list[str] = []
    settings = Settings(directory, launcher=launcher, aws_api=aws_api, cables=cuttable)
    system = LocalSystem(settings, random.Random(), ended.append)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(system.stop)
        operator = await stack.enter_async_context(Operator(system))
        regions = Regions(system, operator)
        regions.ended = ended
        for region in system.settings.regions:
            _configure(regions, region, changes)
        _look_seldom(regions)
        await bring_up.bring_up(system, operator)
        yield regions


def _configure(regions: Regions, region: str, changes: dict[str, Any]) -> None:
    file = regions.system.region_dir(region) / "region.toml"
    configs.dump(file, msgspec.structs.replace(configs.load(file, RegionConfig), **changes))


def _look_seldom(regions: Regions) -> None:
    """Sites look at regions seldom, and never move the fleet: drills are about that.

    A process that is killed on purpose must not move it, and their probes, several a second from
    each site, cost regions that are otherwise idle most of what they do.
    """
    for site in regions.system.sites:
        file = regions.system.settings.state_dir / "sites" / site / "site.toml"
        config = configs.load(file, SiteConfig)
        changes = {
            "probe_interval_s": 2.0,
            "mesh_interval_s": 0.5,
            "up_after": 1,
            "down_after": FAILURES_NEVER_REACHED,
        }
        configs.dump(file, msgspec.structs.replace(config, **changes))
