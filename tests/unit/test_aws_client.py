"""Clients of botocore, as they are, with all of this in the place of the network."""

from __future__ import annotations

import pytest
from aws_region import AwsRegion
from botocore.exceptions import ClientError

from isthmus.aws import paging
from isthmus.aws.operations import Operations
from isthmus.aws.paging import Entry
from isthmus.aws.service_error import ServiceError

OPERATIONS = Operations()


class Context:
    """What the handlers below act on."""

    def __init__(self) -> None:
        self.call = None
        self.things: dict[str, dict[str, object]] = {}
        self.published: list[dict[str, object]] = []


@OPERATIONS.handles("CreateThing")
def create_thing(context, parameters):
    name = parameters["thingName"]
    if name in context.things:
        members = {"resourceId": name, "resourceArn": f"arn:{name}"}
        raise ServiceError("ResourceAlreadyExistsException", f"{name} is there", members)
    context.things[name] = parameters
    return {"thingName": name}


@OPERATIONS.handles("ListThings")
async def list_things(context, parameters):
    names = sorted(context.things)

    def after(key):
        return (Entry(each, {"thingName": each}) for each in names if key is None or each > key)

    return paging.page(context.call, after)


@OPERATIONS.handles("Publish")
def publish(context, parameters):
    context.published.append(parameters)
    return {}


@OPERATIONS.handles("GetThingShadow")
def get_thing_shadow(context, parameters):
    return {"payload": b'{"of":"' + parameters["thingName"].encode() + b'"}'}


class Toy(AwsRegion):
    """A region with these handlers and no other."""

    def __init__(self, context: Context) -> None:
        super().__init__(operations=OPERATIONS)
        self._context = context

    def context(self, call):
        self._context.call = call
        return self._context


@pytest.fixture
def context():
    return Context()


@pytest.fixture
def client(context):
    """Makes clients whose requests are carried out at once."""
    return Toy(context).client


def test_a_call_is_carried_out(client, context):
    attributes = {"attributes": {"colour": "red"}, "merge": False}
    output = client("iot").create_thing(thingName="lamp", attributePayload=attributes)
    assert output["thingName"] == "lamp"
    assert output["ResponseMetadata"]["RequestId"] == "r"
    assert context.things == {"lamp": {"thingName": "lamp", "attributePayload": attributes}}


def test_errors_are_the_clients_own_exceptions(client):
    iot = client("iot")
    iot.create_thing(thingName="lamp")
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException) as refused:
        iot.create_thing(thingName="lamp")
    assert refused.value.response["resourceArn"] == "arn:lamp"
    assert refused.value.response["Error"]["Message"] == "lamp is there"
    with pytest.raises(iot.exceptions.InvalidRequestException, match="at 'thingName' failed"):
        iot.create_thing(thingName="a lamp")
    with pytest.raises(
        ClientError, match=r"NotImplementedException.*DeleteThing is not"
    ) as refused:
        iot.delete_thing(thingName="lamp")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_a_paginator_finds_all_pages(client):
    iot = client("iot")
    names = [f"lamp-{number:03}" for number in range(60)]
    for name in names:
        iot.create_thing(thingName=name)
    pages = iot.get_paginator("list_things").paginate(PaginationConfig={"PageSize": 7})
    assert [each["thingName"] for each in pages.build_full_result()["things"]] == names


def test_payloads_go_both_ways(client, context):
    data = client("iot-data")
    data.publish(topic="$aws/a b/ä", qos=1, payload=b"\xff", userProperties='[{"a":"b"}]')
    assert context.published == [
        {"topic": "$aws/a b/ä", "qos": 1, "payload": b"\xff", "userProperties": '[{"a":"b"}]'}
    ]
    assert data.get_thing_shadow(thingName="lamp")["payload"].read() == b'{"of":"lamp"}'
