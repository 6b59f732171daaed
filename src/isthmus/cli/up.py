"""`isthmus up`: local regions in the foreground until Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.options import NatsServer, RegionNames, region_names


def up(
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Keep everything here across runs. Default: temporary."),
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option("--ready-file", help="Write addresses and files here once all serves."),
    ] = None,
    regions: RegionNames = "eu,us",
    nats: NatsServer = None,
) -> None:
    """Run local regions in the foreground until Ctrl-C.

    Each region is a nats-server, services, a gateway and a nameserver on a loopback address of its
    own; a witness site votes with them. A demo device is registered, and its files are named, so
    that mosquitto_pub or paho connect at once.
    """
    from isthmus.local.foreground import run

    run(state, ready_file, region_names(regions), nats)
