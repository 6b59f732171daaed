"""What is answered is what botocore reads, and what is not of the shape never leaves."""

from __future__ import annotations

import json
import re
from datetime import datetime
from io import BytesIO
from pathlib import Path

import pytest
from aws_inputs import SERVICES, every_operation, valid
from aws_toy import TOY
from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.aws import models, responses
from isthmus.aws.devices import fleet_provisioning
from isthmus.aws.requests import Call
from isthmus.aws.service_error import COMMON_ERRORS, ServiceError, invalid
from isthmus.errors import BrokenInvariant

IOT, IOT_DATA = models.service("iot"), models.service("iot-data")
REQUEST_ID = "8f6f7f1e-0000-4000-8000-000000000000"
ERRORS = [
    pytest.param(service, code, id=f"{service.name}-{code}")
    for service in (IOT, IOT_DATA)
    for code in [*service.errors, *(code for code in COMMON_ERRORS if code not in service.errors)]
]


def parsed(response, shape):
    """What botocore makes of a response."""
    payload = shape.members.get(shape.serialization.get("payload")) if shape else None
    is_stream = payload is not None and payload.type_name == "blob" and response.status < 300
    raw = {
        "status_code": response.status,
        "headers": HeadersDict(response.headers),
        # A real client reads such a body from the socket, as it comes.
        "body": BytesIO(response.body) if is_stream else response.body,
        "context": {},
    }
    found = create_parser("rest-json").parse(raw, shape)
    return {
        name: each.read() if isinstance(each, BytesIO) else each for name, each in found.items()
    }


def written(service, name, output):
    call = Call(service, service.operations[name], {})
    return responses.write(call, output, REQUEST_ID)


@every_operation
@settings(max_examples=5)
@given(data=st.data())
def test_botocore_reads_what_was_given(service, name, data):
    shape = service.operations[name].output_shape
    output = data.draw(valid(shape)) if shape else {}
    response = written(service, name, output)
    found = parsed(response, shape)
    metadata = found.pop("ResponseMetadata")
    assert metadata["RequestId"] == REQUEST_ID
    for member in shape.members if shape else ():
        location = shape.members[member].serialization.get("location")
        if location == "statusCode":
            output.setdefault(member, 200)
            assert response.status == output[member]
        if location == "headers" and not found[member]:
            del found[member]
        is_payload = member == shape.serialization.get("payload")
        if is_payload and not found[member] and member not in output:
            del found[member]
    assert found == output


def test_what_has_no_value_is_left_out():
    response = written(IOT, "DescribeThing", {"thingName": "lamp", "version": None})
    assert json.loads(response.body) == {"thingName": "lamp"}
    assert response.headers["Content-Type"] == "application/json"


def test_the_document_of_a_shadow_is_json():
    response = written(IOT_DATA, "GetThingShadow", {"payload": b"{}"})
    assert (response.headers["Content-Type"], response.body) == ("application/json", b"{}")


def test_moments_are_seconds_and_other_numbers_as_they_are():
    moment = datetime.fromisoformat("2026-03-01T00:00:00.25+00:00")
    response = written(IOT, "DescribeThingType", {"thingTypeMetadata": {"creationDate": moment}})
    assert json.loads(response.body) == {"thingTypeMetadata": {"creationDate": 1772323200.25}}
    response = written(IOT_DATA, "GetRetainedMessage", {"lastModifiedTime": 1772323200250})
    assert json.loads(response.body) == {"lastModifiedTime": 1772323200250}


def test_headers_have_text_as_clients_write_it_too():
    response = written(TOY, "Map", {"isSo": True, "number": 7, "meta": {"a": "b"}})
    expected = {"x-is-so": "true", "x-number": "7", "x-meta-a": "b"}
    assert expected.items() <= response.headers.items()


@pytest.mark.parametrize("text", ["Infinity", "-Infinity", "NaN"])
def test_numbers_that_json_does_not_have_are_text(text):
    response = written(TOY, "Put", {"other": {"id": "a"}, "float": float(text)})
    assert json.loads(response.body) == {"Other": {"ID": "a"}, "float": text}


@pytest.mark.parametrize(
    ("name", "output", "reason"),
    [
        ("DescribeThing", {"colour": "red"}, r"DescribeThing has no members \['colour'\]"),
        ("DescribeThing", {"thingName": 1}, "DescribeThing.thingName is int, not string"),
        ("DescribeThing", {"version": "1"}, "DescribeThing.version is str, not long"),
        ("DescribeThing", {"version": True}, "DescribeThing.version is bool, not long"),
        ("DescribeThing", {"attributes": []}, "DescribeThing.attributes is list, not map"),
        ("DescribeThing", {"attributes": {"a": 1}}, r"attributes\['a'\] is int, not string"),
        ("DescribeThing", {"attributes": {1: "a"}}, "attributes is int, not string"),
        ("DescribeThing", [], "DescribeThing is list, not structure"),
        ("ListThings", {"things": [{"thing": "a"}]}, r"things\[0\] has no members"),
        ("ListThings", {"things": "abc"}, "things is str, not list"),
        ("ListThings", {"things": [None]}, r"things\[0\] is NoneType, not structure"),
        (
            "DescribeThingType",
            {"thingTypeMetadata": {"creationDate": datetime(2026, 3, 1)}},
            "creationDate is datetime, not timestamp",
        ),
        ("DescribeThingType", {"thingTypeMetadata": {"deprecated": 1}}, "is int, not boolean"),
        ("AttachPolicy", {"a": 1}, "AttachPolicy has no output"),
    ],
)
def test_output_that_is_not_of_the_shape_is_a_bug(name, output, reason):
    with pytest.raises(BrokenInvariant, match=reason):
        written(IOT, name, output)


def test_payloads_that_are_not_of_their_type_or_missing_are_a_bug():
    with pytest.raises(BrokenInvariant, match=r"needs \['payload'\]"):
        written(IOT_DATA, "DeleteThingShadow", {})
    with pytest.raises(BrokenInvariant, match="payload is str, not blob"):
        written(IOT_DATA, "DeleteThingShadow", {"payload": "{}"})
    with pytest.raises(BrokenInvariant, match="content is bytes, not string"):
        written(TOY, "PutFile", {"content": b""})


# Errors


@pytest.mark.parametrize(("service", "code"), ERRORS)
def test_every_error_is_read_by_botocore(service, code):
    shape = service.model.shape_for_error_code(code)
    members = {name: f"its {name}" for name in shape.members if name != "message"} if shape else {}
    response = responses.refuse(service, ServiceError(code, "Why not: ä", members), REQUEST_ID)
    found = parsed(response, service.operations[next(iter(service.operations))].output_shape)
    assert found["Error"] == {"Code": code, "Message": "Why not: ä"}
    assert found["ResponseMetadata"]["HTTPStatusCode"] == response.status
    assert response.headers["x-amzn-RequestId"] == REQUEST_ID
    body = json.loads(response.body)
    assert body.pop("traceId", None) == (REQUEST_ID if service is IOT_DATA else None)
    assert body == {"message": "Why not: ä", **members}
    if shape:
        assert response.status == shape.metadata["error"]["httpStatusCode"]


#: Of AWS's documentation; the models say the same, so nothing is typed twice.
STATUSES = {
    400: "InvalidRequest MalformedPolicy SqlParse CertificateValidation RegistrationCodeValidation"
    " InvalidQuery IndexNotReady ResourceRegistrationFailure Throttling",
    401: "Unauthorized",
    404: "ResourceNotFound",
    406: "CertificateState",
    409: "VersionConflict DeleteConflict CertificateConflict ResourceAlreadyExists"
    " ConflictingResourceUpdate TransferConflict VersionsLimitExceeded Conflict",
    410: "LimitExceeded TransferAlreadyCompleted",
    500: "InternalFailure Internal",
    503: "ServiceUnavailable",
}
DATA_STATUSES = {
    400: "InvalidRequest",
    403: "Forbidden",
    404: "ResourceNotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    413: "RequestEntityTooLarge",
    415: "UnsupportedDocumentEncoding",
    429: "Throttling",
    500: "InternalFailure",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}


@pytest.mark.parametrize(("service", "statuses"), [(IOT, STATUSES), (IOT_DATA, DATA_STATUSES)])
def test_errors_have_the_status_that_aws_documents(service, statuses):
    documented = {
        f"{name}Exception": status for status, n in statuses.items() for name in n.split()
    }
    assert {code: service.errors[code] for code in documented} == documented


def test_an_error_that_the_service_does_not_have_is_a_bug():
    with pytest.raises(BrokenInvariant, match="iot has no error 'NoSuchException'"):
        responses.refuse(IOT, ServiceError("NoSuchException", ""), REQUEST_ID)
    error = ServiceError("ResourceNotFoundException", "", {"resourceId": "a"})
    with pytest.raises(BrokenInvariant, match=r"has no members \['resourceId'\]"):
        responses.refuse(IOT, error, REQUEST_ID)


def test_what_is_invalid_is_called_as_the_operation_calls_it():
    assert invalid(IOT.operations["CreateThing"], "").code == "InvalidRequestException"
    assert invalid(IOT.operations["CreatePackage"], "").code == "ValidationException"
    names = [
        operation.name
        for service in (IOT, IOT_DATA)
        for operation in service.operations.values()
        if invalid(operation, "").code not in {each.name for each in operation.error_shapes}
    ]
    # Of these the models have no such error at all.
    assert names == [
        "DeleteRegistrationCode",
        "DescribeAccountAuditConfiguration",
        "DescribeEventConfigurations",
        "GetPackageConfiguration",
        "GetV2LoggingOptions",
    ]


def test_errors_that_the_engine_raises_are_in_the_models_or_common_to_all():
    """No typo leaves as a status of 500."""
    source = Path(responses.__file__).parent
    raised = {
        code
        for path in source.rglob("*.py")
        for code in re.findall(r'ServiceError\(\s*"(\w+)"', path.read_text())
    }
    assert raised
    known = {code for service in SERVICES[:2] for code in service.errors}
    assert raised <= known | COMMON_ERRORS.keys() | fleet_provisioning.ERRORS.keys()
