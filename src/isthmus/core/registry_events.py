"""What changes of the registry mean to those who hear of them, as AWS IoT publishes it.

Topics and members: developer guide, "Registry events". What is told follows from an item as it was
told last and as it is now, so versions that came in between are one change, and what is told again
is the same under the same id. Of things, types and groups:

- *Of each name, told in the order of the log, what has not been created is neither updated nor
  deleted, and what has not been deleted is not created.* Versions grow with every event.
- Types of things, parents of groups and memberships are told as their items say them, be what they
  name there or not: an item may come before the one that it names. What is deleted takes with it
  what names it, and nothing is told of that.

A change that only other regions made is marked: the region that made it tells it without the mark.
Of what regions changed at once each tells first its own change, and then, marked, what the merge
made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from isthmus.core import lives, memberships, registry, thing_groups, thing_types, things
from isthmus.core.arns import Naming
from isthmus.core.batch import Message
from isthmus.core.item import Item
from isthmus.core.lattice import Dot
from isthmus.core.lives import Reference
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.settings import EVENT_CONFIGURATIONS
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.thing_types import THING_TYPE
from isthmus.core.things import THING

_PREFIX = "$aws/events"


class EventType(StrEnum):
    """What can be switched on, by its name in event configurations."""

    THING = "THING"
    THING_TYPE = "THING_TYPE"
    THING_TYPE_ASSOCIATION = "THING_TYPE_ASSOCIATION"
    THING_GROUP = "THING_GROUP"
    THING_GROUP_HIERARCHY = "THING_GROUP_HIERARCHY"
    THING_GROUP_MEMBERSHIP = "THING_GROUP_MEMBERSHIP"


class Operation(StrEnum):
    """What happened. Of one change they are told in this order."""

    REMOVED = "REMOVED"
    DELETED = "DELETED"
    CREATED = "CREATED"
    UPDATED = "UPDATED"
    ADDED = "ADDED"


_ORDER = {each: number for number, each in enumerate(Operation)}
#: The items that anything is told of, and those that say of what.
KINDS = frozenset({THING, THING_TYPE, THING_GROUP, MEMBERSHIPS, EVENT_CONFIGURATIONS})


def enabled(configurations: Item) -> frozenset[EventType]:
    """What is switched on."""
    return frozenset(each for each in EventType if configurations.register(each.value))


class _Event(NamedTuple):
    """One event, without what all have."""

    type: EventType
    operation: Operation
    #: What the topic names.
    of: str
    members: Mapping[str, Any]


class _Bond(NamedTuple):
    """That something, in these lives, refers to something else, in those."""

    lives: frozenset[Dot]
    other: Reference

    def goes_on_in(self, later: _Bond | None) -> bool:
        return later is not None and bool(
            self.lives & later.lives and self.other.lives & later.other.lives
        )


class RegistryEvents:
    """What one region tells. ``get`` answers an item as it was told last, or an empty one."""

    def __init__(self, region: str, naming: Naming, get: Callable[[str, str], Item]) -> None:
        self._region = region
        self._naming = naming
        self._get = get

    def of(self, before: Item, after: Item, wanted: frozenset[EventType]) -> list[Message]:
        """The events of a change, from source 0 of their batch; none where nothing is new."""
        writers = {
            actor.rpartition(".")[0]
            for actor, count in after.vv.items()
            if count > before.vv.get(actor, 0)
        }
        if not writers:
            return []
        mark: dict[str, Any] = {}
        if self._region not in writers:
            mark = {"replicated": True, "regions": sorted(writers)}
        found = [each for each in self._events(before, after) if each.type in wanted]
        found.sort(key=lambda each: _ORDER[each.operation])
        return [self._message(each, after, mark) for each in found]

    def _message(self, event: _Event, after: Item, mark: Mapping[str, Any]) -> Message:
        topic = f"{_PREFIX}/{event.of}/{event.operation.lower()}"
        identity = lives.id_of(topic, str(after.version), self._region)
        said = {
            "eventType": f"{event.type}_EVENT",
            "eventId": identity,
            "timestamp": after.modified_ms,
            "operation": event.operation,
        }
        if event.type is not EventType.THING_TYPE_ASSOCIATION:
            said["accountId"] = self._naming.account_id
        payload = msgspec.json.encode({**said, **event.members, **mark})
        return Message(0, topic, payload, 1, False, after.modified_ms, identity)

    def _events(self, before: Item, after: Item) -> Iterable[_Event]:
        match after.kind:
            case registry.THING:
                return (*_things(before, after), *_associations(before, after))
            case thing_types.THING_TYPE:
                return _types(before, after)
            case thing_groups.THING_GROUP:
                return (*self._groups(before, after), *self._hierarchy(before, after))
            case memberships.MEMBERSHIPS:
                return self._memberships(before, after)
        return ()

    # Groups

    def _groups(self, before: Item, after: Item) -> Iterator[_Event]:
        for operation, item, version in _lifetime(before, after):
            above = self._above(item)
            parent = thing_groups.parent(item)
            members = {
                "thingGroupId": lives.resource_id(item),
                "thingGroupName": item.key,
                "versionNumber": version,
                "parentGroupName": parent.name if parent else None,
                "parentGroupId": above[-1]["groupId"] if above else None,
                "description": item.register(thing_groups.DESCRIPTION),
                "rootToParentThingGroups": above or None,
                "attributes": thing_groups.attributes(item),
                # Of dynamic groups, which there are none of.
                "dynamicGroupMappingId": None,
            }
            yield _Event(EventType.THING_GROUP, operation, f"thingGroup/{item.key}", members)

    def _above(self, item: Item) -> list[dict[str, str]]:
        """The way from the root to a group's parent, as far up as it is known."""
        found: list[dict[str, str]] = []
        # Items of another make might lead in a circle.
        passed = {item.key}
        while (named := thing_groups.parent(item)) is not None and named.name not in passed:
            passed.add(named.name)
            arn = self._naming.arn("thinggroup", named.name)
            found.append({"groupArn": arn, "groupId": self._id(THING_GROUP, named)})
            item = self._get(THING_GROUP, named.name)
            if not named.holds_for(item):
                break
        return found[::-1]

    def _hierarchy(self, before: Item, after: Item) -> Iterator[_Event]:
        for operation, child, bond in _bonds(before, after, _parent):
            parent = bond.other
            members = {
                "thingGroupId": self._id(THING_GROUP, parent),
                "thingGroupName": parent.name,
                "childGroupId": lives.resource_id(child),
                "childGroupName": child.key,
            }
            of = f"thingGroupHierarchy/thingGroup/{parent.name}/childThingGroup/{child.key}"
            yield _Event(EventType.THING_GROUP_HIERARCHY, operation, of, members)

    def _memberships(self, before: Item, after: Item) -> Iterator[_Event]:
        for operation, item, bond in _bonds(before, after, _groups_of):
            group = bond.other
            group_id = self._id(THING_GROUP, group)
            thing_id = self._id(THING, Reference(item.key, bond.lives))
            members = {
                "groupArn": self._naming.arn("thinggroup", group.name),
                "groupId": group_id,
                "thingArn": self._naming.arn("thing", item.key),
                "thingId": thing_id,
                "membershipId": lives.id_of(MEMBERSHIPS, thing_id, group_id),
            }
            of = f"thingGroupMembership/thingGroup/{group.name}/thing/{item.key}"
            yield _Event(EventType.THING_GROUP_MEMBERSHIP, operation, of, members)

    def _id(self, kind: str, named: Reference) -> str:
        """The id of what is referred to, be it known or not."""
        item = self._get(kind, named.name)
        if named.holds_for(item):
            return lives.resource_id(item)
        # There is more than one only where regions created it at once.
        return lives.id_of(kind, named.name, min(named.lives, default=""))


# What lives and ends


def _lifetime(before: Item, after: Item) -> Iterator[tuple[Operation, Item, int]]:
    """What happened to an item: each time how it was or is, and the version to tell of."""
    if before.lives & after.lives:
        yield Operation.UPDATED, after, after.version
        return
    if before.lives:
        # Whoever created it again has written after whoever deleted it.
        yield Operation.DELETED, before, after.version - bool(after.lives)
    if after.lives:
        yield Operation.CREATED, after, after.version


def _things(before: Item, after: Item) -> Iterator[_Event]:
    for operation, item, version in _lifetime(before, after):
        of_type = things.reference(item, things.TYPE)
        members = {
            "thingId": lives.resource_id(item),
            "thingName": item.key,
            "versionNumber": version,
            "thingTypeName": of_type.name if of_type else None,
            "attributes": registry.attributes(item),
        }
        yield _Event(EventType.THING, operation, f"thing/{item.key}", members)


def _types(before: Item, after: Item) -> Iterator[_Event]:
    """Without those of which nothing is told, as their tags."""
    for operation, item, _ in _lifetime(before, after):
        members = _type_members(item)
        if operation is not Operation.UPDATED or members != _type_members(before):
            yield _Event(EventType.THING_TYPE, operation, f"thingType/{item.key}", members)


def _type_members(item: Item) -> dict[str, Any]:
    properties, deprecated_ms = thing_types.properties(item), thing_types.deprecated_ms(item)
    mqtt5 = properties.get("mqtt5Configuration", {})
    return {
        "thingTypeId": lives.resource_id(item),
        "thingTypeName": item.key,
        "isDeprecated": deprecated_ms is not None,
        "deprecationDate": deprecated_ms,
        "searchableAttributes": properties.get("searchableAttributes", []),
        "propagatingAttributes": mqtt5.get("propagatingAttributes", []),
        "description": properties.get("thingTypeDescription"),
    }


# What is added and removed


def _bonds(
    before: Item, after: Item, found: Callable[[Item], Mapping[str, _Bond]]
) -> Iterator[tuple[Operation, Item, _Bond]]:
    """What an item refers to no longer, and what it does now: each time how the item was or is."""
    old, new = found(before), found(after)
    for name, bond in old.items():
        if not bond.goes_on_in(new.get(name)):
            yield Operation.REMOVED, before, bond
    for name, bond in new.items():
        if name not in old or not old[name].goes_on_in(bond):
            yield Operation.ADDED, after, bond


def _parent(group: Item) -> Mapping[str, _Bond]:
    named = thing_groups.parent(group)
    return {} if named is None else {named.name: _Bond(group.lives, named)}


def _type(thing: Item) -> Mapping[str, _Bond]:
    named = things.reference(thing, things.TYPE)
    return {} if named is None else {named.name: _Bond(thing.lives, named)}


def _groups_of(item: Item) -> Mapping[str, _Bond]:
    return {
        name: _Bond(of_thing, Reference(name, of_group))
        for name, (of_thing, of_group) in memberships.ends(item).items()
    }


def _associations(before: Item, after: Item) -> Iterator[_Event]:
    for operation, thing, bond in _bonds(before, after, _type):
        members = {
            "thingId": lives.resource_id(thing),
            "thingName": thing.key,
            "thingTypeName": bond.other.name,
        }
        of = f"thingTypeAssociation/thing/{thing.key}/thingType/{bond.other.name}"
        yield _Event(EventType.THING_TYPE_ASSOCIATION, operation, of, members)
