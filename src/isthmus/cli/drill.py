"""`isthmus drill`: rehearse the loss of a region."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.options import NatsServer, RegionNames, region_names


def drill(
    scenario: Annotated[
        str, typer.Option(help="What happens: kill or freeze the home region, or split both.")
    ] = "kill",
    fleet: Annotated[
        Path | None,
        typer.Option(help="Things as JSON lines, as AWS IoT bulk registration takes them."),
    ] = None,
    devices: Annotated[int | None, typer.Option(help="Use the first N of them.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same plan.")] = None,
    regions: RegionNames = "eu,us",
    state: Annotated[
        Path | None, typer.Option("--state", help="Keep everything here. Default: temporary.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the temporary directory, and name it.")
    ] = False,
    nats: NatsServer = None,
    one_address: Annotated[
        bool,
        typer.Option("--one-address", help="All sites share 127.0.0.1, as on macOS without root."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan as JSON, and do nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Take a region away under a real fleet, bring it back, and prove that nothing was lost.

    Starts two local regions and a witness, imports a fleet into the first one, connects a client
    per thing (half plain paho, half our device client), takes the first region away at a random
    moment, lets it return, switches back, and compares what clients were told with what both
    regions hold. Exit code 0 only if every promise was kept.

    With `--scenario split` neither goes: they are cut off from each other for a minute, in which
    clients of both update the same 1,000 shadows. Then they meet, and every leaf must be the later
    write by its stamp, and what gave way be listed as a conflict, in both regions alike.
    """
    from isthmus.drill.command import Request, run

    request = Request(
        scenario=scenario,
        fleet=fleet,
        devices=devices,
        seed=seed,
        regions=region_names(regions),
        state=state,
        keep=keep,
        nats=nats,
        one_address=one_address,
    )
    raise typer.Exit(run(request, dry_run=dry_run, as_json=as_json))
