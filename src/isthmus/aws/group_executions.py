"""Commands for thing groups: an execution for each thing in a group and below it.

Not of AWS's. The group's own execution is begun first, and complete last, so that a call that is
cut off and sent again, anywhere, begins what is missing. What a thing cannot be sent at once is
rejected for it, and holds up none of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from isthmus.aws import commanded, group_tree
from isthmus.aws.context import Context
from isthmus.aws.resources import existing, moment, refuse
from isthmus.core import command_executions, lists
from isthmus.core.command_executions import (
    COMMAND_EXECUTION,
    LISTED_BY_WHOLE,
    Asked,
    Execution,
    ExecutionStatus,
    Report,
)
from isthmus.core.command_topics import Device
from isthmus.core.item import Item
from isthmus.core.registry import THING, Writer
from isthmus.core.thing_groups import THING_GROUP

#: Things that one command is sent to: each has its payload, in every region.
THINGS_MAX = 1_000
#: Things or executions that are read before other requests have their turn.
IN_ONE_TURN = 32
#: Why a thing is not sent it; what devices give as reasons has no such sign.
NOT_CONNECTED, NO_ROOM = "$NOT_CONNECTED", "$TOO_MANY_WAIT"
#: What is said of a group whose executions have all ended: the first that any has.
_WORST = (
    ExecutionStatus.FAILED,
    ExecutionStatus.REJECTED,
    ExecutionStatus.TIMED_OUT,
    ExecutionStatus.SUCCEEDED,
)


async def things(context: Context, group: str) -> list[Device]:
    """The things in a group and below it; raises ServiceError for none, and for too many."""
    found: list[Device] = []
    for _, name in group_tree.things_below(context, existing(context, THING_GROUP, group)):
        if len(found) == THINGS_MAX:
            message = f"{group} has more than {THINGS_MAX} things: send it to the groups below"
            raise refuse(context, message)
        found.append(Device(THING, name))
        if not len(found) % IN_ONE_TURN:
            await context.give_way()
    if not found:
        raise refuse(context, f"There is no thing in the group {group}, nor below it")
    return found


async def begin(context: Context, whole: str, asked: Asked, devices: list[Device]) -> None:
    """Begin what is missing of a group's, of which the first word is written."""
    wanted = set(devices)
    if commanded.offline(context) == commanded.REFUSE:
        wanted = await commanded.connected(context, devices)
    for each in devices:
        await _begin(context, whole, asked, each, is_wanted=each in wanted)
    await context.write(COMMAND_EXECUTION, whole, command_executions.complete)


async def _begin(
    context: Context, whole: str, asked: Asked, device: Device, *, is_wanted: bool
) -> None:
    thing = context.get(THING, device.name)
    told = msgspec.structs.replace(asked, kind=THING, name=device.name, group=asked.name)

    def change(item: Item, writer: Writer) -> Item:
        # One that was deleted is not begun again either.
        if item.vv:
            return item
        begun = command_executions.start(item, writer, told, thing)
        if is_wanted and commanded.has_room(context, device):
            return begun
        reason = NO_ROOM if is_wanted else NOT_CONNECTED
        said = Report(status=ExecutionStatus.REJECTED, reason_code=reason)
        return command_executions.report(begun, writer, said)

    key = command_executions.part_key(whole, device.name)
    await context.write(COMMAND_EXECUTION, key, change)


async def parts(context: Context, whole: str) -> AsyncIterator[Execution]:
    """The executions of a group's things, in the order of their creation."""
    names = list(context.listed(LISTED_BY_WHOLE, whole, after=None))
    for number, name in enumerate(names, 1):
        execution = command_executions.read(context.get(COMMAND_EXECUTION, lists.key_of(name)))
        if execution is not None:
            yield execution
        if not number % IN_ONE_TURN:
            await context.give_way()


async def shown(context: Context, whole: Execution) -> dict[str, Any]:
    """What has become of a group's: its status, and as its result how many are how far."""
    found = [each async for each in parts(context, whole.id)]
    counts = Counter(each.status(context.now_ms) for each in found)
    result = {
        status.value: {"S": str(counts[status])} for status in ExecutionStatus if counts[status]
    }
    output: dict[str, Any] = {"status": _status(context, whole, counts), "result": result or None}
    if found and all(each.final for each in found):
        output["completedAt"] = moment(max(each.completed_ms for each in found))
    return output


def _status(
    context: Context, whole: Execution, counts: Counter[ExecutionStatus]
) -> ExecutionStatus:
    """Of what is left of it; where nothing is, by the clock."""
    if counts.keys() <= {ExecutionStatus.CREATED}:
        return whole.status(context.now_ms)
    if counts[ExecutionStatus.CREATED] or counts[ExecutionStatus.IN_PROGRESS]:
        return ExecutionStatus.IN_PROGRESS
    return next(each for each in _WORST if counts[each])
