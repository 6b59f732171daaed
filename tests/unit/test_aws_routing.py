"""A request is led to the operation that it is for, by its path as it was sent."""

from __future__ import annotations

import pytest
from aws_inputs import CALLS
from aws_toy import TOY
from botocore.loaders import Loader
from botocore.model import ServiceModel

from isthmus.aws import models, routing
from isthmus.aws.routing import Router
from isthmus.aws.service_error import ServiceError
from isthmus.errors import BrokenInvariant, InputError

ROUTERS = {name: Router(models.service(name).model) for name in models.SERVICES}
ROUTERS["toy"] = Router(TOY.model)


def routed(service, method, target):
    path, _, query = target.partition("?")
    match = ROUTERS[service].match(method, path, routing.parameters(query))
    return match.operation.name, match.labels


@pytest.mark.parametrize(
    ("service", "method", "target", "name", "labels"),
    [
        ("iot", "GET", "/things", "ListThings", {}),
        ("iot", "GET", "/things/lamp", "DescribeThing", {"thingName": "lamp"}),
        ("iot", "PATCH", "/things/lamp", "UpdateThing", {"thingName": "lamp"}),
        ("iot", "GET", "/things/a%2Fb", "DescribeThing", {"thingName": "a/b"}),
        ("iot", "GET", "/things/%C3%A4%20%2525", "DescribeThing", {"thingName": "ä %25"}),
        ("iot", "GET", "/%74hings", "ListThings", {}),
        ("iot", "PUT", "/thing-groups/addThingToThingGroup", "AddThingToThingGroup", {}),
        # Somebody's group may have the name of an operation.
        (
            *("iot", "POST", "/thing-groups/addThingToThingGroup", "CreateThingGroup"),
            {"thingGroupName": "addThingToThingGroup"},
        ),
        ("iot", "GET", "/destinations/arn:a/b/c", "GetTopicRuleDestination", {"arn": "arn:a/b/c"}),
        ("iot", "GET", "/destinations/a%2Fb//", "GetTopicRuleDestination", {"arn": "a/b//"}),
        ("iot", "GET", "/destinations", "ListTopicRuleDestinations", {}),
        ("iot-data", "POST", "/topics/a%2Fb", "Publish", {"topic": "a/b"}),
        ("iot-data", "POST", "/topics/a/b", "Publish", {"topic": "a/b"}),
        ("iot-data", "POST", "/topics//a/", "Publish", {"topic": "/a/"}),
        ("iot-data", "POST", "/topics/%24aws%2Fx?qos=1", "Publish", {"topic": "$aws/x"}),
        ("iot-data", "GET", "/things/x/shadow", "GetThingShadow", {"thingName": "x"}),
        # The pattern of a thing's name has no slash: this is nothing that AWS has.
        ("iot", "GET", "/things/x/shadow", "UnknownOperationException", {}),
        ("iot", "GET", "/things/", "UnknownOperationException", {}),
        ("iot", "GET", "/", "UnknownOperationException", {}),
        ("iot", "GET", "", "UnknownOperationException", {}),
        ("iot", "GET", "things", "UnknownOperationException", {}),
        ("iot", "GET", "x/things", "UnknownOperationException", {}),
        ("iot", "GET", "/Things", "UnknownOperationException", {}),
        ("iot", "GET", "/topics/a", "UnknownOperationException", {}),
        ("iot", "GET", "/things/%ff", "InvalidRequestException", {}),
        ("iot", "GET", "/things/%zz", "InvalidRequestException", {}),
        ("iot", "GET", "/things/%", "InvalidRequestException", {}),
        ("iot", "GET", "/things/ä", "InvalidRequestException", {}),
        ("iot", "HEAD", "/things", "MethodNotAllowedException", {}),
        ("iot", "OPTIONS", "/things", "MethodNotAllowedException", {}),
        ("iot", "get", "/things", "MethodNotAllowedException", {}),
        ("iot-data", "PUT", "/topics/a", "MethodNotAllowedException", {}),
        ("toy", "PUT", "/toys/a/1/of/x?action=put", "Put", {"name": "a", "n": "1", "day": "x"}),
        ("toy", "PUT", "/toys/a/1/of/x?b&action=drop", "Drop", {"name": "a", "n": "1", "day": "x"}),
        ("toy", "PUT", "/toys/a/1/of/x?action=other", "Move", {"name": "a", "n": "1", "day": "x"}),
        ("toy", "PUT", "/toys/a/1/of/x", "Move", {"name": "a", "n": "1", "day": "x"}),
        ("toy", "HEAD", "/files/a/b", "HeadFile", {"path": "a/b"}),
        ("toy", "GET", "/files/index", "GetIndex", {}),
        ("toy", "PUT", "/files/index", "PutFile", {"path": "index"}),
        ("toy", "PUT", "/files//", "PutFile", {"path": "/"}),
        ("toy", "PUT", "/files/", "UnknownOperationException", {}),
        ("toy", "GET", "/any/a/b/c", "GetAny", {"path": "a/b/c"}),
        ("toy", "GET", "/any/a/more", "GetAnyMore", {"path": "a"}),
        ("toy", "GET", "/any/a/more/b", "GetAny", {"path": "a/more/b"}),
    ],
)
def test_a_request_is_for_one_operation_or_a_clear_error(service, method, target, name, labels):
    try:
        found = routed(service, method, target)
    except ServiceError as error:
        found = error.code, {}
    assert found == (name, labels)


def test_who_uses_another_method_is_told_which_there_are():
    with pytest.raises(
        ServiceError, match=r"^HEAD is not allowed at /things/a: DELETE, GET, PATCH"
    ):
        routed("iot", "HEAD", "/things/a")


def test_no_two_operations_of_the_models_are_told_apart_by_chance():
    seen = [
        (
            service.name,
            service.operations[name].http["method"],
            routing._LABEL.sub("{}", service.operations[name].http["requestUri"]),
        )
        for service, name in CALLS
    ]
    assert len(seen) == len(set(seen))


def test_a_plus_is_a_plus():
    assert routing.parameters("a=1+2&b&&a=%2B&=c") == {"a": ["1+2", "+"], "b": [""], "": ["c"]}


@pytest.mark.parametrize(
    ("signing_name", "service"),
    [
        ("iot", "iot"),
        ("execute-api", "iot"),
        ("iotdata", "iot-data"),
        ("iotdevicegateway", "iot-data"),
    ],
)
def test_the_scope_of_a_signature_says_which_service_it_is_for(signing_name, service):
    assert models.signed_as(signing_name) is models.service(service)


def test_there_is_no_other_service():
    for find in (models.signed_as, models.service):
        with pytest.raises(InputError, match="there is no service"):
            find("s3")


def test_models_of_a_users_own_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "iot" / "2099-01-01").mkdir(parents=True)
    (tmp_path / "iot" / "2099-01-01" / "service-2.json").write_text("{}")
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    monkeypatch.setattr(Loader, "CUSTOMER_DATA_PATH", str(tmp_path))
    read = models.service.__wrapped__("iot")
    assert read.operations.keys() == models.service("iot").operations.keys()


@pytest.mark.parametrize("uri", ["/a/{x+}/b", "/a/{y}"])
def test_a_path_that_is_not_understood_is_a_bug(uri):
    member = {"shape": "S", "location": "uri", "locationName": "x"}
    model = {
        "metadata": {"protocol": "rest-json"},
        "operations": {
            "A": {
                "name": "A",
                "http": {"method": "GET", "requestUri": uri},
                "input": {"shape": "I"},
            }
        },
        "shapes": {"S": {"type": "string"}, "I": {"type": "structure", "members": {"x": member}}},
    }
    with pytest.raises(BrokenInvariant):
        Router(ServiceModel(model, "a"))
