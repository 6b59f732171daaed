"""What devices ask by HTTPS is what the models say, and what AWS's clients ask the API."""

from __future__ import annotations

import base64
import contextlib
import json
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from isthmus.aws import models, requests
from isthmus.aws.models import IOT_DATA
from isthmus.aws.requests import HttpRequest
from isthmus.aws.service_error import ServiceError
from isthmus.core import publishing, rest
from isthmus.core.rest import Refused
from isthmus.errors import InputError

DATA = models.service(IOT_DATA)
OURS = {each.name for each in rest.OPERATIONS}

TEXT = st.text("aä/+#%\0 ", max_size=6)
NUMBERS = st.sampled_from(["0", "1", "2", "-1", "+1", "01", "1.0", "", "9" * 19, "9" * 21])
VALUES = {
    "qos": NUMBERS,
    "retain": st.sampled_from(["true", "false", "True", "1", ""]),
    "contentType": TEXT,
    "responseTopic": TEXT,
    "messageExpiry": NUMBERS,
    "else": TEXT,
    "X-Amz-Date": TEXT,
}
QUERIES = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(
        lambda name: st.tuples(st.just(name), VALUES[name].map(quote) | TEXT.map(quote))
    ),
    max_size=4,
)


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


PAIRS = [{"a": "b"}, {"a": "c", "isthmus-id": "1"}]
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "x-amz-mqtt5-user-properties",
                "X-Amz-Mqtt5-Payload-Format-Indicator",
                "x-amz-mqtt5-correlation-data",
                "x-else",
            ]
        ),
        st.sampled_from(
            [
                *(encoded(each) for each in (PAIRS, json.dumps(PAIRS), None, [{"a": 1}], "x")),
                *("UTF8_DATA", "UNSPECIFIED_BYTES", "else", "AA==", "AA=", "\xe4", ""),
            ]
        ),
    ),
    max_size=3,
)
PATHS = st.sampled_from(["/topics/", "/topics", "/topic/", "/Topics/", ""]).flatmap(
    lambda begin: (TEXT | TEXT.map(quote) | st.just("a/b")).map(lambda end: begin + end)
)


def by_the_model(target, headers):
    """The message that an AWS client is taken to publish; None where it is refused."""
    try:
        call = requests.read(DATA, HttpRequest("POST", target, tuple(headers)))
        return publishing.checked(publishing.message(call.parameters))
    except (ServiceError, InputError):
        return None


def by_a_device(target, headers):
    try:
        return rest.publish(rest.asked("POST", target), headers)
    except Refused:
        return None


@given(PATHS, QUERIES, HEADERS)
@example("/topics/a", [("qos", "1"), ("retain", "true")], [])
@example("/topics/a", [("qos", "1"), ("qos", "1")], [])
@example("/topics/a", [("qos", "1"), ("X-Amz-Date", "now")], [])
@example("/topics/a", [], [("x-amz-mqtt5-user-properties", encoded(None))])
@example("/topics/a", [], [("x-amz-mqtt5-correlation-data", "AA==")] * 2)
def test_a_device_publishes_what_the_model_says(path, query, headers):
    target = path + "?" + "&".join(f"{name}={value}" for name, value in query)
    assert by_a_device(target, headers) == by_the_model(target, headers)


SEGMENT = st.sampled_from(
    ["", "topics", "retainedMessage", "things", "a", "a%2Fb", "%zz", "shadow", "a%3Ab"]
)
PLACES = st.lists(SEGMENT, max_size=4).map(lambda found: "/" + "/".join(found)) | SEGMENT.flatmap(
    lambda name: st.sampled_from(
        [f"/things/{name}/shadow", f"/api/things/shadow/ListNamedShadowsForThing/{name}"]
    )
)
NAMED = st.lists(
    st.sampled_from(["name=b", "name=$c", "n%61me=d%2De", "name=", "Name=f", "pageSize=5"]),
    max_size=2,
).map("&".join)
METHODS = st.sampled_from(["GET", "POST", "DELETE", "PUT", "post"])


@given(METHODS, PLACES, NAMED)
@example("GET", "/things/a/shadow", "name=b")
@example("DELETE", "/things/a/shadow", "name=b&name=c")
def test_a_request_is_for_what_the_model_says_and_takes_the_same_right(method, path, query):
    expected = found = None
    target = f"{path}?{query}"
    try:
        call = requests.read(DATA, HttpRequest(method, target, (), b"{}"))
        if call.operation.name in OURS:
            right = next(each for each in rest.OPERATIONS if each.name == call.operation.name)
            expected = call.operation.name, right.right_to(call.parameters)
    except ServiceError as error:
        # The API says what is wrong with the members of an operation.
        assume(error.code in ("UnknownOperationException", "MethodNotAllowedException"))
    with contextlib.suppress(Refused):
        asked = rest.asked(method, target)
        found = asked.operation.name, asked.resource
    assert found == expected


@pytest.mark.parametrize(
    ("method", "target", "action", "resource"),
    [
        ("GET", "/things/a/shadow", "iot:GetThingShadow", "thing/a"),
        ("POST", "/things/a/shadow?name=b", "iot:UpdateThingShadow", "thing/a/b"),
        ("DELETE", "/things/a/shadow?name=%24b", "iot:DeleteThingShadow", "thing/a/$b"),
        (
            "GET",
            "/api/things/shadow/ListNamedShadowsForThing/a?pageSize=5",
            "iot:ListNamedShadowsForThing",
            "thing/a",
        ),
        ("GET", "/retainedMessage?maxResults=5", "iot:ListRetainedMessages", "*"),
    ],
)
def test_a_right_is_to_what_is_asked_about(method, target, action, resource):
    asked = rest.asked(method, target)
    assert (asked.operation.action, asked.resource) == (action, resource)


def test_a_right_is_to_the_topic_as_it_is_decoded():
    found = rest.asked("POST", "/topics/a%2F%7B0%7D/b?qos=1")
    assert (found.operation.action, found.resource) == ("iot:Publish", "topic/a/{0}/b")


@pytest.mark.parametrize(
    ("method", "target", "code", "status"),
    [
        ("GET", "/topics/a", "MethodNotAllowedException", 405),
        ("POST", "/", "UnknownOperationException", 404),
        ("POST", "/topics/%ff", "InvalidRequestException", 400),
        ("POST", "/topics/a?qos=%", "InvalidRequestException", 400),
        ("GET", "/things/a/shadow?name=b&name=c", "InvalidRequestException", 400),
        ("PUT", "/things/a/shadow", "MethodNotAllowedException", 405),
        ("GET", "/things/a/b/shadow", "UnknownOperationException", 404),
    ],
)
def test_what_there_is_none_of_is_said_so(method, target, code, status):
    with pytest.raises(Refused) as refused:
        rest.asked(method, target)
    assert (refused.value.code, rest.STATUSES[code]) == (code, status)
