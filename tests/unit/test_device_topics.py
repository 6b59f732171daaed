"""Which reserved topics are devices' requests, and who may be answered."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import device_topics
from isthmus.core.device_topics import (
    CREATE_CERTIFICATE,
    CREATE_FROM_CSR,
    LITERAL,
    PROVISION,
    SHADOW,
    may_be_answered,
    question,
)
from isthmus.wire.topics import matches

#: What templates are called here: most of them as a level of topics is.
TEMPLATES = (
    *("$aws", "certificates", "create", "create-from-csr", "provisioning-templates"),
    *("provision", "json", "cbor", "accepted", "rejected", "t"),
)
ANSWERS = [
    f"{root}/{kind}/{answer}"
    for root, kind, answer in product(
        (
            "$aws/certificates/create",
            "$aws/certificates/create-from-csr",
            *(f"$aws/provisioning-templates/{each}/provision" for each in TEMPLATES),
        ),
        ("json", "cbor"),
        ("accepted", "rejected"),
    )
]
LEVELS = sorted({level for each in ANSWERS for level in each.split("/")})


@pytest.mark.parametrize("kind", ["json", "cbor"])
def test_what_is_asked_is_known_by_its_topic(kind):
    assert question(f"$aws/certificates/create/{kind}") is CREATE_CERTIFICATE
    assert question(f"$aws/certificates/create-from-csr/{kind}") is CREATE_FROM_CSR
    assert question(f"$aws/provisioning-templates/t/provision/{kind}") is PROVISION


@pytest.mark.parametrize("root", ["$aws/things/t/shadow", "$aws/things/t/shadow/name/n"])
def test_shadows_are_asked_for_and_told_of(root):
    for what in ("get", "update", "delete"):
        assert question(f"{root}/{what}") is SHADOW
        assert question(f"{root}/{what}/accepted") is None
        assert may_be_answered(f"{root}/{what}/rejected")
    assert may_be_answered(f"{root}/update/delta")
    assert may_be_answered("$aws/things/+/shadow/#")
    assert not may_be_answered(f"{root}/get/documents")


@pytest.mark.parametrize(
    "topic",
    [
        "$aws/certificates/create",
        "$aws/certificates/create/xml",
        "$aws/certificates/create/json/accepted",
        "$aws/provisioning-templates/a/b/provision/json",
        "$aws/provisioning-templates/t/delete/json",
        "aws/certificates/create/json",
        "$aws/events/presence/connected/car-1",
    ],
)
def test_other_topics_ask_nothing(topic):
    assert question(topic) is None


@given(
    st.lists(st.sampled_from([*LEVELS, "+"]), min_size=1, max_size=7),
    st.booleans(),
    st.sampled_from(ANSWERS),
    st.data(),
)
def test_a_filter_may_be_answered_if_some_answer_matches_it(levels, is_open, near, data):
    # Most are near to a topic of an answer: others are nobody's anyway.
    if data.draw(st.booleans(), "near"):
        levels = near.split("/")
        for at in data.draw(st.sets(st.integers(0, len(levels) - 1), max_size=3), "other levels"):
            levels[at] = data.draw(st.sampled_from([*LEVELS, "+"]), "level")
        levels = levels[: data.draw(st.integers(1, len(levels)), "length")]
    topic_filter = "/".join([*levels, *(["#"] if is_open else [])])
    is_literal = not {"+", "#"} & set(topic_filter.split("/")[:LITERAL])
    wanted = is_literal and any(matches(topic_filter, each) for each in ANSWERS)
    assert may_be_answered(topic_filter) is wanted, topic_filter


@pytest.mark.parametrize("topic_filter", ["$aws/#", "$aws/+/create/json/accepted", "#", "+/+"])
def test_a_filter_says_what_it_is_about(topic_filter):
    assert not may_be_answered(topic_filter)


def test_no_topic_is_asked_and_answered():
    for each in device_topics.QUESTIONS:
        for asked in each.asked:
            assert not may_be_answered(asked)
