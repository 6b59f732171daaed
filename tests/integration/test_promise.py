"""No answer before its promise is kept, whatever stops, dies or fills up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.config import TopicDurability
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: What cannot be promised is given up sooner than by default: who waits for it reconnects.
PROMISE_S = 3.0
#: By the last level of a topic.
DURABILITY = (
    TopicDurability(topics="+/+/memory", durability="memory"),
    TopicDurability(topics="+/+/here", durability="region"),
    TopicDurability(topics="+/+/never-alone", durability="two-regions", alone="refuse"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    directory = tmp_path_factory.mktemp("regions")
    changes = {"promise_timeout_s": PROMISE_S, "durability": DURABILITY}
    async with two_regions(directory, aws_api=False, **changes) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    """Regions that would go on alone only long after a test is over."""
    directory = tmp_path_factory.mktemp("patient")
    changes = {"alone_after_s": 30.0, "durability": DURABILITY}
    async with two_regions(directory, cuttable=True, aws_api=False, **changes) as started:
        yield started


@pytest.mark.parametrize("outage", ["stopped", "cut off"])
async def test_nothing_is_acknowledged_while_the_other_region_is_silent(
    patient: Regions, outage: str
) -> None:
    name = await patient.device(f"waits-{outage.split()[0]}")
    topic = patient.topic(name)
    async with patient.client(HOME, name) as wire:
        assert await wire.subscribe(topic) == (0,)
        if outage == "stopped":
            patient.signal(OTHER, "services", signal.SIGSTOP)
        else:
            await patient.system.cut()
        try:
            wire.send(*(mqtt3.Publish(topic, b"%d" % n, 1, packet_id=n) for n in range(1, 21)))
            # The gateway delivers what its own stream has, and would acknowledge right behind.
            stored = [await wire.expect(mqtt3.Publish) for _ in range(20)]
            said = await wire.ping()
        finally:
            if outage == "stopped":
                patient.signal(OTHER, "services", signal.SIGCONT)
            else:
                await patient.system.heal()
        answers = [await wire.expect(mqtt3.Puback) for _ in range(20)]

    assert [each.payload for each in stored] == [b"%d" % n for n in range(1, 21)]
    assert said == []
    assert [each.packet_id for each in answers] == list(range(1, 21))
    assert (await patient.status(HOME))["alone_epoch"] == 0


async def test_a_topic_may_need_less_than_two_regions(patient: Regions) -> None:
    name = await patient.device("needs-less")
    async with patient.client(HOME, name) as wire:
        await patient.system.cut()
        try:
            for number, last in enumerate(("memory", "here"), 1):
                await wire.publish(patient.topic(name, last), b"%d" % number, number)
            wire.send(mqtt3.Publish(patient.topic(name, "never-alone"), b"3", 1, packet_id=3))
            assert await wire.ping() == []
        finally:
            await patient.system.heal()
        assert (await wire.expect(mqtt3.Puback)).packet_id == 3
    for region in (HOME, OTHER):
        # What was acknowledged from memory is stored like the rest.
        await patient.in_lake_as(region, name, ["1", "2", "3"])


async def test_a_topic_may_refuse_to_be_alone(regions: Regions) -> None:
    await regions.together()
    name = await regions.device("will-not-be-alone")
    await regions.kill(OTHER)
    try:
        await regions.alone(HOME)
        async with regions.client(HOME, name) as wire:
            await wire.publish(regions.topic(name), b"alone")
            wire.send(mqtt3.Publish(regions.topic(name, "never-alone"), b"x", 1, packet_id=2))
            # No answer, and after the time that a promise may take the end.
            assert await wire.closed() == []
    finally:
        await regions.system.start(OTHER)
        await regions.together()
    async with regions.client(HOME, name) as wire:
        await wire.publish(regions.topic(name, "never-alone"), b"together")


async def test_an_api_write_is_not_answered_while_the_other_region_is_silent(
    patient: Regions,
) -> None:
    before = await patient.level()
    await patient.system.cut()
    writing = asyncio.create_task(patient.register(["waits-for-the-api"]))
    try:

        async def stored_here() -> bool:
            return len(await patient.operator.digests(HOME)) > len(before)

        await until("the home region has the write", stored_here)
        assert not writing.done()
    finally:
        await patient.system.heal()

    assert (await writing)["confirmed_by"] == [OTHER]


async def test_a_full_bus_stops_acknowledgements_and_drops_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("full")
    async with two_regions(directory, bus_max_bytes=400_000, promise_timeout_s=2.0) as regions:
        name = await regions.device("talks-too-much")
        topic, acked = regions.topic(name), []
        async with regions.client(HOME, name) as wire:
            for number in range(1, 200):
                payload = b'{"seq":%d,"pad":"%s"}' % (number, b"x" * 16_000)
                wire.send(mqtt3.Publish(topic, payload, 1, packet_id=number))
                answer = await wire.next()
                if answer is None:
                    break
                assert isinstance(answer, mqtt3.Puback)
                acked.append(answer.packet_id)
        assert 5 < len(acked) < 60
        async with regions.client(HOME, name) as wire:
            wire.send(mqtt3.Publish(topic, b"x" * 20_000, 1, packet_id=1))
            assert await wire.closed() == []
        # A change of rights needs no room on the bus.
        answer = await regions.operator.revoke(HOME, regions.identity(name).certificate_id)
        # A region whose streams are full counts as no second one: what was acknowledged alone then
        # is the home region's, and said to be.
        went_alone = (await regions.status(HOME))["alone_epoch"] > 0
        assert answer["replicated"] or went_alone
        for region in [HOME] if went_alone else [HOME, OTHER]:
            await regions.in_lake(region, name, acked)


async def test_a_gateway_that_dies_costs_its_clients_one_reconnect(regions: Regions) -> None:
    names = [f"reconnects-{number}" for number in range(3)]
    await regions.register(names)
    async with (
        regions.sender(HOME, names[0]) as first,
        regions.sender(HOME, names[1]) as second,
        regions.sender(HOME, names[2]) as third,
    ):
        senders = (first, second, third)
        for each in senders:
            each.publish(10)
            await each.settled()

        await regions.kill_part(HOME, "gateway")
        for each in senders:
            each.publish(10)
        for each in senders:
            await each.settled()

        assert [each.connections for each in senders] == [2, 2, 2]
        for each in senders:
            assert sorted(each.acked) == list(range(20))
            await regions.in_both_lakes(each)


@pytest.mark.parametrize("part", ["nats", "services", "gateway", "lake"])
async def test_what_was_acknowledged_is_in_both_lakes_though_a_process_died(
    regions: Regions, part: str
) -> None:
    await regions.together()
    name = await regions.device(f"survives-{part}")
    async with regions.sender(HOME, name) as sender:
        sender.publish(5)
        await sender.settled()
        over = asyncio.Event()
        publishing = asyncio.create_task(sender.publish_until(over))
        try:
            await regions.kill_part(HOME, part)
            answered = len(sender.acked)
            await until("the region acknowledges", lambda: len(sender.acked) > answered + 50)
        finally:
            over.set()
            await publishing
        await sender.settled()

        assert sorted(set(sender.acked)) == list(range(sender._next))
        await regions.in_both_lakes(sender)
    await regions.together()
    for region in (HOME, OTHER):
        assert sorted(regions.numbers(region, name)) == list(range(sender._next))


async def test_a_region_goes_on_alone_and_hands_over_when_the_other_returns(
    regions: Regions,
) -> None:
    await regions.together()
    name = await regions.device("goes-on")
    epoch = (await regions.status(HOME))["alone_epoch"]
    async with regions.sender(HOME, name) as sender:
        sender.publish(5)
        await sender.settled()

        await regions.kill(OTHER)
        sender.publish(30)
        await sender.settled()
        status = await regions.status(HOME)
        answer = await regions.register(["registered-alone"])
        revoked = await regions.operator.revoke(
            HOME, regions.identity("registered-alone").certificate_id
        )

        assert status["alone"] is True
        assert status["alone_epoch"] == epoch + 1
        assert answer["replicated"] is False
        assert answer["confirmed_by"] == []
        assert revoked["replicated"] is False

        await regions.system.start(OTHER)
        await regions.together()
        sender.publish(5)
        await sender.settled()
        await regions.in_both_lakes(sender)
    assert sorted(sender.acked) == list(range(40))
    assert sorted(regions.numbers(OTHER, name)) == list(range(40))
    assert not await regions.admitted(OTHER, "registered-alone")
    await regions.level()
    history = (await regions.status(HOME))["alone_history"]
    assert [each["alone"] for each in history[-2:]] == [True, False]
