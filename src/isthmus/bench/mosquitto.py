"""Mosquitto, as a stand for a bench: the broker that most people would compare with."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from isthmus.adapters.pki import Pki
from isthmus.bench.stand import (
    CROWD,
    DEVICES,
    SOURCES,
    Ended,
    Stand,
    Target,
    Tools,
    clients,
    serving,
)
from isthmus.errors import ConfigError
from isthmus.local.addresses import Addresses
from isthmus.local.child import Child

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
        ended = Ended()
        child = Child(
            MOSQUITTO,
            [binary, "-c", str(config)],
            directory / "mosquitto.log",
            probe=(address.host, address.ports["mqtt"]),
            on_end=ended.child,
        )
        try:
            async with serving(child) as pid:
                yield Target(
                    host=address.host,
                    port=address.ports["mqtt"],
                    hostname=hostname,
                    ca_file=pki.ca_file,
                    clients=clients(pki, DEVICES),
                    crowd=clients(pki, CROWD),
                    servers={MOSQUITTO: pid},
                    sources=() if addresses.shared_host else SOURCES,
                    check=ended.check,
                )
        finally:
            addresses.release()

    return stand
