"""`isthmus` as a process, for tests of its commands on running regions."""

from __future__ import annotations

import asyncio
import sys
from typing import NamedTuple

from regions import Regions


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    error: str


async def isthmus(regions: Regions, *words: str) -> Said:
    """Run a command with the state of these regions."""
    state = str(regions.system.settings.state_dir)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus", *words, "--state", state),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), error.decode())
