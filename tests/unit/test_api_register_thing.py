"""RegisterThing: what a device gets, what stays of what is there, and what ends half-way."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest
from aws_asking import overtake, refusal, writes
from aws_region import AwsRegion
from made_certificates import identity, new_ca, request

from isthmus.adapters.sealing import KEY_BYTES, Sealing
from isthmus.adapters.x509 import DeviceX509
from isthmus.core import policies, registry
from isthmus.core.registry import CERTIFICATE, POLICY, CertificateStatus, Writer
from isthmus.core.things import THING

ARN = "arn:aws:iot:eu-west-1:123456789012"
POLICY_DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}],
}
CA = new_ca()
CSR = request()
#: Making one takes longer than all that a test asks of it.
X509 = DeviceX509(Sealing(b"k" * KEY_BYTES))
FAILURE, INVALID = "ResourceRegistrationFailureException", "InvalidRequestException"
CONFLICT = "ConflictingResourceUpdateException"


@pytest.fixture
def region():
    return AwsRegion(x509=X509)


def thing(overrides=None, **properties):
    said = {"ThingName": "lamp"} | properties
    return {"Type": "AWS::IoT::Thing", "Properties": said, "OverrideSettings": overrides or {}}


def certificate(override=None, **properties):
    settings = {} if override is None else {"Status": override}
    return {
        "Type": "AWS::IoT::Certificate",
        "Properties": properties,
        "OverrideSettings": settings,
    }


def policy(**properties):
    return {"Type": "AWS::IoT::Policy", "Properties": properties}


def register(client, parameters=None, **resources):
    declared = {name: {"Type": "String"} for name in parameters or {}}
    body = json.dumps({"Parameters": declared, "Resources": resources})
    return client.register_thing(templateBody=body, parameters=parameters or {})


def refused(client, **resources):
    return refusal(lambda: register(client, **resources))


def status(client, certificate_id):
    found = client.describe_certificate(certificateId=certificate_id)
    return found["certificateDescription"]["status"]


def groups(client):
    found = client.list_thing_groups_for_thing(thingName="lamp")["thingGroups"]
    return [each["groupName"] for each in found]


def created(client, *, active=False):
    """The id of a certificate that is there."""
    return client.create_certificate_from_csr(certificateSigningRequest=CSR, setAsActive=active)[
        "certificateId"
    ]


def test_a_device_gets_all_that_its_template_says(region, client):
    for name in ("g1", "g2"):
        client.create_thing_group(thingGroupName=name)
    client.create_thing_type(thingTypeName="bulb")
    client.create_billing_group(billingGroupName="bill")
    client.create_policy(policyName="named", policyDocument=json.dumps(POLICY_DOCUMENT))
    made = register(
        client,
        {"Serial": "7", "CSR": CSR},
        t=thing(
            AttributePayload={"serial": {"Ref": "Serial"}, "none": ""},
            ThingTypeName="bulb",
            ThingGroups=["g2", "g1"],
            BillingGroup="bill",
        ),
        c=certificate(CertificateSigningRequest={"Ref": "CSR"}),
        n=policy(PolicyName="named"),
        p=policy(PolicyDocument=POLICY_DOCUMENT),
    )
    arns = made["resourceArns"]
    own = arns["p"].rpartition("/")[2]
    certificate_id = identity(made["certificatePem"])
    assert arns == {
        "t": f"{ARN}:thing/lamp",
        "c": f"{ARN}:cert/{certificate_id}",
        "n": f"{ARN}:policy/named",
        "p": f"{ARN}:policy/{own}",
    }
    found = client.describe_thing(thingName="lamp")
    assert found["attributes"] == {"serial": "7"}
    assert (found["thingTypeName"], found["billingGroupName"]) == ("bulb", "bill")
    assert groups(client) == ["g1", "g2"]
    assert client.list_thing_principals(thingName="lamp")["principals"] == [arns["c"]]
    attached = client.list_attached_policies(target=arns["c"])["policies"]
    assert {each["policyName"] for each in attached} == {"named", own}
    assert json.loads(client.get_policy(policyName=own)["policyDocument"]) == POLICY_DOCUMENT
    assert status(client, certificate_id) == "ACTIVE"


def test_a_thing_alone_is_registered_without_a_certificate(client):
    made = register(client, t=thing())
    assert made["resourceArns"] == {"t": f"{ARN}:thing/lamp"}
    assert "certificatePem" not in made


@pytest.mark.parametrize("wanted", ["ACTIVE", "INACTIVE"])
def test_a_certificate_of_a_registered_ca_is_registered(client, wanted):
    client.register_ca_certificate(
        caCertificate=CA.pem, certificateMode="SNI_ONLY", setAsActive=True
    )
    pem = CA.sign()
    made = certificate(CertificatePem=pem, CACertificatePem=CA.pem, Status=wanted)
    assert register(client, c=made)["certificatePem"] == pem
    found = client.describe_certificate(certificateId=identity(pem))["certificateDescription"]
    assert (found["status"], found["caCertificateId"]) == (wanted, CA.id)
    assert found["certificateMode"] == "SNI_ONLY"


def test_the_same_again_finds_all_as_it_is_and_writes_nothing(region, client):
    client.create_thing_group(thingGroupName="g")
    certificate_id = created(client)
    resources = {
        "t": thing(AttributePayload={"a": "b"}, ThingGroups=["g"]),
        "c": certificate(CertificateId=certificate_id),
        "p": policy(PolicyDocument=POLICY_DOCUMENT),
    }
    register(client, **resources)
    count = writes(region)
    register(client, **resources)
    assert writes(region) == count


def test_what_is_new_is_as_the_template_says_whatever_it_says_of_what_is_there(client):
    client.create_thing_group(thingGroupName="g")
    made = register(
        client,
        t=thing({"ThingGroups": "DO_NOTHING"}, ThingGroups=["g"]),
        c=certificate("DO_NOTHING", CertificateSigningRequest=CSR),
    )
    assert groups(client) == ["g"]
    assert status(client, identity(made["certificatePem"])) == "ACTIVE"


# What is there already


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (None, {"a": "0", "b": "0"}),
        ("DO_NOTHING", {"a": "0", "b": "0"}),
        ("MERGE", {"a": "1", "b": "0"}),
        ("REPLACE", {"a": "1"}),
    ],
)
def test_attributes_of_a_thing_that_is_there(client, override, expected):
    client.create_thing(thingName="lamp", attributePayload={"attributes": {"a": "0", "b": "0"}})
    overrides = {"AttributePayload": override} if override else {}
    register(client, t=thing(overrides, AttributePayload={"a": "1"}))
    assert client.describe_thing(thingName="lamp")["attributes"] == expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (None, ["g1", "g2"]),
        ("DO_NOTHING", ["g1"]),
        ("MERGE", ["g1", "g2"]),
        ("REPLACE", ["g2"]),
    ],
)
def test_groups_of_a_thing_that_is_there(client, override, expected):
    for name in ("g1", "g2"):
        client.create_thing_group(thingGroupName=name)
    client.create_thing(thingName="lamp")
    client.add_thing_to_thing_group(thingName="lamp", thingGroupName="g1")
    overrides = {"ThingGroups": override} if override else {}
    register(client, t=thing(overrides, ThingGroups=["g2"]))
    assert groups(client) == expected


@pytest.mark.parametrize(("override", "expected"), [(None, "old"), ("REPLACE", "new")])
def test_the_type_of_a_thing_that_is_there(client, override, expected):
    for name in ("old", "new"):
        client.create_thing_type(thingTypeName=name)
    client.create_thing(thingName="lamp", thingTypeName="old")
    overrides = {"ThingTypeName": override} if override else {}
    register(client, t=thing(overrides, ThingTypeName="new"))
    assert client.describe_thing(thingName="lamp")["thingTypeName"] == expected


@pytest.mark.parametrize("member", ["AttributePayload", "ThingTypeName", "ThingGroups"])
def test_nothing_is_written_where_a_thing_must_not_be_there(region, client, member):
    asked = {"t": thing({member: "FAIL"}), "c": certificate(CertificateSigningRequest=CSR)}
    register(client, **asked)
    count = writes(region)
    assert refused(client, **asked)[0] == CONFLICT
    assert writes(region) == count


def test_a_thing_that_somebody_else_makes_meanwhile_is_one_that_is_there(region, client):
    overtake(region, THING, "lamp", lambda *at: registry.put_thing(*at, {"by": "other"}))
    assert refused(client, t=thing({"AttributePayload": "FAIL"}))[0] == CONFLICT


def test_a_policy_that_another_device_makes_meanwhile_is_the_same_one(region, client):
    made = register(
        client,
        c=certificate(CertificateSigningRequest=CSR),
        p=policy(PolicyDocument=POLICY_DOCUMENT),
    )
    name = made["resourceArns"]["p"].rpartition("/")[2]
    other = AwsRegion(x509=X509)
    key = policies.version_key(name, 1, "x")
    overtake(other, POLICY, name, lambda *at: policies.put(*at, key))
    again = register(
        other.client(),
        c=certificate(CertificateSigningRequest=CSR),
        p=policy(PolicyDocument=POLICY_DOCUMENT),
    )
    assert again["resourceArns"]["p"] == made["resourceArns"]["p"]


@pytest.mark.parametrize(
    ("override", "held", "expected"),
    [
        (None, "INACTIVE", "ACTIVE"),
        ("REPLACE", "INACTIVE", "ACTIVE"),
        ("DO_NOTHING", "INACTIVE", "INACTIVE"),
        ("FAIL", "INACTIVE", CONFLICT),
        ("FAIL", "ACTIVE", "ACTIVE"),
        (None, "PENDING_ACTIVATION", "ACTIVE"),
        ("FAIL", "PENDING_ACTIVATION", "ACTIVE"),
        ("DO_NOTHING", "PENDING_ACTIVATION", "PENDING_ACTIVATION"),
        (None, "REVOKED", FAILURE),
        ("REPLACE", "REVOKED", FAILURE),
    ],
)
def test_the_status_of_a_certificate_that_is_named(region, client, override, held, expected):
    certificate_id = there(region, client, held)
    asked = {"c": certificate(override, CertificateId=certificate_id.upper())}
    if expected in (CONFLICT, FAILURE):
        assert refused(client, **asked)[0] == expected
        assert status(client, certificate_id) == held
    else:
        register(client, **asked)
        assert status(client, certificate_id) == expected


@pytest.mark.parametrize(
    ("override", "held", "expected"),
    [
        (None, "INACTIVE", "INACTIVE"),
        ("REPLACE", "INACTIVE", "ACTIVE"),
        (None, "PENDING_ACTIVATION", "ACTIVE"),
        ("DO_NOTHING", "PENDING_ACTIVATION", "PENDING_ACTIVATION"),
    ],
)
def test_the_status_of_a_certificate_that_is_given_and_there(
    region, client, override, held, expected
):
    certificate_id = there(region, client, held)
    pem = region.store.get(CERTIFICATE, certificate_id).register("pem")
    register(client, c=certificate(override, CertificatePem=pem))
    assert status(client, certificate_id) == expected


def there(region, client, held):
    """The id of a certificate that has a status."""
    if held == "PENDING_ACTIVATION":
        pem = CA.sign()
        certificate_id = identity(pem)
        writer = Writer(region.clock, region.now_ms)
        pend = partial(registry.register_certificate, writer=writer, pem=pem, active=False)
        asyncio.run(region.store.update(CERTIFICATE, certificate_id, pend))
    else:
        certificate_id = created(client, active=held == "ACTIVE")
    if held == "REVOKED":
        client.update_certificate(certificateId=certificate_id, newStatus=held)
    assert status(client, certificate_id) == held
    return certificate_id


# What is refused


@pytest.mark.parametrize(
    ("resources", "error"),
    [
        ({"t": thing(ThingName="no good")}, INVALID),
        ({"t": thing(AttributePayload={"a b": "c"})}, INVALID),
        ({"t": thing(ThingTypeName="none")}, INVALID),
        ({"t": thing(ThingGroups=["none"])}, INVALID),
        ({"t": thing(BillingGroup="none")}, INVALID),
        ({"t": thing(), "c": certificate(CertificateSigningRequest="x")}, INVALID),
        ({"t": thing(), "c": certificate(CertificateId="a" * 64)}, INVALID),
        ({"t": thing(), "c": certificate(CertificatePem="x")}, FAILURE),
        ({"t": thing(), "c": certificate(CertificatePem=CA.sign())}, FAILURE),
        ({"t": thing(PackageVersions={})}, INVALID),
    ],
)
def test_of_what_cannot_be_nothing_is_there(client, resources, error):
    code, message = refused(client, **resources)
    assert code == error
    assert message
    assert client.list_things()["things"] == []
    assert client.list_certificates()["certificates"] == []


def test_what_is_missing_is_named(client):
    body = json.dumps({"Parameters": {"Name": {"Type": "String"}}, "Resources": {"t": thing()}})
    assert refusal(client.register_thing, templateBody=body) == (
        INVALID,
        "Parameters.Name: it has no default and is not given",
    )


def test_a_certificate_is_not_active_before_all_else_is_there(region, client):
    """Whatever the last step is that is not taken."""
    asked = {
        "t": thing(),
        "c": certificate(CertificateSigningRequest=CSR),
        "p": policy(PolicyName="none"),
    }
    assert refused(client, **asked)[0] == INVALID
    client.create_policy(policyName="none", policyDocument=json.dumps(POLICY_DOCUMENT))
    put, seen = region.store.log.put, []

    async def watched(item, revision):
        seen.append((item.kind, registry.certificate_status(item)))
        return await put(item, revision)

    region.store.log.put = watched
    register(client, **asked)
    actives = [n for n, (_, each) in enumerate(seen) if each is CertificateStatus.ACTIVE]
    assert [seen[n][0] for n in actives] == [CERTIFICATE]
    assert actives == [len(seen) - 1]


def test_a_template_does_nothing_for_whom_that_is_not_allowed(region, client):
    asked = {
        "t": thing({"AttributePayload": "REPLACE"}),
        "c": certificate(CertificateSigningRequest=CSR),
        "p": policy(PolicyDocument=POLICY_DOCUMENT),
    }
    for operation in ("CreatePolicy", "UpdateThing", "AttachThingPrincipal"):
        region.never = {operation}
        code, message = refused(client, **asked)
        assert code == "AccessDeniedException"
        assert f"iot:{operation}" in message
    assert writes(region) == 0
    region.never = {"UpdateCertificate"}
    register(client, **asked)
