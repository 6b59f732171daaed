"""`isthmus api`: what of the AWS-compatible API is there."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.aws.operations import Listed


class ServiceName(StrEnum):
    """As botocore and the AWS CLI name them."""

    IOT = "iot"
    IOT_DATA = "iot-data"
    IOT_JOBS_DATA = "iot-jobs-data"


def api(
    as_list: Annotated[
        bool, typer.Option("--list", help="List the operations, and which of them are there.")
    ] = False,
    service: Annotated[
        ServiceName | None, typer.Option(help="Only those of this service. Default: all.")
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only those that are not implemented.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Tell which operations of AWS IoT can be called here by boto3 and the AWS CLI.

    There are three services: `iot` is the registry and what operators do with it, `iot-data` is
    what applications do with the messages and shadows of devices, `iot-jobs-data` sends commands.
    The operations are those of the installed botocore. What is not there answers
    `NotImplementedException`, HTTP 501.

    - `isthmus api --list`: everything, with what is there marked
    - `isthmus api --list --service iot-data --missing`: what is missing of one service
    - `isthmus api --list --json`: the same for programs, `{"operations": [{"service": ...,
      "operation": ..., "implemented": ...}]}`
    """
    if not as_list:
        raise InputError("there is nothing to do", hint="isthmus api --list")
    from isthmus.aws import handlers

    found = [
        each
        for each in handlers.OPERATIONS.listed()
        if service in (None, each.service) and not (missing and each.is_there)
    ]
    if as_json:
        operations = [
            {"service": each.service, "operation": each.operation, "implemented": each.is_there}
            for each in found
        ]
        sys.stdout.write(f"{json.dumps({'operations': operations})}\n")
    else:
        _show(found, handlers.OPERATIONS.listed())


def _show(found: list[Listed], of: list[Listed]) -> None:
    from rich.columns import Columns
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for service in dict.fromkeys(each.service for each in found):
        own = [each for each in found if each.service == service]
        is_there = [each.is_there for each in of if each.service == service]
        console.print(
            f"[bold]{service}[/]: {sum(is_there)} of {len(is_there)} are there, marked [green]+[/]"
        )
        names = [
            Text(f"{'+' if each.is_there else ' '} {each.operation}", _style(each)) for each in own
        ]
        console.print(Columns(names, equal=True, column_first=True), "")


def _style(operation: Listed) -> str:
    return "green" if operation.is_there else "dim"
