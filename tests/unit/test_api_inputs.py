"""Whatever the models allow is answered, and never by a fault of ours."""

from __future__ import annotations

import pytest
from aws_inputs import request_of, valid
from aws_region import AwsRegion, handled
from botocore.parsers import create_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.aws import models
from isthmus.core import registry
from isthmus.core.registry import CERTIFICATE, Writer

HANDLED = [(service, name) for service in models.SERVICES for name in handled(service)]
ARN = "arn:aws:iot:eu-west-1:123456789012"
#: Of things that are there, so that not every name leads nowhere.
PRESENT = {
    "thingName": "a",
    "thingTypeName": "a",
    "thingGroupName": "a",
    "billingGroupName": "a",
    "parentGroupName": "a",
    "parentGroup": "a",
    "thingArn": f"{ARN}:thing/a",
    "thingGroupArn": f"{ARN}:thinggroup/a",
    "billingGroupArn": f"{ARN}:billinggroup/a",
    "resourceArn": f"{ARN}:thinggroup/a",
    "principal": f"{ARN}:cert/{'c' * 64}",
    "expectedVersion": 1,
    "indexName": "AWS_Things",
    "queryString": "thingName:a",
    "queryVersion": "2017-09-30",
    "aggregationField": "registry.version",
}


def region():
    """One with one of each."""
    made = AwsRegion()
    for operation, member in (
        ("CreateThing", "thingName"),
        ("CreateThingType", "thingTypeName"),
        ("CreateThingGroup", "thingGroupName"),
        ("CreateBillingGroup", "billingGroupName"),
    ):
        answer(made, operation, {member: "a"})
    indexed = {"thingIndexingMode": "REGISTRY", "thingConnectivityIndexingMode": "STATUS"}
    answer(made, "UpdateIndexingConfiguration", {"thingIndexingConfiguration": indexed})
    writer = Writer(made.clock, 1)
    item = made.store.get(CERTIFICATE, "c" * 64)
    made.store.apply(registry.register_certificate(item, writer, "pem", active=True), 1)
    return made


def answer(made, name, parameters, service="iot"):
    operation = models.service(service).operations[name]
    return made.answer(service, request_of(operation, parameters))


@pytest.mark.parametrize(("service", "name"), HANDLED)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_valid_input_is_answered_as_botocore_can_read(service, name, data):
    operation = models.service(service).operations[name]
    drawn = data.draw(valid(operation.input_shape))
    there = data.draw(st.sets(st.sampled_from(sorted(PRESENT))))
    drawn |= {k: PRESENT[k] for k in there if k in operation.input_shape.members}
    response = answer(region(), name, drawn, service)
    assert response.status < 500
    parsed = create_parser("rest-json").parse(
        {"status_code": response.status, "headers": response.headers, "body": response.body},
        operation.output_shape,
    )
    assert ("Error" in parsed) == (response.status != 200)
