"""Devices that are listed beforehand: how, what they get, and what of two regions holds."""

from __future__ import annotations

import asyncio
import json

import pytest
from aws_asking import exchange
from aws_region import AwsRegion
from hypothesis import given
from hypothesis import strategies as st
from test_api_newcomers import ACTIVE, CA, ID, PENDING, X509, ca_item, come, status

from isthmus.core import expected_devices, registry
from isthmus.core.expected_devices import COMMON_NAME_MAX, EXPECTED_DEVICE, Expected
from isthmus.core.item import Item, join
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.core.view import View
from isthmus.errors import InputError

DOCUMENT = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
)
OTHER = CA.sign("lamp-2")


@pytest.fixture
def region():
    made = AwsRegion(x509=X509)
    asyncio.run(made.store.merge(ca_item()))
    return made


def writer(region="eu-west-1", now_ms=1):
    return Writer(StampClock(region, "i"), now_ms)


def expect(region, key, thing="", policy=""):
    def change(item):
        return expected_devices.expect(item, writer(), Expected(thing, policy))

    asyncio.run(region.store.update(EXPECTED_DEVICE, key, change))


BY_CERTIFICATE = {"certificate": ID}
BY_NAME = {"ca": CA.id, "common_name": "lamp-1"}


@pytest.mark.parametrize("named", [BY_CERTIFICATE, BY_NAME], ids=["certificate", "name"])
def test_who_is_expected_is_activated_and_others_wait(region, named):
    expect(region, expected_devices.key(**named))
    outcome = come(region)
    assert outcome.status is status(region) is ACTIVE
    assert json.loads(outcome.events[0][1])["certificateStatus"] == "ACTIVE"
    assert come(region, OTHER).status is PENDING


def test_who_is_expected_gets_his_thing_and_his_policy(region, client):
    client.create_policy(policyName="p", policyDocument=DOCUMENT)
    expect(region, ID, "lamp", "p")
    come(region)
    assert region.store.view.things(ID) == ("lamp",)
    assert [each.name for each in region.store.view.policies(ID)] == ["p"]
    assert client.describe_thing(thingName="lamp")["thingName"] == "lamp"


def test_who_is_to_get_a_policy_that_is_not_there_waits_for_it(region, client):
    expect(region, ID, "lamp", "p")
    outcome = come(region)
    assert (outcome.status, status(region)) == (PENDING, PENDING)
    assert "Policy p does not exist" in outcome.reason
    client.create_policy(policyName="p", policyDocument=DOCUMENT)
    assert come(region).status is ACTIVE


def test_who_waits_is_activated_when_he_comes_again_after_he_was_listed(region):
    assert come(region).status is PENDING
    expect(region, ID)
    assert come(region).status is ACTIVE


def test_a_name_under_another_ca_is_another_device(region):
    expect(region, expected_devices.key(ca="b" * 64, common_name="lamp-1"))
    assert come(region).status is PENDING


def test_the_certificate_itself_is_closer_than_a_name(region):
    expect(region, ID, "by-certificate")
    expect(region, expected_devices.key(**BY_NAME), "by-name")
    come(region)
    assert region.store.view.things(ID) == ("by-certificate",)


def test_the_template_of_a_ca_comes_before_the_list(region, client):
    resources = {"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": "of-template"}}}
    config = {
        "templateBody": json.dumps({"Resources": resources}),
        "roleArn": "arn:aws:iam::123456789012:role/r",
    }
    client.update_ca_certificate(certificateId=CA.id, registrationConfig=config)
    expect(region, ID, "of-list")
    come(region)
    assert [each["thingName"] for each in client.list_things()["things"]] == ["of-template"]
    assert status(region) is PENDING


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"certificate": ID.upper()},
        {"certificate": ID, "ca": CA.id, "common_name": "lamp-1"},
        {"ca": CA.id},
        {"common_name": "lamp-1"},
        {"ca": "x", "common_name": "lamp-1"},
        {"ca": CA.id, "common_name": "x" * (COMMON_NAME_MAX + 1)},
    ],
    ids=["nothing", "upper-case", "both", "ca-alone", "name-alone", "no-ca", "too-long-a-name"],
)
def test_what_names_no_device_is_refused(named):
    with pytest.raises(InputError):
        expected_devices.key(**named)


@given(st.lists(st.text(max_size=80), max_size=4))
def test_a_device_that_has_come_is_looked_for_under_the_names_it_may_be_listed_by(names):
    keys = expected_devices.keys(ID, CA.id, names)
    usable = [name for name in names if 0 < len(name) <= COMMON_NAME_MAX]
    assert keys == [ID, *(expected_devices.key("", CA.id, name) for name in usable)]


# In two regions at once

STEPS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["expect", "forget", "meet"])))


@given(STEPS)
def test_who_takes_a_device_off_the_list_takes_off_what_he_has_seen(steps):
    """Beside the items goes the naive account: the writes that each region knows of."""
    items = [Item(EXPECTED_DEVICE, ID), Item(EXPECTED_DEVICE, ID)]
    known: list[set[int]] = [set(), set()]
    gone: set[int] = set()
    for number, (at, step) in enumerate(steps):
        write = writer(("eu", "us")[at], number)
        if step == "expect":
            if not items[at].lives:
                known[at].add(number)
            items[at] = expected_devices.expect(items[at], write, Expected("", "p"))
        elif step == "forget":
            gone |= known[at]
            known[at] = set()
            items[at] = expected_devices.forget(items[at], write)
        else:
            known = [(known[0] | known[1]) - gone] * 2
            known = [set(each) for each in known]
            items = [join(*items)] * 2
        assert [expected_devices.expected(each) is not None for each in items] == [
            bool(each) for each in known
        ]
    assert join(items[0], items[1]).encode() == join(items[1], items[0]).encode()


def test_a_list_is_of_those_that_are_expected():
    view = View()
    item = expected_devices.expect(Item(EXPECTED_DEVICE, ID), writer(), Expected("", ""))
    view.apply(item)
    assert list(view.catalogue.after(EXPECTED_DEVICE)) == [ID]
    assert expected_devices.expect(item, writer(), Expected("", "")) is item
    view.apply(expected_devices.forget(item, writer()))
    assert list(view.catalogue.after(EXPECTED_DEVICE)) == []
    gone = registry.delete(item, writer())
    assert expected_devices.forget(gone, writer()) is gone


def test_regions_that_list_one_device_otherwise_agree_on_one_way():
    regions = [AwsRegion(name, x509=X509) for name in ("eu-west-1", "us-east-1")]
    for number, each in enumerate(regions):
        asyncio.run(each.store.merge(ca_item()))
        expect(each, ID, f"lamp-{number}")
    exchange(*regions)
    come(regions[0])
    come(regions[1])
    exchange(*regions)
    things = [set(each.store.view.things(ID)) for each in regions]
    assert things[0] == things[1]
    assert len(things[0]) == 1
