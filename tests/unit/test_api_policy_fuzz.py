"""Whatever is given to CreatePolicy is kept and can be evaluated, or is refused and not kept."""

from __future__ import annotations

import json

from aws_asking import refusal
from aws_region import ACCOUNT, AwsRegion
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from policy_cases import DOCUMENTS

from isthmus.core.permissions import Permissions

REGION = AwsRegion()
CLIENT = REGION.client()
WORDS = st.sampled_from(
    [
        *("Version", "2012-10-17", "Statement", "Effect", "Allow", "Deny", "Action", "NotAction"),
        *("Resource", "NotResource", "Condition", "Sid", "iot:Publish", "*", "arn:aws:iot:::a"),
        *("StringEquals", "ForAllValues:StringEquals", "Null", "iot:ClientId", "${iot:ClientId}"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)


@st.composite
def damaged(draw):
    """A document with one character lost, doubled, or made another."""
    text = draw(DOCUMENTS)
    place = draw(st.integers(0, len(text) - 1))
    instead = draw(st.sampled_from(["", text[place] * 2]) | st.characters(codec="utf-8"))
    return text[:place] + instead + text[place + 1 :]


@given(st.one_of(DOCUMENTS, damaged(), JSON.map(json.dumps), st.text(max_size=30)))
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_document_is_kept_and_evaluated_or_refused(text):
    try:
        CLIENT.create_policy(policyName="any", policyDocument=text)
    except ParamValidationError:
        # botocore itself sends nothing that is no UTF-8.
        return
    except ClientError as error:
        code = error.response["Error"]["Code"]
        event(code)
        assert code in ("MalformedPolicyException", "InvalidRequestException")
        assert refusal(CLIENT.get_policy, policyName="any")[0] == "ResourceNotFoundException"
        return
    event("kept")
    try:
        assert CLIENT.get_policy(policyName="any")["policyDocument"] == text
        unreadable = []
        permissions = Permissions(
            ACCOUNT, REGION.naming.regions, REGION.store.view, unreadable.append
        )
        assert len(permissions.named("any").documents) == 1
        assert unreadable == []
    finally:
        CLIENT.delete_policy(policyName="any")
