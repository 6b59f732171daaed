"""Limits that span items hold for requests that come at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import pytest
from aws_inputs import request_of
from aws_region import AwsRegion
from made_certificates import new_ca, request

from isthmus.adapters.memory import MemoryChangeLog
from isthmus.aws import models
from isthmus.core.item import Item

IOT = models.service("iot")
AT_ONCE = 3
STATEMENT = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}
DOCUMENT = json.dumps({"Version": "2012-10-17", "Statement": STATEMENT})


class SlowLog(MemoryChangeLog):
    """Lets others run before it writes, as a log on a disk does."""

    async def put(self, item: Item, revision: int) -> int:
        for _ in range(AT_ONCE):
            await asyncio.sleep(0)
        return await super().put(item, revision)


class Asked(NamedTuple):
    operation: str
    parameters: dict[str, Any]


def cas(client: Any) -> tuple[int, list[Asked]]:
    pems = [new_ca("same").pem for _ in range(10 + AT_ONCE)]
    return 10, [
        Asked("RegisterCACertificate", {"caCertificate": pem, "certificateMode": "SNI_ONLY"})
        for pem in pems
    ]


def children(client: Any) -> tuple[int, list[Asked]]:
    client.create_thing_group(thingGroupName="parent")
    return 100, [
        Asked("CreateThingGroup", {"thingGroupName": f"g{n}", "parentGroupName": "parent"})
        for n in range(100 + AT_ONCE)
    ]


def attachments(client: Any) -> tuple[int, list[Asked]]:
    made = client.create_certificate_from_csr(certificateSigningRequest=request())
    names = [f"p{n}" for n in range(10 + AT_ONCE)]
    for name in names:
        client.create_policy(policyName=name, policyDocument=DOCUMENT)
    target = made["certificateArn"]
    return 10, [Asked("AttachPolicy", {"policyName": name, "target": target}) for name in names]


def domains(client: Any) -> tuple[int, list[Asked]]:
    return 10, [
        Asked("CreateDomainConfiguration", {"domainConfigurationName": f"d{n}"})
        for n in range(10 + AT_ONCE)
    ]


@pytest.mark.parametrize("limited", [cas, children, attachments, domains])
def test_no_more_are_made_at_once_than_there_may_be(limited: Any) -> None:
    region = AwsRegion()
    region.store.log = SlowLog()
    most, asked = limited(region.client())
    requests = [request_of(IOT.operations[each.operation], each.parameters) for each in asked]

    async def together() -> list[int]:
        answers = await asyncio.gather(*(region._answer(IOT, each) for each in requests))
        return [each.status for each in answers]

    statuses = asyncio.run(together())
    assert statuses.count(200) == most
    assert all(400 <= each < 500 for each in statuses if each != 200)
