"""What becomes of a device that comes with a certificate which nobody has registered."""

from __future__ import annotations

import asyncio
import json
from functools import cache

import pytest
from aws_asking import exchange, overtake, writes
from aws_region import ACCOUNT, AwsRegion
from hypothesis import given
from hypothesis import strategies as st
from made_certificates import identity, new_ca

from isthmus.adapters.sealing import KEY_BYTES, Sealing
from isthmus.adapters.x509 import DeviceX509
from isthmus.aws import models, newcomers
from isthmus.aws.requests import Call
from isthmus.core import ca_certificates, certificates, registry
from isthmus.core.ca_certificates import CA_CERTIFICATE
from isthmus.core.certificates import Mode
from isthmus.core.registry import CERTIFICATE, CertificateStatus

ACTIVE, INACTIVE = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE
PENDING, REVOKED = CertificateStatus.PENDING_ACTIVATION, CertificateStatus.REVOKED
CA = new_ca()
DEVICE = CA.sign("lamp-1")
ID = identity(DEVICE)
ADDRESS = "192.0.2.1"
X509 = DeviceX509(Sealing(b"k" * KEY_BYTES))


@pytest.fixture
def region():
    return AwsRegion(x509=X509)


def register_ca(client, ca=CA, *, active=True, auto=True, **parameters):
    code = client.get_registration_code()["registrationCode"]
    return client.register_ca_certificate(
        caCertificate=ca.pem,
        verificationCertificate=ca.sign(code),
        setAsActive=active,
        allowAutoRegistration=auto,
        **parameters,
    )["certificateId"]


def context_of(region):
    service = models.service(models.IOT)
    return region.context(Call(service, service.operations["RegisterThing"], {}))


def come(region, certificate=DEVICE):
    return asyncio.run(newcomers.come(context_of(region), certificate, ADDRESS))


def status(region, certificate_id=ID):
    return registry.certificate_status(region.store.get(CERTIFICATE, certificate_id))


def told(outcome):
    ((topic, payload),) = outcome.events
    assert topic == f"$aws/events/certificates/registered/{CA.id}"
    return json.loads(payload)


def test_a_device_of_a_ca_is_registered_and_told_of(region, client):
    register_ca(client)
    outcome = come(region)
    assert outcome.status is status(region) is PENDING
    assert told(outcome) == {
        "certificateId": ID,
        "caCertificateId": CA.id,
        "timestamp": region.now_ms,
        "certificateStatus": "PENDING_ACTIVATION",
        "awsAccountId": ACCOUNT,
        "certificateRegistrationTimestamp": None,
        "sourceIp": ADDRESS,
    }
    described = client.describe_certificate(certificateId=ID)["certificateDescription"]
    assert (described["certificatePem"], described["caCertificateId"]) == (DEVICE, CA.id)


def test_a_device_that_comes_again_is_told_of_again_and_written_once(region, client):
    register_ca(client)
    come(region)
    registered_ms, before = region.now_ms, writes(region)
    region.now_ms += 5_000
    event = told(come(region))
    assert event["timestamp"] == region.now_ms
    assert event["certificateRegistrationTimestamp"] == str(registered_ms)
    assert writes(region) == before


def test_who_asks_at_once_about_one_device_finds_it_written_once(region, client):
    register_ca(client)
    before = writes(region)

    async def all_come():
        coming = (newcomers.come(context_of(region), DEVICE, ADDRESS) for _ in range(20))
        return await asyncio.gather(*coming)

    outcomes = asyncio.run(all_come())
    assert {each.status for each in outcomes} == {PENDING}
    assert writes(region) == before + 1


@pytest.mark.parametrize(
    ("active", "auto"), [(False, True), (True, False), (False, False)], ids=str
)
def test_a_ca_that_is_not_to_register_devices_registers_none(region, client, active, auto):
    register_ca(client, active=active, auto=auto)
    before = writes(region)
    assert (come(region).status, status(region), writes(region)) == (None, None, before)


@pytest.mark.parametrize(
    "change", [{"newStatus": "INACTIVE"}, {"newAutoRegistrationStatus": "DISABLE"}]
)
def test_a_device_that_waits_is_not_told_of_when_its_ca_is_off(region, client, change):
    register_ca(client)
    come(region)
    client.update_ca_certificate(certificateId=CA.id, **change)
    assert come(region)[::2] == (PENDING, ())


def test_no_ca_no_registration(region):
    assert come(region).status is None


def test_a_name_proves_nothing(region, client):
    """Another CA has the same subject: only the key counts."""
    impostor = new_ca()
    register_ca(client)
    assert impostor.certificate.subject == CA.certificate.subject
    outcome = come(region, impostor.sign("lamp-1"))
    assert (outcome.status, outcome.events) == (None, ())


def test_of_cas_of_one_name_the_one_that_has_signed_registers(region, client):
    twins = [new_ca(), CA, new_ca()]
    for each in twins:
        register_ca(client, each)
    assert told(come(region))["caCertificateId"] == CA.id


def test_a_certificate_that_nobody_could_register_is_not_registered(region, client):
    register_ca(client)
    assert come(region, "not a certificate").status is None


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"newStatus": "ACTIVE"}, ACTIVE),
        ({"newStatus": "INACTIVE"}, INACTIVE),
        ({"newStatus": "REVOKED"}, REVOKED),
    ],
)
def test_a_certificate_that_somebody_has_decided_on_stays_so(region, client, change, found):
    register_ca(client)
    come(region)
    client.update_certificate(certificateId=ID, **change)
    before = writes(region)
    outcome = come(region)
    assert (outcome.status, outcome.events, writes(region)) == (found, (), before)


def test_a_revoked_certificate_never_comes_back(region, client):
    register_ca(client)
    come(region)
    client.update_certificate(certificateId=ID, newStatus="REVOKED")
    client.delete_certificate(certificateId=ID)
    assert come(region).status is status(region) is REVOKED


@pytest.mark.parametrize("went_as", [PENDING, INACTIVE], ids=str)
def test_a_deleted_certificate_comes_back_as_it_went(region, client, went_as):
    """A block stands until somebody lifts it: who has deactivated a device keeps it out."""
    register_ca(client)
    come(region)
    if went_as is INACTIVE:
        client.update_certificate(certificateId=ID, newStatus="INACTIVE")
    client.delete_certificate(certificateId=ID)
    assert come(region).status is status(region) is went_as


def test_a_certificate_that_is_revoked_meanwhile_is_not_registered(region, client):
    register_ca(client)
    overtake(region, CERTIFICATE, ID, registry.revoke)
    assert come(region)[::2] == (REVOKED, ())


def test_a_ca_that_is_switched_off_meanwhile_registers_no_more(region, client):
    register_ca(client)

    def first(item, writer):
        # Somebody registered and deleted it, so that ours is made anew.
        ca = region.store.get(CA_CERTIFICATE, CA.id)
        region.store.join(ca_certificates.set_active(ca, writer, is_active=False))
        begun = certificates.register(item, writer, DEVICE, PENDING, Mode.DEFAULT, CA.id)
        return registry.delete(begun, writer)

    overtake(region, CERTIFICATE, ID, first)
    assert come(region).status is status(region) is None


# In two regions at once

CHANGES = {
    "ACTIVE": registry.activate,
    "INACTIVE": registry.deactivate,
    "REVOKED": registry.revoke,
    "delete": registry.delete,
}


@cache
def ca_item():
    region = AwsRegion(x509=X509)
    register_ca(region.client())
    return region.store.get(CA_CERTIFICATE, CA.id)


def two_regions():
    found = [AwsRegion("eu-west-1", x509=X509), AwsRegion("us-east-1", x509=X509)]
    for each in found:
        asyncio.run(each.store.merge(ca_item()))
    return found


def do(here, there, step):
    """Take a step, where the region allows it now."""
    held = status(here)
    if step == "come":
        come(here)
    elif step == "exchange":
        exchange(here, there)
    elif held not in (None, REVOKED) and (step, held) != ("delete", ACTIVE):
        asyncio.run(context_of(here).write(CERTIFICATE, ID, CHANGES[step]))


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(["come", "exchange", *CHANGES])), max_size=12
    )
)
def test_regions_that_a_device_comes_to_agree_on_it(steps):
    regions = two_regions()
    revoked = False
    for at, step in steps:
        do(regions[at], regions[1 - at], step)
        revoked = revoked or status(regions[at]) is REVOKED
    one, other = regions
    exchange(one, other)
    assert one.store.view.digest == other.store.view.digest
    assert (status(one) is REVOKED) == revoked
    # It is one certificate, and whoever says so after all that has it let in by both.
    come(one)
    come(other)
    exchange(one, other)
    assert status(one) is status(other) is not None
    if not revoked:
        do(other, one, "ACTIVE")
        exchange(one, other)
        assert status(one) is status(other) is ACTIVE


@pytest.mark.parametrize("knows", [True, False], ids=["knows", "does-not-know"])
def test_who_is_activated_here_while_he_comes_there_is_let_in_by_both(knows):
    here, there = two_regions()
    come(here)
    if knows:
        exchange(here, there)
    come(there)
    do(here, there, "ACTIVE")
    exchange(there, here)
    assert status(here) is status(there) is ACTIVE
    assert come(there).events == ()
