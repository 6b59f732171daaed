"""What is measured: servers that were started for one turn, and clients that they know.

Each turn has servers of its own, alone on the machine and with an empty disk, so that nothing of
the turn before is left to do. Regions run without their sites: under full load on one machine,
observers that share it would rightly find it sick and move the clients elsewhere.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.adapters.pki import Identity, Pki
from isthmus.bench.plan import Client, Load, LoadPlan, Outcome, dump, read_outcome
from isthmus.errors import BrokenInvariant, ConfigError, Unavailable
from isthmus.local import bring_up
from isthmus.local.addresses import Addresses
from isthmus.local.child import Child
from isthmus.local.operator import Operator
from isthmus.local.system import LAUNCHER, LocalSystem, Settings

#: Devices that are registered; each is one client of the loads that publish.
DEVICES = 50
POLL_S = 0.05
OPEN_WITHIN_S = 60.0
#: A gateway tells its figures every second.
COUNTED_WITHIN_S = 10.0
#: Far from what regions take.
SOURCES = tuple(f"127.251.{number}.1" for number in range(1, 33))


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is ready for clients."""

    host: str
    port: int
    hostname: str
    ca_file: Path
    clients: tuple[Client, ...]
    servers: dict[str, int]
    sources: tuple[str, ...]
    #: Compares what clients were told with what the server says of itself.
    check: Callable[[Outcome], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Tools:
    """How processes are started."""

    nats_binary: Path | None = None
    launcher: Sequence[str] = LAUNCHER


#: Starts servers under a directory, for as long as the context lasts.
Stand = Callable[[Path, Tools], AbstractAsyncContextManager[Target]]


def _client(name: str, identity: Identity) -> Client:
    topic = f"{bring_up.TOPIC_ROOT}/{name}/telemetry"
    return Client(
        client_id=name, certificate=str(identity.chain), key=str(identity.key), topic=topic
    )


def _names() -> list[str]:
    return [f"bench-{number}" for number in range(1, DEVICES + 1)]


# Isthmus


def isthmus(*regions: str) -> Stand:
    """Regions as `isthmus up` starts them, devices registered in the first one."""

    @asynccontextmanager
    async def stand(directory: Path, tools: Tools) -> AsyncIterator[Target]:
        ended: list[str] = []
        settings = Settings(
            directory, regions, nats_binary=tools.nats_binary, launcher=tools.launcher
        )
        system = LocalSystem(settings, random.Random(), ended.append)
        try:
            async with Operator(system) as operator:
                await asyncio.gather(*(system.start_region(region) for region in regions))
                names = _names()
                devices = [bring_up.device(system, name, {}) for name in names]
                await bring_up.register_all(operator, regions[0], devices, lambda _: None)
                await _until_open(operator, regions)
                yield _target(system, operator, names, ended)
        finally:
            await system.stop()

    return stand


def _target(
    system: LocalSystem, operator: Operator, names: Sequence[str], ended: Sequence[str]
) -> Target:
    home = system.settings.regions[0]
    address = system.address(home)

    async def check(outcome: Outcome) -> None:
        if ended:
            raise Unavailable(f"a server ended while it was measured: {ended[0]}")
        await _check_counts(operator, system.settings.regions, outcome)

    return Target(
        host=address.host,
        port=address.ports["mqtt"],
        hostname=system.hostname(home),
        ca_file=system.pki.ca_file,
        clients=tuple(_client(name, system.pki.device(name)) for name in names),
        servers=system.pids(),
        sources=() if system.shared_host else SOURCES,
        check=check,
    )


async def _until_open(operator: Operator, regions: Sequence[str]) -> None:
    """Wait until gateways admit, and every region has a second one where there is one."""
    try:
        async with asyncio.timeout(OPEN_WITHIN_S):
            while True:
                closed = [each for each in regions if not _is_open(await operator.status(each))]
                if not closed:
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        reason = f"{', '.join(closed)} admits nobody after {OPEN_WITHIN_S:.0f} s"
        raise Unavailable(reason) from None


def _is_open(status: dict[str, Any]) -> bool:
    gateways = status["gateways"]
    is_level = all(each["position"] >= status["log_position"] for each in gateways)
    is_open = all(each["admission"] == "open" for each in gateways)
    return bool(gateways) and is_open and is_level and not (status["alone"] and status["peers"])


async def _check_counts(operator: Operator, regions: Sequence[str], outcome: Outcome) -> None:
    """Hold the gateway's own count against what clients were told."""
    told, given = outcome.acknowledged, -1
    try:
        async with asyncio.timeout(COUNTED_WITHIN_S):
            while True:
                gateways = (await operator.status(regions[0]))["gateways"]
                given = sum(each["acknowledged"] for each in gateways)
                if given == told:
                    break
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        reason = f"clients have {told} acknowledgements, and the gateway gave {given}"
        raise BrokenInvariant(reason) from None
    alone = sum(each["acknowledged_alone"] for each in gateways)
    if len(regions) > 1 and alone:
        raise Unavailable(
            f"{alone} publishes were acknowledged by one region alone: this is not what was to"
            " be measured",
            hint="again, with less beside it on this machine",
        )


# Mosquitto

MOSQUITTO = "mosquitto"


def find_mosquitto() -> tuple[str, str] | None:
    """Mosquitto's binary and version; None where there is none."""
    found = shutil.which(MOSQUITTO) or shutil.which(MOSQUITTO, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        return None
    # It has no option for its version: -h begins with it, and ends with a code of its own.
    said = subprocess.run([found, "-h"], capture_output=True, text=True, timeout=10).stdout
    version = re.search(r"mosquitto version (\S+)", said)
    if version is None:
        hint = "apt install mosquitto, or take this one off the PATH"
        raise ConfigError(f"{found} -h says no version: {said[:80]!r}", hint=hint)
    return found, version[1]


def mosquitto(binary: str) -> Stand:
    """Mosquitto with mutual TLS and its own defaults, persistence included; no policy."""

    @asynccontextmanager
    async def stand(directory: Path, tools: Tools) -> AsyncIterator[Target]:
        pki = Pki(directory / "pki")
        addresses = Addresses([MOSQUITTO], random.Random(), first=False)
        address = addresses.of[MOSQUITTO]
        hostname = "mosquitto.isthmus.test"
        identity = pki.gateway(MOSQUITTO, [hostname], [address.host])
        config = directory / "mosquitto.conf"
        config.write_text(
            f"listener {address.ports['mqtt']} {address.host}\n"
            f"cafile {pki.ca_file}\n"
            f"certfile {identity.chain}\n"
            f"keyfile {identity.key}\n"
            "require_certificate true\n"
            "allow_anonymous true\n"
            "persistence true\n"
            f"persistence_location {directory}/\n"
            # Started by root, it would become a user that cannot read the key.
            "user root\n"
        )
        ended: list[str] = []
        child = Child(
            MOSQUITTO,
            [binary, "-c", str(config)],
            directory / "mosquitto.log",
            probe=(address.host, address.ports["mqtt"]),
            on_end=lambda each, code: ended.append(f"{each.name} ended with code {code}"),
        )
        try:
            await child.start()
            assert child.pid is not None

            async def check(_: Outcome) -> None:
                if ended:
                    raise Unavailable(f"a server ended while it was measured: {ended[0]}")

            yield Target(
                host=address.host,
                port=address.ports["mqtt"],
                hostname=hostname,
                ca_file=pki.ca_file,
                clients=tuple(_client(name, pki.device(name)) for name in _names()),
                servers={MOSQUITTO: child.pid},
                sources=() if addresses.shared_host else SOURCES,
                check=check,
            )
        finally:
            await child.stop()
            addresses.release()

    return stand


# The generator


async def generate(
    target: Target, load: Load, seconds: float, directory: Path, tools: Tools
) -> Outcome:
    """Run a load in a process of its own."""
    outcome_file = directory / "outcome.json"
    plan = LoadPlan(
        host=target.host,
        port=target.port,
        hostname=target.hostname,
        ca_file=str(target.ca_file),
        clients=target.clients,
        load=load,
        seconds=seconds,
        warm_up_s=min(1.0, seconds),
        servers=target.servers,
        sources=target.sources,
        outcome_file=str(outcome_file),
    )
    file = directory / "plan.json"
    dump(file, plan)
    command = [*tools.launcher, "bench", "load", "--plan", str(file), "--leash"]
    child = Child("generator", command, directory / "generator.log")
    try:
        await child.start()
        await child.ended()
        if not outcome_file.exists():
            raise Unavailable(f"the generator failed{child.log_tail()}")
    finally:
        await child.stop()
    outcome = read_outcome(outcome_file)
    await target.check(outcome)
    return outcome
