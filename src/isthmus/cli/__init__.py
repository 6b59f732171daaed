"""The command line: one file per command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `isthmus`."""
    try:
        from isthmus.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("isthmus"):
            raise
        sys.stderr.write(
            f"isthmus: {error.name} is not installed: this is the device client only.\n"
            "Try: pip install 'isthmus[server]'\n"
        )
        sys.exit(2)
    run()
