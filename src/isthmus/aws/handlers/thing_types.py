"""Thing types: create, describe, update, deprecate, delete, list."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from isthmus.aws import paging, tagging
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import already, arn, existing, moment, present, refuse
from isthmus.core import lives, registry, resource, thing_types, things
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.thing_types import PROPAGATING_MAX, SEARCHABLE_MAX, THING_TYPE


@OPERATIONS.handles("CreateThingType")
async def create_thing_type(context: Context, parameters: Parameters) -> Output:
    """Of a type that is there with just these properties, say what it is."""
    given = _properties(context, parameters)
    tags = tagging.given(context, parameters.get("tags", []))

    def created(item: Item, writer: Writer) -> Item:
        if not item.lives:
            return thing_types.put(item, writer, given, tags)
        wanted = dict.fromkeys(thing_types.PROPERTIES) | given
        if not resource.says(item, wanted, {resource.TAGS: tags}):
            raise already(context, item)
        return item

    item = await context.write(THING_TYPE, parameters["thingTypeName"], created)
    return {
        "thingTypeName": item.key,
        "thingTypeArn": arn(context, item),
        "thingTypeId": lives.resource_id(item),
    }


def _properties(context: Context, parameters: Parameters) -> dict[str, Any]:
    """What is given, in AWS's bounds."""
    given: dict[str, Any] = parameters.get("thingTypeProperties", {})
    if len(given.get("searchableAttributes", [])) > SEARCHABLE_MAX:
        raise refuse(context, f"A thing type has at most {SEARCHABLE_MAX} searchable attributes")
    propagating = given.get("mqtt5Configuration", {}).get("propagatingAttributes", [])
    if len(propagating) > PROPAGATING_MAX:
        raise refuse(context, f"A thing type has at most {PROPAGATING_MAX} propagating attributes")
    for each in propagating:
        if "userPropertyKey" not in each or len(each) != 2:
            message = "needs userPropertyKey and one of thingAttribute and connectionAttribute"
            raise refuse(context, f"A propagating attribute {message}")
    return given


@OPERATIONS.handles("UpdateThingType")
async def update_thing_type(context: Context, parameters: Parameters) -> Output:
    given = _properties(context, parameters)

    def updated(item: Item, writer: Writer) -> Item:
        return thing_types.put(present(context, item), writer, given)

    await context.write(THING_TYPE, parameters["thingTypeName"], updated)
    return {}


@OPERATIONS.handles("DeprecateThingType")
async def deprecate_thing_type(context: Context, parameters: Parameters) -> Output:
    is_undone = parameters.get("undoDeprecate", False)
    change = thing_types.undeprecate if is_undone else thing_types.deprecate

    def changed(item: Item, writer: Writer) -> Item:
        return change(present(context, item), writer)

    await context.write(THING_TYPE, parameters["thingTypeName"], changed)
    return {}


@OPERATIONS.handles("DeleteThingType")
async def delete_thing_type(context: Context, parameters: Parameters) -> Output:
    name = parameters["thingTypeName"]
    await context.write(THING_TYPE, name, partial(_deleted, context))
    return {}


def _deleted(context: Context, item: Item, writer: Writer) -> Item:
    name, since = present(context, item).key, thing_types.deprecated_ms(item)
    if since is None:
        raise refuse(context, f"Cannot delete thing type : {name} before it is deprecated")
    if context.now_ms - since < thing_types.DELETED_AFTER_MS:
        message = "Please wait for 5 minutes after deprecation and then retry"
        raise refuse(context, f"Cannot delete thing type : {name}. {message}")
    if any(context.of_lives(things.LISTED_BY[things.TYPE], item, after=None)):
        raise refuse(context, f"Cannot delete thing type : {name} while things are of it")
    return registry.delete(item, writer)


@OPERATIONS.handles("DescribeThingType")
def describe_thing_type(context: Context, parameters: Parameters) -> Output:
    item = existing(context, THING_TYPE, parameters["thingTypeName"])
    return _described(context, item) | {"thingTypeId": lives.resource_id(item)}


def _described(context: Context, item: Item) -> dict[str, Any]:
    since = thing_types.deprecated_ms(item)
    metadata = {
        "deprecated": since is not None,
        "deprecationDate": None if since is None else moment(since),
        "creationDate": moment(lives.created_ms(item)),
    }
    return {
        "thingTypeName": item.key,
        "thingTypeArn": arn(context, item),
        "thingTypeProperties": thing_types.properties(item),
        "thingTypeMetadata": metadata,
    }


@OPERATIONS.handles("ListThingTypes")
def list_thing_types(context: Context, parameters: Parameters) -> Output:
    """Those whose names begin as is asked."""
    prefix = parameters.get("thingTypeName", "")

    def entries(after: str | None) -> Iterator[Entry]:
        for name in context.beginning(THING_TYPE, prefix=prefix, after=after):
            yield Entry(name, _described(context, context.get(THING_TYPE, name)))

    return paging.page(context.call, entries)
