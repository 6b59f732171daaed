"""Many devices that come by themselves at once, while processes are killed, and strangers too."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from mqtt_wire import CLOSED, Wire
from new_devices import PROVISIONING, Factory, a_factory, attempt, until_admitted
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.clock import monotonic_s
from isthmus.core import registry
from isthmus.core.registry import CERTIFICATE, CertificateStatus
from isthmus.wire import mqtt3

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
_log = logging.getLogger(__name__)

EVENTS = "$aws/events/certificates/registered/#"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    # On a machine that a storm shares, a second of silence is no sign of a peer's death.
    async with two_regions(tmp_path_factory.mktemp("regions"), alone_after_s=5.0) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def call(regions: Regions) -> Caller:
    return Caller(regions, await a_key(regions))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(
    regions: Regions, call: Caller, tmp_path_factory: pytest.TempPathFactory
) -> Factory:
    directory = tmp_path_factory.mktemp("factory")
    return await a_factory(regions, call, directory, registrationConfig=PROVISIONING)


async def certificates_of(call: Caller, ca: str) -> list[str]:
    """The ids of all certificates that a CA has signed, as AWS's clients see them."""
    found: list[str] = []
    marker: dict[str, str] = {}
    while True:
        page = await call("list_certificates_by_ca", caCertificateId=ca, pageSize=250, **marker)
        found += [each["certificateId"] for each in page["certificates"]]
        if "nextMarker" not in page:
            return found
        marker = {"marker": page["nextMarker"]}


async def hear(wire: Wire, heard: list[bytes]) -> None:
    """Note every event that is told."""
    while True:
        if isinstance(found := await wire.next(), mqtt3.Publish):
            heard.append(found.payload)
            wire.send(mqtt3.Puback(found.packet_id))


@pytest.mark.parametrize(
    "count", [60, pytest.param(500, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])]
)
async def test_all_who_come_at_once_are_registered_once_and_nobody_is_dropped(
    regions: Regions, call: Caller, factory: Factory, count: int
) -> None:
    factory = factory.with_another_ca()
    names = [f"storm-{count}-{n}" for n in range(count)]
    devices = [factory.device(name) for name in names]
    pairs = list(zip(devices, names, strict=True))
    bystanders = [await regions.who_may(f"by-{count}-{n}", "iot:*") for n in range(4)]
    heard: list[bytes] = []
    async with contextlib.AsyncExitStack() as stack:
        wires = [
            await stack.enter_async_context(regions.client(region, name))
            for name, region in zip(bystanders, (HOME, HOME, OTHER, OTHER), strict=True)
        ]
        await wires[0].subscribe(EVENTS, qos=1)
        hearing = asyncio.create_task(hear(wires[0], heard))
        ca = await factory.register_ca(call, registrationConfig=PROVISIONING)
        took = []
        for region in (HOME, OTHER):
            began_s = monotonic_s()
            coming = (until_admitted(regions, *each, region) for each in pairs)
            times = await asyncio.gather(*coming)
            took.append((region, round(monotonic_s() - began_s, 1), sum(times)))
            await until("everybody was told of", lambda: len(heard) >= count)
            hearing.cancel()
        for region in (HOME, OTHER):
            there = await certificates_of(Caller(regions, await a_key(regions), region), ca)
            assert sorted(there) == sorted(each.certificate_id for each in devices)
        for name, wire in zip(bystanders[1:], wires[1:], strict=True):
            await wire.publish(regions.topic(name))
    _log.info("%d devices came: (region, seconds, connections) %s", count, took)


async def test_gateways_that_are_killed_in_a_storm_let_everybody_in_but_strangers(
    regions: Regions, call: Caller, factory: Factory
) -> None:
    names = [f"killed-{n}" for n in range(60)]
    devices = [factory.device(name) for name in names]
    stranger = factory.with_another_ca().device("stranger")
    answers: set[int] = set()

    async def come_in_vain() -> None:
        while True:
            with contextlib.suppress(OSError, ssl.SSLError):
                answers.add(await attempt(regions, stranger, "stranger"))

    async def kill() -> None:
        for region in (HOME, OTHER, HOME):
            await regions.kill_part(region, "gateway")

    in_vain = asyncio.create_task(come_in_vain())
    killing = asyncio.create_task(kill())
    coming = (
        until_admitted(regions, *each, region)
        for each in zip(devices, names, strict=True)
        for region in (HOME, OTHER)
    )
    await asyncio.gather(killing, *coming)
    in_vain.cancel()
    # Refused, or closed by who was killed, and never let in.
    assert answers <= {CLOSED, 5}
    for each in devices:
        item = await regions.item(OTHER, CERTIFICATE, each.certificate_id)
        assert registry.certificate_status(item) is CertificateStatus.ACTIVE
    item = await regions.item(HOME, CERTIFICATE, stranger.certificate_id)
    assert registry.certificate_status(item) is None
    await regions.level()
