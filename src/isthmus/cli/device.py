"""`isthmus device`: devices one by one, from the key to the last message."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli import operator_calls
from isthmus.cli.aws_calls import Profile, State
from isthmus.cli.operator_calls import Json, Region, ask
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.cli.new_device import Connection, Made
    from isthmus.local.operator import Operator

device_app = typer.Typer(
    help="Devices: make them, look at them, keep them out for a while, delete them.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(help="The thing's name, which the device connects under.")]
Groups = Annotated[
    list[str] | None, typer.Option("--group", help="A thing group; may be given again.")
]


@device_app.command()
def create(
    name: Name,
    state: State = None,
    profile: Profile = "",
    policy: Annotated[
        str,
        typer.Option(
            help="A policy that is there, or a file with one. Default: isthmus-device, by which "
            "a device speaks under its own name only."
        ),
    ] = "",
    group: Groups = None,
    type_name: Annotated[str, typer.Option("--type", help="Its thing type.")] = "",
    attribute: Annotated[
        list[str] | None, typer.Option(help="As key=value; may be given again.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where its files go. Default: a directory of its name.")
    ] = None,
    endpoint: Annotated[
        str, typer.Option(help="HOST or HOST:PORT. Default: what the profile or the API says.")
    ] = "",
    ca: Annotated[
        Path | None,
        typer.Option(help="What devices verify gateways with. Default: the profile's ca_bundle."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make key, certificate, thing and policy, and print a connection that is ready.

    The key is made here and does not leave this machine. Cut off in the middle and asked again,
    it goes on; a key that is there is never written over. It takes an access key of role
    `provisioner`, or of `operator` where the policy is not there yet.
    """
    from isthmus.adapters.device_files import DeviceFiles
    from isthmus.cli import new_device
    from isthmus.cli.aws_calls import AwsCalls

    wanted = new_device.Wanted(
        name,
        policy or new_device.DEFAULT_POLICY,
        group or (),
        type_name,
        _attributes(attribute or ()),
    )
    calls = AwsCalls(profile, state)
    trusted = _ca(ca or calls.ca_file)
    host, port = calls.mqtt(endpoint)
    files = DeviceFiles(out or Path(name), name)
    made = new_device.create(calls, wanted, files, trusted)
    _show_created(made, new_device.Connection(name, host, port, files), as_json=as_json)


def _attributes(given: Sequence[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    wrong = next((name for name, is_there, _ in pairs if not name or not is_there), None)
    if wrong is not None:
        raise InputError(f"the attribute is {wrong!r}", hint="--attribute key=value")
    return {name: value for name, _, value in pairs}


def _ca(file: Path | str) -> bytes:
    if not file:
        raise InputError("nothing says what devices verify gateways with", hint="--ca FILE")
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", hint="--ca FILE") from None


def _show_created(made: Made, connection: Connection, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    files = connection.files
    kept = {"key": files.key, "certificate": files.certificate, "ca": files.ca}
    if as_json:
        answer = {
            "thing": connection.name,
            "certificate_id": made.certificate_id,
            "status": made.status,
            "policy": made.policy,
            "endpoint": {"host": connection.host, "port": connection.port},
            "files": {name: str(file.absolute()) for name, file in kept.items()},
            "topic": connection.topic,
            "try": connection.lines(),
        }
        sys.stdout.write(f"{json.dumps(answer)}\n")
        return
    console = Console(highlight=False)
    shown = Table.grid(padding=(0, 2))
    shown.add_row("thing", f"[bold]{connection.name}[/]")
    shown.add_row("certificate", f"{made.certificate_id[:16]}…  {_coloured(made.status)}")
    shown.add_row("policy", made.policy)
    for name, file in kept.items():
        shown.add_row(name if name != "certificate" else "", str(file))
    shown.add_row("endpoint", f"{connection.host}:{connection.port}")
    console.print(shown)
    for client, line in connection.lines().items():
        # As it is: a line that is broken cannot be pasted.
        sys.stdout.write(f"\n# {client}\n{line}\n")


def _coloured(status: str) -> str:
    return f"[{'green' if status == 'ACTIVE' else 'red'}]{status}[/]"


@device_app.command("list")
def list_(
    state: State = None,
    profile: Profile = "",
    group: Annotated[str, typer.Option(help="Only those in this thing group.")] = "",
    type_name: Annotated[str, typer.Option("--type", help="Only those of this type.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """List things by name."""
    from isthmus.cli.aws_calls import AwsCalls
    from isthmus.cli.device_view import listed, show_list

    found, has_more = listed(AwsCalls(profile, state), group, type_name, limit)
    if as_json:
        sys.stdout.write(f"{json.dumps({'things': found, 'has_more': has_more})}\n")
    else:
        show_list(found, has_more=has_more)


@device_app.command()
def show(name: Name, state: State = None, profile: Profile = "", as_json: Json = False) -> None:
    """Show a thing, its certificates, the policies that count, its groups, and its connection.

    Whether it is suspended only operators are told: it is shown with `--state`.
    """
    from isthmus.cli.aws_calls import AwsCalls
    from isthmus.cli.device_view import described, show_device

    found = described(AwsCalls(profile, state), name)
    if state is not None:
        held = ask(state, "", lambda operator, at: operator.suspensions(at))
        groups = set(found["groups"])
        found["suspended"] = [
            each for each in held if each.get("thing") == name or each.get("group") in groups
        ]
    if as_json:
        sys.stdout.write(f"{json.dumps(found, default=str)}\n")
    else:
        show_device(found)


@device_app.command()
def delete(
    name: Name,
    state: State = None,
    profile: Profile = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Deactivate, detach and delete a thing's certificates, and then the thing.

    Its connection is closed. A certificate that another thing has too is only detached. Files of
    the device are left where they are.
    """
    from isthmus.cli.aws_calls import AwsCalls
    from isthmus.cli.device_view import taken_away

    if not yes:
        typer.confirm(f"Delete {name}, and its certificates for good?", abort=True, err=True)
    for line in taken_away(AwsCalls(profile, state), name):
        sys.stdout.write(f"{line}\n")


# Suspensions


class Wait(StrEnum):
    """Whom an answer waits for."""

    ONE = "one"
    ALL = "all"


WaitFor = Annotated[
    Wait, typer.Option("--wait", help="Until one other region has it, or every one.")
]
Names = Annotated[list[str] | None, typer.Argument(help="Names of things.")]

#: Names of one request to a region.
NAMES_AT_ONCE = 1000


@device_app.command()
def suspend(
    state: operator_calls.State,
    names: Names = None,
    group: Groups = None,
    reason: Annotated[str, typer.Option(help="Shown to whoever asks why.")] = "",
    wait: WaitFor = Wait.ONE,
    region: Region = "",
    as_json: Json = False,
) -> None:
    """Let no device of these in, in no region, and close those that are connected.

    A group's suspension holds for all that are in it or join it, at whatever depth. It is ended
    by `isthmus device resume` and by nothing else; certificates stay as they are.
    """
    _change("suspend", state, region, names, group, wait, as_json=as_json, reason=reason)


@device_app.command()
def resume(
    state: operator_calls.State,
    names: Names = None,
    group: Groups = None,
    wait: WaitFor = Wait.ONE,
    region: Region = "",
    as_json: Json = False,
) -> None:
    """End suspensions, as far as this region knows of them."""
    _change("resume", state, region, names, group, wait, as_json=as_json)


@device_app.command()
def suspended(state: operator_calls.State, region: Region = "", as_json: Json = False) -> None:
    """List what is suspended, since when and why."""
    from isthmus.cli.device_view import show_suspended

    held = ask(state, region, lambda operator, at: operator.suspensions(at))
    if as_json:
        sys.stdout.write(f"{json.dumps({'suspensions': held})}\n")
    else:
        show_suspended(held)


def _change(
    what: str,
    state: Path,
    region: str,
    names: Sequence[str] | None,
    groups: Sequence[str] | None,
    wait: Wait,
    *,
    as_json: bool,
    **given: str,
) -> None:
    from rich.progress import track

    if not names and not groups:
        raise InputError(f"nothing is named to {what}", hint=f"isthmus device {what} NAME")
    # Groups first: each is one write, and most devices.
    steps: list[tuple[Sequence[str], Sequence[str]]] = [((), part) for part in _parts(groups or ())]
    steps += [(part, ()) for part in _parts(names or ())]
    answer: dict[str, Any] = {"of": [], "confirmed_by": [], "not_confirmed_by": []}
    for things, of_groups in track(steps, what, disable=len(steps) == 1 or as_json):
        named = {"things": things, "groups": of_groups, "wait_for_all": wait is Wait.ALL}
        change = partial(_changed, what=what, asked={**named, **given})
        got = ask(state, region, change)
        answer = {**got, "of": answer["of"] + got["of"]}
    _show_changed(answer, as_json=as_json)
    if wait is Wait.ALL and answer["not_confirmed_by"]:
        raise typer.Exit(1)


async def _changed(operator: Operator, region: str, what: str, asked: Any) -> dict[str, Any]:
    change = operator.suspend if what == "suspend" else operator.resume
    return await change(region, **asked)


def _parts(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[at : at + NAMES_AT_ONCE] for at in range(0, len(names), NAMES_AT_ONCE)]


def _show_changed(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(f"{json.dumps(answer)}\n")
    else:
        for each in answer["of"]:
            named = f"group {each['group']}" if "group" in each else each["thing"]
            status = "suspended" if each["suspended"] else "not suspended"
            unknown = "" if each["known"] else ", and is not known in this region"
            sys.stdout.write(f"{named} is {status}{unknown}\n")
    if answer.get("replicated") is False:
        sys.stderr.write("isthmus: only this region has it so far; it is alone\n")
    elif answer["not_confirmed_by"]:
        missing = ", ".join(answer["not_confirmed_by"])
        sys.stderr.write(f"isthmus: not confirmed yet by {missing}\n")
