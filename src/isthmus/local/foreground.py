"""Local regions in the foreground: start, show where things are, stop on Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from isthmus.local import aws_profile
from isthmus.local.bring_up import TOPIC_ROOT, bring_up, device, fleet_policy
from isthmus.local.operator import Operator
from isthmus.local.system import LocalSystem, Settings

DEMO_DEVICE = "demo-device"

console = Console(stderr=True, highlight=False)


def run(
    state: Path | None, ready_file: Path | None, regions: tuple[str, ...], nats: Path | None
) -> None:
    """Run until SIGINT or SIGTERM."""
    with contextlib.ExitStack() as stack:
        directory = state or Path(stack.enter_context(tempfile.TemporaryDirectory("-isthmus")))
        settings = Settings(directory.absolute(), regions, nats_binary=nats, first_addresses=True)
        try:
            asyncio.run(_up(settings, ready_file))
        finally:
            if ready_file:
                ready_file.unlink(missing_ok=True)


async def _up(settings: Settings, ready_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    system = LocalSystem(settings, random.Random(), lambda text: console.print(f"! {text}"))
    try:
        starting = asyncio.create_task(_start(system))
        stopping = asyncio.create_task(stop.wait())
        with console.status("starting regions " + ", ".join(settings.regions)):
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _show(system)
            if ready_file:
                _write_ready(system, ready_file)
            await stopping
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    finally:
        with console.status("stopping"):
            stopped = await system.stop()
        console.print("stopped " + ", ".join(stopped) if stopped else "nothing was running")


async def _start(system: LocalSystem) -> None:
    async with Operator(system) as operator:
        await bring_up(system, operator)
        home = system.settings.regions[0]
        await operator.register(home, [device(system, DEMO_DEVICE, {})], [fleet_policy(home)])
        await aws_profile.write_profiles(system, operator)


def _show(system: LocalSystem) -> None:
    identity = system.pki.device(DEMO_DEVICE)
    console.print(f"state         {system.settings.state_dir}")
    for region in system.settings.regions:
        address = system.address(region)
        mqtt, https = address.ports["mqtt"], address.ports["https"]
        console.print(
            f"region {region:<6} mqtt {address.host}:{mqtt} (mTLS),"
            f" {https} (ALPN, WebSocket, HTTPS)"
        )
    for region in system.settings.regions:
        console.print(
            f"AWS CLI       AWS_CONFIG_FILE={aws_profile.config_file(system)}"
            f" AWS_SHARED_CREDENTIALS_FILE={aws_profile.credentials_file(system)}"
            f" aws --profile {aws_profile.profile(region)} iot describe-endpoint",
            soft_wrap=True,
        )
    host, port = system.nameservers[0]
    names = " ".join((system.stable_name, system.api_name))
    console.print(f"nameserver    dig @{host} -p {port} {names}")
    address = system.address(system.settings.regions[0])
    console.print(
        f"try           mosquitto_pub -h {address.host} -p {address.ports['mqtt']}"
        f" --cafile {system.pki.ca_file} --cert {identity.certificate} --key {identity.key}"
        f" -i {DEMO_DEVICE} -q 1 -t {TOPIC_ROOT}/{DEMO_DEVICE}/telemetry -m hello",
        soft_wrap=True,
    )
    console.print("Ctrl-C stops everything.")


def _write_ready(system: LocalSystem, path: Path) -> None:
    identity = system.pki.device(DEMO_DEVICE)
    ready: dict[str, Any] = {
        "state": str(system.settings.state_dir),
        "pid": os.getpid(),
        "stable_name": system.stable_name,
        "nameservers": [f"{host}:{port}" for host, port in system.nameservers],
        "ca_file": str(system.pki.ca_file),
        "regions": {region: _region(system, region) for region in system.settings.regions},
        "director": system.address("witness").url("mesh", "https"),
        "operator": {
            "certificate": str(system.operator.chain),
            "key": str(system.operator.key),
            "ca_file": str(system.pki.internal_ca_file),
        },
        "aws_config_file": str(aws_profile.config_file(system)),
        "aws_credentials_file": str(aws_profile.credentials_file(system)),
        # For who asks these nameservers: whichever region is served.
        "aws_profile": aws_profile.STABLE if system.api_url else "",
        "api": system.api_url,
        "device": {
            "client_id": DEMO_DEVICE,
            "certificate": str(identity.certificate),
            "key": str(identity.key),
            "topic": f"{TOPIC_ROOT}/{DEMO_DEVICE}/telemetry",
        },
    }
    part = path.with_name(path.name + ".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(ready), indent=2))
    part.replace(path)


def _region(system: LocalSystem, region: str) -> dict[str, Any]:
    address = system.address(region)
    return {
        "mqtt": f"{address.host}:{address.ports['mqtt']}",
        "mqtt_https": f"{address.host}:{address.ports['https']}",
        # One process serves both of AWS's services.
        "api": address.url("aws_api", "https"),
        "data": address.url("aws_api", "https"),
        "aws_profile": aws_profile.profile(region),
        "hostname": system.hostname(region),
        "internal_api": address.url("api", "https"),
        "nats": address.url("nats", "tls"),
        "lake": str(system.lake_file(region)),
        "pids": system.pids(region),
    }
