"""Billing groups: create, describe, update, delete, list; and the things in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from isthmus.aws import paging, tagging
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import already, arn, check_version, existing, moment, named, present
from isthmus.core import lives, registry, resource, things
from isthmus.core.billing_groups import BILLING_GROUP, DESCRIPTION
from isthmus.core.item import Item
from isthmus.core.registry import THING, Writer
from isthmus.core.resource import TAGS


@OPERATIONS.handles("CreateBillingGroup")
async def create_billing_group(context: Context, parameters: Parameters) -> Output:
    """Of a group that is there with just this description, say what it is."""
    registers = {DESCRIPTION: parameters.get("billingGroupProperties", {}).get(DESCRIPTION)}
    maps = {TAGS: tagging.given(context, parameters.get("tags", []))}

    def created(item: Item, writer: Writer) -> Item:
        if item.lives and not resource.says(item, registers, maps):
            raise already(context, item)
        return resource.put(item, writer, registers, maps)

    item = await context.write(BILLING_GROUP, parameters["billingGroupName"], created)
    return {
        "billingGroupName": item.key,
        "billingGroupArn": arn(context, item),
        "billingGroupId": lives.resource_id(item),
    }


@OPERATIONS.handles("UpdateBillingGroup")
async def update_billing_group(context: Context, parameters: Parameters) -> Output:
    def updated(item: Item, writer: Writer) -> Item:
        check_version(present(context, item), parameters)
        return resource.put(item, writer, parameters["billingGroupProperties"], {})

    item = await context.write(BILLING_GROUP, parameters["billingGroupName"], updated)
    return {"version": item.version}


@OPERATIONS.handles("DeleteBillingGroup")
async def delete_billing_group(context: Context, parameters: Parameters) -> Output:
    """Of one that is not there, nothing is to be done; things may be in it."""

    def deleted(item: Item, writer: Writer) -> Item:
        if not item.lives:
            return item
        check_version(item, parameters)
        return registry.delete(item, writer)

    await context.write(BILLING_GROUP, parameters["billingGroupName"], deleted)
    return {}


@OPERATIONS.handles("DescribeBillingGroup")
def describe_billing_group(context: Context, parameters: Parameters) -> Output:
    item = existing(context, BILLING_GROUP, parameters["billingGroupName"])
    return {
        "billingGroupName": item.key,
        "billingGroupId": lives.resource_id(item),
        "billingGroupArn": arn(context, item),
        "version": item.version,
        "billingGroupProperties": {DESCRIPTION: item.register(DESCRIPTION)},
        "billingGroupMetadata": {"creationDate": moment(lives.created_ms(item))},
    }


@OPERATIONS.handles("ListBillingGroups")
def list_billing_groups(context: Context, parameters: Parameters) -> Output:
    prefix = parameters.get("namePrefixFilter", "")

    def entries(after: str | None) -> Iterator[Entry]:
        for name in context.beginning(BILLING_GROUP, prefix=prefix, after=after):
            item = context.get(BILLING_GROUP, name)
            yield Entry(name, {"groupName": name, "groupArn": arn(context, item)})

    return paging.page(context.call, entries)


# Things in them


@OPERATIONS.handles("AddThingToBillingGroup")
async def add_thing_to_billing_group(context: Context, parameters: Parameters) -> Output:
    """A thing is in one at most: it leaves the one that it was in."""
    await _write(context, parameters, _added)
    return {}


@OPERATIONS.handles("RemoveThingFromBillingGroup")
async def remove_thing_from_billing_group(context: Context, parameters: Parameters) -> Output:
    """Nothing is to be done where it is not in it."""
    await _write(context, parameters, _removed)
    return {}


async def _write(
    context: Context, parameters: Parameters, change: Callable[[Item, Writer, Item], Item]
) -> None:
    group_name = named(context, BILLING_GROUP, parameters, "billingGroup")

    def changed(thing: Item, writer: Writer) -> Item:
        group = existing(context, BILLING_GROUP, group_name)
        return change(present(context, thing), writer, group)

    await context.write(THING, named(context, THING, parameters, "thing"), changed)


def _added(thing: Item, writer: Writer, group: Item) -> Item:
    return things.put(thing, writer, refers_to={things.BILLING_GROUP: group})


def _removed(thing: Item, writer: Writer, group: Item) -> Item:
    held = things.reference(thing, things.BILLING_GROUP)
    if held is None or not held.holds_for(group):
        return thing
    return things.put(thing, writer, refers_to={things.BILLING_GROUP: None})


@OPERATIONS.handles("ListThingsInBillingGroup")
def list_things_in_billing_group(context: Context, parameters: Parameters) -> Output:
    group = existing(context, BILLING_GROUP, parameters["billingGroupName"])
    listed = partial(context.of_lives, things.LISTED_BY[things.BILLING_GROUP], group)

    def entries(after: str | None) -> Iterator[Entry]:
        return (Entry(name, name) for name in listed(after=after))

    return paging.page(context.call, entries)
