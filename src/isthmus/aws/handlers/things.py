"""Things: create, describe, update, delete, list."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from isthmus.aws import attached, paging
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.referring import refers_to
from isthmus.aws.resources import already, arn, check_version, existing, present, refuse
from isthmus.core import lives, memberships, register_map, registry, thing_types, things
from isthmus.core.billing_groups import BILLING_GROUP
from isthmus.core.item import Item
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import Writer
from isthmus.core.thing_types import THING_TYPE
from isthmus.core.things import THING, TYPE


@OPERATIONS.handles("CreateThing")
async def create_thing(context: Context, parameters: Parameters) -> Output:
    """Of a thing that is there with just this content, say what it is."""
    item = await context.write(
        THING, parameters["thingName"], partial(created, context, parameters)
    )
    return {
        "thingName": item.key,
        "thingArn": arn(context, item),
        "thingId": lives.resource_id(item),
    }


def created(
    context: Context, parameters: Parameters, item: Item, writer: Writer, begun_for: str = ""
) -> Item:
    given = parameters.get("attributePayload", {}).get("attributes", {})
    attributes = register_map.updated({}, given, merge=False)
    type_name, group_name = parameters.get("thingTypeName"), parameters.get("billingGroupName")
    if item.lives:
        if _content(context, item) != (attributes, type_name, group_name):
            raise already(context, item)
        return item
    targets: dict[str, Item | None] = {}
    if type_name is not None:
        targets[TYPE] = wanted = existing(context, THING_TYPE, type_name)
        if thing_types.deprecated_ms(wanted) is not None:
            # As AWS spells it.
            message = f"Can not create new thing with depreated thing type:{type_name}"
            raise refuse(context, message)
    if group_name is not None:
        targets[things.BILLING_GROUP] = existing(context, BILLING_GROUP, group_name)
    return things.put(item, writer, attributes, targets, begun_for)


def _content(context: Context, item: Item) -> tuple[dict[str, str], str | None, str | None]:
    """All that the creation of a thing may say of it."""
    group = refers_to(context, item, things.BILLING_GROUP)
    return registry.attributes(item), refers_to(context, item, TYPE), group


@OPERATIONS.handles("UpdateThing")
async def update_thing(context: Context, parameters: Parameters) -> Output:
    await context.write(THING, parameters["thingName"], partial(updated, context, parameters))
    return {}


def updated(context: Context, parameters: Parameters, item: Item, writer: Writer) -> Item:
    present(context, item)
    check_version(item, parameters)
    payload = parameters.get("attributePayload", {})
    attributes = None
    if "attributes" in payload:
        held, merge = registry.attributes(item), payload.get("merge", False)
        attributes = register_map.updated(held, payload["attributes"], merge=merge)
    return things.put(item, writer, attributes, _new_type(context, parameters, item))


def _new_type(context: Context, parameters: Parameters, item: Item) -> dict[str, Item | None]:
    """What an update says of the type; a thing keeps one that was deprecated since."""
    name = parameters.get("thingTypeName")
    if parameters.get("removeThingType"):
        if name is not None:
            raise refuse(context, "removeThingType and thingTypeName exclude each other")
        return {TYPE: None}
    if name is None:
        return {}
    wanted = existing(context, THING_TYPE, name)
    if thing_types.deprecated_ms(wanted) is not None and refers_to(context, item, TYPE) != name:
        raise refuse(context, f"Can not update a thing to use deprecated thing type: {name}")
    return {TYPE: wanted}


@OPERATIONS.handles("DeleteThing")
async def delete_thing(context: Context, parameters: Parameters) -> Output:
    """Of one that is not there, nothing is to be done.

    Memberships that a crash leaves behind are void: they name a life that has ended.
    """
    name = parameters["thingName"]
    await context.write(THING, name, partial(_deleted, context, parameters))

    def left(item: Item, writer: Writer) -> Item:
        # By now somebody may have created it again.
        return memberships.left(item, writer, context.get(THING, name))

    await context.write(MEMBERSHIPS, name, left)
    return {}


def _deleted(context: Context, parameters: Parameters, item: Item, writer: Writer) -> Item:
    if not item.lives:
        return item
    check_version(item, parameters)
    if any(attached.principals(context, item)):
        message = f"Cannot delete. Thing {item.key} is still attached to one or more principals"
        raise refuse(context, message)
    return registry.delete(item, writer)


@OPERATIONS.handles("DescribeThing")
def describe_thing(context: Context, parameters: Parameters) -> Output:
    item = existing(context, THING, parameters["thingName"])
    return {
        "defaultClientId": item.key,
        "thingName": item.key,
        "thingId": lives.resource_id(item),
        "thingArn": arn(context, item),
        "thingTypeName": refers_to(context, item, TYPE),
        "attributes": registry.attributes(item),
        "version": item.version,
        "billingGroupName": refers_to(context, item, things.BILLING_GROUP),
    }


@OPERATIONS.handles("ListThings")
def list_things(context: Context, parameters: Parameters) -> Output:
    """All of them by name, or those with an attribute by its value first."""
    if "attributeValue" in parameters and "attributeName" not in parameters:
        raise refuse(context, "attributeValue needs an attributeName")
    return paging.page(context.call, partial(_entries, context, parameters))


def _entries(context: Context, parameters: Parameters, after: str | None) -> Iterator[Entry]:
    type_name = parameters.get("thingTypeName")
    for key in _listed(context, parameters, after):
        item = context.get(THING, key.rpartition(things.END)[2])
        if type_name is None or refers_to(context, item, TYPE) == type_name:
            yield Entry(key, _attributes_of(context, item))


def _listed(context: Context, parameters: Parameters, after: str | None) -> Iterator[str]:
    name, value = parameters.get("attributeName"), parameters.get("attributeValue")
    if name is None and "thingTypeName" in parameters:
        wanted = context.get(THING_TYPE, parameters["thingTypeName"])
        return context.of_lives(things.LISTED_BY[TYPE], wanted, after=after)
    if name is None:
        return context.listed(things.LISTED, after=after)
    is_whole = value is not None and not parameters.get("usePrefixAttributeValue")
    prefix = f"{value or ''}{things.END if is_whole else ''}"
    return context.beginning(things.LISTED_BY_ATTRIBUTE, name, prefix=prefix, after=after)


def _attributes_of(context: Context, item: Item) -> dict[str, Any]:
    return {
        "thingName": item.key,
        "thingArn": arn(context, item),
        "thingTypeName": refers_to(context, item, TYPE),
        "attributes": registry.attributes(item),
        "version": item.version,
    }
