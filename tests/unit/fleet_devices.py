"""Devices that are provisioned by a region's handlers, without a gateway between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import cbor2
from aws_region import AwsRegion

from isthmus.aws.device_questions import Asked
from isthmus.aws.devices import DEVICE_QUESTIONS

CREATE = "$aws/certificates/create/{}"
FROM_CSR = "$aws/certificates/create-from-csr/{}"
TEMPLATE = "lamps"
PROVISION = f"$aws/provisioning-templates/{TEMPLATE}/provision/{{}}"
ROLE = "arn:aws:iam::000000000000:role/fleet"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
}
#: A lamp that gets a name of its serial number.
RESOURCES = {
    "thing": {
        "Type": "AWS::IoT::Thing",
        "Properties": {"ThingName": {"Fn::Sub": "lamp-${Serial}"}},
    },
    "certificate": {
        "Type": "AWS::IoT::Certificate",
        "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"},
    },
    "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": POLICY}},
}


def body(**resources: Any) -> str:
    """A template's; a resource that is None is not in it."""
    said = {name: each for name, each in (RESOURCES | resources).items() if each is not None}
    names = ("Serial", "AWS::IoT::Certificate::Id")
    return json.dumps(
        {
            "Parameters": {name: {"Type": "String"} for name in names},
            "Resources": said,
            "DeviceConfiguration": {"Url": {"Fn::Sub": "https://${Serial}"}, "Level": 3},
        }
    )


class Device:
    """Who has a claim certificate."""

    def __init__(self, client: str = "new-1", claim: str = "c" * 64, kind: str = "json") -> None:
        self.client = client
        self.claim = claim
        self.kind = kind

    def send(self, region: AwsRegion, topic: str, payload: bytes) -> tuple[str, Any]:
        """How a request ends, and what is said."""
        declared = DEVICE_QUESTIONS.handler(topic)
        assert declared is not None
        handler, call = declared
        asked = Asked(self.claim, self.client, "", "192.0.2.1", topic, payload)
        (found,) = asyncio.run(handler(region.context(call), [asked]))
        ((answered, said),) = found.answers
        assert answered.startswith(f"{topic}/")
        read: Any = cbor2.loads if topic.endswith("cbor") else json.loads
        return answered.removeprefix(f"{topic}/"), read(said)

    def ask(self, region: AwsRegion, topic: str, request: Any) -> tuple[str, Any]:
        payload = cbor2.dumps(request) if self.kind == "cbor" else json.dumps(request).encode()
        return self.send(region, topic.format(self.kind), payload)

    def create(self, region: AwsRegion) -> dict[str, Any]:
        how, said = self.ask(region, CREATE, {})
        assert how == "accepted", said
        found: dict[str, Any] = said
        return found

    def provision(
        self,
        region: AwsRegion,
        created: Mapping[str, Any],
        parameters: Mapping[str, Any] | None = None,
    ) -> tuple[str, Any]:
        given = {"Serial": "7"} if parameters is None else parameters
        token = created["certificateOwnershipToken"]
        request = {"certificateOwnershipToken": token, "parameters": given}
        return self.ask(region, PROVISION, request)
