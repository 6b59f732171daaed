"""Devices that come with nothing but a certificate, to one region or to both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from mqtt_wire import CLOSED, Wire
from new_devices import Factory, a_factory, activate, attempt, jitp_template, until_admitted
from regions import HOME, OTHER, Regions, two_regions

from isthmus.core import registry
from isthmus.core.registry import CERTIFICATE, CertificateStatus
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = "$aws/events/certificates/registered/"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def call(regions: Regions) -> Caller:
    return Caller(regions, await a_key(regions))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(
    regions: Regions, call: Caller, tmp_path_factory: pytest.TempPathFactory
) -> Factory:
    return await a_factory(regions, call, tmp_path_factory.mktemp("factory"))


@asynccontextmanager
async def listening(regions: Regions, region: str) -> AsyncIterator[Wire]:
    """Somebody who hears of certificates that come."""
    await regions.who_may(f"activator-{region}", "iot:*")
    async with regions.client(region, f"activator-{region}") as wire:
        await wire.subscribe(f"{EVENTS}#", qos=1)
        yield wire


async def status(regions: Regions, region: str, device: str) -> CertificateStatus | None:
    return registry.certificate_status(await regions.item(region, CERTIFICATE, device))


async def test_a_newcomer_is_told_of_and_closed_and_let_in_once_it_is_activated(
    regions: Regions, call: Caller, factory: Factory
) -> None:
    device = factory.device("new-1")
    async with listening(regions, HOME) as activator:
        assert await attempt(regions, device, "new-1") == CLOSED
        told = await activator.expect(mqtt3.Publish)
        event = json.loads(told.payload)
        assert told.topic == EVENTS + factory.ca.id
        assert event.pop("timestamp") > 1_700_000_000_000
        assert event == {
            "certificateId": device.certificate_id,
            "caCertificateId": factory.ca.id,
            "certificateStatus": "PENDING_ACTIVATION",
            "awsAccountId": regions.config(HOME).account_id,
            "certificateRegistrationTimestamp": None,
            "sourceIp": "127.0.0.1",
        }
        # It left when both regions had it.
        for region in (HOME, OTHER):
            found = await status(regions, region, device.certificate_id)
            assert found is CertificateStatus.PENDING_ACTIVATION

    await activate(call, device, "all")
    for region in (HOME, OTHER):
        await until_admitted(regions, device, "new-1", region)


async def test_a_newcomer_is_provisioned_by_its_cas_template_and_let_in_everywhere(
    regions: Regions, call: Caller, factory: Factory
) -> None:
    await call(
        "create_provisioning_template",
        templateName="jitp",
        type="JITP",
        enabled=True,
        provisioningRoleArn="arn:aws:iam::123456789012:role/r",
        templateBody=jitp_template("all"),
    )
    provisioning = factory.with_another_ca()
    await provisioning.register_ca(call, registrationConfig={"templateName": "jitp"})
    device = provisioning.device("provisioned-1")
    assert await attempt(regions, device, "provisioned-1", OTHER) == CLOSED
    # Both regions had it by then.
    assert await until_admitted(regions, device, "provisioned-1", HOME) == 1
    found = await call("list_thing_principals", thingName="provisioned-1")
    assert [each.rpartition("/")[2] for each in found["principals"]] == [device.certificate_id]
