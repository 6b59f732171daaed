"""Domain configurations over the API, also of two regions at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from aws_asking import exchange, overtake, refusal, writes
from aws_region import AwsRegion

from isthmus.core import domain_configurations
from isthmus.core.domain_configurations import DOMAIN_CONFIGURATION

PREFIX = "arn:aws:iot:eu-west-1:123456789012:domainconfiguration/"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/c"
OWN = {"domainName": "things.example.com", "serverCertificateArns": [CERTIFICATE]}
HOST = "iot.example.com"
INVALID = "InvalidRequestException"
DAY_MS = 24 * 3600 * 1000


def make(region: str = "eu-west-1", device_host: str = HOST) -> AwsRegion:
    made = AwsRegion(region)
    made.naming = replace(made.naming, device_host=device_host)
    return made


@pytest.fixture
def region() -> AwsRegion:
    return make()


def create(client: Any, name: str = "d", **more: Any) -> str:
    made = client.create_domain_configuration(domainConfigurationName=name, **more)
    assert made["domainConfigurationName"] == name
    return str(made["domainConfigurationArn"])


def describe(client: Any, name: str = "d") -> dict[str, Any]:
    found: dict[str, Any] = client.describe_domain_configuration(domainConfigurationName=name)
    del found["ResponseMetadata"]
    return found


def update(client: Any, name: str = "d", **changes: Any) -> None:
    client.update_domain_configuration(domainConfigurationName=name, **changes)


def switch(client: Any, status: str, name: str = "d") -> None:
    update(client, name, domainConfigurationStatus=status)


def delete(client: Any, name: str = "d") -> None:
    client.delete_domain_configuration(domainConfigurationName=name)


def names(client: Any, size: int = 1, **asked: Any) -> list[str]:
    pages = client.get_paginator("list_domain_configurations")
    found = pages.paginate(**asked, PaginationConfig={"PageSize": size}).build_full_result()
    assert all(each["serviceType"] == "DATA" for each in found["domainConfigurations"])
    return [each["domainConfigurationName"] for each in found["domainConfigurations"]]


def test_one_is_created_described_switched_and_deleted(region, client):
    arn = create(client, **OWN, tags=[{"Key": "a", "Value": "b"}])
    assert arn.startswith(f"{PREFIX}d/")
    assert len(arn) == len(f"{PREFIX}d/") + 5
    found = describe(client)
    changed = found.pop("lastStatusChangeDate")
    assert changed.timestamp() * 1000 == region.now_ms
    (certificate,) = found.pop("serverCertificates")
    assert (certificate["serverCertificateArn"], certificate["serverCertificateStatus"]) == (
        CERTIFICATE,
        "INVALID",
    )
    assert "no ACM" in certificate["serverCertificateStatusDetail"]
    assert found == {
        "domainConfigurationName": "d",
        "domainConfigurationArn": arn,
        "domainName": "things.example.com",
        "domainConfigurationStatus": "ENABLED",
        "serviceType": "DATA",
        "domainType": "CUSTOMER_MANAGED",
        "tlsConfig": {"securityPolicy": "IoTSecurityPolicy_TLS13_1_2_2022_10"},
        "authenticationType": "DEFAULT",
        "applicationProtocol": "DEFAULT",
    }
    code, message = refusal(delete, client=client)
    assert (code, "disabled" in message) == (INVALID, True)
    region.now_ms += 1000
    switch(client, "DISABLED")
    found = describe(client)
    assert found["domainConfigurationStatus"] == "DISABLED"
    assert (found["lastStatusChangeDate"] - changed).total_seconds() == 1
    count = writes(region)
    switch(client, "DISABLED")
    assert writes(region) == count
    delete(client)
    assert refusal(describe, client=client) == (
        "ResourceNotFoundException",
        "Domain configuration d does not exist",
    )


def test_what_is_created_again_inherits_nothing(region, client):
    first = create(client, **OWN, authenticationType="AWS_X509", tags=[{"Key": "a", "Value": "b"}])
    switch(client, "DISABLED")
    delete(client)
    again = create(client, **OWN)
    assert again != first
    found = describe(client)
    assert (found["domainConfigurationStatus"], found["authenticationType"]) == (
        "ENABLED",
        "DEFAULT",
    )
    assert client.list_tags_for_resource(resourceArn=again)["tags"] == []
    for call, more in (
        (client.list_tags_for_resource, {}),
        (client.tag_resource, {"tags": [{"Key": "a"}]}),
        (client.untag_resource, {"tagKeys": ["a"]}),
    ):
        # The first one's name, and not its id.
        assert refusal(call, resourceArn=first, **more)[0] == "ResourceNotFoundException"
        call(resourceArn=again, **more)


def test_without_a_name_of_its_own_it_is_ours_and_goes_a_week_after_it_was_disabled(region, client):
    create(client)
    found = describe(client)
    assert (found["domainType"], found["domainName"], found["serverCertificates"]) == (
        "AWS_MANAGED",
        HOST,
        [],
    )
    switch(client, "DISABLED")
    region.now_ms += 7 * DAY_MS - 1
    code, message = refusal(delete, client=client)
    assert (code, "7 days" in message) == (INVALID, True)
    region.now_ms += 1
    delete(client)


@pytest.mark.parametrize(
    "wrong",
    [
        {"serviceType": "JOBS"},
        {"serviceType": "CREDENTIAL_PROVIDER"},
        {"domainName": "things.example.com"},
        {"serverCertificateArns": [CERTIFICATE]},
        {**OWN, "domainName": "things"},
        {**OWN, "domainName": "*.example.com"},
        {**OWN, "domainName": "things..com"},
        {**OWN, "domainName": f"{'x' * 64}.com"},
        {**OWN, "serverCertificateArns": [CERTIFICATE] * 2},
        {**OWN, "serverCertificateArns": ["c"]},
        {"tlsConfig": {"securityPolicy": "x"}},
        {"tags": [{"Key": "a"}, {"Key": "a"}]},
        {"domainConfigurationName": "iot:mine"},
    ],
)
def test_what_does_not_fit_together_is_refused(region, client, wrong):
    assert refusal(client.create_domain_configuration, **{"domainConfigurationName": "d"} | wrong)[
        0
    ] == (INVALID)
    assert writes(region) == 0


def test_it_is_created_once_though_somebody_else_is_first(region, client):
    overtake(
        region,
        DOMAIN_CONFIGURATION,
        "d",
        lambda *at: domain_configurations.create(*at, domain={}, settings={}, tags={}),
    )
    refused = refusal(client.create_domain_configuration, domainConfigurationName="d")
    assert refused[0] == "ResourceAlreadyExistsException"


def test_there_are_ten_at_most_and_those_that_are_always_there_do_not_count(region, client):
    for number in range(10):
        create(client, f"d{number}", **OWN)
    refused = refusal(client.create_domain_configuration, domainConfigurationName="d")
    assert refused[0] == "LimitExceededException"
    switch(client, "DISABLED", "d3")
    delete(client, "d3")
    create(client)


def test_they_are_listed_by_name_beside_those_that_are_always_there(client):
    for name in ("z", "Z", "j", "a"):
        create(client, name)
    for size in (1, 2, 25):
        assert names(client, size) == ["Z", "a", "iot:Data", "iot:Data-ATS", "j", "z"]
    assert names(client, serviceType="DATA") == names(client)
    assert names(client, serviceType="JOBS") == []


def test_those_that_are_always_there_are_the_endpoints_that_there_are(client):
    for name in ("iot:Data", "iot:Data-ATS"):
        assert describe(client, name) == {
            "domainConfigurationName": name,
            "domainConfigurationArn": PREFIX + name,
            "domainName": HOST,
            "serverCertificates": [],
            "domainConfigurationStatus": "ENABLED",
            "serviceType": "DATA",
            "domainType": "ENDPOINT",
            "tlsConfig": {"securityPolicy": "IoTSecurityPolicy_TLS13_1_2_2022_10"},
            "authenticationType": "DEFAULT",
            "applicationProtocol": "DEFAULT",
        }
        assert refusal(switch, client=client, status="DISABLED", name=name)[0] == INVALID
        assert refusal(delete, client=client, name=name)[0] == INVALID
    assert refusal(describe, client=client, name="iot:Jobs")[0] == "ResourceNotFoundException"
    nameless = make(device_host="").client()
    assert names(nameless) == []
    assert refusal(describe, client=nameless, name="iot:Data")[0] == "ResourceNotFoundException"
    create(nameless)
    assert "domainName" not in describe(nameless)


SETTINGS: dict[str, Any] = {
    "authorizerConfig": {"defaultAuthorizerName": "a", "allowAuthorizerOverride": True},
    "tlsConfig": {"securityPolicy": "IoTSecurityPolicy_TLS13_1_3_2022_10"},
    "serverCertificateConfig": {"enableOCSPCheck": True},
    "authenticationType": "CUSTOM_AUTH",
    "applicationProtocol": "MQTT_WSS",
    "clientCertificateConfig": {"clientCertificateCallbackArn": "arn:x"},
}


def test_settings_are_kept_changed_and_left_as_they_are(region, client):
    create(client, **OWN, **SETTINGS)
    assert describe(client).items() >= SETTINGS.items()
    count = writes(region)
    update(client, **SETTINGS)
    update(client)
    assert writes(region) == count
    update(client, authenticationType="AWS_X509")
    changed = describe(client)
    assert changed.items() >= (SETTINGS | {"authenticationType": "AWS_X509"}).items()
    assert changed["domainConfigurationStatus"] == "ENABLED"
    wrong: list[dict[str, Any]] = [
        {"removeAuthorizerConfig": True, "authorizerConfig": {}},
        {"tlsConfig": {"securityPolicy": "x"}},
        {"domainConfigurationStatus": "x"},
    ]
    for each in wrong:
        assert refusal(update, client=client, **each)[0] == INVALID
    update(client, removeAuthorizerConfig=True)
    assert "authorizerConfig" not in describe(client)
    assert refusal(update, client=client, name="e")[0] == "ResourceNotFoundException"


# Two regions at once


def pair():
    eu, us = make("eu-west-1"), make("us-east-1")
    return eu, us, eu.client(), us.client()


def test_what_regions_change_at_once_is_kept_and_disabled_outlasts_enabled():
    eu, us, here, there = pair()
    create(here, **OWN)
    switch(here, "DISABLED")
    exchange(eu, us)
    switch(here, "ENABLED")
    update(here, authenticationType="AWS_X509")
    switch(there, "ENABLED")
    switch(there, "DISABLED")
    update(there, applicationProtocol="HTTPS")
    exchange(eu, us)
    for client in (here, there):
        found = describe(client)
        assert (found["authenticationType"], found["applicationProtocol"]) == ("AWS_X509", "HTTPS")
        assert found["domainConfigurationStatus"] == "DISABLED"


def test_one_that_is_created_in_two_regions_at_once_is_one_of_them_whole():
    eu, us, here, there = pair()
    create(here, **OWN)
    create(there)
    exchange(eu, us)
    found_here, found_there = describe(here), describe(there)
    assert (
        found_here["domainConfigurationArn"].partition("/")[2]
        == (found_there["domainConfigurationArn"].partition("/")[2])
    )
    assert found_here["domainType"] == found_there["domainType"]
    assert (found_here["domainName"] == HOST) == (found_here["domainType"] == "AWS_MANAGED")


def test_deleted_stays_deleted_though_it_is_enabled_elsewhere():
    eu, us, here, there = pair()
    create(here, **OWN)
    switch(here, "DISABLED")
    exchange(eu, us)
    delete(here)
    switch(there, "ENABLED")
    exchange(eu, us)
    for client in (here, there):
        assert refusal(describe, client=client)[0] == "ResourceNotFoundException"
    create(there)
    exchange(eu, us)
    assert describe(here)["domainConfigurationStatus"] == "ENABLED"
