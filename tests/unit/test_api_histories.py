"""Regions are asked at random, merge at random, and answer as a naive account says they must."""

from __future__ import annotations

import asyncio
import json

import pytest
from aws_histories import Account, Done
from aws_inputs import request_of
from aws_region import AwsRegion
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.aws import models
from isthmus.core import item as items
from isthmus.core import registry
from isthmus.core.item import Item

IOT = models.service("iot")
#: What passes takes seconds; a history that fails is made short before it is shown.
SHRINKING_S = 400
REGIONS = ("eu-west-1", "us-east-1", "us-east-2")
THINGS, TYPES, BILLING, GROUPS = ("t", "t:u"), ("p", "q"), ("b",), ("g", "h", "i")
CERTIFICATES = ("c" * 64, "d" * 64)
KINDS = {"type": "thing-type", "billing": "billing-group"}
STEPS = st.lists(
    st.tuples(
        st.sampled_from([*REGIONS[:1] * 3, *REGIONS[1:]]),
        st.sampled_from(
            [
                *("create-thing", "create-thing", "delete-thing", "merge-attribute"),
                *("replace-attributes", "set-type", "remove-type", "bill", "remove-bill"),
                *("create-type", "delete-type", "create-billing", "delete-billing"),
                *("create-group", "create-group", "delete-group", "join", "join", "leave"),
                *("attach", "detach", "takes", "takes", "takes"),
            ]
        ),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    max_size=40,
)


class Region:
    """A region, and the account of what it has seen."""

    def __init__(self, name: str) -> None:
        self.real = AwsRegion(name)
        self.account = Account()

    def ask(self, operation, **parameters):
        """What is answered; None where that is an error of the client's."""
        response = self.real.answer("iot", request_of(IOT.operations[operation], parameters))
        assert response.status < 500
        return json.loads(response.body or "{}") if response.status == 200 else None

    def paged(self, operation, key, size=1, **parameters):
        found = []
        while True:
            page = self.ask(operation, maxResults=size, **parameters)
            if page is None:
                return None
            found += page[key]
            if "nextToken" not in page:
                return found
            parameters["nextToken"] = page["nextToken"]

    def note(self, at, what="write", **values):
        done = Done(at, self.real.now_ms, self.account.seen, what, values)
        self.account = Account(self.account.seen | {done})

    def take(self, other: Region):
        async def merged():
            for at in list(other.real.store.view.digests()):
                await self.real.store.merge(other.real.store.get(*at.split("/", 1)))

        asyncio.run(merged())
        self.account = Account(self.account.seen | other.account.seen)

    def write(self, kind, key, change):
        async def written():
            writer = registry.Writer(self.real.clock, self.real.now_ms)
            await self.real.store.update(kind, key, lambda item: change(item, writer))

        asyncio.run(written())


class World:
    def __init__(self) -> None:
        self.regions = {name: Region(name) for name in REGIONS}
        self.now_ms = 1_000
        first = self.regions[REGIONS[0]]
        first.real.now_ms = self.now_ms
        for each in CERTIFICATES:
            first.write("certificate", each, _registered)
            first.note(("certificate", each), "create")
        # So that what follows has something to be about.
        for what in ("create-type", "create-billing", "create-thing", "create-group"):
            self.step(REGIONS[0], what, 0, 1)
        for other in REGIONS[1:]:
            self.regions[other].take(first)

    def step(self, name, what, one, two):
        region = self.regions[name]
        self.now_ms += 10
        region.real.now_ms = self.now_ms
        if what == "takes":
            region.take(self.regions[REGIONS[one]])
        elif what.endswith(("group", "join", "leave")):
            _grouping(region, what, GROUPS[one], THINGS[one % 2], GROUPS[two])
        elif what in ("attach", "detach"):
            _attaching(region, what, THINGS[one % 2], CERTIFICATES[two % 2])
        elif what.endswith(("e-type", "e-billing")) and what != "remove-type":
            _kinds(region, what, one)
        else:
            _things(region, what, THINGS[one % 2], str(two))

    def exchange(self):
        for _ in range(2):
            for region in self.regions.values():
                for other in self.regions.values():
                    region.take(other)


def _registered(item, writer):
    return registry.register_certificate(item, writer, "pem", active=True)


def _kinds(region, what, one):
    verb, kind = what.split("-")
    name = {"type": TYPES[one % 2], "billing": BILLING[0]}[kind]
    at, is_there = (kind, name), bool(region.account.lives((kind, name)))
    if verb == "create":
        operation, member = {
            "type": ("CreateThingType", "thingTypeName"),
            "billing": ("CreateBillingGroup", "billingGroupName"),
        }[kind]
        assert region.ask(operation, **{member: name}) is not None
        if not is_there:
            region.note(at, "create")
    elif is_there:
        # As if no region had things of it, or had waited.
        region.write(KINDS[kind], name, registry.delete)
        region.note(at, "delete")


def _things(region, what, thing, value):
    account, at = region.account, ("thing", thing)
    held, more, changes = account.attributes(thing), {}, {}
    if what == "create-thing":
        given = {"x": value}
        fields = {"type": ("p", "thingTypeName"), "billing": ("b", "billingGroupName")}
        for kind, (name, member) in fields.items():
            if account.lives((kind, name)) and value == "1":
                more[member] = name
                changes[kind] = account.named((kind, name))
        answer = region.ask(
            "CreateThing", thingName=thing, attributePayload={"attributes": given}, **more
        )
        if account.lives(at):
            found = account.registers(at)
            same = {"a:x": value} | {kind: named.at[1] for kind, named in changes.items()}
            assert (answer is not None) == (found == same)
        else:
            region.note(at, "create", **{"a:x": value}, **changes)
    elif what == "delete-thing":
        if region.ask("DeleteThing", thingName=thing) is not None:
            if account.lives(at):
                region.note(at, "delete")
            left = [name for name in GROUPS if account.entries(("memberships", thing), name)]
            if left:
                region.note(("memberships", thing), **dict.fromkeys(left))
        else:
            assert any(account.is_attached(thing, each) for each in CERTIFICATES)
    elif what.endswith(("attribute", "attributes")):
        merge = what.startswith("merge")
        given = {"y": value} if value != "0" else {"x": ""}
        payload = {"attributes": given, "merge": merge}
        wanted = {k: v for k, v in (held | given if merge else given).items() if v}
        changes = {f"a:{name}": wanted.get(name) for name in held.keys() | wanted}
        changes = {k: v for k, v in changes.items() if held.get(k[2:]) != v}
        if region.ask("UpdateThing", thingName=thing, attributePayload=payload) is not None:
            if changes:
                region.note(at, **changes)
        else:
            assert not account.lives(at)
    else:
        _referring(region, what, thing, value)


def _referring(region, what, thing, value):
    account, at = region.account, ("thing", thing)
    kind = "type" if what.endswith("type") else "billing"
    name = TYPES[int(value) % 2] if kind == "type" else BILLING[0]
    present = account.registers(at).get(kind)
    if what == "remove-type":
        answer = region.ask("UpdateThing", thingName=thing, removeThingType=True)
        values = {kind: None}
        # Not to be had from the registers' values: a void reference is removed too.
        changes = _latest(account, at, kind) is not None
    elif what == "remove-bill":
        answer = region.ask("RemoveThingFromBillingGroup", thingName=thing, billingGroupName=name)
        values, changes = {kind: None}, present == name
    elif what == "set-type":
        answer = region.ask("UpdateThing", thingName=thing, thingTypeName=name)
        values, changes = {kind: account.named((kind, name))}, present != name
    else:
        answer = region.ask("AddThingToBillingGroup", thingName=thing, billingGroupName=name)
        values, changes = {kind: account.named((kind, name))}, present != name
    if answer is not None and changes:
        region.note(at, **values)
    is_there = account.lives(at) and (what == "remove-type" or account.lives((kind, name)))
    assert (answer is not None) == bool(is_there)


def _latest(account, at, name):
    alive = account.lives(at)
    start = min((each.time for each in alive), default=0)
    writes = [each for each in account.here(at) if name in each.values and each.time >= start]
    return max(writes, key=lambda each: each.time).values[name] if alive and writes else None


def _grouping(region, what, group, thing, other):
    account, at = region.account, ("group", group)
    if what == "create-group":
        more = {"parentGroupName": other} if other != group else {}
        answer = region.ask("CreateThingGroup", thingGroupName=group, **more)
        if answer is not None and not account.lives(at):
            values = {"parent": account.named(("group", other))} if more else {}
            region.note(at, "create", **values)
    elif what == "delete-group":
        if region.ask("DeleteThingGroup", thingGroupName=group) is not None and account.lives(at):
            region.note(at, "delete")
    else:
        _joining(region, what, other, thing)


def _joining(region, what, group, thing):
    account, at = region.account, ("memberships", thing)
    names = {"thingName": thing, "thingGroupName": group}
    if what == "join":
        answer = region.ask("AddThingToThingGroup", **names)
        ends = (account.named(("thing", thing)), account.named(("group", group)))
        if answer is not None and not account.is_member(thing, group):
            region.note(at, **{group: ends})
    else:
        answer = region.ask("RemoveThingFromThingGroup", **names)
        if answer is not None and account.entries(at, group):
            region.note(at, **{group: None})


def _attaching(region, what, thing, certificate):
    account, at = region.account, ("attachment", f"{thing} {certificate}")
    parameters = {"thingName": thing, "principal": _arn(region, certificate)}
    ends = (account.named(("thing", thing)), account.named(("certificate", certificate)))
    if what == "attach":
        answer = region.ask("AttachThingPrincipal", **parameters)
        if answer is not None and not account.is_attached(thing, certificate):
            region.note(at, ends=ends)
    else:
        answer = region.ask("DetachThingPrincipal", **parameters)
        if answer is not None and account.entries(at, "ends"):
            region.note(at, ends=None)
    assert (answer is not None) == bool(account.lives(("thing", thing)))


def _arn(region, certificate):
    return f"arn:aws:iot:{REGIONS[0]}:123456789012:cert/{certificate}"


# What must be answered


def check(region):
    _check_things(region)
    _check_lists_of_things(region)
    _check_groups(region)
    _check_principals(region)


def _check_things(region):
    for thing in THINGS:
        answer = region.ask("DescribeThing", thingName=thing)
        at = ("thing", thing)
        assert (answer is not None) == bool(region.account.lives(at))
        if answer is not None:
            found = region.account.registers(at)
            assert answer["attributes"] == region.account.attributes(thing)
            assert answer.get("thingTypeName") == found.get("type")
            assert answer.get("billingGroupName") == found.get("billing")


def _check_lists_of_things(region):
    account = region.account
    alive = [thing for thing in THINGS if account.lives(("thing", thing))]

    def listed(**parameters):
        return [each["thingName"] for each in region.paged("ListThings", "things", **parameters)]

    assert listed() == alive
    for name in TYPES:
        of_type = [t for t in alive if account.registers(("thing", t)).get("type") == name]
        assert listed(thingTypeName=name) == of_type
        by_both = [thing for thing in of_type if account.attributes(thing).get("x") == "1"]
        assert listed(thingTypeName=name, attributeName="x", attributeValue="1") == by_both
    for name in BILLING:
        found = region.paged("ListThingsInBillingGroup", "things", billingGroupName=name)
        billed = [t for t in alive if account.registers(("thing", t)).get("billing") == name]
        assert found == (billed if account.lives(("billing", name)) else None)
    for name in ("x", "y"):
        having = [(account.attributes(t)[name], t) for t in alive if name in account.attributes(t)]
        assert listed(attributeName=name) == [thing for _, thing in sorted(having)]
        exact = [thing for value, thing in sorted(having) if value == "1"]
        assert listed(attributeName=name, attributeValue="1") == exact


def _check_groups(region):
    account = region.account
    alive = [group for group in GROUPS if account.lives(("group", group))]
    above = {group: account.above(group) for group in alive}
    names = [each["groupName"] for each in region.paged("ListThingGroups", "thingGroups")]
    assert names == alive
    for group in alive:
        found = region.ask("DescribeThingGroup", thingGroupName=group)["thingGroupMetadata"]
        assert [each["groupName"] for each in found["rootToParentThingGroups"]] == above[group]
        below = [other for other in alive if group in above[other]]
        order = sorted(below, key=lambda other: [*above[other], other])
        found = region.paged("ListThingGroups", "thingGroups", parentGroup=group)
        assert [each["groupName"] for each in found] == order
        found = region.paged("ListThingGroups", "thingGroups", parentGroup=group, recursive=False)
        children = [other for other in alive if above[other][-1:] == [group]]
        assert [each["groupName"] for each in found] == children
        things = [thing for thing in THINGS if account.is_member(thing, group)]
        asked = ("ListThingsInThingGroup", "things")
        assert region.paged(*asked, thingGroupName=group) == things
        found = region.paged(*asked, thingGroupName=group, recursive=True)
        within = {t for t in THINGS for each in [group, *below] if account.is_member(t, each)}
        assert sorted(found) == sorted(within)
    for thing in THINGS:
        found = region.paged("ListThingGroupsForThing", "thingGroups", thingName=thing)
        member = [group for group in alive if account.is_member(thing, group)]
        is_there = bool(account.lives(("thing", thing)))
        names = None if found is None else [each["groupName"] for each in found]
        assert names == (member if is_there else None)


def _check_principals(region):
    account = region.account
    for thing in THINGS:
        if account.lives(("thing", thing)):
            found = region.paged("ListThingPrincipals", "principals", thingName=thing)
            attached = [each for each in CERTIFICATES if account.is_attached(thing, each)]
            assert [each.rsplit("/")[1] for each in found] == attached
    for certificate in CERTIFICATES:
        found = region.paged("ListPrincipalThings", "things", principal=_arn(region, certificate))
        assert found == [each for each in THINGS if account.is_attached(each, certificate)]
        assert set(region.real.store.view.things(certificate)) == set(found)


@pytest.mark.timeout(SHRINKING_S)
@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_every_region_answers_as_the_naive_account_says(steps):
    world = World()
    for step in steps:
        world.step(*step)
    for region in world.regions.values():
        check(region)
    world.exchange()
    for region in world.regions.values():
        check(region)
    assert len({region.real.store.view.digest for region in world.regions.values()}) == 1


@pytest.mark.timeout(SHRINKING_S)
@given(STEPS, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_joined_in_any_order_items_have_the_same_bytes(steps, chance):
    world = World()
    for step in steps:
        world.step(*step)
    stores = [region.real.store for region in world.regions.values()]
    for at in {at for store in stores for at in store.view.digests()}:
        kind, key = at.split("/", 1)
        versions = [store.get(kind, key) for store in stores]
        made = set()
        for _ in range(4):
            chance.shuffle(versions)
            joined = Item(kind, key)
            for each in [*versions, chance.choice(versions)]:
                joined = items.join(joined, each)
            made.add(joined.encode())
        assert len(made) == 1
        assert items.decode(next(iter(made))) == joined
