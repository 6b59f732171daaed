"""What a device gets by the template of the CA that has signed its certificate, when it comes."""

from __future__ import annotations

import asyncio
import json
from functools import cache

import pytest
from aws_asking import exchange, writes
from aws_region import AwsRegion
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from made_certificates import identity, new_key, pem, signed
from test_api_newcomers import ACTIVE, CA, INACTIVE, PENDING, X509, come, context_of, status

from isthmus.aws import group_tree
from isthmus.core import registry, things
from isthmus.core.ca_certificates import CA_CERTIFICATE
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, Writer
from isthmus.core.stamp import StampClock
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.things import THING

ROLE = "arn:aws:iam::123456789012:role/r"
POLICY_DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}],
}
NAMES = {
    "Country": (NameOID.COUNTRY_NAME, "DE"),
    "Organization": (NameOID.ORGANIZATION_NAME, "Lamps"),
    "OrganizationalUnit": (NameOID.ORGANIZATIONAL_UNIT_NAME, "bright"),
    "DistinguishedNameQualifier": (NameOID.DN_QUALIFIER, "q"),
    "StateName": (NameOID.STATE_OR_PROVINCE_NAME, "Hesse"),
    "CommonName": (NameOID.COMMON_NAME, "lamp-1"),
    "SerialNumber": (NameOID.SERIAL_NUMBER, "17"),
}


@pytest.fixture
def region():
    return AwsRegion(x509=X509)


def device(*names):
    """A certificate whose subject has these of the names; all of them where none is given."""
    subject = x509.Name([x509.NameAttribute(*NAMES[each]) for each in names or NAMES])
    return pem(signed(subject, new_key().public_key(), CA.certificate.subject, CA.key))


DEVICE = device()
ID = identity(DEVICE)


def ref(name):
    return {"Ref": f"AWS::IoT::Certificate::{name}"}


def template(parameters=NAMES, overrides=None, **thing):
    """The one of AWS's documentation, in short."""
    return json.dumps(
        {
            "Parameters": {
                f"AWS::IoT::Certificate::{name}": {"Type": "String"} for name in parameters
            },
            "Resources": {
                "thing": {
                    "Type": "AWS::IoT::Thing",
                    "Properties": {"ThingName": ref("CommonName"), **thing},
                    "OverrideSettings": overrides or {},
                },
                "certificate": {
                    "Type": "AWS::IoT::Certificate",
                    "Properties": {"CertificateId": ref("Id"), "Status": "ACTIVE"},
                },
                "policy": {
                    "Type": "AWS::IoT::Policy",
                    "Properties": {"PolicyDocument": json.dumps(POLICY_DOCUMENT)},
                },
            },
        }
    )


def register_ca(client, **config):
    code = client.get_registration_code()["registrationCode"]
    client.register_ca_certificate(
        caCertificate=CA.pem,
        verificationCertificate=CA.sign(code),
        setAsActive=True,
        allowAutoRegistration=True,
        registrationConfig=config or {"templateBody": template(), "roleArn": ROLE},
    )


def is_provisioned(region, name="lamp-1"):
    """Whether the device has all that the template says, by what its principal may do."""
    view = region.store.view
    documents = [json.loads(each.documents[0]) for each in view.policies(ID)]
    return (
        status(region, ID) is ACTIVE
        and set(view.things(ID)) == {name}
        and documents != []
        and all(each == POLICY_DOCUMENT for each in documents)
    )


def test_a_device_gets_what_its_cas_template_says_and_is_active(region, client):
    register_ca(client)
    outcome = come(region, DEVICE)
    assert outcome.status is ACTIVE
    assert is_provisioned(region)
    ((_, event),) = outcome.events
    assert json.loads(event)["certificateStatus"] == "ACTIVE"


def test_a_template_knows_all_that_the_subject_says(region, client):
    told = {"Fn::Join": ["/", [ref(name) for name in (*NAMES, "Id")]]}
    body = template(AttributePayload={"told": told})
    register_ca(client, templateBody=body, roleArn=ROLE)
    come(region, DEVICE)
    wanted = "/".join([*(value for _, value in NAMES.values()), ID])
    assert client.describe_thing(thingName="lamp-1")["attributes"] == {"told": wanted}


@pytest.mark.parametrize("missing", [each for each in NAMES if each != "CommonName"])
def test_what_the_subject_does_not_say_and_the_template_declares_fails(region, client, missing):
    register_ca(client)
    certificate = device(*(each for each in NAMES if each != missing))
    outcome = come(region, certificate)
    assert outcome.status is status(region, identity(certificate)) is PENDING
    assert f"AWS::IoT::Certificate::{missing}" in outcome.reason
    ((_, event),) = outcome.events
    assert json.loads(event)["certificateStatus"] == "PENDING_ACTIVATION"
    assert client.list_things()["things"] == []


def test_what_the_template_does_not_declare_need_not_be_there(region, client):
    register_ca(client, templateBody=template(["CommonName"]), roleArn=ROLE)
    assert come(region, device("CommonName")).status is ACTIVE


def create_template(client, **changes):
    given = {"templateBody": template(), "provisioningRoleArn": ROLE, "enabled": True}
    client.create_provisioning_template(templateName="t", **{**given, "type": "JITP", **changes})


def test_a_template_may_be_named(region, client):
    create_template(client)
    register_ca(client, templateName="t")
    come(region, DEVICE)
    assert is_provisioned(region)


@pytest.mark.parametrize(
    "changes", [{"type": "FLEET_PROVISIONING"}, {"enabled": False}, None], ids=str
)
def test_a_template_that_will_not_do_provisions_nobody(region, client, changes):
    if changes is not None:
        create_template(client, **changes)
    register_ca(client, templateName="t")
    outcome = come(region, DEVICE)
    assert (outcome.status, status(region, ID)) == (PENDING, PENDING)
    assert "rovisioning template t" in outcome.reason


def test_a_device_whose_template_is_put_right_gets_it_when_it_comes_again(region, client):
    register_ca(client, templateName="t")
    come(region, DEVICE)
    create_template(client)
    assert come(region, DEVICE).status is ACTIVE
    assert is_provisioned(region)


def test_a_certificate_that_is_deactivated_meanwhile_stays_so(region, client):
    register_ca(client)
    log, put = region.store.log, region.store.log.put

    async def instead(item, revision):
        if item.kind == ATTACHMENT and status(region, ID) is PENDING:
            held = region.store.get(CERTIFICATE, ID)
            writer = Writer(StampClock("eu-west-1", "other"), region.now_ms)
            region.store.join(registry.deactivate(held, writer))
        return await put(item, revision)

    log.put = instead
    assert come(region, DEVICE).status is status(region, ID) is INACTIVE


def test_a_template_names_the_certificate_that_came_whatever_it_says(region, client):
    other = CA.sign("other")
    body = json.loads(template())
    body["Resources"]["certificate"]["Properties"]["CertificateId"] = identity(other)
    register_ca(client, templateBody=json.dumps(body), roleArn=ROLE)
    assert come(region, DEVICE).status is ACTIVE


# Cut off, and in two regions at once

GROUP = "lamps"
#: What a template may say of a thing that is there; None where it says nothing.
OVERRIDES = [None, "DO_NOTHING", "FAIL"]


class Died(Exception):
    """The process was killed."""


def die_after(region, count, certificate=DEVICE):
    """Have nothing more written after so many writes."""
    log, put, left = region.store.log, region.store.log.put, count

    async def instead(item, revision):
        nonlocal left
        left -= 1
        if left < 0:
            log.put = put
            raise Died
        return await put(item, revision)

    log.put = instead
    try:
        come(region, certificate)
    except Died:
        pass
    finally:
        log.put = put


@cache
def items_before(override):
    """The CA, whose template says this of each property, and the group that things are put into."""
    region = AwsRegion(x509=X509)
    client = region.client()
    client.create_thing_group(thingGroupName=GROUP)
    members = ("AttributePayload", "ThingTypeName", "ThingGroups")
    overrides = dict.fromkeys(members, override) if override else None
    body = template(["CommonName"], overrides, ThingGroups=[GROUP])
    register_ca(client, templateBody=body, roleArn=ROLE)
    return region.store.get(CA_CERTIFICATE, CA.id), region.store.get(THING_GROUP, GROUP)


def region_with_ca(override, name="eu-west-1"):
    region = AwsRegion(name, x509=X509)
    for item in items_before(override):
        asyncio.run(region.store.merge(item))
    return region


def is_grouped(region):
    groups = group_tree.groups_of(context_of(region), region.store.get(THING, "lamp-1"))
    return [each.key for each in groups] == [GROUP]


@cache
def all_writes():
    region = region_with_ca(None)
    before = writes(region)
    come(region, DEVICE)
    return writes(region) - before


@pytest.mark.parametrize("override", OVERRIDES)
def test_one_that_is_cut_off_anywhere_is_completed_when_the_device_comes_again(override):
    for count in range(all_writes()):
        region = region_with_ca(override)
        die_after(region, count)
        # Active comes last: whoever is let in has everything.
        assert status(region, ID) in (None, PENDING)
        come(region, DEVICE)
        assert is_provisioned(region), count
        assert is_grouped(region), count


CUT = st.integers(0, 9)


@given(st.sampled_from(OVERRIDES), CUT, CUT, st.booleans(), st.booleans())
def test_regions_that_provision_one_device_at_once_give_it_one_set_of_all(
    override, one_cut, other_cut, knows, comes_again_here
):
    assert all_writes() <= 9
    one, other = (region_with_ca(override, name) for name in ("eu-west-1", "us-east-1"))
    die_after(one, one_cut)
    if knows:
        exchange(one, other)
    die_after(other, other_cut)
    exchange(one, other)
    come(one if comes_again_here else other, DEVICE)
    exchange(one, other)
    assert one.store.view.digest == other.store.view.digest
    for each in (one, other):
        assert is_provisioned(each)
        assert is_grouped(each)
        assert not any(policy.contested for policy in each.store.view.policies(ID))


#: Another device that would be the same thing.
SECOND = device("CommonName")


@given(CUT, CUT, st.booleans())
def test_a_thing_is_completed_for_whom_it_was_begun_and_given_to_nobody_else(
    one_cut, other_cut, knows
):
    """Both, where two regions have begun it at once; one of them, where either was first."""
    one, other = (region_with_ca("FAIL", name) for name in ("eu-west-1", "us-east-1"))
    die_after(one, one_cut)
    if knows:
        exchange(one, other)
    die_after(other, other_cut, SECOND)
    exchange(one, other)
    ids = {identity(each) for each in (DEVICE, SECOND)}
    begun = things.begun_for(one.store.get(THING, "lamp-1"))
    assert len(begun) < 2 or not knows
    for certificate in (DEVICE, SECOND):
        come(one, certificate)
    exchange(one, other)
    for region in (one, other):
        active = {each for each in ids if status(region, each) is ACTIVE}
        assert active == (begun or {ID})
        assert ids - active == {each for each in ids if status(region, each) is PENDING}


def test_a_thing_that_somebody_makes_anew_was_begun_for_nobody(client, region):
    fail = {"AttributePayload": "FAIL"}
    register_ca(client, templateBody=template(overrides=fail), roleArn=ROLE)
    # The certificate, and the thing.
    die_after(region, 2)
    client.delete_thing(thingName="lamp-1")
    client.create_thing(thingName="lamp-1")
    assert "OverrideSettings say FAIL" in come(region, DEVICE).reason
    assert status(region, ID) is PENDING


def test_what_is_missing_is_found_before_anything_is_made(client, region):
    body = json.loads(template(overrides={"AttributePayload": "FAIL"}))
    body["Resources"]["policy"]["Properties"] = {"PolicyName": "lamp"}
    register_ca(client, templateBody=json.dumps(body), roleArn=ROLE)
    assert "lamp" in come(region, DEVICE).reason
    assert client.list_things()["things"] == []
    client.create_policy(policyName="lamp", policyDocument=json.dumps(POLICY_DOCUMENT))
    assert come(region, DEVICE).status is ACTIVE
    assert is_provisioned(region)
