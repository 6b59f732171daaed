"""Regions of ours, as a stand for a bench.

Regions run without their sites: under full load on one machine, observers that share it would
rightly find it sick and move the clients elsewhere.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from isthmus import config as configs
from isthmus import plan_file
from isthmus.adapters.nats import connection
from isthmus.adapters.nats.streams import ensure_streams
from isthmus.bench.migrated import register_certificates
from isthmus.bench.plan import DelayPlan, Outcome, Route
from isthmus.bench.stand import CROWD, DEVICES, SOURCES, Ended, Stand, Target, Tools, clients
from isthmus.config import Listen, RegionConfig
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import BrokenInvariant, Unavailable
from isthmus.local import bring_up, nats_server
from isthmus.local.child import Child
from isthmus.local.operator import Operator
from isthmus.local.system import LocalSystem, Settings

CROWD_POLICY = "crowd"
POLL_S = 0.05
#: For gateways to read everything that is registered.
OPEN_WITHIN_S = 180.0
COMPLAINTS_MAX = 3
#: For a nats-server to bring what it wrote to its disk.
QUICK_STOP_S = 60.0
#: A gateway tells its figures every second.
COUNTED_WITHIN_S = 10.0


def isthmus(*regions: str, one_way_s: float = 0.0, certificates: int = 0) -> Stand:
    """Regions as `isthmus up` starts them, devices registered in the first one.

    ``one_way_s``: what lies between the regions, in each direction. ``certificates``: how many
    more the first region knows.
    """

    @asynccontextmanager
    async def stand(directory: Path, tools: Tools) -> AsyncIterator[Target]:
        ended = Ended()
        async with AsyncExitStack() as stack:
            running = local_system(directory, regions, tools, ended)
            system, operator = await stack.enter_async_context(running)
            if one_way_s:
                await stack.enter_async_context(_distance(system, one_way_s, tools, ended.say))
            position = await _register_many(system, certificates, tools) if certificates else 0
            await asyncio.gather(*(system.start_region(region) for region in regions))
            await _register_devices(system, operator)
            await until_open(operator, regions, position)
            yield _target(system, operator, ended)

    return stand


@asynccontextmanager
async def local_system(
    directory: Path, regions: Sequence[str], tools: Tools, ended: Ended
) -> AsyncIterator[tuple[LocalSystem, Operator]]:
    """A system whose processes are started by whoever asks, and all stopped; and its operator."""
    settings = Settings(
        directory, tuple(regions), nats_binary=tools.nats_binary, launcher=tools.launcher
    )
    system = LocalSystem(settings, random.Random(), ended.say)
    try:
        async with Operator(system) as operator:
            yield system, operator
    finally:
        await system.stop()


async def _register_devices(system: LocalSystem, operator: Operator) -> None:
    home = system.settings.regions[0]
    devices = [bring_up.device(system, name, {}) for name in DEVICES]
    await operator.register(home, devices, [bring_up.fleet_policy(home)])
    crowd = [bring_up.device(system, name, {}, CROWD_POLICY) for name in CROWD]
    document = bring_up.document(home, "crowd-*", f"{bring_up.TOPIC_ROOT}/*")
    await operator.register(home, crowd, [{"name": CROWD_POLICY, "document": document}])


async def _register_many(system: LocalSystem, count: int, tools: Tools) -> int:
    """Register so many certificates in the first region; returns its log's position after them.

    Before it starts, by a nats-server that syncs its disk when it ends and not after each.
    """
    home = system.settings.regions[0]
    quick = sync_seldom(system, home, "nats-quick.json")
    address = system.address(home)
    child = Child(
        f"{home}-nats",
        [str(nats_server.find_binary(tools.nats_binary)), "-c", str(quick)],
        system.settings.state_dir / "logs" / f"{home}-nats.log",
        probe=(address.host, address.ports["nats"]),
    )
    try:
        await child.start()
        # The services' user may do everything; its inboxes have its name.
        client = await connection.connect(system.nats_access(home, "services"), name="services")
        try:
            bus_max_bytes = system.region_config(home).bus_max_bytes
            await ensure_streams(client, [home], bus_max_bytes)
            return await register_certificates(
                client,
                home,
                count,
                lambda number: tools.doing(f"{number:,} of {count:,} certificates are registered"),
            )
        finally:
            await client.close()
    finally:
        await child.stop(QUICK_STOP_S)


def sync_seldom(system: LocalSystem, region: str, name: str) -> Path:
    """Write settings of a region's nats-server by which a write need not wait for the disk."""
    as_started = system.region_dir(region) / "nats.json"
    config = msgspec.json.decode(as_started.read_bytes())
    config["jetstream"]["sync_interval"] = "10m"
    file = as_started.with_name(name)
    file.write_bytes(msgspec.json.encode(config))
    return file


@asynccontextmanager
async def _distance(
    system: LocalSystem, one_way_s: float, tools: Tools, on_end: Callable[[str], None]
) -> AsyncIterator[None]:
    """Let every region reach its peers' NATS through a proxy that delays."""
    regions = system.settings.regions
    places = {region: system.address(region) for region in regions}
    ports_file = system.settings.state_dir / "ports.json"
    plan = DelayPlan(
        # At the host of the NATS that stands behind: its certificate names that.
        routes=tuple(
            Route(host=each.host, target=Listen(host=each.host, port=each.ports["nats"]))
            for each in places.values()
        ),
        one_way_s=one_way_s,
        ports_file=str(ports_file),
    )
    file = system.settings.state_dir / "delay.json"
    plan_file.dump(file, plan)
    command = [*tools.launcher, "bench", "delay", "--plan", str(file), "--leash"]
    log = system.settings.state_dir / "logs" / "delay.log"
    child = Child("delay", command, log, on_end=lambda *_: on_end("the delaying proxy ended"))
    try:
        await child.start()
        ports = msgspec.json.decode(ports_file.read_bytes(), type=tuple[int, ...])
        urls = {
            region: f"tls://{places[region].host}:{port}"
            for region, port in zip(regions, ports, strict=True)
        }
        for region in regions:
            _reach_peers_at(system.region_dir(region) / "region.toml", urls)
        yield
    finally:
        await child.stop()


def _reach_peers_at(file: Path, urls: Mapping[str, str]) -> None:
    config = configs.load(file, RegionConfig)
    peers = tuple(
        replace(peer, nats=replace(peer.nats, url=urls[peer.region])) for peer in config.peers
    )
    configs.dump(file, replace(config, peers=peers))


def complaints(system: LocalSystem) -> str:
    """The last things that a gateway, services or nats-server warned of, for an error message."""
    found = []
    for file in sorted((system.settings.state_dir / "logs").glob("*.log")):
        for line in file.read_text(errors="replace").splitlines():
            with suppress(*UNDECODABLE):
                said = msgspec.json.decode(line, type=_LogLine)
                if said.level != "info" and said.logger.startswith("isthmus"):
                    found.append((said.at, f"{file.stem}: {said.message} {said.reason}".strip()))
    last = [text for _, text in sorted(found)[-COMPLAINTS_MAX:]]
    return "".join(f"; {text}" for text in last)


class _LogLine(msgspec.Struct):
    """What is of interest in a line of a service's log."""

    at: float
    level: str
    logger: str
    message: str
    reason: str = ""


def _target(system: LocalSystem, operator: Operator, ended: Ended) -> Target:
    home = system.settings.regions[0]
    address = system.address(home)

    async def check(outcome: Outcome) -> None:
        await ended.check(outcome)
        await _check_counts(operator, system.settings.regions, outcome)

    return Target(
        host=address.host,
        port=address.ports["mqtt"],
        hostname=system.hostname(home),
        ca_file=system.pki.ca_file,
        clients=clients(system.pki, DEVICES),
        crowd=clients(system.pki, CROWD),
        servers=system.pids(),
        sources=() if system.shared_host else SOURCES,
        check=check,
        complaints=lambda: complaints(system),
    )


async def until_open(operator: Operator, regions: Sequence[str], position: int) -> None:
    """Wait until gateways admit and know the log up to a position of the first region.

    And until every region has a second one, where there is one.
    """
    wanted = dict.fromkeys(regions, 0) | {regions[0]: position}
    closed = list(regions)
    try:
        async with asyncio.timeout(OPEN_WITHIN_S):
            while True:
                # On a machine that is busy starting them, an answer may take too long.
                with suppress(Unavailable):
                    found = {region: await operator.status(region) for region in regions}
                    closed = [each for each in regions if not _is_open(found[each], wanted[each])]
                    if not closed:
                        return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        reason = f"{', '.join(closed)} admits nobody after {OPEN_WITHIN_S:.0f} s"
        raise Unavailable(reason) from None


def _is_open(status: dict[str, Any], position: int) -> bool:
    gateways = status["gateways"]
    position = max(position, status["log_position"])
    is_level = all(each["position"] >= position for each in gateways)
    is_open = all(each["admission"] == "open" for each in gateways)
    return bool(gateways) and is_open and is_level and not (status["alone"] and status["peers"])


async def _check_counts(operator: Operator, regions: Sequence[str], outcome: Outcome) -> None:
    """Hold the gateway's own count against what clients were told."""
    told = outcome.acknowledged
    gateways: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(COUNTED_WITHIN_S):
            while not gateways or _given(gateways) != told:
                with suppress(Unavailable):
                    gateways = (await operator.status(regions[0]))["gateways"]
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        if not gateways:
            raise Unavailable(f"the gateway of {regions[0]} does not say what it gave") from None
        reason = f"clients have {told} acknowledgements, and the gateway gave {_given(gateways)}"
        raise BrokenInvariant(reason) from None
    alone = sum(each["acknowledged_alone"] for each in gateways)
    if len(regions) > 1 and alone:
        raise Unavailable(
            f"{alone} publishes were acknowledged by one region alone: this is not what was to"
            " be measured",
            hint="again, with less beside it on this machine",
        )


def _given(gateways: Sequence[dict[str, Any]]) -> int:
    return sum(each["acknowledged"] for each in gateways)
