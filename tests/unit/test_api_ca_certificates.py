"""CA certificates and registration codes over the API, and what regions make of them at once."""

from __future__ import annotations

import json

import pytest
from aws_asking import exchange, overtake, refusal, writes
from aws_region import AwsRegion
from hypothesis import given
from hypothesis import strategies as st
from made_certificates import identity, new_ca, new_key

from isthmus.core import ca_certificates, registry
from isthmus.core.ca_certificates import CA_CERTIFICATE, CODES, REGISTRATION_CODE
from isthmus.core.certificates import Mode
from isthmus.core.item import Item, join
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock

CA = new_ca()
ARN = f"arn:aws:iot:eu-west-1:123456789012:cacert/{CA.id}"
SNI = {"caCertificate": CA.pem, "certificateMode": "SNI_ONLY"}
TEMPLATE = json.dumps(
    {"Resources": {"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": "t"}}}}
)
BODY = {"templateBody": TEMPLATE, "roleArn": "arn:aws:iam::123456789012:role/r"}


def described(client):
    return client.describe_ca_certificate(certificateId=CA.id)["certificateDescription"]


# Registration codes


def test_a_code_is_the_same_until_it_is_deleted(region, client):
    codes = []
    for _ in range(3):
        code = client.get_registration_code()["registrationCode"]
        assert len(bytes.fromhex(code)) == 32
        codes.append(code)
        count = writes(region)
        assert client.get_registration_code()["registrationCode"] == code
        assert writes(region) == count
        client.delete_registration_code()
    assert len(set(codes)) == 3


def test_to_ask_for_a_code_writes_nothing_and_every_region_has_the_same():
    regions = [AwsRegion("eu-west-1"), AwsRegion("us-east-1")]
    codes = {each.client().get_registration_code()["registrationCode"] for each in regions}
    assert len(codes) == 1
    assert [writes(each) for each in regions] == [0, 0]


def test_codes_made_at_once_are_both_valid_and_one_is_told_everywhere():
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    here, there = eu.client(), us.client()
    for client in (here, there):
        client.delete_registration_code()
    codes = [each.get_registration_code()["registrationCode"] for each in (here, there)]
    exchange(eu, us)
    for client in (here, there):
        assert client.get_registration_code()["registrationCode"] == min(codes)
    for code in codes:
        ca = new_ca()
        here.register_ca_certificate(caCertificate=ca.pem, verificationCertificate=ca.sign(code))
    there.delete_registration_code()
    exchange(eu, us)
    ca = new_ca()
    for code in codes:
        refused = refusal(
            here.register_ca_certificate,
            caCertificate=ca.pem,
            verificationCertificate=ca.sign(code),
        )
        assert refused[0] == "RegistrationCodeValidationException"


FIRST = "f" * 64
REGIONS = ("eu", "us", "ap")
STEPS = st.lists(
    st.tuples(st.sampled_from(REGIONS), st.sampled_from(["delete", "takes"]), st.integers(0, 2)),
    max_size=25,
)


@given(STEPS)
def test_a_code_is_valid_until_somebody_who_knows_it_deletes_it(steps):
    clocks = {region: StampClock(region, "i") for region in REGIONS}
    held = {region: Item(REGISTRATION_CODE, CODES) for region in REGIONS}
    made, deleted = {FIRST}, set()
    for number, (region, what, other) in enumerate(steps):
        item, writer = held[region], Writer(clocks[region], 1)
        if what == "delete":
            made.add(f"{number:064x}")
            deleted |= set(ca_certificates.codes(item, FIRST))
            held[region] = ca_certificates.replace_codes(item, writer, f"{number:064x}")
        else:
            held[region] = join(item, held[REGIONS[other]])
    for _ in range(2):
        for region in REGIONS:
            for other in REGIONS:
                held[region] = join(held[region], held[other])
    assert len({item.encode() for item in held.values()}) == 1
    assert set(ca_certificates.codes(held["eu"], FIRST)) == made - deleted


# Registered


def test_a_ca_is_registered_by_who_has_its_key(region, client):
    code = client.get_registration_code()["registrationCode"]
    made = client.register_ca_certificate(
        caCertificate=CA.pem,
        verificationCertificate=CA.sign(code),
        setAsActive=True,
        allowAutoRegistration=True,
        registrationConfig=BODY,
        tags=[{"Key": "a", "Value": "b"}],
    )
    assert (made["certificateId"], made["certificateArn"]) == (CA.id, ARN)
    found = client.describe_ca_certificate(certificateId=CA.id)
    assert found["registrationConfig"] == BODY
    shown = found["certificateDescription"]
    created = shown.pop("creationDate")
    assert created.timestamp() * 1000 == region.now_ms
    assert len(shown.pop("generationId")) == 36
    tags = client.list_tags_for_resource(resourceArn=ARN)["tags"]
    assert tags == [{"Key": "a", "Value": "b"}]
    read = region.x509.read(CA.pem)
    assert shown == {
        "certificateArn": ARN,
        "certificateId": CA.id,
        "status": "ACTIVE",
        "certificatePem": CA.pem,
        "ownedBy": "123456789012",
        "autoRegistrationStatus": "ENABLE",
        "lastModifiedDate": created,
        "customerVersion": 1,
        "certificateMode": "DEFAULT",
        "validity": {"notBefore": read.not_before, "notAfter": read.not_after},
    }


def test_a_ca_is_neither_active_nor_registers_anything_unless_it_is_asked_for(client):
    client.register_ca_certificate(**SNI)
    shown = described(client)
    assert (shown["status"], shown["autoRegistrationStatus"]) == ("INACTIVE", "DISABLE")
    assert shown["certificateMode"] == "SNI_ONLY"
    assert "registrationConfig" not in client.describe_ca_certificate(certificateId=CA.id)


def test_who_does_not_have_the_key_is_refused(region, client):
    code = client.get_registration_code()["registrationCode"]
    count = writes(region)
    wrong = [
        (CA.sign("f" * 64), "RegistrationCodeValidationException"),
        (new_ca(key=new_key()).sign(code), "CertificateValidationException"),
        ("no certificate", "CertificateValidationException"),
        (None, "InvalidRequestException"),
    ]
    for text, error in wrong:
        more = {} if text is None else {"verificationCertificate": text}
        refused = refusal(client.register_ca_certificate, caCertificate=CA.pem, **more)
        assert refused[0] == error
    refused = refusal(client.register_ca_certificate, **SNI, verificationCertificate=CA.sign(code))
    assert refused[0] == "InvalidRequestException"
    assert writes(region) == count


def test_what_is_no_ca_is_refused(region, client):
    for text in (CA.sign(), new_ca(is_ca=False).pem, "x", "-----BEGIN CERTIFICATE-----"):
        asked = {"caCertificate": text, "certificateMode": "SNI_ONLY"}
        refused = refusal(client.register_ca_certificate, **asked)
        assert refused[0] == "CertificateValidationException"
    assert writes(region) == 0


def test_a_ca_that_is_there_is_not_registered_again(region, client):
    client.register_ca_certificate(**SNI)
    count = writes(region)
    with pytest.raises(client.exceptions.ResourceAlreadyExistsException) as refused:
        client.register_ca_certificate(**SNI)
    assert refused.value.response["resourceArn"] == ARN
    assert refused.value.response["resourceId"] == CA.id
    assert writes(region) == count


@pytest.mark.parametrize(
    "config",
    [
        {"roleArn": BODY["roleArn"]},
        {"templateBody": TEMPLATE},
        {**BODY, "templateName": "t"},
        {**BODY, "templateBody": "{"},
        {**BODY, "templateBody": "[]"},
        {**BODY, "templateBody": "{}"},
    ],
)
def test_what_could_register_no_device_is_refused(region, client, config):
    refused = refusal(client.register_ca_certificate, **SNI, registrationConfig=config)
    assert refused[0] == "InvalidRequestException"
    assert writes(region) == 0
    client.register_ca_certificate(**SNI)
    asked = {"certificateId": CA.id, "registrationConfig": config}
    assert refusal(client.update_ca_certificate, **asked)[0] == "InvalidRequestException"


def test_ten_cas_have_one_subject(client):
    made = [new_ca() for _ in range(11)]
    for each in made[:10]:
        client.register_ca_certificate(caCertificate=each.pem, certificateMode="SNI_ONLY")
    asked = {"caCertificate": made[10].pem, "certificateMode": "SNI_ONLY"}
    assert refusal(client.register_ca_certificate, **asked)[0] == "LimitExceededException"
    client.delete_ca_certificate(certificateId=made[0].id)
    client.register_ca_certificate(**asked)


# Changed and deleted


def test_a_ca_is_changed(region, client):
    client.register_ca_certificate(**SNI)
    region.now_ms += 1000
    client.update_ca_certificate(
        certificateId=CA.id, newStatus="ACTIVE", newAutoRegistrationStatus="ENABLE"
    )
    shown = described(client)
    assert (shown["status"], shown["autoRegistrationStatus"]) == ("ACTIVE", "ENABLE")
    assert shown["lastModifiedDate"].timestamp() * 1000 >= region.now_ms
    count = writes(region)
    client.update_ca_certificate(
        certificateId=CA.id, newStatus="ACTIVE", newAutoRegistrationStatus="ENABLE"
    )
    client.update_ca_certificate(certificateId=CA.id)
    assert writes(region) == count
    client.update_ca_certificate(certificateId=CA.id, registrationConfig=BODY)
    count = writes(region)
    client.update_ca_certificate(certificateId=CA.id, registrationConfig=BODY)
    assert writes(region) == count
    found = client.describe_ca_certificate(certificateId=CA.id)
    assert found["registrationConfig"] == BODY
    client.update_ca_certificate(certificateId=CA.id, removeAutoRegistration=True)
    found = client.describe_ca_certificate(certificateId=CA.id)
    assert "registrationConfig" not in found
    assert found["certificateDescription"]["autoRegistrationStatus"] == "DISABLE"
    for more in ({"newAutoRegistrationStatus": "ENABLE"}, {"registrationConfig": BODY}):
        asked = {"certificateId": CA.id, "removeAutoRegistration": True, **more}
        assert refusal(client.update_ca_certificate, **asked)[0] == "InvalidRequestException"


def test_a_ca_is_deleted_when_it_is_inactive(region, client):
    client.register_ca_certificate(**SNI, setAsActive=True)
    refused = refusal(client.delete_ca_certificate, certificateId=CA.id)
    assert refused[0] == "CertificateStateException"
    client.update_ca_certificate(certificateId=CA.id, newStatus="INACTIVE")
    overtake(
        region,
        CA_CERTIFICATE,
        CA.id,
        lambda *at: ca_certificates.set_active(*at, is_active=True),
    )
    refused = refusal(client.delete_ca_certificate, certificateId=CA.id)
    assert refused[0] == "CertificateStateException"
    client.update_ca_certificate(certificateId=CA.id, newStatus="INACTIVE")
    client.delete_ca_certificate(certificateId=CA.id)
    assert client.list_ca_certificates()["certificates"] == []
    client.register_ca_certificate(**SNI)
    assert described(client)["status"] == "INACTIVE"


def test_what_is_not_there_is_not_found(client):
    for call in (
        client.describe_ca_certificate,
        client.update_ca_certificate,
        client.delete_ca_certificate,
    ):
        code, message = refusal(call, certificateId=CA.id)
        assert code == "ResourceNotFoundException"
        assert CA.id in message


def test_cas_are_listed_in_pages_and_by_template(region, client):
    made = [new_ca(f"ca {number}") for number in range(5)]
    for number, each in enumerate(made):
        region.now_ms += 1
        config = {"templateName": "even" if number % 2 == 0 else "odd"}
        client.register_ca_certificate(
            caCertificate=each.pem, certificateMode="SNI_ONLY", registrationConfig=config
        )
    ids = [each.id for each in made]
    pages = client.get_paginator("list_ca_certificates")
    for asked, expected in (
        ({"ascendingOrder": True}, ids),
        ({}, ids[::-1]),
        ({"templateName": "even", "ascendingOrder": True}, ids[::2]),
        ({"templateName": "none"}, []),
    ):
        found = pages.paginate(**asked, PaginationConfig={"PageSize": 2}).build_full_result()
        assert [each["certificateId"] for each in found.get("certificates", [])] == expected
    first = client.list_ca_certificates(pageSize=1)["certificates"][0]
    assert first["status"] == "INACTIVE"
    assert first["creationDate"].timestamp() * 1000 == region.now_ms


# What a CA has signed


def register(client, **more):
    return client.register_certificate(certificatePem=more.pop("pem", None) or CA.sign(), **more)


@pytest.mark.parametrize(("mode", "asked"), [("SNI_ONLY", SNI), ("DEFAULT", None)])
def test_a_certificate_takes_the_mode_of_its_ca(client, mode, asked):
    if asked is None:
        code = client.get_registration_code()["registrationCode"]
        asked = {"caCertificate": CA.pem, "verificationCertificate": CA.sign(code)}
    client.register_ca_certificate(**asked, setAsActive=True)
    made = register(client, setAsActive=True)
    shown = client.describe_certificate(certificateId=made["certificateId"])
    shown = shown["certificateDescription"]
    assert (shown["certificateMode"], shown["status"]) == (mode, "ACTIVE")
    assert shown["caCertificateId"] == CA.id
    listed = client.list_certificates_by_ca(caCertificateId=CA.id)["certificates"]
    assert [each["certificateId"] for each in listed] == [made["certificateId"]]
    assert client.list_certificates_by_ca(caCertificateId="0" * 64)["certificates"] == []


def test_a_certificate_needs_a_registered_and_active_ca_that_has_signed_it(client):
    text = CA.sign()
    refused = refusal(client.register_certificate, certificatePem=text)
    assert refused[0] == "CertificateValidationException"
    client.register_ca_certificate(**SNI)
    refused = refusal(client.register_certificate, certificatePem=text)
    assert refused[0] == "CertificateStateException"
    client.update_ca_certificate(certificateId=CA.id, newStatus="ACTIVE")
    forged = new_ca().sign()
    refused = refusal(client.register_certificate, certificatePem=forged)
    assert refused[0] == "CertificateValidationException"
    given_ca = {"certificatePem": forged, "caCertificatePem": CA.pem}
    refused = refusal(client.register_certificate, **given_ca)
    assert refused[0] == "CertificateValidationException"
    register(client, pem=text, status="ACTIVE")
    refused = refusal(client.register_certificate, certificatePem=text)
    assert refused[0] == "ResourceAlreadyExistsException"


def test_of_cas_with_one_subject_the_one_is_named(client):
    other = new_ca()
    for each in (CA, other):
        client.register_ca_certificate(
            caCertificate=each.pem, certificateMode="SNI_ONLY", setAsActive=True
        )
    text = CA.sign()
    refused = refusal(client.register_certificate, certificatePem=text)
    assert refused[0] == "CertificateConflictException"
    refused = refusal(client.register_certificate, certificatePem=text, caCertificatePem=other.pem)
    assert refused[0] == "CertificateValidationException"
    refused = refusal(
        client.register_certificate, certificatePem=text, caCertificatePem=new_ca().pem
    )
    assert refused[0] == "CertificateValidationException"
    made = register(client, pem=text, caCertificatePem=CA.pem)
    assert made["certificateId"] == identity(text)


# Merged

CHANGES = {
    "active": lambda *at: ca_certificates.set_active(*at, is_active=True),
    "inactive": lambda *at: ca_certificates.set_active(*at, is_active=False),
    "auto": lambda *at: ca_certificates.set_auto_registration(*at, is_on=True),
    "manual": lambda *at: ca_certificates.set_auto_registration(*at, is_on=False),
}


@given(st.sampled_from(sorted(CHANGES)), st.sampled_from(sorted(CHANGES)), st.booleans())
def test_what_is_switched_off_anywhere_stays_off(one, other, is_on):
    eu, us = Writer(StampClock("eu", "i"), 1), Writer(StampClock("us", "i"), 9)
    first = ca_certificates.register(
        Item(CA_CERTIFICATE, "k"),
        eu,
        "pem",
        "subject",
        Mode.DEFAULT,
        is_active=is_on,
        auto_registers=is_on,
    )
    here, there = CHANGES[one](first, eu), CHANGES[other](first, us)
    both = join(here, there)
    assert both.encode() == join(there, here).encode()
    done = {one, other}

    def expected(on, off):
        # A change that changes nothing is none.
        return (is_on and off not in done) or (not is_on and on in done)

    assert ca_certificates.is_active(both) == expected("active", "inactive")
    assert ca_certificates.auto_registers(both) == expected("auto", "manual")
    assert not ca_certificates.auto_registers(registry.delete(both, eu))
