"""Fleet provisioning as devices do it: by AWS's client as it is, and by hand, in both regions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cbor2
import pytest
import pytest_asyncio
from aws_clients import Caller, a_key, second_api
from aws_sdk import WITHIN_S, answered, sdk_connection
from awscrt.mqtt_request_response import ClientOptions
from awsiot import V2ServiceException, iotidentity
from fleet_devices import CREATE, PROVISION, ROLE, TEMPLATE, body
from made_certificates import request
from mqtt_wire import Wire
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.aws.handlers import provisioning_claims
from isthmus.core import registry
from isthmus.core.registry import CERTIFICATE
from isthmus.wire import mqtt3
from isthmus.wire.packets import Puback, Publish

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("region", [HOME, OTHER])
VERSIONS = pytest.mark.parametrize("version", [3, 5])
#: What awsiotsdk's client of requests may do at once.
OPTIONS = {"max_request_response_subscriptions": 4, "max_streaming_subscriptions": 2}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), cuttable=True) as started:
        call = Caller(started, await a_key(started))
        await call(
            "create_provisioning_template",
            templateName=TEMPLATE,
            templateBody=body(),
            enabled=True,
            provisioningRoleArn=ROLE,
        )
        yield started


class Claim(NamedTuple):
    """A certificate with its key, in files."""

    certificate: Path
    key: Path
    id: str


async def a_claim(regions: Regions, directory: Path, region: str = HOME) -> Claim:
    """A claim for the template, of a region that has it."""
    call = Caller(regions, await a_key(regions, region=region), region)
    made = await call("create_provisioning_claim", templateName=TEMPLATE)
    return kept(directory, "claim", made["certificatePem"], made["keyPair"]["PrivateKey"])._replace(
        id=made["certificateId"]
    )


def kept(directory: Path, name: str, certificate: str, key: str) -> Claim:
    found = Claim(directory / f"{name}.pem", directory / f"{name}.key", "")
    found.certificate.write_text(certificate)
    found.key.write_text(key)
    return found


# AWS's client


@asynccontextmanager
async def identity_client(
    regions: Regions, region: str, claim: Claim, version: int, client_id: str
) -> AsyncIterator[iotidentity.IotIdentityClientV2]:
    """AWS's client for fleet provisioning, connected."""
    options = ClientOptions(**OPTIONS, operation_timeout_in_seconds=int(WITHIN_S))
    certificate, key = claim.certificate, claim.key
    async with sdk_connection(regions, region, certificate, key, version, client_id) as connection:
        yield iotidentity.IotIdentityClientV2(connection, options)


def registering(created: Any, serial: str) -> iotidentity.RegisterThingRequest:
    return iotidentity.RegisterThingRequest(
        template_name=TEMPLATE,
        certificate_ownership_token=created.certificate_ownership_token,
        parameters={"Serial": serial},
    )


@BOTH
@VERSIONS
async def test_awss_client_is_provisioned_and_connects_as_itself(
    regions: Regions, tmp_path: Path, region: str, version: int
) -> None:
    claim = await a_claim(regions, tmp_path, region)
    serial = f"{region}-{version}"
    async with identity_client(regions, region, claim, version, f"new-{serial}") as client:
        created = await answered(
            client.create_keys_and_certificate(iotidentity.CreateKeysAndCertificateRequest())
        )
        found = await answered(client.register_thing(registering(created, serial)))
        assert found.thing_name == f"lamp-{serial}"
        assert found.device_configuration == {"Url": f"https://{serial}", "Level": 3}
    own = kept(tmp_path, "own", created.certificate_pem, created.private_key)
    for each in (HOME, OTHER):
        # It is in both: the answer has waited for that.
        async with identity_client(regions, each, own, version, f"lamp-{serial}"):
            pass


@VERSIONS
async def test_awss_client_hears_why_it_is_refused(
    regions: Regions, tmp_path: Path, version: int
) -> None:
    claim = await a_claim(regions, tmp_path)
    async with identity_client(regions, HOME, claim, version, f"refused-{version}") as client:
        signing = iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=request())
        created = await answered(client.create_certificate_from_csr(signing))
        created.certificate_ownership_token += "x"
        with pytest.raises(V2ServiceException) as refused:
            await answered(client.register_thing(registering(created, "x")))
        assert refused.value.modeled_error.error_code == "InvalidCertificateOwnershipToken"
        assert refused.value.modeled_error.status_code == 403


# By hand


@asynccontextmanager
async def claimed(
    regions: Regions, claim: Claim, client_id: str, region: str = HOME
) -> AsyncIterator[Wire]:
    context = regions.tls(None)
    context.load_cert_chain(claim.certificate, claim.key)
    async with regions.wire(region, None, tls=context) as wire:
        assert await wire.connect(client_id) == 0
        yield wire


async def ask(wire: Wire, topic: str, asked: Any) -> tuple[str, Any]:
    """Ask by QoS 1; how it ends, and what is said. The answer is there before the PUBACK."""
    is_cbor = topic.endswith("cbor")
    wire.send(
        Publish(
            topic, cbor2.dumps(asked) if is_cbor else json.dumps(asked).encode(), 1, packet_id=7
        )
    )
    found = await wire.expect(Publish)
    assert (await wire.expect(Puback)).packet_id == 7
    said = cbor2.loads(found.payload) if is_cbor else json.loads(found.payload)
    return found.topic.removeprefix(f"{topic}/"), said


async def test_a_device_may_speak_cbor_and_go_on_in_another_region(
    regions: Regions, tmp_path: Path
) -> None:
    claim = await a_claim(regions, tmp_path)
    async with claimed(regions, claim, "cbor-1") as wire:
        assert await wire.subscribe("$aws/certificates/create/#") == (0,)
        how, created = await ask(wire, CREATE.format("cbor"), {})
        assert how == "accepted"
    asked = {
        "certificateOwnershipToken": created["certificateOwnershipToken"],
        "parameters": {"Serial": "cbor"},
    }
    async with claimed(regions, claim, "cbor-1", OTHER) as wire:
        assert await wire.subscribe(f"{PROVISION.format('cbor')}/+") == (0,)
        how, said = await ask(wire, PROVISION.format("cbor"), asked)
        assert (how, said["thingName"]) == ("accepted", "lamp-cbor")


async def test_a_device_goes_on_in_a_region_that_has_lost_the_first(
    regions: Regions, tmp_path: Path
) -> None:
    claim = await a_claim(regions, tmp_path)
    async with claimed(regions, claim, "moves-1") as wire:
        await wire.subscribe("$aws/certificates/create/#")
        _, created = await ask(wire, CREATE.format("json"), {})
    token = created["certificateOwnershipToken"]
    asked = {"certificateOwnershipToken": token, "parameters": {"Serial": "moves"}}
    await regions.system.cut()
    try:
        await regions.alone(OTHER)
        async with claimed(regions, claim, "moves-1", OTHER) as wire:
            await wire.subscribe(f"{PROVISION.format('json')}/#")
            how, _ = await ask(wire, PROVISION.format("json"), asked)
            assert how == "accepted"
    finally:
        await regions.system.heal()
    own = kept(tmp_path, "own", created["certificatePem"], created["privateKey"])
    context = regions.tls(None)
    context.load_cert_chain(own.certificate, own.key)

    async def is_in() -> bool:
        async with regions.wire(HOME, None, tls=context) as wire:
            return await wire.connect("lamp-moves") == 0

    await until("the first region lets it in", is_in)


async def test_answers_are_for_nobody_else(regions: Regions, tmp_path: Path) -> None:
    claim = await a_claim(regions, tmp_path)
    listener = await regions.who_may("listener", "iot:*")
    async with (
        regions.client(HOME, listener) as other,
        claimed(regions, claim, "other-1") as same,
        claimed(regions, claim, "asks-1") as wire,
    ):
        for each in (other, same, wire):
            assert await each.subscribe("$aws/certificates/create/#") == (0,)
        how, _ = await ask(wire, CREATE.format("json"), {})
        assert how == "accepted"
        # Whoever was given something would have had it before this.
        for each in (other, same):
            each.send(mqtt3.Pingreq())
            assert isinstance(await each.next(), mqtt3.Pingresp)
    assert not regions.lake(HOME, "asks-1")


async def test_a_claim_does_nothing_else(regions: Regions, tmp_path: Path) -> None:
    claim = await a_claim(regions, tmp_path)
    async with claimed(regions, claim, "only-1") as wire:
        for topic_filter in ("#", "lamps/#", "$aws/#", "$aws/events/#"):
            assert await wire.subscribe(topic_filter) == (0x80,)
    others = "$aws/provisioning-templates/others/provision/json"
    for topic in ("lamps/1", others, f"{CREATE.format('json')}/accepted"):
        async with claimed(regions, claim, "only-1") as wire:
            wire.send(Publish(topic, b"{}", 1, packet_id=1))
            assert await wire.next() is None


async def test_a_claim_that_is_over_ends_its_connection(
    regions: Regions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioning_claims, "LASTS_MS", 6_000)
    async with second_api(regions) as (_, url):
        call = Caller(regions, await a_key(regions), url=url)
        made = await call("create_provisioning_claim", templateName=TEMPLATE)
    claim = kept(tmp_path, "short", made["certificatePem"], made["keyPair"]["PrivateKey"])
    async with claimed(regions, claim, "ends-1", OTHER) as wire:
        assert await wire.next() is None
    for region in (HOME, OTHER):
        item = await regions.item(region, CERTIFICATE, made["certificateId"])
        assert registry.certificate_status(item) is None


async def test_one_thing_in_two_regions_at_once_has_both_devices(
    regions: Regions, tmp_path: Path
) -> None:
    claims = {each: await a_claim(regions, tmp_path, each) for each in (HOME, OTHER)}

    both = asyncio.Barrier(2)

    async def provisioned(region: str) -> str:
        async with claimed(regions, claims[region], f"twin-{region}", region) as wire:
            await wire.subscribe("$aws/certificates/create/#")
            await wire.subscribe(f"{PROVISION.format('json')}/#")
            _, created = await ask(wire, CREATE.format("json"), {})
            token = created["certificateOwnershipToken"]
            asked = {"certificateOwnershipToken": token, "parameters": {"Serial": "twin"}}
            await both.wait()
            how, said = await ask(wire, PROVISION.format("json"), asked)
            assert (how, said["thingName"]) == ("accepted", "lamp-twin")
            return str(created["certificateId"])

    certificates = set(await asyncio.gather(*map(provisioned, (HOME, OTHER))))
    for region in (HOME, OTHER):
        call = Caller(regions, await a_key(regions, region=region), region)

        async def has_both(call: Caller = call) -> bool:
            found = await call("list_thing_principals", thingName="lamp-twin")
            return {each.rpartition("/")[2] for each in found["principals"]} == certificates

        await until(f"{region} has both", has_both)
