"""Where devices are told to connect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from aws_region import AwsRegion
from botocore.exceptions import ClientError


def region(device_host: str = "iot.example.com") -> AwsRegion:
    made = AwsRegion()
    made.naming = replace(made.naming, device_host=device_host)
    return made


@pytest.mark.parametrize(
    "asked", [{}, {"endpointType": "iot:Data"}, {"endpointType": "iot:Data-ATS"}]
)
def test_devices_have_one_name_in_every_region(asked: dict[str, Any]) -> None:
    answer = region().client().describe_endpoint(**asked)
    assert answer["endpointAddress"] == "iot.example.com"


@pytest.mark.parametrize("asked", ["iot:Jobs", "iot:CredentialProvider", "iot:Nothing"])
def test_what_is_not_there_is_said(asked: str) -> None:
    with pytest.raises(ClientError) as refused:
        region().client().describe_endpoint(endpointType=asked)
    assert refused.value.response["Error"]["Code"] == "InvalidRequestException"
    assert asked in refused.value.response["Error"]["Message"]


def test_without_a_name_there_is_no_endpoint() -> None:
    with pytest.raises(ClientError, match=r"aws_api\.device_host"):
        region("").client().describe_endpoint()
