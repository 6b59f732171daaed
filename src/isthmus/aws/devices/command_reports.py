"""What a device says of a command that it was given: AWS's UpdateCommandExecution.

Developer guide, "Update the result of a command execution". A device that has heard no answer says
the same again, here or in another region, and is told again that it is accepted; everybody may
then hear of it twice.
"""

from __future__ import annotations

from typing import Any

import msgspec

from isthmus.aws import device_payloads, models, validation
from isthmus.aws.context import Context
from isthmus.aws.device_questions import DEVICE_QUESTIONS, Answered, Asked
from isthmus.aws.service_error import ServiceError
from isthmus.core import command_executions, command_topics
from isthmus.core.command_executions import (
    COMMAND_EXECUTION,
    Execution,
    ExecutionStatus,
    Report,
)
from isthmus.core.command_topics import Device
from isthmus.core.device_topics import REPORT_COMMAND
from isthmus.core.item import Item
from isthmus.core.registry import THING, Writer
from isthmus.errors import InputError

INVALID, MISSING = "InvalidRequest", "ResourceNotFound"
#: Of the token that comes back with the answer: as the API takes one.
TOKEN_CHARACTERS_MAX = 64
_EVENTS = "$aws/events/commandExecution"


class Value(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A part of a result: one of these."""

    s: str | None = None
    b: bool | None = None
    bin: bytes | None = None


class Update(msgspec.Struct, frozen=True, rename="camel"):
    """What the device publishes."""

    status: ExecutionStatus
    status_reason: dict[str, str] | None = None
    result: dict[str, Value] | None = None
    client_token: str | None = None


@DEVICE_QUESTIONS.handles(REPORT_COMMAND, like="GetCommandExecution")
async def report_command(context: Context, asked: Asked) -> Answered:
    """Take in what the device says, if it may say so now."""
    device, key = command_topics.responding(asked.topic)
    answer: dict[str, Any] = {"executionId": key}
    events: list[tuple[str, bytes]] = []
    try:
        said = device_payloads.read(asked.topic, asked.payload, Update)
        if said.client_token is not None:
            answer["clientToken"] = said.client_token[:TOKEN_CHARACTERS_MAX]
        report = _report(said)
        execution = await _take(context, asked, device, key, report)
        events.append(_event(context, execution, report))
        last = "accepted"
    except (InputError, ServiceError) as error:
        code = error.code if isinstance(error, ServiceError) else INVALID
        answer |= {"error": code, "errorMessage": error.args[0]}
        last = "rejected"
    topic = command_topics.answer(asked.topic, last)
    return Answered([(topic, device_payloads.write(topic, answer))], events)


def _report(said: Update) -> Report:
    """What is said, within the bounds in which the API tells of it; raises InputError."""
    if said.status is ExecutionStatus.CREATED:
        raise InputError("no device says that a command is created")
    reason, result = said.status_reason or {}, said.result or {}
    values = {name: msgspec.to_builtins(value) for name, value in result.items()}
    shown: dict[str, Any] = {}
    if said.status_reason is not None:
        shown["statusReason"] = reason
    if said.result is not None:
        shown["result"] = {
            name: {kind.upper(): getattr(result[name], kind) for kind in value}
            for name, value in values.items()
        }
        if any(len(value) != 1 for value in values.values()):
            raise InputError("a value of the result is one of s, b and bin")
    shape = models.service(models.IOT).operations["GetCommandExecution"].output_shape
    if unknown := reason.keys() - {"reasonCode", "reasonDescription"}:
        raise InputError(f"a reason has no {sorted(unknown)[0][:80]!r}")
    if (violation := next(validation.violations(shape, shown), None)) is not None:
        raise InputError(str(violation))
    return Report(
        status=said.status,
        reason_code=reason.get("reasonCode"),
        reason=reason.get("reasonDescription", ""),
        result=values,
    )


async def _take(
    context: Context, asked: Asked, device: Device, key: str, report: Report
) -> Execution:
    """Write it down; raises ServiceError where there is no such execution, or it has ended."""
    own = asked.thing if device.kind == THING else asked.client
    thing = context.get(THING, device.name)

    def take(item: Item, writer: Writer) -> Item:
        execution = command_executions.read(item)
        is_there = execution is not None and device == execution.asked.device
        if execution is None or not is_there or device.name != own or not execution.is_for(thing):
            raise ServiceError(MISSING, f"This device has no execution {key[:80]}")
        refusal = command_executions.refuse(execution, report, writer.now_ms)
        if refusal is not None:
            status = execution.status(writer.now_ms)
            raise ServiceError(refusal, f"The execution is {status}, and not to be {report.status}")
        return command_executions.report(item, writer, report)

    execution = command_executions.read(await context.write(COMMAND_EXECUTION, key, take))
    assert execution is not None, "what was read before it was written can be read"
    return execution


def _event(context: Context, execution: Execution, report: Report) -> tuple[str, bytes]:
    """What everybody may hear of it. Developer guide, "Command execution events"."""
    asked = execution.asked
    event: dict[str, Any] = {
        "executionId": execution.id,
        "status": report.status,
        "eventType": "COMMAND_EXECUTION",
        "commandArn": context.naming.arn("command", asked.command),
        "targetArn": context.naming.arn(asked.kind, asked.name),
        "timestamp": context.now_ms,
    }
    if report.reason_code is not None:
        event["statusReason"] = {
            "reasonCode": report.reason_code,
            "reasonDescription": report.reason,
        }
    return f"{_EVENTS}/{asked.command}/{report.status}", msgspec.json.encode(event)
