"""Whom a command is for: as ARNs name them, and whether they can be given one now."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from isthmus.aws.context import Context
from isthmus.aws.resources import refuse
from isthmus.core import command_executions
from isthmus.core.command_executions import GROUP, LISTED_PENDING, PENDING_MAX
from isthmus.core.command_topics import CLIENT, Device
from isthmus.core.presence import Word
from isthmus.core.registry import THING
from isthmus.errors import InputError

#: A header of requests: what is to be done for a device that is not connected.
WHEN_OFFLINE, KEEP, REFUSE = "x-isthmus-when-offline", "keep", "refuse"
CLIENT_ID_CHARACTERS_MAX = 128


def target(context: Context, text: str) -> Device:
    """The device, or the group of them, that an ARN names."""
    try:
        kind, name = context.naming.read(text)
    except InputError as error:
        raise refuse(context, str(error)) from None
    if kind not in (THING, CLIENT, GROUP):
        what = "a thing, a client or a thing group"
        raise refuse(context, f"A command is sent to {what}, and not to a {kind}")
    # It is to be one level of a topic.
    is_no_level = set(name) & set("/+#\0") or name[0] == "$"
    if kind != GROUP and (is_no_level or len(name) > CLIENT_ID_CHARACTERS_MAX):
        raise refuse(context, f"No command can be sent to the {kind} {name[:80]!r}")
    return Device(kind, name)


def offline(context: Context) -> str:
    """What the caller wants done for a device that is not connected."""
    wanted = context.call.extras.get(WHEN_OFFLINE, KEEP)
    if wanted not in (KEEP, REFUSE):
        raise refuse(context, f"{WHEN_OFFLINE} is {KEEP} or {REFUSE}, and not {wanted[:80]!r}")
    return wanted


async def connected(context: Context, devices: Iterable[Device]) -> set[Device]:
    """Those that are connected to any region. A thing is looked for under its own name."""
    by_name = {device.name: device for device in devices}
    words = await context.connectivity.known(list(by_name))
    return {by_name[word.client] for word in words if _is_of(context, word, by_name[word.client])}


def _is_of(context: Context, word: Word, device: Device) -> bool:
    """Whether somebody is connected, and the device itself."""
    belongs_to = context.items.view.associated(word.present.principal, word.client)
    return not word.has_ended and (device.kind == CLIENT or belongs_to == device.name)


def has_room(context: Context, device: Device) -> bool:
    """Whether one more may wait for a device."""
    now = command_executions.due_after(context.now_ms)
    waiting = islice(context.listed(LISTED_PENDING, *device, after=now), PENDING_MAX)
    return sum(1 for _ in waiting) < PENDING_MAX
