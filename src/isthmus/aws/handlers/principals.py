"""Principals of things: attach, detach, and both lists in both forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from isthmus.aws import attached, paging
from isthmus.aws.attached import Attached
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import existing, named_by_arn, refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import attachments, registry
from isthmus.core.attachments import ThingPrincipalType
from isthmus.core.item import Item
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, THING, Writer

EXCLUSIVE = ThingPrincipalType.EXCLUSIVE_THING


@OPERATIONS.handles("AttachThingPrincipal")
async def attach_thing_principal(context: Context, parameters: Parameters) -> Output:
    """Attached already, it stays as it is, unless another type is asked for."""
    await _write(context, parameters, partial(_attach, context, parameters))
    return {}


@OPERATIONS.handles("DetachThingPrincipal")
async def detach_thing_principal(context: Context, parameters: Parameters) -> Output:
    """Nothing is to be done where it is not attached."""
    await _write(context, parameters, _detach)
    return {}


async def _write(
    context: Context,
    parameters: Parameters,
    change: Callable[[Item, Writer, Item, Item], Item],
) -> None:
    """Change an attachment, with both ends that are there at the time."""
    name, principal = parameters["thingName"], _principal(context, parameters)

    def changed(item: Item, writer: Writer) -> Item:
        thing, certificate = existing(context, THING, name), existing(context, *principal)
        return change(item, writer, thing, certificate)

    await context.write(ATTACHMENT, attachments.key(name, principal[1]), changed)


def _principal(context: Context, parameters: Parameters) -> tuple[str, str]:
    return CERTIFICATE, named_by_arn(context, CERTIFICATE, parameters["principal"])


def _attach(
    context: Context, parameters: Parameters, item: Item, writer: Writer, thing: Item, end: Item
) -> Item:
    held = attachments.attached(item, thing, end)
    wanted = parameters.get("thingPrincipalType")
    if held is not None and wanted in (None, held):
        return item
    # One is enough to look at: of two or more, none is exclusive.
    other = next((each for each in attached.things(context, end) if each.key != thing.key), None)
    if other is not None and EXCLUSIVE in (wanted, other.how):
        message = f"The principal is attached to thing {other.key}"
        raise refuse(context, f"{message}, and one of the two attachments is exclusive")
    return registry.attach(item, writer, thing, end, exclusive=wanted == EXCLUSIVE)


def _detach(item: Item, writer: Writer, thing: Item, end: Item) -> Item:
    return registry.detach(item, writer) if registry.attaches(item) else item


# Lists


@OPERATIONS.handles("ListThingPrincipals")
def list_thing_principals(context: Context, parameters: Parameters) -> Output:
    name = parameters["thingName"]
    thing = context.get(THING, name)
    if not thing.lives:
        why = "because the thing does not exist in your account"
        message = f"Failed to list principals for thing {name} {why}"
        raise ServiceError("ResourceNotFoundException", message)
    return _page(context, parameters, partial(attached.principals, context, thing), _arn)


@OPERATIONS.handles("ListThingPrincipalsV2")
def list_thing_principals_v2(context: Context, parameters: Parameters) -> Output:
    thing = existing(context, THING, parameters["thingName"])

    def shown(context: Context, each: Attached) -> dict[str, Any]:
        return {"principal": _arn(context, each), "thingPrincipalType": each.how}

    return _page(context, parameters, partial(attached.principals, context, thing), shown)


@OPERATIONS.handles("ListPrincipalThings")
def list_principal_things(context: Context, parameters: Parameters) -> Output:
    principal = existing(context, *_principal(context, parameters))
    things = partial(attached.things, context, principal)
    return _page(context, parameters, things, lambda _, each: each.key)


@OPERATIONS.handles("ListPrincipalThingsV2")
def list_principal_things_v2(context: Context, parameters: Parameters) -> Output:
    principal = existing(context, *_principal(context, parameters))

    def shown(_: Context, each: Attached) -> dict[str, Any]:
        return {"thingName": each.key, "thingPrincipalType": each.how}

    return _page(context, parameters, partial(attached.things, context, principal), shown)


def _arn(context: Context, each: Attached) -> str:
    return context.naming.arn("cert", each.key)


def _page(
    context: Context,
    parameters: Parameters,
    found_after: Callable[[str | None], Iterable[Attached]],
    shown: Callable[[Context, Attached], Any],
) -> Output:
    wanted = parameters.get("thingPrincipalType")

    def entries(after: str | None) -> Iterator[Entry]:
        for each in found_after(after):
            if wanted in (None, each.how):
                yield Entry(each.key, shown(context, each))

    return paging.page(context.call, entries)
