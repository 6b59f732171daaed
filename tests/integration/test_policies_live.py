"""What a real gateway lets real clients do is what the oracle says of their policies."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from mqtt_wire import Wire
from policy_oracle import Client, Oracle
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.adapters.nats import connection
from isthmus.bench.migrated import write
from isthmus.core import memberships, policies, registry, thing_groups
from isthmus.core.item import Item
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, POLICY, POLICY_VERSION, THING, Writer
from isthmus.core.stamp import StampClock
from isthmus.core.thing_groups import THING_GROUP
from isthmus.local import bring_up
from isthmus.local.bring_up import ACCOUNT
from isthmus.wire import mqtt3, packets

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

DEVICES = 16
TOPICS = ("t/a", "t/b", "t/x1", "t/x2", "s/a")
FILTERS = ("t/a", "t/+", "t/#", "s/a")
WILL = "t/a"
NAMES = (
    "${iot:ClientId}",
    "${iot:Connection.Thing.ThingName}",
    "${iot:Certificate.Subject.CommonName}",
)
PLACES = (
    *("t/*", "t/a", "t/?", "s/*", "*", "t/b", "t/#", "t/+", "${iot:Certificate.Subject.Title}/*"),
    *("t/${iot:Connection.Thing.Attributes[x]}", "t/x2"),
)
CONDITIONS: tuple[dict[str, Any], ...] = (
    {"Bool": {"iot:Connection.Thing.IsAttached": "true"}},
    {"StringEquals": {"iot:Connection.Thing.Attributes[x]": "x1"}},
    {"StringNotEquals": {"iot:Connection.Thing.Attributes[x]": "x1"}},
    {"StringLike": {"iot:Certificate.Subject.CommonName": "random-*"}},
    {"ForAllValues:StringEquals": {"iot:ConnectAttributes": ["PersistentConnect"]}},
    {"ForAnyValue:StringEquals": {"iot:ConnectAttributes": ["LastWill"]}},
    {"ArnLike": {"iot:LastWillTopic": f"arn:aws:iot:us-*:{ACCOUNT}:topic/t/*"}},
    {"Null": {"iot:Certificate.Subject.Title": "true"}},
    {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), aws_api=False) as started:
        yield started


def statement(chance: random.Random, actions: list[str], kind: str, places: list[str]) -> Any:
    region = chance.choice(["*", HOME, OTHER, OTHER, "mars"])
    resources = [f"arn:aws:iot:{region}:{ACCOUNT}:{kind}/{each}" for each in places]
    found = {
        "Effect": chance.choice(["Allow", "Allow", "Allow", "Deny"]),
        "Action": actions,
        "Resource": chance.choice([resources, resources, "*"]),
    }
    return found | ({"Condition": chance.choice(CONDITIONS)} if chance.random() < 0.4 else {})


def document(chance: random.Random) -> str:
    """About connecting, publishing, subscribing and receiving, in some way or other."""

    def places() -> list[str]:
        return chance.sample(PLACES, chance.randint(1, 3))

    statements = [
        statement(
            chance, ["iot:Connect"], "client", [chance.choice([*NAMES, "random-*", "other"])]
        ),
        statement(chance, ["iot:Publish"], "topic", places()),
        statement(chance, ["iot:Subscribe"], "topicfilter", places()),
        statement(chance, chance.choice([["iot:Receive"], ["iot:*"]]), "topic", places()),
    ]
    chosen = chance.sample(statements, chance.randint(2, 4))
    return json.dumps({"Version": "2012-10-17", "Statement": chosen})


async def register(regions: Regions, name: str, x: str, documents: list[str]) -> Client:
    entry = bring_up.device(regions.system, name, {"x": x})
    given = [
        {"name": f"{name}-{number}", "document": each} for number, each in enumerate(documents)
    ]
    entry["policies"] = [each["name"] for each in given]
    await regions.operator.register(HOME, [entry], given)
    return Client(
        client_id=name,
        address=regions.place(HOME)[0],
        certificate_id=regions.identity(name).certificate_id,
        thing=name,
        attributes={"x": x},
        names={"Subject.CommonName": [name]},
    )


def allow(action: str, resource: str) -> Any:
    on = "*" if resource == "*" else f"arn:aws:iot:*:{ACCOUNT}:{resource}"
    return {"Effect": "Allow", "Action": action, "Resource": on}


def as_document(*statements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


async def put(regions: Regions, *items: Item) -> None:
    """Write items into the first region's log, as another release or another region has."""
    access = regions.system.nats_access(HOME, "services")
    client = await connection.connect(access, name="services")
    try:
        await write(client, iter(items), lambda _: None)
    finally:
        await client.close()


class Asked:
    """A device, its policies, and what the oracle says that it may."""

    def __init__(self, regions: Regions, client: Client, documents: list[str]) -> None:
        self.regions, self.client, self.documents = regions, client, documents
        self.outcomes: set[tuple[str, bool]] = set()

    def may(self, action: str, suffix: str, client: Client | None = None) -> bool:
        regions = regions_of(self.regions)
        attached = [([each], False) for each in self.documents]
        oracle = Oracle(ACCOUNT, regions, client or self.client)
        allowed = oracle.allows(attached, action, suffix)
        self.outcomes.add((action, allowed))
        return allowed

    def may_connect(self, *, clean: bool, will: bool) -> bool:
        client = replace(self.client, is_persistent=not clean, will=WILL if will else None)
        allowed = self.may("iot:Connect", f"client/{client.client_id}", client)
        return allowed and (not will or self.may("iot:Publish", f"topic/{WILL}", client))


def regions_of(regions: Regions) -> set[str]:
    return set(regions.config(HOME).arn_regions)


async def check_connects(asked: Asked) -> bool:
    """Every way to connect; whether the plain one may."""
    name = asked.client.client_id
    for clean, will in ((False, False), (True, True), (True, False)):
        given = packets.Will(WILL, b"gone") if will else None
        async with asked.regions.wire(HOME, name) as wire:
            code = await wire.connect(name, clean_session=clean, will=given)
            allowed = asked.may_connect(clean=clean, will=will)
            assert (code == 0) is allowed, (asked.documents, clean, will)
            if code == 0:
                # Leaves no will.
                wire.send(mqtt3.Disconnect())
                assert await wire.closed() == []
    return allowed


async def check_messages(asked: Asked, talker: Wire, observer: Wire) -> None:
    name = asked.client.client_id
    async with asked.regions.wire(HOME, name) as wire:
        assert await wire.connect(name) == 0
        granted = await wire.subscribe(*FILTERS)
        wanted = tuple(
            0 if asked.may("iot:Subscribe", f"topicfilter/{f}") else 0x80 for f in FILTERS
        )
        assert granted == wanted, asked.documents
        for topic in (*TOPICS, "marker"):
            talker.send(mqtt3.Publish(topic, name.encode()))
        # A gateway gives everybody a message before it turns to the next one.
        while (await observer.expect(mqtt3.Publish)).topic != "marker":
            pass
        heard = {each.topic for each in await wire.ping() if isinstance(each, mqtt3.Publish)}
        subscribed = [f for f, code in zip(FILTERS, granted, strict=True) if code == 0]
        assert heard == {
            topic
            for topic in TOPICS
            if any(matches(each, topic) for each in subscribed)
            and asked.may("iot:Receive", f"topic/{topic}")
        }, asked.documents
    allowed = [each for each in TOPICS if asked.may("iot:Publish", f"topic/{each}")]
    async with asked.regions.wire(HOME, name) as wire:
        assert await wire.connect(name) == 0
        for topic in allowed:
            await wire.publish(topic)
        for topic in sorted(set(TOPICS) - set(allowed))[:1]:
            wire.send(mqtt3.Publish(topic, b"x", 1, packet_id=9))
            assert await wire.closed() == [], asked.documents


def matches(topic_filter: str, topic: str) -> bool:
    one, other = topic_filter.split("/"), topic.split("/")
    return all(a in ("+", "#", b) for a, b in zip(one, other, strict=True))


async def test_random_policies_mean_to_clients_what_the_oracle_says(regions: Regions) -> None:
    chance = random.Random(7)
    talker_name = await regions.who_may("talks-to-random", "iot:*")
    observer_name = await regions.who_may("observes-random", "iot:*")
    outcomes: set[tuple[str, bool]] = set()
    async with (
        regions.client(HOME, talker_name) as talker,
        regions.client(HOME, observer_name) as observer,
    ):
        assert await observer.subscribe("marker") == (0,)
        for number in range(DEVICES):
            documents = [document(chance) for _ in range(chance.randint(1, 3))]
            name, x = f"random-{number}", chance.choice(["x1", "x2", "a*"])
            asked = Asked(regions, await register(regions, name, x, documents), documents)
            if await check_connects(asked):
                await check_messages(asked, talker, observer)
            outcomes |= asked.outcomes
    # It would prove little if everything were allowed, or nothing.
    actions = ("iot:Connect", "iot:Publish", "iot:Subscribe", "iot:Receive")
    assert outcomes == {(action, allowed) for action in actions for allowed in (True, False)}


async def test_a_document_of_another_release_denies_everything(regions: Regions) -> None:
    name = await regions.who_may("has-a-later-policy", "iot:*")
    principal = await regions.item(HOME, CERTIFICATE, regions.identity(name).certificate_id)
    later = '{"Version":"2031-01-01","Statement":[]}'
    writer = Writer(StampClock(HOME, "later"), 1)
    key = policies.version_key("later", 1, later)
    version = policies.put_version(Item(POLICY_VERSION, key), writer, later)
    policy = policies.put(Item(POLICY, "later"), writer, key)
    text = registry.attachment_key("policy:later", principal.key)
    attached = registry.attach(Item(ATTACHMENT, text), writer, policy, principal)
    async with regions.client(HOME, name) as wire:
        await wire.publish("any/topic")
        await put(regions, version, policy, attached)
        assert await wire.closed() == []
    assert not await regions.admitted(HOME, name)

    async def nobody_elsewhere() -> bool:
        return not await regions.admitted(OTHER, name)

    await until("the other region has it too", nobody_elsewhere)


async def test_a_change_of_a_thing_or_its_groups_holds_for_who_is_connected(
    regions: Regions,
) -> None:
    name, own = "changes", "${iot:Connection.Thing.Attributes[x]}"
    of_thing = allow("iot:Connect", "*"), allow("iot:Subscribe", f"topicfilter/own/{own}")
    await register(regions, name, "x1", [as_document(*of_thing)])
    writer = Writer(StampClock(HOME, "groups"), 1)
    text = as_document(allow("iot:Subscribe", "topicfilter/group/topic"))
    key = policies.version_key("of-group", 1, text)
    version = policies.put_version(Item(POLICY_VERSION, key), writer, text)
    policy = policies.put(Item(POLICY, "of-group"), writer, key)
    group = thing_groups.create(Item(THING_GROUP, "changing"), writer, {}, {}, None)
    attachment = registry.attachment_key(
        "policy:of-group", registry.principal_text(THING_GROUP, group.key)
    )
    attached = registry.attach(Item(ATTACHMENT, attachment), writer, policy, group)
    thing = await regions.item(HOME, THING, name)
    member = memberships.changed(Item(MEMBERSHIPS, name), writer, thing, add=[group])
    left = memberships.changed(member, writer, thing, remove=[group.key])
    async with regions.client(HOME, name) as wire:

        async def until_may(*wanted: bool) -> None:
            async def may() -> bool:
                codes = await wire.subscribe("own/x1", "own/x2", "group/topic")
                return tuple(code == 0 for code in codes) == wanted

            await until(f"it may subscribe {wanted}", may)

        await until_may(True, False, False)
        device = bring_up.device(regions.system, name, {"x": "x2"}, f"{name}-0")
        await regions.operator.register(HOME, [device], [])
        await until_may(False, True, False)
        await put(regions, version, policy, group, attached, member)
        await until_may(False, True, True)
        await put(regions, left)
        await until_may(False, True, False)
