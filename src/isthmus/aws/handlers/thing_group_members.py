"""Things in static groups: add, remove, both at once, and both lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from isthmus.aws import group_tree, paging
from isthmus.aws.context import Context
from isthmus.aws.handlers.thing_groups import named as shown
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import existing, named, refuse
from isthmus.core import memberships
from isthmus.core.item import Item
from isthmus.core.memberships import GROUPS_MAX, MEMBERSHIPS
from isthmus.core.registry import THING, Writer
from isthmus.core.thing_groups import THING_GROUP

#: Between the way to a group and the name of a thing, in a token.
_THEN = "#"


@OPERATIONS.handles("AddThingToThingGroup")
async def add_thing_to_thing_group(context: Context, parameters: Parameters) -> Output:
    group = named(context, THING_GROUP, parameters, "thingGroup")
    await _change(context, named(context, THING, parameters, "thing"), add=[group])
    return {}


@OPERATIONS.handles("RemoveThingFromThingGroup")
async def remove_thing_from_thing_group(context: Context, parameters: Parameters) -> Output:
    """Nothing is to be done where it is not in it."""
    group = named(context, THING_GROUP, parameters, "thingGroup")
    await _change(context, named(context, THING, parameters, "thing"), remove=[group])
    return {}


@OPERATIONS.handles("UpdateThingGroupsForThing")
async def update_thing_groups_for_thing(context: Context, parameters: Parameters) -> Output:
    """In one write: a thing that moves is in one of the two at any time."""
    add, remove = (parameters.get(f"thingGroupsTo{what}", []) for what in ("Add", "Remove"))
    await _change(context, named(context, THING, parameters, "thing"), add, remove)
    return {}


async def _change(
    context: Context, thing: str, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> None:
    await context.write(MEMBERSHIPS, thing, partial(changed, context, thing, add, remove))


def changed(
    context: Context,
    name: str,
    add: Sequence[str],
    remove: Sequence[str],
    item: Item,
    writer: Writer,
) -> Item:
    thing = existing(context, THING, name)
    for each in remove:
        existing(context, THING_GROUP, each)
    new = {each: existing(context, THING_GROUP, each) for each in add}
    held = group_tree.groups_of(context, thing)
    stays = {each.key: each for each in held if each.key not in remove}
    if new.keys() - stays.keys():
        _check(context, stays | new)
    return memberships.changed(item, writer, thing, new.values(), remove)


def _check(context: Context, groups: dict[str, Item]) -> None:
    """Raise ServiceError where a thing may not be in all of these groups."""
    if len(groups) > GROUPS_MAX:
        raise refuse(context, f"A thing may be in no more than {GROUPS_MAX} groups")
    roots: dict[str, str] = {}
    for name, group in groups.items():
        root = (*group_tree.above(context, group), group)[0].key
        if root in roots:
            message = f"Thing groups {roots[root]} and {name} are both in the hierarchy of {root}"
            raise refuse(context, f"{message}, and a thing may be in one of them")
        roots[root] = name


@OPERATIONS.handles("ListThingGroupsForThing")
def list_thing_groups_for_thing(context: Context, parameters: Parameters) -> Output:
    thing = existing(context, THING, parameters["thingName"])

    def entries(after: str | None) -> Iterator[Entry]:
        for group in group_tree.groups_of(context, thing):
            if after is None or group.key > after:
                yield Entry(group.key, shown(context, group))

    return paging.page(context.call, entries)


@OPERATIONS.handles("ListThingsInThingGroup")
def list_things_in_thing_group(context: Context, parameters: Parameters) -> Output:
    group = existing(context, THING_GROUP, parameters["thingGroupName"])

    def entries(after: str | None) -> Iterator[Entry]:
        for name in group_tree.things(context, group, after):
            yield Entry(name, name)

    def entries_below(after: str | None) -> Iterator[Entry]:
        way, _, name = (after or "").rpartition(_THEN)
        behind = None if after is None else (tuple(way.split("/")) if way else (), name)
        for met, thing in group_tree.things_below(context, group, behind):
            yield Entry(f"{'/'.join(met)}{_THEN}{thing}", thing)

    return paging.page(context.call, entries_below if parameters.get("recursive") else entries)
