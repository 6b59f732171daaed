"""`isthmus ca`: the CAs that sign devices' certificates, and how one takes another's place."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.aws_calls import Profile, State
from isthmus.errors import InputError

ca_app = typer.Typer(
    help="CAs that sign devices' certificates: list, rotate, retire.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
CaId = Annotated[str, typer.Argument(help="The id of the CA certificate, 64 hex digits.")]


@ca_app.command("list")
def list_(state: State = None, profile: Profile = "", as_json: Json = False) -> None:
    """List registered CAs, and how many registered certificates each has signed."""
    from rich.console import Console
    from rich.table import Table

    from isthmus.cli import ca_rotation
    from isthmus.cli.aws_calls import AwsCalls

    calls = AwsCalls(profile, state)
    found = [(each, ca_rotation.count(calls, each.id)) for each in ca_rotation.authorities(calls)]
    if as_json:
        shown = [{**each._asdict(), "certificates": number} for each, number in found]
        most = {"certificates_counted_max": ca_rotation.COUNTED_MAX}
        sys.stdout.write(f"{json.dumps({'cas': shown, **most}, default=str)}\n")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("id", "status", "registers", "mode", "certificates", "until", "subject"):
        table.add_column(column, overflow="fold")
    for each, number in found:
        colour = "green" if each.status == "ACTIVE" else "red"
        table.add_row(
            f"{each.id[:16]}…",
            f"[{colour}]{each.status}[/]",
            "by itself" if each.auto_registration == "ENABLE" else "no",
            each.mode,
            f"{number}{'+' if number == ca_rotation.COUNTED_MAX else ''}",
            each.not_after[:10],
            each.subject,
        )
    Console(highlight=False).print(table if found else "no CA is registered")


@ca_app.command()
def rotate(
    old: Annotated[str, typer.Option(help="The id of the CA whose place is taken.")],
    new: Annotated[Path, typer.Option(help="The new CA's certificate, as PEM.")],
    key: Annotated[
        Path | None,
        typer.Option(help="The new CA's key, to prove that it is yours; it stays here."),
    ] = None,
    verification: Annotated[
        Path | None, typer.Option(help="Instead of the key: what it has signed for the code.")
    ] = None,
    state: State = None,
    profile: Profile = "",
    as_json: Json = False,
) -> None:
    """Register a CA with the settings, the template and the tags of an old one, which stays.

    Devices of both register from then on. docs/ca-rotation.md has the steps before and after.
    """
    from isthmus.cli import ca_rotation
    from isthmus.cli.aws_calls import AwsCalls

    pem, proof = _read(new).decode(), _read(verification).decode()
    new_id = ca_rotation.rotate(AwsCalls(profile, state), old, pem, _read(key), proof)
    text = f"{new_id} is registered and active, beside {old}"
    sys.stdout.write(f"{json.dumps({'id': new_id, 'old': old}) if as_json else text}\n")


def _read(file: Path | None) -> bytes:
    if file is None:
        return b""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None


@ca_app.command()
def retire(
    ca_id: CaId,
    certificates: Annotated[
        bool, typer.Option("--certificates", help="Deactivate what it has signed too.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also while certificates of it are active.")
    ] = False,
    per_s: Annotated[
        float, typer.Option("--per-second", min=0.1, help="Certificates, at most.")
    ] = 20.0,
    state: State = None,
    profile: Profile = "",
) -> None:
    """Deactivate a CA: it registers nobody from then on, and registered devices stay.

    With `--certificates` those that it has signed are deactivated too, which closes connections.
    """
    from rich.console import Console

    from isthmus.cli import ca_rotation
    from isthmus.cli.aws_calls import AwsCalls

    with Console(stderr=True).status("") as status:

        def deactivated(number: int) -> None:
            status.update(f"{number} certificates deactivated")
            # Each closes a connection, and whoever is closed comes back at once to be refused.
            time.sleep(1 / per_s)

        left = ca_rotation.retire(
            AwsCalls(profile, state), ca_id, deactivated if certificates else None, is_forced=force
        )
    after = f"; {left} certificates of it are still active" if left else ""
    sys.stdout.write(f"{ca_id} is inactive{after}\n")
