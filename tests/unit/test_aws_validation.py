"""What breaks a constraint of the models is refused in AWS's words, and all of it at once."""

from __future__ import annotations

import json

import pytest
from aws_inputs import CALLS, breaks_of, broken, request_of
from aws_toy import TOY
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.aws import models, requests, validation
from isthmus.aws.requests import HttpRequest
from isthmus.aws.service_error import ServiceError

IOT, IOT_DATA = models.service("iot"), models.service("iot-data")
INVALID = {"InvalidRequestException", "ValidationException"}
CAN_BREAK = [(service, name) for service, name in CALLS if breaks_of(service, name)]


def refusal(service, request):
    with pytest.raises(ServiceError) as refused:
        requests.read(service, request)
    return refused.value


@pytest.mark.parametrize(
    ("service", "name"), [pytest.param(s, n, id=f"{s.name}-{n}") for s, n in CAN_BREAK]
)
@settings(max_examples=6)
@given(data=st.data())
def test_input_that_breaks_a_constraint_is_refused_and_named(service, name, data):
    operation = service.operations[name]
    wrong = data.draw(st.sampled_from(breaks_of(service, name)))
    parameters, path = data.draw(broken(operation.input_shape, wrong))
    error = refusal(service, request_of(operation, parameters, is_checked=False))
    assert error.code in INVALID
    told = error.message.split(f" at '{path}' failed to satisfy constraint: ", 1)
    assert len(told) == 2, f"{wrong} at {path}: {error.message}"
    assert wrong.text in told[1]


def test_most_operations_can_break_something():
    assert len(CAN_BREAK) > 0.9 * len(CALLS)
    kinds = {each.kind for call in CAN_BREAK for each in breaks_of(*call)}
    assert kinds == {"required", "most", "least", "enum", "pattern"}


def create_thing(name="lamp", **body):
    return HttpRequest("POST", f"/things/{name}", (), json.dumps(body).encode())


THING_NAME = "Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+"


def test_one_violation_is_told_as_aws_tells_it():
    error = refusal(IOT, create_thing("a%20b"))
    assert error.message == (
        "1 validation error detected: Value 'a b' at 'thingName' failed to satisfy constraint: "
        f"{THING_NAME}"
    )


def test_all_violations_are_told_at_once():
    # AWS tells once of all keys, and once of all values.
    attributes = {"a b": "x" * 801, "c d": "{"}
    error = refusal(
        IOT,
        create_thing("a%20b", thingTypeName="", attributePayload={"attributes": attributes}),
    )
    count, *told = error.message.replace(" detected: ", "; ").split("; ")
    assert count == "5 validation errors"
    assert told[0].endswith(f"at 'thingName' failed to satisfy constraint: {THING_NAME}")
    assert told[1] == (
        "Value '' at 'thingTypeName' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1"
    )
    assert told[2].startswith("Value '' at 'thingTypeName' failed to satisfy constraint: Member")
    assert "at 'attributePayload.attributes' failed to satisfy constraint: Map keys must" in told[3]
    assert told[4].endswith(
        "Map value must satisfy constraint: [Member must have length less than or equal to 800, "
        r"Member must satisfy regular expression pattern: [a-zA-Z0-9_.,@/:#=\[\]-]*]"
    )


def test_a_member_that_is_missing_is_null():
    error = refusal(IOT, HttpRequest("POST", "/policies/p"))
    assert error.message == (
        "1 validation error detected: Value null at 'policyDocument' failed to satisfy constraint: "
        "Member must not be null"
    )


def test_parts_are_told_by_their_number_and_key():
    body = {"tags": [{"Key": "a"}, {"Key": ""}, {}], "policyDocument": "{}"}
    error = refusal(IOT, HttpRequest("POST", "/policies/p", (), json.dumps(body).encode()))
    assert "Value '' at 'tags.2.member.Key' failed" in error.message
    assert "Value null at 'tags.3.member.Key' failed" in error.message
    node_map = {"nodeMap": {"a": {"ID": "B"}}, "Other": {"ID": "a"}}
    target = "/toys/a/1/of/2026-01-01T00%3A00%3A00Z"
    error = refusal(TOY, HttpRequest("PUT", target, (), json.dumps(node_map).encode()))
    assert "Value 'B' at 'nodeMap.a.member.id' failed" in error.message


def test_values_of_every_type_are_shown_as_aws_shows_them():
    error = refusal(IOT, HttpRequest("GET", "/things?maxResults=251"))
    assert (
        "Value '251' at 'maxResults' failed to satisfy constraint: Member must have value less"
        in (error.message)
    )
    body = {"targets": [], "presignedUrlConfig": {"expiresInSec": 1}}
    error = refusal(IOT, HttpRequest("PUT", "/jobs/j", (), json.dumps(body).encode()))
    assert "Value '[]' at 'targets'" in error.message
    assert "Value '1' at 'presignedUrlConfig.expiresInSec'" in error.message
    assert validation._text({"a": [True, b"ab", 1.5]}) == "{a=[true, 2 bytes, 1.5]}"


def test_long_values_are_cut():
    error = refusal(IOT, create_thing("*" * 1000))
    shown = error.message.split("'")[1]
    assert shown == "*" * validation.VALUE_SHOWN_MAX + "..."
    # What is too long is not held against its pattern too.
    assert error.message.startswith("1 validation error detected: ")


@pytest.mark.parametrize("secret", ["abc", ""])
def test_what_is_sensitive_is_not_shown(secret):
    body = {"Other": {"ID": "a", "secret": secret}, "secrets": [secret]}
    target = "/toys/a/1/of/2026-01-01T00%3A00%3A00Z"
    error = refusal(TOY, HttpRequest("PUT", target, (), json.dumps(body).encode()))
    assert error.message == (
        "2 validation errors detected: Value at 'other.secret' failed to satisfy constraint: "
        "Member must have length greater than or equal to 4; "
        "Value at 'secrets' failed to satisfy constraint: Member must satisfy constraint: "
        "[Member must have length greater than or equal to 4]"
    )


def test_what_has_sensitive_parts_is_not_shown_either():
    nodes = [{"ID": "a", "secret": "hidden"}] * 3
    body = {"Other": {"ID": "a"}, "nodes": nodes}
    target = "/toys/a/1/of/2026-01-01T00%3A00%3A00Z"
    error = refusal(TOY, HttpRequest("PUT", target, (), json.dumps(body).encode()))
    assert error.message == (
        "1 validation error detected: Value at 'nodes' failed to satisfy constraint: "
        "Member must have length less than or equal to 2"
    )


def test_lengths_are_of_characters_and_of_bytes():
    body = {"policyDocument": "😀" * 80_000}
    assert requests.read(IOT, HttpRequest("POST", "/policies/p", (), json.dumps(body).encode()))
    node = TOY.operations["PutNode"].input_shape.members["node"].members["id"]
    assert [*validation.violations(node, "a" * 8)] == []
    assert len([*validation.violations(node, "a" * 9)]) == 1


def test_not_a_number_is_in_no_range():
    rate = {"baseRatePerMinute": 1, "incrementFactor": "NaN", "rateIncreaseCriteria": {}}
    body = {"targets": ["a"], "jobExecutionsRolloutConfig": {"exponentialRate": rate}}
    error = refusal(IOT, HttpRequest("PUT", "/jobs/j", (), json.dumps(body).encode()))
    assert "Value 'nan' at 'jobExecutionsRolloutConfig.exponentialRate.incrementFactor'" in (
        error.message
    )
    at_most = IOT.model.shape_for("AbortThresholdPercentage")
    assert len(list(validation.violations(at_most, float("nan")))) == 1


def test_text_that_has_a_pattern_and_no_length_is_bounded_all_the_same():
    """``^[1-9]+.[0-9]+`` takes the square of the length, and its shape allows any."""
    version = "1" * validation.PATTERN_CHARACTERS_MAX
    good = HttpRequest("GET", f"/managed-job-templates/t?templateVersion={version}")
    assert requests.read(IOT, good)
    error = refusal(IOT, good._replace(target=f"{good.target}1"))
    assert "Member must have length less than or equal to 2048" in error.message


def test_no_more_is_looked_for_than_is_told(monkeypatch):
    looked_for = []

    def violations(*_):
        for number in range(10_000):
            looked_for.append(number)
            yield number

    monkeypatch.setattr(validation, "violations", violations)
    refusal(IOT, create_thing())
    assert len(looked_for) == validation.VIOLATIONS_MAX + 1


def test_what_is_told_is_bounded():
    body = {"tags": [{}] * 100_000, "policyDocument": "{}"}
    error = refusal(IOT, HttpRequest("POST", "/policies/p", (), json.dumps(body).encode()))
    assert error.message.startswith("More than 100 validation errors detected: ")
    assert len(error.message) < 20_000
