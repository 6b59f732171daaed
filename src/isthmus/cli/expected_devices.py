"""`isthmus device expect` and `expected`: who is activated when he comes with a certificate."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from isthmus.cli.operator_calls import Json, Region, State, ask
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.local.operator import Operator

T = TypeVar("T")

expected_devices_app = typer.Typer(no_args_is_help=True)
#: As many as one request may have.
AT_ONCE = 1000
_LINE = msgspec.json.Decoder(dict[str, str])


@expected_devices_app.command()
def expect(
    state: State,
    certificate: Annotated[str, typer.Option(help="The id of the device's certificate.")] = "",
    ca: Annotated[str, typer.Option(help="Or the id of the CA that signs it ...")] = "",
    common_name: Annotated[str, typer.Option(help="... and the subject's common name.")] = "",
    thing: Annotated[str, typer.Option(help="The thing that it becomes.")] = "",
    policy: Annotated[str, typer.Option(help="The policy that it gets; it must be there.")] = "",
    file: Annotated[
        Path | None, typer.Option(help="Many at once: a JSON object a line, with such names.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Expect them no longer.")] = False,
    region: Region = "",
    as_json: Json = False,
) -> None:
    """Activate a device as soon as it comes with a certificate of a CA that registers devices."""
    given = {
        "certificate": certificate,
        "ca": ca,
        "common_name": common_name,
        **({} if remove else {"thing": thing, "policy": policy}),
    }
    if file is not None and any(given.values()):
        raise InputError("--file stands alone", hint="each of its lines says all of one device")
    devices = iter([given]) if file is None else _lines(file, is_removal=remove)

    async def change(operator: Operator, at: str) -> dict[str, Any]:
        count, answer = 0, dict[str, Any]()
        while some := list(islice(devices, AT_ONCE)):
            answer = await operator.expect_devices(at, some, is_removal=remove)
            count += len(some)
        return {**answer, "devices": count}

    answer = ask(state, region, change)
    said = "no longer expected" if remove else "expected"
    _print(answer, f"{answer['devices']} devices are {said}", as_json=as_json)


def _lines(file: Path, *, is_removal: bool) -> Iterator[dict[str, str]]:
    """The devices of a file; what each gets is nothing to who takes them off the list."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _device(line, f"{file}, line {number}", is_removal=is_removal)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None


def _device(line: bytes, where: str, *, is_removal: bool) -> dict[str, str]:
    try:
        device = _LINE.decode(line)
    except UNDECODABLE as error:
        raise InputError(f"{where}: {error}", hint="a JSON object of texts") from None
    gets = ("thing", "policy") if is_removal else ()
    return {name: value for name, value in device.items() if name not in gets}


@expected_devices_app.command()
def expected(state: State, region: Region = "", as_json: Json = False) -> None:
    """List the devices that are expected."""
    found = ask(state, region, lambda operator, at: operator.expected_devices(at))
    text = "\n".join(
        f"{each.get('certificate') or each['ca'] + ' ' + repr(each['common_name'])}"
        f"  {each.get('thing') or '-'}  {each.get('policy') or '-'}"
        for each in found
    )
    _print({"devices": found}, text or "no device is expected", as_json=as_json)


def _print(answer: dict[str, Any], text: str, *, as_json: bool) -> None:
    sys.stdout.write(f"{json.dumps(answer) if as_json else text}\n")
    if answer.get("replicated") is False:
        sys.stderr.write("isthmus: only this region has it so far; it is alone\n")
