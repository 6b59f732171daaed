"""The configuration of the fleet's indexes over the API, also of two regions at once."""

from __future__ import annotations

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

CUSTOM = [{"name": "attributes.watts", "type": "Number"}]
MODES = (
    "thingConnectivityIndexingMode",
    "deviceDefenderIndexingMode",
    "namedShadowIndexingMode",
)


def configure(client, mode="REGISTRY", **more):
    wanted = {"thingIndexingMode": mode, **more}
    client.update_indexing_configuration(thingIndexingConfiguration=wanted)


def configured(client):
    found = client.get_indexing_configuration()
    return found["thingIndexingConfiguration"], found["thingGroupIndexingConfiguration"]


def test_nothing_is_indexed_until_it_is_configured(region, client):
    things, groups = configured(client)
    assert things == dict.fromkeys(("thingIndexingMode", *MODES), "OFF")
    assert groups == {"thingGroupIndexingMode": "OFF"}
    assert client.list_indices()["indexNames"] == []
    refused = refusal(client.describe_index, indexName="AWS_Things")
    assert refused[0] == "ResourceNotFoundException"
    assert refusal(client.describe_index, indexName="other") == (
        "InvalidRequestException",
        "Unrecognized indexName other",
    )
    assert writes(region) == 0


def test_what_is_configured_is_replaced_whole(region, client):
    configure(client, thingConnectivityIndexingMode="STATUS", customFields=CUSTOM)
    things, _ = configured(client)
    managed = {each["name"]: each["type"] for each in things.pop("managedFields")}
    assert managed.items() >= {"thingName": "String", "connectivity.connected": "Boolean"}.items()
    assert "shadow.version" not in managed
    assert things == {
        "thingIndexingMode": "REGISTRY",
        "thingConnectivityIndexingMode": "STATUS",
        "deviceDefenderIndexingMode": "OFF",
        "namedShadowIndexingMode": "OFF",
        "customFields": CUSTOM,
    }
    count = writes(region)
    configure(client, thingConnectivityIndexingMode="STATUS", customFields=CUSTOM)
    assert writes(region) == count
    configure(client)
    things, _ = configured(client)
    assert "customFields" not in things
    assert things["thingConnectivityIndexingMode"] == "OFF"
    client.update_indexing_configuration(
        thingGroupIndexingConfiguration={"thingGroupIndexingMode": "ON"}
    )
    pages = client.get_paginator("list_indices").paginate(PaginationConfig={"PageSize": 1})
    assert pages.build_full_result()["indexNames"] == ["AWS_ThingGroups", "AWS_Things"]
    # What is switched off keeps nothing.
    configure(client, customFields=CUSTOM)
    configure(client, "OFF", customFields=CUSTOM)
    assert "customFields" not in configured(client)[0]


@pytest.mark.parametrize(
    ("wanted", "schema"),
    [
        ({}, "REGISTRY"),
        ({"thingConnectivityIndexingMode": "STATUS"}, "REGISTRY_AND_CONNECTIVITY_STATUS"),
        ({"mode": "REGISTRY_AND_SHADOW"}, "REGISTRY_AND_SHADOW"),
        ({"deviceDefenderIndexingMode": "VIOLATIONS"}, "MULTI_INDEXING_MODE"),
    ],
)
def test_an_index_is_described(client, wanted, schema):
    configure(client, **wanted)
    found = client.describe_index(indexName="AWS_Things")
    assert found.items() >= {"indexStatus": "ACTIVE", "schema": schema}.items()


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (
            {"mode": "OFF", "thingConnectivityIndexingMode": "STATUS"},
            "ThingIndexingMode must be turned ON for enabling ThingConnectivityIndexingMode",
        ),
        ({"namedShadowIndexingMode": "ON"}, "NamedShadowNames Filter must not be empty"),
        ({"filter": {"namedShadowNames": ["a"] * 11}}, "11 namedShadowNames"),
        ({"filter": {"geoLocations": [{}, {}]}}, "2 geoLocations"),
        ({"customFields": CUSTOM * 6}, "6 customFields are more than 5"),
        ({"customFields": [{"name": "attributes.a"}]}, "needs a name and a type"),
        ({"customFields": [{"name": "thingName", "type": "String"}]}, "thingName"),
        ({"customFields": [{"name": "shadow.desired.a", "type": "String"}]}, "shadow.desired.a"),
        ({"managedFields": [{"name": "thingName", "type": "Number"}]}, "managed fields"),
        ({"mode": "x"}, "enum"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(region, client, wanted, reason):
    wanted = {"thingIndexingMode": wanted.get("mode", "REGISTRY"), **wanted}
    wanted.pop("mode", None)
    call = client.update_indexing_configuration
    code, message = refusal(call, thingIndexingConfiguration=wanted)
    assert code == "InvalidRequestException"
    assert reason in message
    assert refusal(call)[0] == "InvalidRequestException"
    assert writes(region) == 0


def test_things_and_groups_configured_in_two_regions_at_once_are_both_as_was_said():
    eu, us = AwsRegion("eu-west-1"), AwsRegion("us-east-1")
    here, there = eu.client(), us.client()
    configure(here, customFields=CUSTOM)
    us.now_ms += 1
    configure(there, thingConnectivityIndexingMode="STATUS")
    here.update_indexing_configuration(
        thingGroupIndexingConfiguration={"thingGroupIndexingMode": "ON"}
    )
    exchange(eu, us)
    for client in (here, there):
        things, groups = configured(client)
        # The later one of things, whole.
        assert things["thingConnectivityIndexingMode"] == "STATUS"
        assert "customFields" not in things
        assert groups["thingGroupIndexingMode"] == "ON"
