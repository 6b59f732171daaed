"""Certificates over the API: what is answered, what is refused, and what regions make of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from datetime import UTC, datetime

import pytest
from aws_asking import exchange, overtake, refusal, writes
from aws_region import AwsRegion
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from made_certificates import identity, new_ca, new_key, private_pem, request
from test_x509 import texts

from isthmus.adapters.sealing import KEY_BYTES, Sealing
from isthmus.adapters.x509 import DeviceX509
from isthmus.core import certificates, issuing, policies, registry
from isthmus.core.certificates import Mode
from isthmus.core.issuing import DEVICES, ISSUING_CA
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, POLICY, THING, CertificateStatus

CA = new_ca()
PEM = CA.sign()
ID = identity(PEM)
ARN = f"arn:aws:iot:eu-west-1:123456789012:cert/{ID}"
#: Making one takes longer than all that a test asks of it.
CLIENT = AwsRegion().client()


def status(client, certificate_id=ID):
    found = client.describe_certificate(certificateId=certificate_id)
    return found["certificateDescription"]["status"]


def write(region, kind, key, change):
    return asyncio.run(region.context(None).write(kind, key, change))


def attach(region, kind, name):
    """What other operations attach."""
    target = write(region, kind, name, lambda item, writer: put(kind, item, writer))
    certificate = region.store.get(CERTIFICATE, ID)
    key = registry.attachment_key(f"{kind}:{name}", ID)
    write(
        region,
        ATTACHMENT,
        key,
        lambda item, writer: registry.attach(item, writer, target, certificate),
    )
    return key


def put(kind, item, writer):
    if kind == THING:
        return registry.put_thing(item, writer, {})
    return policies.put(item, writer, f"{item.key}:1:x")


# Issued here


@pytest.mark.parametrize("is_active", [True, False])
def test_keys_and_their_certificate_are_made(client, is_active):
    made = client.create_keys_and_certificate(setAsActive=is_active)
    pair = made["keyPair"]
    key = serialization.load_pem_private_key(pair["PrivateKey"].encode(), password=None)
    assert key.key_size == 2048
    assert made["certificateId"] == identity(made["certificatePem"])
    assert made["certificateArn"].endswith(f":cert/{made['certificateId']}")
    found = client.describe_certificate(certificateId=made["certificateId"])
    described = found["certificateDescription"]
    assert described["status"] == ("ACTIVE" if is_active else "INACTIVE")
    assert described["certificatePem"] == made["certificatePem"]
    assert described["certificateMode"] == "DEFAULT"
    assert described["validity"]["notAfter"] == datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_a_request_is_signed(client):
    key = new_key()
    made = client.create_certificate_from_csr(certificateSigningRequest=request(key))
    assert status(client, made["certificateId"]) == "INACTIVE"
    assert made.keys() == {
        "certificateArn",
        "certificateId",
        "certificatePem",
        "ResponseMetadata",
    }


def test_the_regions_ca_is_made_once_and_signs_in_every_region():
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    here, there = eu.client(), us.client()
    for client in (here, there):
        client.create_certificate_from_csr(certificateSigningRequest=request())
    assert len(issuing.authorities(eu.store.get(ISSUING_CA, DEVICES))) == 1
    exchange(eu, us)
    held = issuing.authorities(eu.store.get(ISSUING_CA, DEVICES))
    assert held == issuing.authorities(us.store.get(ISSUING_CA, DEVICES))
    assert len(held) == 2
    for client in (here, there):
        made = client.create_certificate_from_csr(certificateSigningRequest=request())
        assert eu.x509.is_issued_by(made["certificatePem"], held[0].pem)
    assert len(issuing.authorities(eu.store.get(ISSUING_CA, DEVICES))) == 2


def test_two_requests_at_once_make_one_ca(region, client):
    first = region.x509.new_authority(datetime(2026, 1, 1, tzinfo=UTC))
    overtake(region, ISSUING_CA, DEVICES, lambda item, writer: issuing.add(item, writer, first))
    made = client.create_certificate_from_csr(certificateSigningRequest=request())
    assert region.x509.is_issued_by(made["certificatePem"], first.pem)
    assert issuing.authorities(region.store.get(ISSUING_CA, DEVICES)) == [first]


def test_a_ca_whose_key_does_not_open_is_passed_over(region, client):
    foreign = DeviceX509(Sealing(b"x" * KEY_BYTES)).new_authority(datetime(2026, 1, 1, tzinfo=UTC))
    write(region, ISSUING_CA, DEVICES, lambda *at: issuing.add(*at, foreign))
    made = client.create_certificate_from_csr(certificateSigningRequest=request())
    held = issuing.authorities(region.store.get(ISSUING_CA, DEVICES))
    assert len(held) == 2
    (ours,) = (each for each in held if each != foreign)
    assert region.x509.is_issued_by(made["certificatePem"], ours.pem)


def test_a_region_that_cannot_seal_issues_nothing():
    region = AwsRegion(x509=DeviceX509(None))
    code, message = refusal(region.client().create_keys_and_certificate)
    assert code == "ServiceUnavailableException"
    assert "secrets_key" in message
    assert writes(region) == 0


def test_a_private_key_is_in_its_answer_and_nowhere_else(region, client, caplog, monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError(f"a file is opened: {arguments}")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(os, "open", refuse)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("botocore").setLevel(logging.INFO)
    made = client.create_keys_and_certificate(setAsActive=True)
    client.register_certificate_without_ca(certificatePem=PEM + private_pem(CA.key))
    monkeypatch.undo()
    secret = made["keyPair"]["PrivateKey"].splitlines()[1:-1]
    stored = b"".join(each.encode() for each in items(region)).decode()
    assert identity(PEM) in stored
    for text in (stored, caplog.text):
        assert "PRIVATE" not in text
        assert not any(line in text for line in secret)
    (held,) = issuing.authorities(region.store.get(ISSUING_CA, DEVICES))
    assert held.sealed in stored
    assert region.x509.may_sign(held)


def items(region):
    names = region.store.view.digests()
    return [region.store.get(*each.split("/", 1)) for each in names]


# Registered


def test_a_certificate_is_registered_without_its_ca_and_described(region, client):
    made = client.register_certificate_without_ca(certificatePem=PEM, status="ACTIVE")
    assert (made["certificateId"], made["certificateArn"]) == (ID, ARN)
    described = client.describe_certificate(certificateId=ID.upper())["certificateDescription"]
    created = described.pop("creationDate")
    assert created.timestamp() * 1000 == region.now_ms
    assert len(described.pop("generationId")) == 36
    read = region.x509.read(PEM)
    assert described == {
        "certificateArn": ARN,
        "certificateId": ID,
        "status": "ACTIVE",
        "certificatePem": PEM,
        "ownedBy": "123456789012",
        "lastModifiedDate": created,
        "customerVersion": 1,
        "transferData": {},
        "certificateMode": "SNI_ONLY",
        "validity": {"notBefore": read.not_before, "notAfter": read.not_after},
    }


@pytest.mark.parametrize("given_status", ["ACTIVE", "INACTIVE", "REVOKED"])
def test_statuses_to_register_as(client, given_status):
    client.register_certificate_without_ca(certificatePem=PEM, status=given_status)
    assert status(client) == given_status


@pytest.mark.parametrize(
    "wrong", ["PENDING_TRANSFER", "PENDING_ACTIVATION", "REGISTER_INACTIVE", "GONE"]
)
def test_statuses_that_nobody_can_set(region, client, wrong):
    refused = refusal(client.register_certificate_without_ca, certificatePem=PEM, status=wrong)
    assert refused[0] == "InvalidRequestException"
    assert writes(region) == 0
    client.register_certificate_without_ca(certificatePem=PEM)
    refused = refusal(client.update_certificate, certificateId=ID, newStatus=wrong)
    assert refused[0] == "InvalidRequestException"
    assert status(client) == "INACTIVE"


def test_a_certificate_that_is_there_is_not_registered_again(region, client):
    client.register_certificate_without_ca(certificatePem=PEM)
    count = writes(region)
    with pytest.raises(client.exceptions.ResourceAlreadyExistsException) as refused:
        client.register_certificate_without_ca(certificatePem=f"again\n{PEM}")
    assert refused.value.response["resourceArn"] == ARN
    assert refused.value.response["resourceId"] == ID
    assert writes(region) == count


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.sampled_from(["register_certificate", "register_certificate_without_ca"]), st.data())
def test_no_text_makes_anything_but_a_certificate_or_its_errors(operation, data):
    text = data.draw(texts("CERTIFICATE"))
    expected = CLIENT.exceptions
    with contextlib.suppress(
        expected.CertificateValidationException,
        expected.InvalidRequestException,
        expected.ResourceAlreadyExistsException,
    ):
        getattr(CLIENT, operation)(certificatePem=text)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(texts("CERTIFICATE REQUEST"))
def test_no_text_makes_anything_but_a_signed_request_or_its_error(text):
    with contextlib.suppress(CLIENT.exceptions.InvalidRequestException):
        CLIENT.create_certificate_from_csr(certificateSigningRequest=text)


# Changed and deleted


def test_a_certificate_changes_its_status(region, client):
    client.register_certificate_without_ca(certificatePem=PEM)
    region.now_ms += 5000
    for wanted in ("ACTIVE", "INACTIVE", "ACTIVE", "REVOKED"):
        client.update_certificate(certificateId=ID, newStatus=wanted)
        assert status(client) == wanted
        count = writes(region)
        client.update_certificate(certificateId=ID, newStatus=wanted)
        assert writes(region) == count
    found = client.describe_certificate(certificateId=ID)["certificateDescription"]
    assert found["lastModifiedDate"].timestamp() * 1000 >= region.now_ms
    assert found["customerVersion"] == 5
    for wanted in ("ACTIVE", "INACTIVE"):
        refused = refusal(client.update_certificate, certificateId=ID, newStatus=wanted)
        assert refused[0] == "CertificateStateException"
    assert status(client) == "REVOKED"


def test_who_activates_while_somebody_revokes_is_refused(region, client):
    client.register_certificate_without_ca(certificatePem=PEM)
    overtake(region, CERTIFICATE, ID, registry.revoke)
    refused = refusal(client.update_certificate, certificateId=ID, newStatus="ACTIVE")
    assert refused[0] == "CertificateStateException"


def test_what_is_not_there_is_not_found(client):
    asked = {"certificateId": ID}
    for call, more in (
        (client.describe_certificate, {}),
        (client.update_certificate, {"newStatus": "ACTIVE"}),
        (client.delete_certificate, {}),
    ):
        assert refusal(call, **asked, **more) == (
            "ResourceNotFoundException",
            f"Certificate {ID} does not exist",
        )


def test_a_certificate_is_deleted_when_nothing_holds_it(region, client):
    client.register_certificate_without_ca(certificatePem=PEM, status="ACTIVE")
    code, message = refusal(client.delete_certificate, certificateId=ID)
    assert (code, ID in message) == ("CertificateStateException", True)
    client.update_certificate(certificateId=ID, newStatus="INACTIVE")
    policy, thing = attach(region, POLICY, "p"), attach(region, THING, "t")
    for forced in (False, True):
        code, message = refusal(client.delete_certificate, certificateId=ID, forceDelete=forced)
        assert (code, "Things must" in message) == ("DeleteConflictException", True)
    write(region, ATTACHMENT, thing, registry.detach)
    code, message = refusal(client.delete_certificate, certificateId=ID)
    assert (code, "Policies must" in message) == ("DeleteConflictException", True)
    client.delete_certificate(certificateId=ID, forceDelete=True)
    assert registry.attaches(region.store.get(ATTACHMENT, policy)) == []
    assert client.list_certificates()["certificates"] == []
    client.register_certificate_without_ca(certificatePem=PEM)
    assert status(client) == "INACTIVE"


def test_a_revoked_certificate_is_not_registered_again_but_as_revoked(client):
    client.register_certificate_without_ca(certificatePem=PEM, status="REVOKED")
    client.delete_certificate(certificateId=ID)
    refused = refusal(client.register_certificate_without_ca, certificatePem=PEM)
    assert refused[0] == "CertificateStateException"
    client.register_certificate_without_ca(certificatePem=PEM, status="REVOKED")
    assert status(client) == "REVOKED"


def test_one_that_was_revoked_before_anybody_knew_it_is_described_as_far_as_it_is(region, client):
    write(region, CERTIFICATE, ID, registry.revoke)
    found = client.describe_certificate(certificateId=ID)["certificateDescription"]
    assert found["status"] == "REVOKED"
    assert "certificatePem" not in found


def test_one_that_is_of_no_key_that_the_api_takes_is_described_too(region, client):
    write(
        region,
        CERTIFICATE,
        ID,
        lambda item, writer: registry.register_certificate(item, writer, "other", active=True),
    )
    found = client.describe_certificate(certificateId=ID)["certificateDescription"]
    assert (found["certificatePem"], found["status"]) == ("other", "ACTIVE")
    assert "validity" not in found


# Listed


def test_certificates_are_listed_in_pages_in_the_order_of_their_creation(region, client):
    made = []
    for _ in range(5):
        region.now_ms += 1
        text = CA.sign()
        made.append(client.register_certificate_without_ca(certificatePem=text)["certificateId"])
    pages = client.get_paginator("list_certificates")
    for ascending, expected in ((True, made), (False, made[::-1])):
        listed = pages.paginate(ascendingOrder=ascending, PaginationConfig={"PageSize": 2})
        found = listed.build_full_result()["certificates"]
        assert [each["certificateId"] for each in found] == expected
    first = client.list_certificates(pageSize=1, ascendingOrder=True)["certificates"][0]
    assert first.pop("creationDate").timestamp() * 1000 == region.now_ms - 4
    assert first == {
        "certificateArn": f"arn:aws:iot:eu-west-1:123456789012:cert/{made[0]}",
        "certificateId": made[0],
        "status": "INACTIVE",
        "certificateMode": "SNI_ONLY",
    }


# Two regions


def test_what_regions_say_of_a_certificate_at_once():
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    here, there = eu.client(), us.client()
    here.register_certificate_without_ca(certificatePem=PEM, status="ACTIVE")
    exchange(eu, us)
    here.update_certificate(certificateId=ID, newStatus="INACTIVE")
    there.update_certificate(certificateId=ID, newStatus="INACTIVE")
    there.update_certificate(certificateId=ID, newStatus="ACTIVE")
    exchange(eu, us)
    assert status(here) == status(there) == "INACTIVE"
    there.update_certificate(certificateId=ID, newStatus="ACTIVE")
    here.update_certificate(certificateId=ID, newStatus="REVOKED")
    exchange(eu, us)
    assert status(here) == status(there) == "REVOKED"
    assert len({each.store.get(CERTIFICATE, ID).encode() for each in (eu, us)}) == 1


STATUSES = st.sampled_from([each for each in CertificateStatus if each != "PENDING_ACTIVATION"])


@given(STATUSES, STATUSES)
def test_registered_in_two_regions_at_once_the_stricter_status_holds(one, other):
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    for region, given_status in ((eu, one), (us, other)):
        write(
            region,
            CERTIFICATE,
            ID,
            lambda item, writer, given_status=given_status: certificates.register(
                item, writer, PEM, given_status, Mode.SNI_ONLY
            ),
        )
    exchange(eu, us)
    item = eu.store.get(CERTIFICATE, ID)
    order = ["REVOKED", "INACTIVE", "ACTIVE"]
    assert registry.certificate_status(item) == min(one, other, key=order.index)
    assert item.encode() == us.store.get(CERTIFICATE, ID).encode()
