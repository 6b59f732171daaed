"""What is told of the registry is what AWS documents, and adds up to what the registry has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import lives, memberships, registry, resource, thing_groups, thing_types, things
from isthmus.core.arns import Naming
from isthmus.core.batch import Message
from isthmus.core.item import Item, join
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import Writer
from isthmus.core.registry_events import EventType, RegistryEvents, enabled
from isthmus.core.settings import ALL, EVENT_CONFIGURATIONS
from isthmus.core.stamp import StampClock
from isthmus.core.thing_groups import DESCRIPTION, THING_GROUP
from isthmus.core.thing_types import THING_TYPE
from isthmus.core.things import THING, TYPE

REGIONS = ("eu", "us", "ap")
ACCOUNT = "123456789012"
EVERYTHING = frozenset(EventType)
Event = dict[str, Any]


class Region:
    """A region's items, and what it tells of them."""

    def __init__(self, name: str = "eu") -> None:
        self.name = name
        self.clock = StampClock(name, "i")
        self.held: dict[tuple[str, str], Item] = {}
        self.told: dict[tuple[str, str], Item] = {}
        #: What has changed since it was told, in the log's order.
        self.log: dict[tuple[str, str], None] = {}
        naming = Naming(ACCOUNT, f"{name}-west-1", frozenset({f"{name}-west-1"}))
        self.events = RegistryEvents(name, naming, self._as_told)

    def _as_told(self, kind: str, key: str) -> Item:
        return self.told.get((kind, key)) or Item(kind, key)

    def get(self, kind: str, key: str) -> Item:
        return self.held.get((kind, key)) or Item(kind, key)

    def writer(self, now_ms: int = 1_000) -> Writer:
        return Writer(self.clock, now_ms)

    def put(self, item: Item) -> Item:
        at = (item.kind, item.key)
        if item.encode() != self.get(*at).encode():
            self.held[at] = item
            self.log.pop(at, None)
            self.log[at] = None
        return item

    def take(self, other: Region) -> None:
        for at in other.held:
            self.put(join(self.get(*at), other.get(*at)))

    def tell(self, wanted: frozenset[EventType] = EVERYTHING) -> list[Message]:
        """What is to be told now."""
        found: list[Message] = []
        for at in self.log:
            before, after = self._as_told(*at), self.held[at]
            self.told[at] = after
            found += self.events.of(before, after, wanted)
        self.log.clear()
        return found


def said(messages: list[Message], operation: str = "") -> list[tuple[str, Event]]:
    """Topics and events, or those of one operation."""
    found = [(each.topic, json.loads(each.payload)) for each in messages]
    return [each for each in found if operation in ("", each[1]["operation"])]


def only(messages: list[Message]) -> tuple[str, Event]:
    (found,) = said(messages)
    return found


def without_common(event: Event, operation: str, event_type: str) -> Event:
    """What an event has beside what all have, which is checked."""
    event = dict(event)
    assert event.pop("eventType") == event_type
    assert event.pop("operation") == operation
    assert len(event.pop("eventId")) == 36
    assert event.pop("timestamp") == 1_000
    return event


@pytest.fixture
def eu() -> Region:
    return Region("eu")


@pytest.fixture
def us() -> Region:
    return Region("us")


def a_thing(region: Region, name: str = "car", **attributes: str) -> Item:
    item = region.get(THING, name)
    return region.put(things.put(item, region.writer(), attributes))


def a_group(region: Region, name: str, parent: Item | None = None) -> Item:
    item = region.get(THING_GROUP, name)
    made = thing_groups.create(item, region.writer(), {DESCRIPTION: "of all"}, {}, parent)
    return region.put(made)


# What AWS documents


def test_a_thing(eu):
    item = a_thing(eu, colour="red")
    topic, event = only(eu.tell())
    assert topic == "$aws/events/thing/car/created"
    assert without_common(event, "CREATED", "THING_EVENT") == {
        "accountId": ACCOUNT,
        "thingId": lives.resource_id(item),
        "thingName": "car",
        "versionNumber": 1,
        "thingTypeName": None,
        "attributes": {"colour": "red"},
    }
    a_thing(eu, colour="blue")
    topic, event = only(eu.tell())
    assert topic == "$aws/events/thing/car/updated"
    assert (event["operation"], event["versionNumber"]) == ("UPDATED", 2)
    assert event["attributes"] == {"colour": "blue"}
    eu.put(registry.delete(eu.get(THING, "car"), eu.writer(2_000)))
    topic, event = only(eu.tell())
    assert topic == "$aws/events/thing/car/deleted"
    assert (event["operation"], event["versionNumber"]) == ("DELETED", 3)
    assert event["thingId"] == lives.resource_id(item)
    assert event["attributes"] == {"colour": "blue"}
    assert event["timestamp"] == 2_000


def test_a_type(eu):
    given = {
        "thingTypeDescription": "of cars",
        "searchableAttributes": ["colour"],
        "mqtt5Configuration": {"propagatingAttributes": [{"userPropertyKey": "k"}]},
    }
    item = eu.put(thing_types.put(Item(THING_TYPE, "car"), eu.writer(), given))
    topic, event = only(eu.tell())
    assert topic == "$aws/events/thingType/car/created"
    members = without_common(event, "CREATED", "THING_TYPE_EVENT")
    assert members == {
        "accountId": ACCOUNT,
        "thingTypeId": lives.resource_id(item),
        "thingTypeName": "car",
        "isDeprecated": False,
        "deprecationDate": None,
        "searchableAttributes": ["colour"],
        "propagatingAttributes": [{"userPropertyKey": "k"}],
        "description": "of cars",
    }
    item = eu.put(thing_types.deprecate(item, eu.writer(3_000)))
    topic, event = only(eu.tell())
    assert topic == "$aws/events/thingType/car/updated"
    assert (event["isDeprecated"], event["deprecationDate"]) == (True, 3_000)
    item = eu.put(thing_types.undeprecate(item, eu.writer(3_000)))
    assert only(eu.tell())[1]["isDeprecated"] is False
    # Tags are no part of what is told.
    item = eu.put(thing_types.put(item, eu.writer(), {}, {"tag": "1"}))
    assert eu.tell() == []
    eu.put(registry.delete(item, eu.writer()))
    topic, event = only(eu.tell())
    assert topic == "$aws/events/thingType/car/deleted"
    assert event["description"] == "of cars"


def test_a_type_of_which_nothing_is_said(eu):
    eu.put(thing_types.put(Item(THING_TYPE, "bare"), eu.writer(), {}))
    event = only(eu.tell())[1]
    assert event["searchableAttributes"] == event["propagatingAttributes"] == []
    assert event["description"] is None


def test_the_type_of_a_thing(eu):
    first, second = (
        eu.put(thing_types.put(Item(THING_TYPE, name), eu.writer(), {})) for name in ("car", "bus")
    )
    eu.tell()
    thing = eu.put(things.put(Item(THING, "t"), eu.writer(), {}, {TYPE: first}))
    (_, created), (topic, event) = said(eu.tell())
    assert (created["operation"], created["thingTypeName"]) == ("CREATED", "car")
    assert topic == "$aws/events/thingTypeAssociation/thing/t/thingType/car/added"
    assert without_common(event, "ADDED", "THING_TYPE_ASSOCIATION_EVENT") == {
        "thingId": lives.resource_id(thing),
        "thingName": "t",
        "thingTypeName": "car",
    }
    thing = eu.put(things.put(thing, eu.writer(), None, {TYPE: second}))
    assert [(topic, event["operation"]) for topic, event in said(eu.tell())] == [
        ("$aws/events/thingTypeAssociation/thing/t/thingType/car/removed", "REMOVED"),
        ("$aws/events/thing/t/updated", "UPDATED"),
        ("$aws/events/thingTypeAssociation/thing/t/thingType/bus/added", "ADDED"),
    ]
    eu.put(registry.delete(thing, eu.writer()))
    assert [(event["operation"], event["thingId"]) for _, event in said(eu.tell())] == [
        ("REMOVED", lives.resource_id(thing)),
        ("DELETED", lives.resource_id(thing)),
    ]


def test_a_type_that_was_created_again_is_another_one(eu):
    kind = eu.put(thing_types.put(Item(THING_TYPE, "car"), eu.writer(), {}))
    thing = eu.put(things.put(Item(THING, "t"), eu.writer(), {}, {TYPE: kind}))
    eu.tell()
    again = thing_types.put(registry.delete(kind, eu.writer()), eu.writer(), {})
    eu.put(things.put(thing, eu.writer(), None, {TYPE: eu.put(again)}))
    found = [event["operation"] for _, event in said(eu.tell())]
    assert found == ["DELETED", "CREATED", "REMOVED", "UPDATED", "ADDED"]


def test_a_thing_that_was_created_again_with_its_type_and_groups_got_them_anew(eu):
    kind = eu.put(thing_types.put(Item(THING_TYPE, "car"), eu.writer(), {}))
    group = a_group(eu, "fleet")
    thing = eu.put(things.put(Item(THING, "t"), eu.writer(), {}, {TYPE: kind}))
    held = eu.put(memberships.changed(Item(MEMBERSHIPS, "t"), eu.writer(), thing, [group]))
    eu.tell()
    gone = registry.delete(thing, eu.writer())
    again = eu.put(things.put(gone, eu.writer(), {}, {TYPE: kind}))
    eu.put(memberships.changed(held, eu.writer(), again, [group]))
    found = [(event["operation"], event["thingId"]) for _, event in said(eu.tell())]
    old, new = lives.resource_id(thing), lives.resource_id(again)
    assert found == [
        ("REMOVED", old),
        ("DELETED", old),
        ("CREATED", new),
        ("ADDED", new),
        ("REMOVED", old),
        ("ADDED", new),
    ]


def test_groups_in_each_other(eu):
    root = a_group(eu, "root")
    topic, event = only(eu.tell())
    assert topic == "$aws/events/thingGroup/root/created"
    assert without_common(event, "CREATED", "THING_GROUP_EVENT") == {
        "accountId": ACCOUNT,
        "thingGroupId": lives.resource_id(root),
        "thingGroupName": "root",
        "versionNumber": 1,
        "parentGroupName": None,
        "parentGroupId": None,
        "description": "of all",
        "rootToParentThingGroups": None,
        "attributes": {},
        "dynamicGroupMappingId": None,
    }
    middle = a_group(eu, "middle", root)
    leaf = a_group(eu, "leaf", middle)
    *_, (_, created), (topic, event) = said(eu.tell())
    ids = [lives.resource_id(each) for each in (root, middle)]
    arn = "arn:aws:iot:eu-west-1:123456789012:thinggroup"
    assert created["parentGroupName"] == "middle"
    assert created["parentGroupId"] == ids[1]
    assert created["rootToParentThingGroups"] == [
        {"groupArn": f"{arn}/root", "groupId": ids[0]},
        {"groupArn": f"{arn}/middle", "groupId": ids[1]},
    ]
    assert topic == ("$aws/events/thingGroupHierarchy/thingGroup/middle/childThingGroup/leaf/added")
    assert without_common(event, "ADDED", "THING_GROUP_HIERARCHY_EVENT") == {
        "accountId": ACCOUNT,
        "thingGroupId": ids[1],
        "thingGroupName": "middle",
        "childGroupId": lives.resource_id(leaf),
        "childGroupName": "leaf",
    }
    changed = thing_groups.update(leaf, eu.writer(), {DESCRIPTION: "less"}, {"a": "b"})
    eu.put(changed)
    event = only(eu.tell())[1]
    assert (event["operation"], event["versionNumber"]) == ("UPDATED", 2)
    assert (event["description"], event["attributes"]) == ("less", {"a": "b"})
    eu.put(thing_groups.delete(changed, eu.writer(2_000)))
    (topic, removed), (_, event) = said(eu.tell())
    assert topic.endswith("/middle/childThingGroup/leaf/removed")
    assert removed["thingGroupId"] == ids[1]
    assert (event["operation"], event["parentGroupName"]) == ("DELETED", "middle")
    assert event["timestamp"] == removed["timestamp"] == 2_000


def test_things_in_groups(eu):
    thing, group = a_thing(eu), a_group(eu, "fleet")
    eu.tell()
    held = eu.put(memberships.changed(Item(MEMBERSHIPS, "car"), eu.writer(), thing, [group]))
    topic, event = only(eu.tell())
    membership = event["membershipId"]
    assert topic == "$aws/events/thingGroupMembership/thingGroup/fleet/thing/car/added"
    assert without_common(event, "ADDED", "THING_GROUP_MEMBERSHIP_EVENT") == {
        "accountId": ACCOUNT,
        "groupArn": "arn:aws:iot:eu-west-1:123456789012:thinggroup/fleet",
        "groupId": lives.resource_id(group),
        "thingArn": "arn:aws:iot:eu-west-1:123456789012:thing/car",
        "thingId": lives.resource_id(thing),
        "membershipId": membership,
    }
    eu.put(memberships.changed(held, eu.writer(2_000), thing, remove=["fleet"]))
    topic, event = only(eu.tell())
    assert topic == "$aws/events/thingGroupMembership/thingGroup/fleet/thing/car/removed"
    assert (event["membershipId"], event["timestamp"]) == (membership, 2_000)


def test_a_thing_that_moves_leaves_first(eu):
    thing, *groups = a_thing(eu), a_group(eu, "z"), a_group(eu, "a")
    held = memberships.changed(Item(MEMBERSHIPS, "car"), eu.writer(), thing, groups[:1])
    eu.put(held)
    eu.tell()
    eu.put(memberships.changed(held, eu.writer(), thing, groups[1:], ["z"]))
    assert [event["operation"] for _, event in said(eu.tell())] == ["REMOVED", "ADDED"]


def test_what_comes_before_what_it_names_is_told_as_it_will_be(eu):
    thing, group = a_thing(eu), a_group(eu, "fleet", root := a_group(eu, "root"))
    eu.put(memberships.changed(Item(MEMBERSHIPS, "car"), eu.writer(), thing, [group]))
    # As in the log of a region in which both were changed again.
    eu.log = dict.fromkeys(reversed(eu.log))
    added, (_, child), *_ = said(eu.tell())
    assert added[1]["groupId"] == lives.resource_id(group)
    assert added[1]["thingId"] == lives.resource_id(thing)
    assert child["parentGroupId"] == lives.resource_id(root)


def test_groups_of_another_make_lead_nobody_round(eu):
    first = thing_groups.create(Item(THING_GROUP, "a"), eu.writer(), {}, {}, None)
    second = thing_groups.create(Item(THING_GROUP, "b"), eu.writer(), {}, {}, first)
    for made in (second, thing_groups.create(Item(THING_GROUP, "a"), eu.writer(), {}, {}, second)):
        eu.put(made)
    a_group(eu, "c", second)
    *_, (_, created), _ = said(eu.tell())
    assert [each["groupArn"][-1] for each in created["rootToParentThingGroups"]] == ["a", "b"]


def test_what_was_created_again_was_deleted_before(eu):
    item = a_thing(eu, first="1")
    eu.tell()
    again = things.put(registry.delete(item, eu.writer()), eu.writer(), {"second": "2"})
    eu.put(again)
    (_, deleted), (_, created) = said(eu.tell())
    assert (deleted["operation"], created["operation"]) == ("DELETED", "CREATED")
    assert (deleted["thingId"], created["thingId"]) == (
        lives.resource_id(item),
        lives.resource_id(again),
    )
    assert (deleted["versionNumber"], created["versionNumber"]) == (2, 3)
    assert (deleted["attributes"], created["attributes"]) == ({"first": "1"}, {"second": "2"})


def test_of_what_came_and_went_unseen_nothing_is_told(eu):
    eu.put(registry.delete(a_thing(eu), eu.writer()))
    assert eu.tell() == []


def test_what_is_told_again_is_the_same(eu):
    a_thing(eu)
    (first,) = eu.events.of(Item(THING, "car"), eu.get(THING, "car"), EVERYTHING)
    assert eu.tell() == [first]
    # Told already.
    assert eu.events.of(eu.get(THING, "car"), eu.get(THING, "car"), EVERYTHING) == []


def test_only_what_is_switched_on_is_told(eu):
    kind = eu.put(thing_types.put(Item(THING_TYPE, "car"), eu.writer(), {}))
    eu.put(things.put(Item(THING, "t"), eu.writer(), {}, {TYPE: kind}))
    wanted = frozenset({EventType.THING_TYPE_ASSOCIATION})
    assert only(eu.tell(wanted))[1]["operation"] == "ADDED"
    none = Item(EVENT_CONFIGURATIONS, ALL)
    assert enabled(none) == frozenset()
    chosen = {"THING_GROUP": True, "THING": False, "JOB": True}
    configurations = resource.put(none, eu.writer(), chosen, {})
    assert enabled(configurations) == {EventType.THING_GROUP}
    assert eu.events.of(none, configurations, EVERYTHING) == []


# Whose change it was


def test_who_made_a_change_tells_it_and_others_mark_it(eu, us):
    a_thing(us)
    us_topic, us_event = only(us.tell())
    eu.take(us)
    topic, event = only(eu.tell())
    assert topic == us_topic
    assert "replicated" not in us_event
    assert (event.pop("replicated"), event.pop("regions")) == (True, ["us"])
    assert event.pop("eventId") != us_event.pop("eventId")
    assert event == us_event
    a_thing(eu, colour="red")
    assert "replicated" not in only(eu.tell())[1]
    us.take(eu)
    assert only(us.tell())[1]["regions"] == ["eu"]


def test_a_merge_is_marked_unless_a_part_of_it_is_new_and_ours(eu, us):
    a_thing(eu)
    us.take(eu)
    a_thing(us, a="1")
    a_thing(eu, b="2")
    eu.take(us)
    # The version between has not been told.
    event = only(eu.tell())[1]
    assert (event["attributes"], "replicated" in event) == ({"a": "1", "b": "2"}, False)
    a_thing(eu, c="3")
    eu.tell()
    a_thing(us, d="4")
    eu.take(us)
    assert only(eu.tell())[1]["regions"] == ["us"]


def test_a_merge_of_several_regions_names_them(eu, us):
    ap = Region("ap")
    a_thing(us)
    ap.take(us)
    a_thing(ap, a="1")
    eu.take(ap)
    assert only(eu.tell())[1]["regions"] == ["ap", "us"]


def test_two_regions_that_create_a_thing_at_once_each_tell_theirs_and_then_the_merge(eu, us):
    for region in (eu, us):
        a_thing(region, **{region.name: "1"})
        assert "replicated" not in only(region.tell())[1]
    eu.take(us)
    us.take(eu)
    merged = [only(region.tell())[1] for region in (eu, us)]
    assert {each["operation"] for each in merged} == {"UPDATED"}
    assert [each["regions"] for each in merged] == [["us"], ["eu"]]
    assert merged[0]["thingId"] == merged[1]["thingId"]
    assert merged[0]["attributes"] == merged[1]["attributes"] == {"eu": "1", "us": "1"}


def test_a_group_that_regions_created_at_once_goes_by_the_id_of_its_earliest_life(eu, us):
    a_group(eu, "fleet")
    earlier = Writer(us.clock, 1)
    us.put(thing_groups.create(Item(THING_GROUP, "fleet"), earlier, {}, {}, None))
    eu.take(us)
    group, thing = eu.get(THING_GROUP, "fleet"), a_thing(eu)
    eu.put(memberships.changed(Item(MEMBERSHIPS, "car"), eu.writer(), thing, [group]))
    created, _, added = (event for _, event in said(eu.tell()))
    assert added["groupId"] == created["thingGroupId"] == lives.resource_id(group)


# That it adds up

NAMES = ("a", "b")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(REGIONS),
        st.sampled_from(["create", "create", "delete", "change", "refer", "take", "take"]),
        st.sampled_from([THING, THING_TYPE, THING_GROUP, MEMBERSHIPS]),
        st.sampled_from(NAMES),
        st.none() | st.sampled_from(NAMES),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=60,
)


class Listener:
    """Somebody who believes what one region tells."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.versions: dict[str, int] = {}
        self.there: dict[str, Event] = {}
        self.bonds: set[str] = set()

    def hear(self, message: Message) -> None:
        of, _, operation = message.topic.rpartition("/")
        event = json.loads(message.payload)
        assert event["eventId"] == message.id
        assert message.id not in self.ids
        self.ids.add(message.id)
        assert event["operation"].lower() == operation
        match event["operation"]:
            case "CREATED":
                assert of not in self.there
            case "UPDATED" | "DELETED":
                assert of in self.there
            case "ADDED":
                assert of not in self.bonds
                self.bonds.add(of)
                return
            case "REMOVED":
                self.bonds.remove(of)
                return
        version = event.get("versionNumber")
        if version is not None:
            assert version > self.versions.get(of, 0)
            self.versions[of] = version
        self.there[of] = event
        if event["operation"] == "DELETED":
            del self.there[of]


class World:
    """Regions that write at once, merge, and tell when they get to it."""

    def __init__(self) -> None:
        self.regions = {name: Region(name) for name in REGIONS}
        self.listeners = {name: Listener() for name in REGIONS}

    def tell(self, name: str) -> None:
        for message in self.regions[name].tell():
            self.listeners[name].hear(message)

    def step(self, name, what, kind, key, other, number, tells):
        region = self.regions[name]
        if what == "take":
            region.take(self.regions[REGIONS[number]])
        else:
            made = _made(region, what, kind, key, other, number)
            if made is not None:
                region.put(made)
        if tells:
            self.tell(name)


def _made(region, what, kind, key, other, number) -> Item | None:
    item, writer = region.get(kind, key), region.writer(number)
    if kind == MEMBERSHIPS:
        return _moved(region, item, writer, what, other)
    if what == "delete":
        delete = thing_groups.delete if kind == THING_GROUP else registry.delete
        return delete(item, writer) if item.lives else None
    if kind == THING_GROUP:
        if item.lives:
            return thing_groups.update(item, writer, {}, {"value": str(number)})
        parent = region.get(THING_GROUP, other) if other not in (None, key) else None
        if parent is not None and not parent.lives:
            return None
        return thing_groups.create(item, writer, {}, {}, parent)
    if not item.lives and what != "create":
        return None
    if kind == THING_TYPE:
        return thing_types.put(item, writer, {"thingTypeDescription": str(number)})
    kind_of = region.get(THING_TYPE, other) if other else None
    refers = {TYPE: kind_of} if what == "refer" and (not kind_of or kind_of.lives) else None
    return things.put(item, writer, {"value": str(number)}, refers)


def _moved(region, item, writer, what, group) -> Item | None:
    thing = region.get(THING, item.key)
    if what == "delete" and group is not None:
        return memberships.changed(item, writer, thing, remove=[group])
    held = region.get(THING_GROUP, group or "")
    if not thing.lives or not held.lives:
        return memberships.left(item, writer, thing)
    return memberships.changed(item, writer, thing, [held])


def adds_up(region: Region, listener: Listener) -> None:
    """Raise where somebody who believed all believes anything else than the region has."""
    there, bonds = {}, set()
    for (kind, key), item in region.held.items():
        if kind == MEMBERSHIPS:
            groups = memberships.ends(item)
            bonds |= {f"thingGroupMembership/thingGroup/{name}/thing/{key}" for name in groups}
        elif item.lives:
            there[kind, key] = lives.resource_id(item)
            if kind == THING and (named := things.reference(item, TYPE)):
                bonds.add(f"thingTypeAssociation/thing/{key}/thingType/{named.name}")
            if kind == THING_GROUP and (parent := thing_groups.parent(item)):
                of = f"thingGroupHierarchy/thingGroup/{parent.name}/childThingGroup/{key}"
                bonds.add(of)
    assert listener.bonds == {f"$aws/events/{each}" for each in bonds}
    names = {THING: "thing", THING_TYPE: "thingType", THING_GROUP: "thingGroup"}
    heard = listener.there
    assert heard.keys() == {f"$aws/events/{names[kind]}/{key}" for kind, key in there}
    for (kind, key), known_by in there.items():
        event, item = heard[f"$aws/events/{names[kind]}/{key}"], region.get(kind, key)
        if kind == THING_TYPE:
            # Of a merge that changes nothing else nothing is told.
            assert event["description"] == item.register("thingTypeDescription")
        else:
            assert event[f"{names[kind]}Id"] == known_by
            assert event["versionNumber"] == item.version
        if kind == THING:
            assert event["attributes"] == registry.attributes(item)


@given(STEPS)
@settings(max_examples=400, deadline=None)
def test_whoever_believes_all_that_a_region_tells_knows_what_it_has(steps):
    world = World()
    for step in steps:
        world.step(*step)
    for name, region in world.regions.items():
        world.tell(name)
        adds_up(region, world.listeners[name])
    for _ in REGIONS:
        for region in world.regions.values():
            for other in world.regions.values():
                region.take(other)
    for name, region in world.regions.items():
        world.tell(name)
        adds_up(region, world.listeners[name])
    # And all know the same, by events of which no two have one id.
    first, *others = world.listeners.values()
    assert all(each.bonds == first.bonds for each in others)
    assert all(each.there.keys() == first.there.keys() for each in others)
    assert len(set[str]().union(*(each.ids for each in world.listeners.values()))) == sum(
        len(each.ids) for each in world.listeners.values()
    )


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_a_change_is_told_without_a_mark_where_it_was_made_and_nowhere_else(steps):
    world = World()
    for region, what, *rest, _ in steps:
        before = {name: dict(each.held) for name, each in world.regions.items()}
        world.step(region, what, *rest, False)
        for name, each in world.regions.items():
            has_written = what != "take" and before[name] != each.held
            for _, event in said(each.tell()):
                assert ("replicated" not in event) == has_written
                assert name not in event.get("regions", [])
