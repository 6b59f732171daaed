"""The `isthmus` command: its subcommands, and how errors are shown."""

from __future__ import annotations

import sys

import typer

from isthmus import __version__
from isthmus.cli.access_key import access_key_app
from isthmus.cli.api import api
from isthmus.cli.bench import bench_app
from isthmus.cli.ca import ca_app
from isthmus.cli.command import command_app
from isthmus.cli.conflicts import conflicts
from isthmus.cli.device import device_app
from isthmus.cli.drill import drill
from isthmus.cli.expected_devices import expected_devices_app
from isthmus.cli.fleet import fleet_app
from isthmus.cli.lint import lint
from isthmus.cli.serve import serve
from isthmus.cli.sim import sim
from isthmus.cli.up import up
from isthmus.errors import IsthmusError

app = typer.Typer(
    name="isthmus",
    help="A multi-region IoT core with disaster recovery built in.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(drill)
app.command()(up)
app.command()(conflicts)
app.command()(serve)
app.command()(sim)
app.command(no_args_is_help=True)(api)
app.command(no_args_is_help=True)(lint)
app.add_typer(access_key_app, name="access-key")
app.add_typer(ca_app, name="ca")
device_app.add_typer(expected_devices_app)
app.add_typer(device_app, name="device")
app.add_typer(command_app, name="command")
app.add_typer(fleet_app, name="fleet")
app.add_typer(bench_app, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"isthmus {__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True),
) -> None:
    """A multi-region IoT core with disaster recovery built in."""


def run() -> None:
    """Run the command line; what a user can put right is told in a sentence, not in a traceback."""
    try:
        app()
    except IsthmusError as error:
        sys.stderr.write(f"isthmus: {error}\n")
        sys.exit(2)
