"""Fleet provisioning: what a device with a claim certificate gets, and what it never does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping
from typing import Any

import cbor2
import msgspec
import pytest
from aws_asking import exchange, writes
from aws_region import AwsRegion
from fleet_devices import CREATE, FROM_CSR, PROVISION, ROLE, TEMPLATE, Device, body
from hypothesis import given, settings
from hypothesis import strategies as st
from made_certificates import identity, request

from isthmus.adapters.sealing import KEY_BYTES, Sealing
from isthmus.adapters.x509 import DeviceX509
from isthmus.aws import expiring, models, ownership
from isthmus.aws.devices import DEVICE_QUESTIONS, fleet_provisioning
from isthmus.aws.handlers import OPERATIONS
from isthmus.aws.requests import Call
from isthmus.core import registry
from isthmus.core.issuing import DEVICES, ISSUING_CA
from isthmus.core.registry import CERTIFICATE, CertificateStatus
from isthmus.core.x509 import KeyPair
from isthmus.errors import Unavailable

SEALING = Sealing(b"k" * KEY_BYTES)
CSR = request()
KINDS = pytest.mark.parametrize("kind", ["json", "cbor"])


class QuickX509(DeviceX509):
    """Makes one key for all: a key takes longer than all that a test asks."""

    _made: KeyPair | None = None

    async def new_keys(self) -> KeyPair:
        cls = type(self)
        cls._made = cls._made or await super().new_keys()
        return cls._made


X509 = QuickX509(SEALING)


def a_region(name: str = "eu-west-1") -> AwsRegion:
    return AwsRegion(name, x509=X509)


@pytest.fixture
def region() -> AwsRegion:
    made = a_region()
    make_template(made)
    return made


def make_template(region: AwsRegion, text: str = "", **parameters: Any) -> None:
    given = {"templateName": TEMPLATE, "templateBody": text or body(), "enabled": True}
    service = models.service(models.IOT)
    call = Call(service, service.operations["CreateProvisioningTemplate"], {})
    handler: Any = OPERATIONS.handler(call)
    role = {"provisioningRoleArn": ROLE}
    asyncio.run(handler(region.context(call), given | role | parameters))


def status(region: AwsRegion, certificate: str) -> CertificateStatus | None:
    return registry.certificate_status(region.store.get(CERTIFICATE, certificate))


def refusal(answer: tuple[str, Any]) -> tuple[int, str]:
    how, said = answer
    assert how == "rejected", said
    assert set(said) == {"statusCode", "errorCode", "errorMessage"}
    return said["statusCode"], said["errorCode"]


# What a device gets


@KINDS
def test_a_device_gets_a_certificate_and_what_the_template_says(region, kind):
    device = Device(kind=kind)
    created = device.create(region)
    key = created["certificateId"]
    assert set(created) == {
        "certificateId",
        "certificatePem",
        "certificateOwnershipToken",
        "privateKey",
    }
    assert identity(created["certificatePem"]) == key
    assert created["privateKey"].startswith("-----BEGIN RSA PRIVATE KEY")
    assert status(region, key) is CertificateStatus.PENDING_ACTIVATION
    how, said = device.provision(region, created)
    assert (how, said) == (
        "accepted",
        {"thingName": "lamp-7", "deviceConfiguration": {"Url": "https://7", "Level": 3}},
    )
    assert status(region, key) is CertificateStatus.ACTIVE
    assert region.store.view.things(key) == ("lamp-7",)
    assert len(region.store.view.policies(key, "lamp-7")) == 1


@KINDS
def test_a_device_may_keep_its_key_to_itself(region, kind):
    device = Device(kind=kind)
    how, created = device.ask(region, FROM_CSR, {"certificateSigningRequest": CSR})
    assert how == "accepted"
    assert set(created) == {"certificateId", "certificatePem", "certificateOwnershipToken"}
    assert device.provision(region, created)[0] == "accepted"


@KINDS
def test_the_request_for_keys_may_be_empty(region, kind):
    assert Device().send(region, CREATE.format(kind), b"")[0] == "accepted"


def test_what_is_asked_again_is_answered_again_and_changes_nothing(region):
    device = Device()
    created = device.create(region)
    first = device.provision(region, created)
    before = writes(region)
    assert device.provision(region, created) == first
    assert writes(region) == before


@pytest.mark.parametrize("topic", [CREATE, FROM_CSR])
def test_so_many_certificates_are_made_and_then_some_in_a_second(region, monkeypatch, topic):
    monkeypatch.setattr(fleet_provisioning, "CREATED_AT_ONCE", 20)
    region.creations = fleet_provisioning.creations()

    def asked(count):
        request = {"certificateSigningRequest": CSR} if topic == FROM_CSR else {}
        answers = [Device(f"new-{n}").ask(region, topic, request) for n in range(count)]
        return [refusal(each) for each in answers if each[0] == "rejected"]

    assert asked(20) == []
    before = writes(region)
    assert asked(1) == [(400, "Throttling")]
    assert writes(region) == before
    region.now_ms += 1000
    assert len(asked(20)) == 20 - fleet_provisioning.CREATED_PER_S


def test_what_is_no_request_takes_nobodys_turn(region, monkeypatch):
    monkeypatch.setattr(fleet_provisioning, "CREATED_AT_ONCE", 1)
    region.creations = fleet_provisioning.creations()
    for topic in (CREATE, FROM_CSR):
        answer = Device().send(region, topic.format("json"), b"{")
        assert refusal(answer) == (400, "InvalidPayload")
    Device().create(region)


# What it does not get


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (CREATE, b"{"),
        (CREATE, b"[]"),
        (FROM_CSR, b""),
        (FROM_CSR, b"{}"),
        (FROM_CSR, json.dumps({"certificateSigningRequest": "x" * 4097}).encode()),
        (PROVISION, b"{}"),
        (PROVISION, b'{"certificateOwnershipToken": 1}'),
        (PROVISION, b'{"certificateOwnershipToken": "x", "parameters": {"Serial": 1}}'),
        (PROVISION, b" " * 70_000),
    ],
)
def test_what_is_no_request_is_refused(region, topic, payload):
    before = writes(region)
    assert refusal(Device().send(region, topic.format("json"), payload)) == (400, "InvalidPayload")
    assert writes(region) == before


def test_what_is_no_signing_request_is_refused(region):
    answer = Device().ask(region, FROM_CSR, {"certificateSigningRequest": "x"})
    assert refusal(answer) == (400, "InvalidRequest")


#: What JSON and CBOR have in common, and what only CBOR has.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "certificateOwnershipToken": st.text() | VALUES,
        "certificateSigningRequest": st.text() | VALUES,
        "parameters": st.dictionaries(st.text(), st.text()) | VALUES,
    },
)


@given(
    st.sampled_from([FROM_CSR, PROVISION]),
    st.sampled_from(["json", "cbor"]),
    st.binary() | (REQUESTS | VALUES).map(cbor2.dumps),
)
def test_whatever_is_sent_is_refused_in_its_own_form(topic, kind, payload):
    region = REFUSING
    code, _ = refusal(Device().send(region, topic.format(kind), payload))
    assert code in (400, 403)
    assert writes(region) == WRITTEN


REFUSING = a_region()
make_template(REFUSING)
# The CA for devices is made by the first who asks for a certificate.
Device().create(REFUSING)
WRITTEN = writes(REFUSING)


@pytest.mark.parametrize(
    "payload",
    [
        # A tag, keys that are no texts, one key twice, and more depth than a request has.
        cbor2.dumps({"parameters": cbor2.CBORTag(35, "(a+)+$")}),
        cbor2.dumps({"parameters": cbor2.CBORTag(5, [10**9, 3])}),
        cbor2.dumps({(1, 2): "x"}),
        b"\xa2\x61a\x01\x61a\x02",
        b"\x81" * 60_000,
    ],
)
def test_cbor_that_costs_more_than_it_says_is_not_read(region, payload):
    answer = Device().send(region, PROVISION.format("cbor"), payload)
    assert refusal(answer) == (400, "InvalidPayload")


TOKEN = "InvalidCertificateOwnershipToken"


@pytest.mark.parametrize(
    "other",
    [Device("new-2"), Device(claim="d" * 64), Device("new-2", "d" * 64)],
    ids=["client", "claim", "both"],
)
def test_a_token_is_good_for_nobody_else(region, other):
    created = Device().create(region)
    assert refusal(other.provision(region, created)) == (403, TOKEN)
    assert status(region, created["certificateId"]) is CertificateStatus.PENDING_ACTIVATION


def test_a_token_is_good_for_an_hour(region):
    device = Device()
    created = device.create(region)
    region.now_ms += ownership.LASTS_MS - 1
    assert device.provision(region, created)[0] == "accepted"
    region.now_ms += 1
    assert refusal(device.provision(region, created)) == (403, TOKEN)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.hex()))
def test_a_text_is_no_token(text):
    answer = Device().provision(REFUSING, {"certificateOwnershipToken": text})
    assert refusal(answer) == (403, TOKEN)


@given(st.data())
def test_a_token_in_which_anything_was_changed_is_none(data):
    token = GIVEN["certificateOwnershipToken"]
    at = data.draw(st.integers(0, len(token) - 3))
    other = data.draw(st.sampled_from(sorted(set("ABCabc123+/") - {token[at]})))
    forged = token[:at] + other + token[at + 1 :]
    answer = Device().provision(REFUSING, {"certificateOwnershipToken": forged})
    assert refusal(answer) == (403, TOKEN)


GIVEN = Device().create(REFUSING)
WRITTEN = writes(REFUSING)


def test_a_token_of_another_purpose_or_key_is_none(region):
    device = Device()
    created = device.create(region)
    owned = ownership.Ownership(created["certificateId"], device.claim, device.client, 2**53)
    said = msgspec.json.encode(owned).decode()
    for sealing, purpose in ((SEALING, "other"), (Sealing(b"o" * 32), ownership.PURPOSE)):
        forged = {"certificateOwnershipToken": sealing.seal(said, purpose)}
        assert refusal(device.provision(region, forged)) == (403, TOKEN)
    sealed = {"certificateOwnershipToken": SEALING.seal(said, ownership.PURPOSE)}
    assert device.provision(region, sealed)[0] == "accepted"


def test_a_certificate_is_provisioned_once(region):
    device = Device()
    created = device.create(region)
    assert device.provision(region, created)[0] == "accepted"
    assert refusal(device.provision(region, created, {"Serial": "8"})) == (403, TOKEN)
    assert region.store.view.things(created["certificateId"]) == ("lamp-7",)


@pytest.mark.parametrize("to", ["INACTIVE", "REVOKED"])
def test_a_certificate_that_was_taken_back_is_not_activated(region, to):
    device = Device()
    created = device.create(region)
    key = created["certificateId"]
    region.client().update_certificate(certificateId=key, newStatus=to)
    assert refusal(device.provision(region, created)) == (403, TOKEN)
    assert status(region, key) == to


def test_a_certificate_that_was_deleted_is_not_provisioned(region):
    device = Device()
    created = device.create(region)
    region.client().delete_certificate(certificateId=created["certificateId"])
    assert refusal(device.provision(region, created))[0] in (400, 404)


def named(value: Any) -> dict[str, Any]:
    return {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": value}}


def test_a_device_does_not_say_which_certificate_it_gets():
    region = a_region()
    make_template(region, body(certificate=named({"Ref": "Serial"})))
    device = Device()
    theirs = device.create(region)["certificateId"]
    answer = device.provision(region, device.create(region), {"Serial": theirs})
    assert refusal(answer) == (400, "InvalidParameters")
    assert status(region, theirs) is CertificateStatus.PENDING_ACTIVATION
    # Nor by the name of the parameter that is not its own to give.
    region = a_region()
    make_template(region)
    created = device.create(region)
    given = {"Serial": "7", "AWS::IoT::Certificate::Id": theirs}
    assert device.provision(region, created, given)[0] == "accepted"
    assert status(region, created["certificateId"]) is CertificateStatus.ACTIVE


def test_a_device_does_not_say_what_it_may_do():
    region = a_region()
    own = {"Fn::Sub": "arn:aws:iot:*:*:topic/lamps/${Serial}"}
    statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": own}
    document = {"Version": "2012-10-17", "Statement": statement}
    policy = {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": document}}
    make_template(region, body(policy=policy))
    device = Device()
    created = device.create(region)
    before = writes(region)
    answer = device.provision(region, created, {"Serial": "*"})
    assert refusal(answer) == (400, "InvalidParameters")
    assert writes(region) == before
    assert device.provision(region, created, {"Serial": "7"})[0] == "accepted"


def test_a_parameter_that_is_missing_is_named(region):
    device = Device()
    how, said = device.provision(region, device.create(region), {})
    assert refusal((how, said)) == (400, "InvalidParameters")
    assert "Serial" in said["errorMessage"]


def test_what_the_template_names_and_is_not_there_is_refused():
    region = a_region()
    thing = {
        "Type": "AWS::IoT::Thing",
        "Properties": {"ThingName": "t", "ThingGroups": ["nobody"]},
    }
    make_template(region, body(thing=thing))
    device = Device()
    created = device.create(region)
    how, said = device.provision(region, created)
    assert how == "rejected"
    assert "nobody" in said["errorMessage"]
    assert status(region, created["certificateId"]) is CertificateStatus.PENDING_ACTIVATION


def test_what_is_missing_is_found_before_anything_is_made():
    region = a_region()
    missing = {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "nobodys"}}
    make_template(region, body(policy=missing))
    device = Device()
    created = device.create(region)
    before = writes(region)
    how, said = device.provision(region, created)
    assert how == "rejected"
    assert "nobodys" in said["errorMessage"]
    assert writes(region) == before


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"enabled": False}, (403, "AccessDenied")),
        ({"type": "JITP"}, (404, "ResourceNotFound")),
        (None, (404, "ResourceNotFound")),
    ],
    ids=["disabled", "of another type", "none"],
)
def test_only_a_template_that_is_for_it_and_enabled_provisions(change, wanted):
    region = a_region()
    if change is not None:
        make_template(region, **change)
    device = Device()
    assert refusal(device.provision(region, device.create(region))) == wanted


def test_a_refusal_is_short_whatever_is_asked_for(region):
    """A topic of MQTT may have 64 KiB, where a listener does not go by AWS's limits."""
    device = Device()
    token = device.create(region)["certificateOwnershipToken"]
    topic = f"$aws/provisioning-templates/{'x' * 60_000}/provision/json"
    how, said = device.ask(region, topic, {"certificateOwnershipToken": token})
    assert refusal((how, said)) == (404, "ResourceNotFound")
    assert "no template 'xxx" in said["errorMessage"]
    assert len(said["errorMessage"]) < 200


# Hooks

ARN = "arn:aws:iot:eu-west-1:123456789012"
HOOK = "arn:aws:lambda:eu-west-1:123456789012:function:check"


class Hooked:
    """A hook that answers what a test says, and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def ask(self, arn: str, event: Mapping[str, Any]) -> Awaitable[Any]:
        self.asked.append((arn, event))

        async def answer() -> Any:
            return self.answer

        return answer()


def hooked(answer: Any) -> AwsRegion:
    region = a_region()
    make_template(region, preProvisioningHook={"targetArn": HOOK})
    region.hooks = Hooked(answer)
    return region


def test_a_hook_is_told_who_comes_and_may_give_other_parameters():
    region = hooked({"allowProvisioning": True, "parameterOverrides": {"Serial": "8"}})
    device = Device()
    created = device.create(region)
    assert device.provision(region, created)[1]["thingName"] == "lamp-8"
    assert region.hooks.asked == [
        (
            HOOK,
            {
                "claimCertificateId": device.claim,
                "certificateId": created["certificateId"],
                "certificatePem": created["certificatePem"],
                "templateArn": f"{ARN}:provisioningtemplate/{TEMPLATE}",
                "clientId": device.client,
                "parameters": {"Serial": "7"},
            },
        )
    ]


def test_a_hook_does_not_say_which_certificate_a_device_gets():
    theirs = "f" * 64
    overrides = {"AWS::IoT::Certificate::Id": theirs}
    region = hooked({"allowProvisioning": True, "parameterOverrides": overrides})
    device = Device()
    created = device.create(region)
    assert device.provision(region, created)[0] == "accepted"
    assert region.store.view.things(created["certificateId"]) == ("lamp-7",)


@pytest.mark.parametrize("by", ["device", "hook"])
def test_nobody_says_for_a_certificate_what_its_subject_would_say(by):
    """A template that is for JITP too, and does not declare what it takes of the subject."""
    said = {"AWS::IoT::Certificate::CommonName": "victim"}
    name = {"Fn::Sub": "lamp-${AWS::IoT::Certificate::CommonName}"}
    thing = {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": name}}
    region = a_region()
    make_template(region, body(thing=thing), preProvisioningHook={"targetArn": HOOK})
    overrides = said if by == "hook" else {}
    region.hooks = Hooked({"allowProvisioning": True, "parameterOverrides": overrides})
    device = Device()
    created = device.create(region)
    before = writes(region)
    given = {"Serial": "7"} | (said if by == "device" else {})
    answer = device.provision(region, created, given)
    assert refusal(answer) == (400, "InvalidParameters")
    ((_, event),) = region.hooks.asked
    assert event["parameters"] == {"Serial": "7"}
    assert writes(region) == before


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"allowProvisioning": False},
        {"allowProvisioning": "true"},
        {"allowProvisioning": 1},
        {"allowProvisioning": True, "parameterOverrides": {"Serial": 8}},
        [True],
        "yes",
        None,
    ],
)
def test_a_hook_that_does_not_say_yes_says_no(answer):
    region = hooked(answer)
    device = Device()
    created = device.create(region)
    assert refusal(device.provision(region, created)) == (403, "AccessDenied")
    assert status(region, created["certificateId"]) is CertificateStatus.PENDING_ACTIVATION


def test_a_hook_that_leads_nowhere_says_no():
    region = a_region()
    make_template(region, preProvisioningHook={"targetArn": HOOK})
    device = Device()
    assert refusal(device.provision(region, device.create(region))) == (403, "AccessDenied")


class Busy:
    """A hook that too many wait for."""

    async def ask(self, arn: str, event: Mapping[str, Any]) -> Any:
        raise Unavailable("too many")


def test_who_comes_while_too_many_wait_for_a_hook_is_to_ask_again():
    region = hooked({"allowProvisioning": True})
    device = Device()
    created = device.create(region)
    free, region.hooks = region.hooks, Busy()
    assert refusal(device.provision(region, created)) == (400, "Throttling")
    region.hooks = free
    assert device.provision(region, created)[0] == "accepted"


# Two regions


def test_a_token_is_good_in_every_region():
    here, there = a_region(), a_region("us-east-1")
    make_template(here)
    device = Device()
    created = device.create(here)
    exchange(here, there)
    assert device.provision(there, created)[0] == "accepted"
    exchange(here, there)
    assert status(here, created["certificateId"]) is CertificateStatus.ACTIVE


def state(region: AwsRegion) -> dict[str, str]:
    return dict(region.store.view.digests())


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from("78")), max_size=6),
    st.booleans(),
)
def test_devices_that_are_one_thing_in_two_regions_at_once_all_get_in(steps, same_device):
    """Each step provisions one of two certificates in one of two regions, as some thing."""
    here, there = regions = a_region(), a_region("us-east-1")
    make_template(here)
    devices = [Device(), Device() if same_device else Device("new-2")]
    created = [each.create(here) for each in devices]
    exchange(here, there)
    accepted: dict[str, set[str]] = {}
    for at, which, serial in steps:
        how, said = devices[which].provision(regions[at], created[which], {"Serial": serial})
        if how == "accepted":
            things = accepted.setdefault(created[which]["certificateId"], set())
            things.add(said["thingName"])
    exchange(here, there)
    assert state(here) == state(there)
    for key, things in accepted.items():
        # Who was told so is in, everywhere.
        assert status(here, key) is CertificateStatus.ACTIVE
        assert set(here.store.view.things(key)) == things
        for thing in things:
            found = here.store.view.policies(key, thing)
            assert found
            assert not any(each.contested for each in found)
    for each in created:
        if each["certificateId"] not in accepted:
            assert status(here, each["certificateId"]) is CertificateStatus.PENDING_ACTIVATION


# What ends by itself

ENDS_MS = ownership.LASTS_MS + fleet_provisioning.GRACE_MS


def sweep(region: AwsRegion, *, is_alone: bool = False) -> list[str]:
    """The certificates that a look for them ends."""
    call = fleet_call()
    ended = []
    for key in expiring.due(region.context(call), is_alone=is_alone):
        if asyncio.run(expiring.end(region.context(call), key, is_alone=is_alone)):
            ended.append(key)
    return ended


def fleet_call() -> Any:
    found = DEVICE_QUESTIONS.handler(CREATE.format("json"))
    assert found is not None
    return found[1]


def test_a_certificate_that_nobody_provisions_is_deleted(region):
    device = Device()
    unused, used = device.create(region), device.create(region)
    device.provision(region, used)
    region.now_ms += ENDS_MS
    assert sweep(region) == []
    region.now_ms += 1
    assert sweep(region) == [unused["certificateId"]]
    assert status(region, unused["certificateId"]) is None
    assert status(region, used["certificateId"]) is CertificateStatus.ACTIVE
    # And is looked at no more.
    before = writes(region)
    assert expiring.due(region.context(fleet_call()), is_alone=False) == []
    assert sweep(region) == []
    assert writes(region) == before


def test_a_region_that_is_alone_deletes_nothing_that_another_may_have_provisioned(region):
    other = a_region("us-east-1")
    device = Device()
    created = device.create(region)
    exchange(region, other)
    device.provision(other, created)
    region.now_ms += ENDS_MS + 1
    key, context = created["certificateId"], region.context(fleet_call())
    assert expiring.due(context, is_alone=True) == []
    # Nor where it is alone since it has looked.
    assert not asyncio.run(expiring.end(context, key, is_alone=True))
    exchange(region, other)
    assert sweep(region) == []
    assert status(region, created["certificateId"]) is CertificateStatus.ACTIVE


def test_so_many_are_deleted_in_one_go(region, monkeypatch):
    monkeypatch.setattr(expiring, "DUE_MAX", 2)
    device = Device()
    keys = []
    for _ in range(3):
        keys.append(device.create(region)["certificateId"])
        region.now_ms += 1
    region.now_ms += ENDS_MS
    assert [sweep(region), sweep(region), sweep(region)] == [keys[:2], keys[2:], []]


def test_regions_that_delete_at_once_write_what_joins(region):
    other = a_region("us-east-1")
    created = Device().create(region)
    exchange(region, other)
    for each in (region, other):
        each.now_ms += ENDS_MS + 1
        assert sweep(each) == [created["certificateId"]]
    exchange(region, other)
    assert state(region) == state(other)
    assert status(region, created["certificateId"]) is None
    assert region.store.get(ISSUING_CA, DEVICES).lives
