"""`isthmus command`: have devices do something, and hear what they say of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.aws_calls import Profile, State
from isthmus.cli.command_calls import GROUP, Device, Sent, WhenOffline
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.cli.command_calls import CommandCalls

command_app = typer.Typer(
    help="Commands: send them to devices, and see what these answer.", no_args_is_help=True
)
Names = list[str] | None
Things = Annotated[Names, typer.Option("--thing", help="A thing; may be given again.")]
Clients = Annotated[
    Names, typer.Option("--client", help="A client id that is no thing's; may be given again.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Until it has ended, or timed out.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
#: AWS's.
EXPIRES_S = 10
#: Between two looks at whether devices have answered.
LOOK_S = 0.5
UNANSWERED, INTERRUPTED = 1, 130
OPEN = ("CREATED", "IN_PROGRESS")


@command_app.command()
def send(
    thing: Things = None,
    group: Annotated[
        Names, typer.Option("--group", help="All things in a group and below it, 1,000 at most.")
    ] = None,
    client: Clients = None,
    command: Annotated[str, typer.Option(help="A command that is there.")] = "",
    payload: Annotated[str, typer.Option(help="In its place, what is to be sent.")] = "",
    payload_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The same, from a file.")
    ] = None,
    content_type: Annotated[
        str, typer.Option(help="Of that. application/json and application/cbor name the topic.")
    ] = "application/json",
    when_offline: Annotated[
        WhenOffline, typer.Option(help="Keep it until the device connects, or refuse at once.")
    ] = WhenOffline.KEEP,
    expires: Annotated[
        int, typer.Option(min=1, max=43200, help="Seconds that devices have for their answers.")
    ] = EXPIRES_S,
    wait: Wait = False,
    state: State = None,
    profile: Profile = "",
    as_json: Json = False,
) -> None:
    """Send a command to devices, through whichever region each is connected to.

    What each device is sent is an execution of its own, whose id is printed; that of a group counts
    those of its things. Exit code 0 only if
    none was refused, and with --wait, if every device says that it succeeded.
    """
    from isthmus.cli.command_calls import CommandCalls

    calls = CommandCalls(profile, state, when_offline)
    content = b"" if command else _content(payload, payload_file)
    devices = calls.devices(thing or (), group or (), client or ())
    if not devices:
        raise InputError("there is no device", hint="--thing NAME, --group NAME or --client ID")
    # After all that may be refused: a command that is made stays.
    command = command or calls.create(content, content_type)
    sent = []
    with _going_on():
        for each in calls.send(command, devices, expires):
            sent.append(each)
            if not as_json:
                told = f"refused: {each.refused}" if each.refused else each.execution
                sys.stdout.write(f"{each.device.name}: {told}\n")
        found = _ended(calls, sent, as_json=as_json) if wait else [_said(each) for each in sent]
    if as_json:
        groups = [each for each in found if "group" in each]
        said = {"command": command, "executions": [each for each in found if each not in groups]}
        sys.stdout.write(f"{json.dumps({**said, **({'groups': groups} if groups else {})})}\n")
    if any("refused" in each or each.get("status", "SUCCEEDED") != "SUCCEEDED" for each in found):
        raise typer.Exit(UNANSWERED)


@command_app.command()
def show(
    execution: Annotated[str, typer.Argument(help="The id of an execution, as send printed it.")],
    thing: Annotated[str, typer.Option(help="Whose it is.")] = "",
    client: Annotated[str, typer.Option(help="Whose it is, if that is no thing.")] = "",
    group: Annotated[str, typer.Option(help="Of which group's things, to count them.")] = "",
    wait: Wait = False,
    state: State = None,
    profile: Profile = "",
    as_json: Json = False,
) -> None:
    """Show how far an execution is, and what its device says."""
    from isthmus.cli.command_calls import CommandCalls

    given = (("thing", thing), ("client", client), (GROUP, group))
    named = [Device(kind, name) for kind, name in given if name]
    if len(named) != 1:
        raise InputError("whose is it?", hint="--thing NAME, --client ID or --group NAME")
    (device,) = named
    calls, sent = CommandCalls(profile, state, WhenOffline.KEEP), Sent(device, execution)
    if wait:
        with _going_on():
            (found,) = _ended(calls, [sent], as_json=as_json)
    else:
        found = _said(sent, calls.execution(sent))
        if not as_json:
            _show(found)
    if as_json:
        sys.stdout.write(f"{json.dumps(found)}\n")


def _content(payload: str, file: Path | None) -> bytes:
    if bool(payload) == (file is not None):
        hint = "one of --command, --payload and --payload-file"
        raise InputError("what is to be sent?", hint=hint)
    return payload.encode() if file is None else file.read_bytes()


@contextmanager
def _going_on() -> Iterator[None]:
    """Ctrl-C ends the command, and nothing that it has begun."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write("isthmus: interrupted; what was sent goes on\n")
        raise typer.Exit(INTERRUPTED) from None


def _ended(calls: CommandCalls, sent: Sequence[Sent], *, as_json: bool) -> list[dict[str, Any]]:
    """What became of each, once all have ended; each is shown as it does."""
    from rich.console import Console

    found = {each: _said(each) for each in sent}
    waiting = [each for each in sent if each.execution]
    console = Console(stderr=True)
    with console.status("") as shown:
        while waiting:
            ended = len(sent) - len(waiting)
            shown.update(f"{ended} of {len(sent)} have ended; Ctrl-C leaves them to go on")
            for each in list(waiting):
                found[each] = _said(each, calls.execution(each))
                if found[each]["status"] not in OPEN:
                    waiting.remove(each)
                    if not as_json:
                        _show(found[each])
            if waiting:
                time.sleep(LOOK_S)
    return list(found.values())


def _said(sent: Sent, execution: dict[str, Any] | None = None) -> dict[str, Any]:
    """One device's part, for programs."""
    kind = "group" if sent.device.kind == GROUP else sent.device.kind
    said: dict[str, Any] = {kind: sent.device.name}
    if sent.refused:
        return {**said, "refused": sent.refused}
    said["execution"] = sent.execution
    for name in ("status", "statusReason", "result", "createdAt", "completedAt", "hint"):
        if execution is not None and name in execution:
            said[name] = _plain(execution[name])
    return said


def _plain(value: Any) -> Any:
    """As JSON has it."""
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return value.hex()
        case dict():
            return {name: _plain(each) for name, each in value.items()}
    return value


def _show(said: dict[str, Any]) -> None:
    reason = said.get("statusReason", {})
    why = ": ".join(each for each in reason.values() if each)
    result = said.get("result", {}).items()
    values = (f"{name}={value}" for name, each in result for value in each.values())
    name = said.get("thing") or said.get("client") or said.get("group")
    parts = [f"{name}: {said['status']}", *([why] if why else []), *values]
    parts += [said["hint"]] if "hint" in said else []
    sys.stdout.write(f"{', '.join(parts)}\n")
