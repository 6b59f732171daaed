"""Executions of commands: start, get, list, delete.

Whoever gives a command to its device is a gateway, and what the device says of it is a request of
the device (``aws.devices.command_reports``); here is what is asked for, and what is told.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

import msgspec

from isthmus.aws import commanded, group_executions, paging
from isthmus.aws.context import Context
from isthmus.aws.handlers import commands as command_handlers
from isthmus.aws.handlers.commands import ASCENDING, AWS_IOT, conflict
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.resources import existing, moment, named_by_arn, refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import command_executions, commands, lists
from isthmus.core.command_executions import (
    COMMAND_EXECUTION,
    GROUP,
    LISTED_BY_COMMAND,
    LISTED_BY_TARGET,
    PENDING_MAX,
    TIMEOUT_S,
    Asked,
    Execution,
    ExecutionStatus,
)
from isthmus.core.command_topics import Device
from isthmus.core.commands import COMMAND, DEPRECATED, PAYLOAD, TIMEOUT_MAX_S
from isthmus.core.item import Item
from isthmus.core.registry import THING, Writer
from isthmus.core.table import Path
from isthmus.errors import InputError

#: AWS's, of an execution that nobody has answered in time.
NO_RESPONSE = "$NO_RESPONSE_FROM_DEVICE"
#: Executions that a page looks at: those that are filtered out cost as much.
LOOKED_MAX = 1_000


# Starting


@OPERATIONS.handles("StartCommandExecution")
async def start_command_execution(context: Context, parameters: Parameters) -> Output:
    """Under a token that was used for the same already, tell which execution it is."""
    if "parameters" in parameters:
        raise refuse(context, "parameters are not supported here: commands have a payload as it is")
    target = commanded.target(context, parameters["targetArn"])
    key = command_executions.execution_id(context.caller, _token(context, parameters))
    if target.kind == GROUP:
        return await _start_for_group(context, parameters, target, key)
    thing = existing(context, THING, target.name) if target.kind == THING else None
    asked = _asked(context, parameters, target)
    if not context.get(COMMAND_EXECUTION, key).vv:
        await _check_connected(context, target)

    def start(item: Item, writer: Writer) -> Item:
        if not item.vv and not commanded.has_room(context, target):
            message = f"{PENDING_MAX} executions wait for the {target.kind} {target.name} already"
            raise ServiceError("ServiceQuotaExceededException", message)
        return _started(item, writer, asked, thing)

    await context.write(COMMAND_EXECUTION, key, start)
    return {"executionId": key}


async def _start_for_group(
    context: Context, parameters: Parameters, target: Device, key: str
) -> Output:
    """The same for each thing in a group and below it."""
    is_complete = command_executions.is_complete(context.get(COMMAND_EXECUTION, key))
    devices = [] if is_complete else await group_executions.things(context, target.name)
    asked = _asked(context, parameters, target)
    commanded.offline(context)

    def start(item: Item, writer: Writer) -> Item:
        return _started(item, writer, asked)

    await context.write(COMMAND_EXECUTION, key, start)
    if not is_complete:
        await group_executions.begin(context, key, asked, devices)
    return {"executionId": key}


def _started(item: Item, writer: Writer, asked: Asked, thing: Item | None = None) -> Item:
    try:
        return command_executions.start(item, writer, asked, thing)
    except InputError as error:
        raise conflict(str(error), item.key) from None


async def _check_connected(context: Context, target: Device) -> None:
    """Raise ServiceError for a device that is offline, if the caller does not want it to wait."""
    is_refused = commanded.offline(context) == commanded.REFUSE
    if is_refused and not await commanded.connected(context, [target]):
        raise conflict(f"The {target.kind} {target.name} is not connected", target.name)


def _asked(context: Context, parameters: Parameters, target: Device) -> Asked:
    name = named_by_arn(context, COMMAND, parameters["commandArn"])
    command = command_handlers.present(context, context.get(COMMAND, name))
    if command.register(DEPRECATED) is not None or commands.is_being_deleted(command):
        raise refuse(context, f"Command {name} is deprecated, or being deleted")
    timeout_s = parameters.get("executionTimeoutSeconds", TIMEOUT_S)
    if timeout_s > TIMEOUT_MAX_S:
        raise refuse(context, f"executionTimeoutSeconds is {TIMEOUT_MAX_S} at most")
    content, content_type = command.register(PAYLOAD)
    return Asked(
        command=name,
        kind=target.kind,
        name=target.name,
        content=content,
        content_type=content_type,
        timeout_s=timeout_s,
    )


def _token(context: Context, parameters: Parameters) -> str:
    """What tells this request from others; AWS's clients always give it."""
    given = parameters.get("clientToken")
    if given is not None:
        return str(given)
    stamp = context.clock.stamp(context.now_ms)
    return msgspec.json.encode([stamp, parameters], order="sorted").decode()


# Telling


@OPERATIONS.handles("GetCommandExecution")
async def get_command_execution(context: Context, parameters: Parameters) -> Output:
    execution = _execution(context, parameters)
    if execution is None:
        raise ServiceError("ResourceNotFoundException", _none(parameters))
    report, status = execution.report, execution.status(context.now_ms)
    output = _shown(context, execution) | {
        "executionTimeoutSeconds": execution.asked.timeout_s,
        "lastUpdatedAt": moment(context.get(COMMAND_EXECUTION, execution.id).modified_ms),
        "timeToLive": moment(execution.kept_until_ms),
    }
    if execution.asked.kind == GROUP:
        found = await group_executions.shown(context, execution)
        if not parameters.get("includeResult", False):
            del found["result"]
        return output | found
    if status is ExecutionStatus.TIMED_OUT and execution.final is None:
        output["statusReason"] = {"reasonCode": NO_RESPONSE}
    elif report is not None and report.reason_code is not None:
        output["statusReason"] = {
            "reasonCode": report.reason_code,
            "reasonDescription": report.reason,
        }
    if parameters.get("includeResult", False) and report is not None and report.result:
        output["result"] = {name: _value(value) for name, value in report.result.items()}
    return output


def _value(value: dict[str, Any]) -> dict[str, Any]:
    """A result as the API has it, of the form that devices give."""
    ((kind, said),) = value.items()
    return {kind.upper(): base64.b64decode(said) if kind == "bin" else said}


@OPERATIONS.handles("DeleteCommandExecution")
async def delete_command_execution(context: Context, parameters: Parameters) -> Output:
    """Only one that is over: its device has answered for good, or may not do so any more.

    A group's goes with those of its things; cut off, it may be asked for again.
    """

    execution = _execution(context, parameters)
    if execution is not None and execution.asked.kind == GROUP:
        parts = [each async for each in group_executions.parts(context, execution.id)]
        if not all(each.is_over(context.now_ms) for each in parts):
            raise _may_go_on(execution.id)
        for each in parts:
            await context.write(COMMAND_EXECUTION, each.id, command_executions.delete)

    def delete(item: Item, writer: Writer) -> Item:
        execution = _matching(context, item, parameters)
        if execution is None:
            raise refuse(context, _none(parameters))
        if execution.asked.kind != GROUP and not execution.is_over(writer.now_ms):
            raise _may_go_on(item.key)
        return command_executions.delete(item, writer)

    await context.write(COMMAND_EXECUTION, parameters["executionId"], delete)
    return {}


def _may_go_on(key: str) -> ServiceError:
    return conflict(f"The execution {key} has not ended: its device may still answer", key)


@OPERATIONS.handles("ListCommandExecutions")
def list_command_executions(context: Context, parameters: Parameters) -> Output:
    """Of a command or of a device, by creation: the newest first unless asked otherwise.

    A page may be short, or empty, and have a token nevertheless: then it has looked at enough.
    """
    names = _names(context, parameters)
    size = parameters.get("maxResults", paging.SIZE_DEFAULT)
    found: list[dict[str, Any]] = []
    last = ""
    for looked, name in enumerate(names):
        if looked == LOOKED_MAX or len(found) == size:
            token = paging.token(context.call, last)
            return {"commandExecutions": found, "nextToken": token}
        last = name
        execution = command_executions.read(context.get(COMMAND_EXECUTION, lists.key_of(name)))
        if execution is not None and _is_wanted(context, parameters, execution):
            found.append(_shown(context, execution))
    return {"commandExecutions": found}


def _names(context: Context, parameters: Parameters) -> Iterator[str]:
    """What is listed of what is asked for, where the page begins."""
    if ("commandArn" in parameters) == ("targetArn" in parameters):
        raise refuse(context, "Give one of commandArn and targetArn")
    if "startedTimeFilter" in parameters and "completedTimeFilter" in parameters:
        raise refuse(context, "startedTimeFilter and completedTimeFilter exclude each other")
    if "commandArn" in parameters:
        name = named_by_arn(context, COMMAND, parameters["commandArn"])
        path: Path = (LISTED_BY_COMMAND, name)
    else:
        path = (LISTED_BY_TARGET, *commanded.target(context, parameters["targetArn"]))
    if parameters.get("namespace", AWS_IOT) != AWS_IOT:
        return iter(())
    first, last = _times(context, parameters.get("startedTimeFilter", {}))
    after = paging.key(context.call, parameters.get("nextToken"))
    if parameters.get("sortOrder") == ASCENDING:
        names = context.listed(*path, after=after or first)
        return takewhile(lambda name: last is None or name < last, names)
    names = context.listed(*path, after=after or last, descending=True)
    return takewhile(lambda name: first is None or name > first, names)


def _is_wanted(context: Context, parameters: Parameters, execution: Execution) -> bool:
    status = parameters.get("status")
    if status is not None and execution.status(context.now_ms) != status:
        return False
    if "completedTimeFilter" not in parameters:
        return True
    first, last = _times(context, parameters["completedTimeFilter"])
    completed = command_executions.due_after(execution.completed_ms)
    is_late_enough = first is None or completed >= first
    return execution.final is not None and is_late_enough and (last is None or completed < last)


def _times(context: Context, given: dict[str, str]) -> tuple[str | None, str | None]:
    """Between which names what is asked for stands, in a list by time."""
    return _time(context, given.get("after")), _time(context, given.get("before"))


def _time(context: Context, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        # Without an offset it is UTC.
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return command_executions.due_after(max(0, int(1000 * found.timestamp())))
    except (ValueError, OverflowError):
        raise refuse(context, f"{text!r} is not of the form yyyy-MM-dd'T'HH:mm") from None


def _shown(context: Context, execution: Execution) -> dict[str, Any]:
    asked, created = execution.asked, moment(execution.created.ms)
    return {
        "executionId": execution.id,
        "commandArn": context.naming.arn("command", asked.command),
        "targetArn": context.naming.arn(asked.kind, asked.name),
        "status": execution.status(context.now_ms),
        "createdAt": created,
        "startedAt": created,
        "completedAt": moment(execution.completed_ms) if execution.final else None,
    }


def _execution(context: Context, parameters: Parameters) -> Execution | None:
    return _matching(context, context.get(COMMAND_EXECUTION, parameters["executionId"]), parameters)


def _matching(context: Context, item: Item, parameters: Parameters) -> Execution | None:
    """The execution, if it is for the device that is named."""
    execution, target = (
        command_executions.read(item),
        commanded.target(context, parameters["targetArn"]),
    )
    if execution is None or execution.asked.device != target:
        return None
    return execution


def _none(parameters: Parameters) -> str:
    return f"There is no execution {parameters['executionId']} for {parameters['targetArn']}"
