"""Pages together are the whole list, and no token leads anywhere else."""

from __future__ import annotations

import base64
import bisect
import json
import re

import pytest
from aws_inputs import request_of
from hypothesis import given
from hypothesis import strategies as st

from isthmus.aws import models, paging, requests, responses
from isthmus.aws.paging import Entry
from isthmus.aws.requests import Call
from isthmus.aws.service_error import ServiceError
from isthmus.errors import BrokenInvariant

IOT = models.service("iot")
KEYS = st.lists(st.text("abcö/+", min_size=1, max_size=4), unique=True, max_size=30).map(sorted)


def asked(name, service=IOT, **parameters):
    return requests.read(service, request_of(service.operations[name], parameters))


def after(keys, read=None):
    """The entries beyond a key, and a note of each that was read."""

    def entries(key):
        start = 0 if key is None else bisect.bisect_right(keys, key)
        for each in keys[start:]:
            if read is not None:
                read.append(each)
            yield Entry(each, {"thingName": each})

    return entries


def pages(keys, name, size, token):
    """All pages of a list, through requests and responses as a client has them."""
    parameters = {}
    while True:
        call = asked(name, **parameters)
        output = paging.page(call, after(keys))
        responses.write(call, output, "r")
        yield output
        found = IOT.paginators[name]
        if found["output_token"] not in output:
            return
        parameters = {found["input_token"]: output[found["output_token"]], **size}
        assert token.fullmatch(parameters[found["input_token"]])


@given(keys=KEYS, size=st.none() | st.integers(1, 40))
def test_pages_together_are_the_whole_list(keys, size):
    sizes = {} if size is None else {"maxResults": size}
    found = list(pages(keys, "ListThings", sizes, re.compile(".*")))
    assert [each["thingName"] for page in found for each in page["things"]] == keys
    assert all(len(page["things"]) == (size or 25) for page in found[1:-1])


@given(keys=KEYS)
def test_a_token_is_read_back_where_the_models_have_a_pattern_for_it(keys):
    calls = [asked("ListPolicies", pageSize=1)]
    seen = []
    while calls:
        output = paging.page(calls.pop(), after(keys))
        seen += [each["thingName"] for each in output["policies"]]
        if "nextMarker" in output:
            calls.append(asked("ListPolicies", pageSize=1, marker=output["nextMarker"]))
    assert seen == keys


def test_the_last_page_has_no_token_even_if_it_is_full():
    output = paging.page(asked("ListThings", maxResults=2), after(["a", "b"]))
    assert output.keys() == {"things"}


def test_a_page_reads_no_further_than_it_must():
    read: list[str] = []
    paging.page(asked("ListThings", maxResults=2), after(list("abcdefgh"), read))
    assert read == ["a", "b", "c"]


def test_what_was_removed_meanwhile_is_no_hindrance():
    first = paging.page(asked("ListThings", maxResults=2), after(["a", "b", "c", "d"]))
    call = asked("ListThings", nextToken=first["nextToken"])
    assert paging.page(call, after(["a", "d"])) == {"things": [{"thingName": "d"}]}


def token(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    "given_token",
    [
        "",
        "abc",
        "ä",
        "YQ==",
        token({}),
        token([]),
        token(b"\xff"),
        token(b"[" * 5000),
        token({"operation": "ListThings"}),
        token({"operation": "ListThings", "after": 1}),
        token({"operation": "ListThings", "after": "a", "more": 1}),
        token({"operation": "ListPolicies", "after": "a"}),
    ],
)
def test_a_token_that_is_not_ours_is_refused(given_token):
    with pytest.raises(ServiceError) as refused:
        paging.page(asked("ListThings", nextToken=given_token), after(["a"]))
    assert refused.value.code == "InvalidRequestException"


@pytest.mark.parametrize(
    ("service", "name"),
    [
        (models.service(each), name)
        for each in models.SERVICES
        for name in models.service(each).paginators
    ],
)
def test_every_paginator_of_the_models_is_understood(service, name):
    operation = service.operations[name]
    pages = service.paginators[name]
    assert isinstance(pages["result_key"], str)
    assert {pages["output_token"], pages["result_key"]} <= operation.output_shape.members.keys()
    assert pages["input_token"] in operation.input_shape.members
    if "limit_key" in pages:
        # A page of nothing would have no end.
        assert operation.input_shape.members[pages["limit_key"]].metadata["min"] == 1
    call = Call(service, operation, {})
    assert len(paging.page(call, after([f"{n:03}" for n in range(300)]))[pages["result_key"]]) == (
        10 if name == "GetBehaviorModelTrainingSummaries" else 25
    )


def test_what_is_not_answered_in_pages_is_a_bug():
    with pytest.raises(BrokenInvariant, match="DescribeThing is not answered in pages"):
        paging.page(asked("DescribeThing", thingName="a"), after([]))
