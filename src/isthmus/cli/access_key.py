"""`isthmus access-key`: who may sign instead of showing a certificate."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from isthmus.cli.operator_calls import Json, Region, State, ask
from isthmus.core.access_keys import Role

if TYPE_CHECKING:
    pass

T = TypeVar("T")

access_key_app = typer.Typer(
    help="Access keys, for clients that sign as those of AWS do.", no_args_is_help=True
)
KeyId = Annotated[str, typer.Argument(help="The id of the key, as AKIA...")]


@access_key_app.command()
def create(
    state: State,
    role: Annotated[Role, typer.Option(help="What it may do.")],
    region: Region = "",
    as_json: Json = False,
) -> None:
    """Make a key, and print its secret, which is shown this once."""
    made = ask(state, region, lambda operator, at: operator.create_access_key(at, role))
    lines = (
        f"aws_access_key_id     = {made['id']}",
        f"aws_secret_access_key = {made['secret']}",
    )
    _print(made, "\n".join(lines), as_json=as_json)


@access_key_app.command("list")
def list_(state: State, region: Region = "", as_json: Json = False) -> None:
    """List the keys that were not deleted, without their secrets."""
    found = ask(state, region, lambda operator, at: operator.access_keys(at))
    text = "\n".join(
        f"{key['id']}  {key['status']:<8}  {key.get('role', '-'):<11}  {_when(key)}"
        for key in found
    )
    _print({"access_keys": found}, text or "there is no access key", as_json=as_json)


@access_key_app.command()
def deactivate(key_id: KeyId, state: State, region: Region = "", as_json: Json = False) -> None:
    """Let nobody in by this key until it is activated; who is there by it is closed."""
    _change("deactivate", key_id, state, region, as_json=as_json)


@access_key_app.command()
def activate(key_id: KeyId, state: State, region: Region = "", as_json: Json = False) -> None:
    """Take a deactivation back, as far as this region knows of it."""
    _change("activate", key_id, state, region, as_json=as_json)


@access_key_app.command()
def delete(key_id: KeyId, state: State, region: Region = "", as_json: Json = False) -> None:
    """Delete a key for good; who is there by it is closed."""
    _change("delete", key_id, state, region, as_json=as_json)


def _change(what: str, key_id: str, state: Path, region: str, *, as_json: bool) -> None:
    answer = ask(state, region, lambda operator, at: operator.change_access_key(at, key_id, what))
    _print(answer, f"{key_id} is {answer['status'] or 'deleted'}", as_json=as_json)


def _when(key: dict[str, Any]) -> str:
    if "created_ms" not in key:
        return "-"
    return datetime.fromtimestamp(key["created_ms"] / 1000, UTC).isoformat(timespec="seconds")


def _print(answer: dict[str, Any], text: str, *, as_json: bool) -> None:
    sys.stdout.write(f"{json.dumps(answer) if as_json else text}\n")
    if answer.get("replicated") is False:
        sys.stderr.write("isthmus: only this region has it so far; it is alone\n")
