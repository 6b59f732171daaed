"""Calls of a region's internal API, with the operator's certificate of a local system."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from isthmus.local.operator import Operator

T = TypeVar("T")

State = Annotated[Path, typer.Option(help="The directory of a running `isthmus up --state`.")]
Region = Annotated[str, typer.Option(help="Whom to ask. Default: the first by name.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def ask(state: Path, region: str, question: Callable[[Operator, str], Awaitable[T]]) -> T:
    """Ask a region, or the first one where none is named."""
    from isthmus.local.operator import KeptSystem, Operator

    system = KeptSystem(state)

    async def asked() -> T:
        async with Operator(system) as operator:
            return await question(operator, region or system.regions[0])

    return asyncio.run(asked())
