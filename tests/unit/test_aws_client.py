"""Clients of botocore, as they are, with all of this in the place of the network."""

from __future__ import annotations

from io import BytesIO

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from isthmus.aws import models, paging, requests, responses
from isthmus.aws.operations import Operations
from isthmus.aws.paging import Entry
from isthmus.aws.requests import HttpRequest
from isthmus.aws.service_error import ServiceError

ENDPOINT = "https://iot.example.com"
OPERATIONS = Operations()


class Context:
    """What the handlers below act on."""

    def __init__(self) -> None:
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


@OPERATIONS.handles("Publish")
def publish(context, parameters):
    context.published.append(parameters)
    return {}


@OPERATIONS.handles("GetThingShadow")
def get_thing_shadow(context, parameters):
    return {"payload": b'{"of":"' + parameters["thingName"].encode() + b'"}'}


class Stream(BytesIO):
    """A body as urllib3 hands it to botocore."""

    def stream(self, *arguments, **named):
        yield self.read()


@pytest.fixture
def context():
    return Context()


@pytest.fixture
def client(context, monkeypatch):
    """Makes clients whose requests are carried out at once."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def answered(service, sent):
        target = sent.url.removeprefix(ENDPOINT)
        headers = tuple((name, _text(value)) for name, value in sent.headers.items())
        body = sent.body.encode() if isinstance(sent.body, str) else sent.body or b""
        try:
            call = requests.read(service, HttpRequest(sent.method, target, headers, body))
            if call.operation.name == "ListThings":
                names = sorted(context.things)
                return responses.write(call, _things(call, names), "r")
            output = OPERATIONS.handler(call)(context, call.parameters)
            return responses.write(call, output, "r")
        except ServiceError as error:
            return responses.refuse(service, error, "r")

    def made(name):
        session = botocore.session.Session()
        made = session.create_client(
            name,
            region_name="eu-west-1",
            endpoint_url=ENDPOINT,
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )

        def instead_of_sending(request, **_):
            response = answered(models.service(name), request)
            raw = Stream(response.body)
            return AWSResponse(request.url, response.status, response.headers, raw)

        made.meta.events.register("before-send", instead_of_sending)
        return made

    return made


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _things(call, names):
    def after(key):
        return (Entry(each, {"thingName": each}) for each in names if key is None or each > key)

    return paging.page(call, after)


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
