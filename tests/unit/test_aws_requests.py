"""What botocore sends is read as what its caller gave, and whatever else is sent is refused."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from aws_inputs import CALLS, SERVICES, every_operation, request_of, valid
from aws_toy import TOY
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.aws import models, requests
from isthmus.aws.requests import HttpRequest
from isthmus.aws.service_error import ServiceError
from isthmus.core import json_text

IOT, IOT_DATA = models.service("iot"), models.service("iot-data")


@every_operation
@settings(max_examples=6)
@given(data=st.data())
def test_what_botocore_sends_is_read_as_it_was_given(service, name, data):
    operation = service.operations[name]
    parameters = data.draw(valid(operation.input_shape))
    call = requests.read(service, request_of(operation, parameters))
    assert call.operation.name == name
    assert call.parameters == parameters


def refusal(service, request):
    with pytest.raises(ServiceError) as refused:
        requests.read(service, request)
    return refused.value.code, refused.value.message


def create_thing(body, target="/things/lamp", headers=()):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpRequest("POST", target, headers, raw)


# Bodies

SERIALIZATION = "SerializationException"
INVALID = "InvalidRequestException"


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        (b"{", SERIALIZATION, "it is not JSON"),
        (b"x", SERIALIZATION, "it is not JSON"),
        (b"\xef\xbb\xbf{}", SERIALIZATION, "it is not JSON"),
        ('{"a": 1}'.encode("utf-16"), SERIALIZATION, "it is not UTF-8"),
        (b'{"thingTypeName": "\xff"}', SERIALIZATION, "it is not UTF-8"),
        (b'{"thingTypeName": "\\ud800"}', SERIALIZATION, "half of a surrogate"),
        (b'{"attributePayload":{"attributes":{"\\ud800":""}}}', SERIALIZATION, "surrogate"),
        (b'{"thingTypeName": NaN}', SERIALIZATION, "it is not JSON: NaN"),
        (b'{"thingTypeName": "a", "thingTypeName": "b"}', SERIALIZATION, "'thingTypeName' twice"),
        (b"[" * 100_000, SERIALIZATION, "nested more than 64 deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, SERIALIZATION, "nested more than 64 deep"),
        (b"1" * 5000, SERIALIZATION, "digits"),
        ([], SERIALIZATION, "The body: a list cannot be converted to structure"),
        ("a", SERIALIZATION, "The body: a string cannot"),
        ({"thingTypeName": 1}, SERIALIZATION, "thingTypeName: a number cannot be"),
        ({"attributePayload": []}, SERIALIZATION, "attributePayload: a list cannot be"),
        (
            {"attributePayload": {"merge": "true"}},
            SERIALIZATION,
            "attributePayload.merge: a string cannot be converted to boolean",
        ),
        ({"attributePayload": {"merge": 1}}, SERIALIZATION, "attributePayload.merge: a number"),
        ({"attributePayload": {"attributes": {"a": True}}}, SERIALIZATION, ".a.member: a boolean"),
        ({"colour": 1}, INVALID, "CreateThing has no member 'colour'"),
        ({"colour": None}, INVALID, "CreateThing has no member 'colour'"),
        # It stands in the path and nowhere else.
        ({"thingName": "lamp"}, INVALID, "CreateThing has no member 'thingName'"),
        ({"attributePayload": {"color": 1}}, INVALID, "no member 'attributePayload.color'"),
    ],
)
def test_a_body_that_is_not_of_the_shape_is_refused(body, code, reason):
    assert refusal(IOT, create_thing(body))[0] == code
    assert reason in refusal(IOT, create_thing(body))[1]


@pytest.mark.parametrize("version", [True, 1.0, "1", [1], 2**63, -(2**63) - 1, 1e400])
def test_a_whole_number_is_one_of_its_size_and_nothing_like_it(version):
    body = json.dumps({"expectedVersion": version}).replace("Infinity", "1e400").encode()
    code, message = refusal(IOT, HttpRequest("PATCH", "/things/lamp", (), body))
    assert code == SERIALIZATION
    assert message.startswith("expectedVersion: ")
    most = HttpRequest("PATCH", "/things/lamp", (), b'{"expectedVersion":9223372036854775807}')
    assert requests.read(IOT, most).parameters["expectedVersion"] == 2**63 - 1


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b" {} ", {"thingTypeName": None}])
def test_null_is_no_value(body):
    assert requests.read(IOT, create_thing(body)).parameters == {"thingName": "lamp"}


def test_null_within_a_list_or_a_map_is_a_value_that_is_missing():
    attributes = {"attributePayload": {"attributes": {"a": None}}}
    code, message = refusal(IOT, create_thing(attributes))
    assert code == INVALID
    assert "Value null at 'attributePayload.attributes.a.member'" in message
    assert "Member must not be null" in message


def test_newer_operations_say_that_input_is_invalid_by_another_name():
    newer = HttpRequest("PUT", "/packages/a%20b?clientToken=" + "c" * 40, (), b"")
    assert refusal(IOT, newer)[0] == "ValidationException"


@pytest.mark.parametrize("service", [IOT, IOT_DATA])
def test_a_request_that_is_too_large_is_refused(service):
    body = b" " * (requests.BODY_BYTES_MAX + 1)
    assert refusal(service, HttpRequest("POST", "/", (), body))[0].startswith(
        "RequestEntityTooLarge"
    )
    long = HttpRequest("GET", "/" + "a" * requests.TARGET_CHARACTERS_MAX)
    assert refusal(service, long)[0].startswith("RequestEntityTooLarge")


def test_the_longest_body_is_taken_as_it_is():
    body = bytes(requests.BODY_BYTES_MAX)
    call = requests.read(IOT_DATA, HttpRequest("POST", "/topics/t", (), body))
    assert call.parameters == {"topic": "t", "payload": body}


# Queries and headers


@pytest.mark.parametrize(
    ("target", "code", "reason"),
    [
        ("/things?maxResults=ten", SERIALIZATION, "maxResults: a string cannot be"),
        ("/things?maxResults=1_0", SERIALIZATION, "maxResults: a string cannot be"),
        ("/things?maxResults=%D9%A1", SERIALIZATION, "maxResults: a string cannot be"),
        ("/things?maxResults=2147483648", SERIALIZATION, "maxResults: a string cannot be"),
        ("/things?maxResults=" + "1" * 5000, SERIALIZATION, "maxResults: a string cannot be"),
        ("/things?usePrefixAttributeValue=True", SERIALIZATION, "usePrefixAttributeValue"),
        ("/things?maxResults=1&maxResults=1", INVALID, "'maxResults' is there 2 times"),
        ("/things?maxresults=1", INVALID, "ListThings has no member 'maxresults'"),
        ("/things?nextToken=%ff", INVALID, "The query is not UTF-8"),
        ("/things?nextToken=%zz", INVALID, "The query is not UTF-8"),
        ("/things?nextToken=ä", INVALID, "The query is not UTF-8"),
        ("/things?nextToken=\udcff", INVALID, "The query is not UTF-8"),
        ("/audit/tasks?startTime=now&endTime=now", SERIALIZATION, "startTime: a string"),
        ("/audit/tasks?startTime=2026-01-01", SERIALIZATION, "startTime: a string"),
        ("/audit/tasks?startTime=2026-01-01T00:00:00", SERIALIZATION, "startTime: a string"),
        ("/audit/tasks?startTime=9999-12-31T23:59:59-10:00", SERIALIZATION, "startTime: a string"),
    ],
)
def test_a_query_that_is_not_of_the_shape_is_refused(target, code, reason):
    assert refusal(IOT, HttpRequest("GET", target))[0] == code
    assert reason in refusal(IOT, HttpRequest("GET", target))[1]


def test_a_signature_in_the_query_is_no_input():
    target = "/things?X-Amz-Signature=0&x-amz-customauthorizer-name=a&maxResults=3"
    assert requests.read(IOT, HttpRequest("GET", target)).parameters == {"maxResults": 3}


def test_a_plus_in_a_query_is_a_plus():
    call = requests.read(IOT, HttpRequest("GET", "/things?nextToken=a+b%2B%20"))
    assert call.parameters == {"nextToken": "a+b+ "}


def test_the_name_of_a_header_is_in_any_case():
    target = "/things/lamp/principals"
    call = requests.read(IOT, HttpRequest("PUT", target, (("X-AMZN-Principal", "arn"),)))
    assert call.parameters == {"thingName": "lamp", "principal": "arn"}


@pytest.mark.parametrize("value", ["é", "e30", "e30=!", base64.b64encode(b"{").decode(), "\udcff"])
def test_a_header_that_is_not_json_in_base64_is_refused(value):
    headers = (("x-amz-mqtt5-user-properties", value),)
    code, message = refusal(IOT_DATA, HttpRequest("POST", "/topics/t", headers))
    assert code == SERIALIZATION
    assert message.startswith("userProperties: ")


@pytest.mark.parametrize("name", ["x-meta-a", "x-iso"])
def test_a_header_that_is_not_text_is_refused(name):
    target = "/toys/a/1/of/2026-01-01T00%3A00%3A00Z"
    code, message = refusal(TOY, HttpRequest("PUT", target, ((name, "\udcff"),)))
    assert code == SERIALIZATION
    assert message.endswith(": it is not UTF-8")


def test_text_that_botocore_encodes_is_read_once():
    """Of a caller who gives text where a value is meant, the AWS CLI for one."""
    value = base64.b64encode(json.dumps(json.dumps([{"a": "b"}])).encode()).decode()
    headers = (("x-amz-mqtt5-user-properties", value),)
    call = requests.read(IOT_DATA, HttpRequest("POST", "/topics/t", headers))
    assert call.parameters["userProperties"] == '[{"a": "b"}]'


# What only the toy has


@pytest.mark.parametrize(
    ("member", "value", "moment"),
    [
        ("unix", 1.5, datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)),
        ("rfc", "Thu, 01 Jan 1970 00:00:01 GMT", datetime(1970, 1, 1, 0, 0, 1, 0, UTC)),
        ("rfc", "Thu, 01 Jan 1970 01:00:01 +0100", datetime(1970, 1, 1, 0, 0, 1, 0, UTC)),
        ("date", "1970-01-01T01:00:01.25+01:00", datetime(1970, 1, 1, 0, 0, 1, 250_000, UTC)),
        ("unix", True, None),
        ("unix", "now", None),
        ("unix", 1e300, None),
        ("unix", 10**400, None),
        ("unix", -(10**15), None),
        ("rfc", "1970", None),
        ("rfc", 1, None),
        ("date", 1, None),
        ("date", "0001-01-01T00:00:00+10:00", None),
        ("float", 10**400, None),
        ("float", "1.0", None),
        ("float", True, None),
        ("float", 1.5, 1.5),
        ("float", 2, 2.0),
        ("blob", "YQ", None),
        ("blob", "ä", None),
        ("blob", 1, None),
    ],
)
def test_each_type_has_its_form_in_json(member, value, moment):
    body = json.dumps({"Other": {"ID": "a"}, member: value}).encode()
    target = "/toys/a/1/of/2026-01-01T00%3A00%3A00Z?action=put"
    request = HttpRequest("PUT", target, (), body)
    if moment is None:
        assert refusal(TOY, request)[0] == SERIALIZATION
        assert refusal(TOY, request)[1].startswith(f"{member}: ")
    else:
        assert requests.read(TOY, request).parameters[member] == moment


# Garbage

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        "/",
        "things",
        "topics",
        "lamp",
        "%2F",
        "%zz",
        "%ff",
        "?",
        "&",
        "=",
        "..",
        "maxResults",
        "\ud800",
    ]
)
TARGET = st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["x-amzn-principal", "X-Amz-Mqtt5-User-Properties", "x-meta-a", "x-when"]),
        st.text(st.characters(), max_size=8) | st.binary().map(lambda b: b.decode("latin-1")),
    ),
    max_size=3,
).map(tuple)
METHOD = st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "get", ""])


def is_read_or_refused(service, request):
    try:
        requests.read(service, request)
    except ServiceError as error:
        error.message.encode()


@pytest.mark.parametrize("service", SERVICES, ids=lambda each: each.name)
@settings(max_examples=150)
@given(method=METHOD, target=TARGET, headers=HEADERS, body=st.binary(max_size=20))
def test_garbage_is_refused(service, method, target, headers, body):
    is_read_or_refused(service, HttpRequest(method, target, headers, body))


@pytest.mark.parametrize("service", SERVICES, ids=lambda each: each.name)
@settings(max_examples=150)
@given(data=st.data())
def test_what_is_almost_right_is_read_or_refused(service, data):
    """A part of a valid request is replaced by something else."""
    name = data.draw(st.sampled_from([name for each, name in CALLS if each is service]))
    operation = service.operations[name]
    request = request_of(operation, data.draw(valid(operation.input_shape)))
    match data.draw(st.sampled_from(["body", "bytes", "member", "query", "target", "headers"])):
        case "body":
            request = request._replace(body=json.dumps(data.draw(ANY_JSON)).encode())
        case "bytes":
            place = data.draw(st.integers(0, len(request.body)))
            more = data.draw(st.binary(max_size=3))
            request = request._replace(body=request.body[:place] + more + request.body[place + 1 :])
        case "member":
            members = st.sampled_from(list(operation.input_shape.members) or ["x"])
            body = data.draw(st.dictionaries(members, ANY_JSON, max_size=3))
            request = request._replace(body=json.dumps(body).encode())
        case "query":
            joined = "&" if "?" in request.target else "?"
            request = request._replace(target=request.target + joined + data.draw(TARGET))
        case "target":
            place = data.draw(st.integers(0, len(request.target)))
            target = request.target[:place] + data.draw(PIECES) + request.target[place:]
            request = request._replace(target=target)
        case _:
            request = request._replace(headers=data.draw(HEADERS))
    is_read_or_refused(service, request)


def test_a_name_that_is_there_twice_is_found_at_once():
    """By going back for each name it took minutes of a body that is not too large."""
    names = [f'"{number}":1' for number in range(90_000)]
    body = f"{{{','.join([*names, names[-1]])}}}".encode()
    assert "it has '89999' twice" in refusal(IOT, create_thing(body))[1]


@given(ANY_JSON)
def test_json_is_decoded_as_others_do(value):
    def plain(pairs):
        return dict(pairs)

    text = json.dumps(value)
    if "NaN" in text or "Infinity" in text or "\\ud" in text:
        return
    assert json_text.decode(text.encode()) == json.loads(text, object_pairs_hook=plain)


@given(st.integers(1, 80), st.sampled_from(['{"a":%s}', "[%s]", '["]}",%s]', '["\\"[[",%s]']))
def test_depth_is_counted_outside_of_text(depth, level):
    text = "1"
    for _ in range(depth):
        text = level % text
    if depth <= json_text.DEPTH_MAX:
        json_text.decode(text.encode())
    else:
        with pytest.raises(ValueError, match="deep"):
            json_text.decode(text.encode())
