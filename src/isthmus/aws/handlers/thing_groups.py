"""Static thing groups: create, describe, update, delete, list."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from isthmus.aws import group_tree, paging, tagging
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import already, arn, check_version, existing, moment, present, refuse
from isthmus.core import lives, register_map, resource, thing_groups
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.resource import ATTRIBUTES, TAGS
from isthmus.core.thing_groups import CHILDREN_MAX, DEPTH_MAX, DESCRIPTION, THING_GROUP


@OPERATIONS.handles("CreateThingGroup")
async def create_thing_group(context: Context, parameters: Parameters) -> Output:
    """Of a group that is there with just these properties, say what it is."""
    name, change = parameters["thingGroupName"], partial(_created, context, parameters)
    # It is the parent's groups that are counted.
    async with context.turn(THING_GROUP, parameters.get("parentGroupName", name)):
        item = await context.write(THING_GROUP, name, change)
    return {
        "thingGroupName": item.key,
        "thingGroupArn": arn(context, item),
        "thingGroupId": lives.resource_id(item),
    }


def _created(context: Context, parameters: Parameters, item: Item, writer: Writer) -> Item:
    given = parameters.get("thingGroupProperties", {})
    attributes = given.get("attributePayload", {}).get("attributes", {})
    registers = {DESCRIPTION: given.get(DESCRIPTION)}
    maps = {
        ATTRIBUTES: register_map.updated({}, attributes, merge=False),
        TAGS: tagging.given(context, parameters.get("tags", [])),
    }
    parent_name = parameters.get("parentGroupName")
    if item.lives:
        ways = [each.key for each in group_tree.above(context, item)]
        is_there = (ways[-1] if ways else None) == parent_name
        if not is_there or not resource.says(item, registers, maps):
            raise already(context, item)
        return item
    parent = None if parent_name is None else existing(context, THING_GROUP, parent_name)
    if parent is not None:
        _check_place(context, parent)
    return thing_groups.create(item, writer, registers, maps, parent)


def _check_place(context: Context, parent: Item) -> None:
    """Raise ServiceError where a group may have no group under it, or not one more."""
    if len(group_tree.above(context, parent)) + 2 > DEPTH_MAX:
        raise refuse(context, f"No more than {DEPTH_MAX} groups may be in each other")
    if sum(1 for _ in group_tree.children(context, parent)) >= CHILDREN_MAX:
        raise refuse(context, f"Thing group {parent.key} has {CHILDREN_MAX} child groups already")


@OPERATIONS.handles("UpdateThingGroup")
async def update_thing_group(context: Context, parameters: Parameters) -> Output:
    name = parameters["thingGroupName"]
    item = await context.write(THING_GROUP, name, partial(_updated, context, parameters))
    return {"version": item.version}


def _updated(context: Context, parameters: Parameters, item: Item, writer: Writer) -> Item:
    present(context, item)
    check_version(item, parameters)
    given = parameters["thingGroupProperties"]
    registers = {name: given[name] for name in (DESCRIPTION,) if name in given}
    payload, attributes = given.get("attributePayload", {}), None
    if "attributes" in payload:
        held, merge = thing_groups.attributes(item), payload.get("merge", False)
        attributes = register_map.updated(held, payload["attributes"], merge=merge)
    return thing_groups.update(item, writer, registers, attributes)


@OPERATIONS.handles("DeleteThingGroup")
async def delete_thing_group(context: Context, parameters: Parameters) -> Output:
    """Of one that is not there, nothing is to be done; things may be in it."""
    name = parameters["thingGroupName"]
    await context.write(THING_GROUP, name, partial(_deleted, context, parameters))
    return {}


def _deleted(context: Context, parameters: Parameters, item: Item, writer: Writer) -> Item:
    if not item.lives:
        return item
    check_version(item, parameters)
    if any(group_tree.children(context, item)):
        message = "when there are still child groups attached to it"
        raise refuse(context, f"Cannot delete thing group : {item.key} {message}")
    return thing_groups.delete(item, writer)


@OPERATIONS.handles("DescribeThingGroup")
def describe_thing_group(context: Context, parameters: Parameters) -> Output:
    item = existing(context, THING_GROUP, parameters["thingGroupName"])
    above = group_tree.above(context, item)
    properties: dict[str, Any] = {DESCRIPTION: item.register(DESCRIPTION)}
    if attributes := thing_groups.attributes(item):
        properties["attributePayload"] = {"attributes": attributes}
    return {
        "thingGroupName": item.key,
        "thingGroupId": lives.resource_id(item),
        "thingGroupArn": arn(context, item),
        "version": item.version,
        "thingGroupProperties": properties,
        "thingGroupMetadata": {
            "parentGroupName": above[-1].key if above else None,
            "rootToParentThingGroups": [named(context, each) for each in above],
            "creationDate": moment(lives.created_ms(item)),
        },
    }


def named(context: Context, group: Item) -> dict[str, str]:
    """A group in a list."""
    return {"groupName": group.key, "groupArn": arn(context, group)}


@OPERATIONS.handles("ListThingGroups")
def list_thing_groups(context: Context, parameters: Parameters) -> Output:
    """With those under them, unless they are to be left out."""
    prefix, is_recursive = parameters.get("namePrefixFilter", ""), parameters.get("recursive", True)
    parent = None
    if "parentGroup" in parameters:
        parent = existing(context, THING_GROUP, parameters["parentGroup"])

    def names(after: str | None) -> Iterator[tuple[str, str]]:
        if parent is not None and is_recursive:
            for way in group_tree.below(context, parent, tuple(after.split("/")) if after else ()):
                yield "/".join(way), way[-1]
            return
        path = thing_groups.LISTED if is_recursive else thing_groups.LISTED_ROOTS
        found = (
            context.beginning(path, prefix=prefix, after=after)
            if parent is None
            else group_tree.children(context, parent, after, prefix)
        )
        for name in found:
            yield name, name

    def entries(after: str | None) -> Iterator[Entry]:
        for key, name in names(after):
            if name.startswith(prefix):
                yield Entry(key, named(context, context.get(THING_GROUP, name)))

    return paging.page(context.call, entries)
