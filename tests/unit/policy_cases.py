"""Random policies, clients and questions, of few pieces, so that much of it meets."""

from __future__ import annotations

import json

from hypothesis import strategies as st
from policy_oracle import Client

from isthmus.core.policy import Attached, Authorizer
from isthmus.core.policy_context import Asked, Context
from isthmus.core.policy_document import parse

ACCOUNT, REGIONS = "1", frozenset({"eu", "us"})
CERTIFICATE_KEYS = (
    *("iot:Certificate.Subject.CommonName", "iot:Certificate.Subject.CommonName.1"),
    *("iot:certificate.issuer.organization", "iot:Certificate.SerialNumber"),
)
VARIABLE_KEYS = (
    *("iot:ClientId", "iot:Connection.Thing.ThingName", "iot:Connection.Thing.Attributes[x]"),
    *("iot:connection.thing.thingtypename", "aws:SourceIp", *CERTIFICATE_KEYS),
)
LIST_KEYS = (
    *("iot:ConnectAttributes", "iot:Certificate.Subject.CommonName.List"),
    "iot:Certificate.AvailableKeys",
)
TEXT = (
    *("StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"),
    *("StringLike", "StringNotLike"),
)
QUANTIFIERS = ("ForAllValues:", "ForAnyValue:")

#: Of patterns; and of topics, filters and client ids.
PIECES = ["a", "b", "A", "/", "*", "?", "+", "#", "${*}", "${$}"]
PIECES += [f"${{{key}}}" for key in VARIABLE_KEYS]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
VALUES = st.sampled_from(["a", "b", "A", "ab", "a*", "", "a/b", "LastWill", "PersistentConnect"])
ARNS = st.builds(
    "arn:{}:iot:{}:{}:{}".format,
    st.sampled_from(["aws", "aws", "*", "mars"]),
    st.sampled_from(["*", "eu", "us", "u?", "mars"]),
    st.sampled_from(["*", "1", "1", "2"]),
    st.builds("{}{}".format, st.sampled_from(["topic/", "topic/", "*", ""]), TEXTS),
)
ACTIONS = ("iot:Connect", "iot:Publish", "iot:Receive")
NAMED = st.lists(
    st.sampled_from([*ACTIONS, "iot:connect", "iot:*", "iot:P?blish", "*"]), min_size=1, max_size=2
)


def pairs(operators, keys, values, is_list=False):
    return st.tuples(
        st.sampled_from(operators),
        st.sampled_from(keys),
        st.lists(values, min_size=0 if is_list else 1, max_size=2),
    )


SINGLE_KEYS = (*VARIABLE_KEYS, "iot:CertificateId", "iot:Connection.Thing.IsAttached")
CONDITION = st.one_of(
    pairs(TEXT, SINGLE_KEYS, TEXTS | VALUES),
    pairs(
        [q + o for q in QUANTIFIERS for o in TEXT], [*LIST_KEYS, *SINGLE_KEYS], TEXTS | VALUES, True
    ),
    pairs(
        ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike", "StringLike", "StringNotLike"],
        ["iot:LastWillTopic"],
        ARNS | st.just("*"),
    ),
    pairs(["StringEquals", "ForAllValues:StringNotEquals"], ["iot:lastwilltopic"], ARNS),
    pairs(
        ["IpAddress", "NotIpAddress"],
        ["aws:SourceIp"],
        st.sampled_from(["192.0.2.1", "192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/8", "::1"]),
    ),
    pairs(["Bool"], ["iot:Connection.Thing.IsAttached"], st.sampled_from(["true", "False", True])),
    st.tuples(
        st.just("Null"),
        st.sampled_from([*SINGLE_KEYS, *LIST_KEYS, "iot:LastWillTopic"]),
        st.sampled_from(["true", "false", True, False]),
    ),
)
CONDITIONS = st.lists(CONDITION, max_size=2).map(
    lambda found: {operator: {key: value} for operator, key, value in found}
)
STATEMENTS = st.builds(
    lambda effect, action, actions, resource, resources, condition: (
        {"Effect": effect, action: actions, resource: resources}
        | ({"Condition": condition} if condition else {})
    ),
    st.sampled_from(["Allow", "Allow", "Deny"]),
    st.sampled_from(["Action", "Action", "Action", "NotAction"]),
    NAMED,
    st.sampled_from(["Resource", "Resource", "Resource", "NotResource"]),
    st.lists(ARNS | st.just("*"), min_size=1, max_size=2),
    st.just({}) | CONDITIONS,
)
DOCUMENTS = st.lists(STATEMENTS, min_size=1, max_size=3).map(
    lambda found: json.dumps({"Version": "2012-10-17", "Statement": found})
)
#: Policies, each with its default versions, and whether it is contested.
ATTACHED = st.lists(
    st.tuples(st.lists(DOCUMENTS, min_size=1, max_size=2), st.sampled_from([False, False, True])),
    max_size=3,
)
OF_CERTIFICATE = pairs(["StringEquals", "StringLike"], CERTIFICATE_KEYS, VALUES).map(
    lambda found: {found[0]: {found[1]: found[2]}}
)
#: One policy, whose statements are about everything but for one thing: what is wrong shows sooner.
NARROW = st.builds(
    lambda effect, negated, named, condition, also: [
        {"Effect": effect, "Action": "*", negated: named}
        | ({"Condition": condition} if condition else {}),
        *([{"Effect": "Allow", "Action": "*", "Resource": "*"}] if also else []),
    ],
    st.sampled_from(["Allow", "Allow", "Deny"]),
    st.sampled_from(["Resource", "Resource", "NotResource"]),
    st.just("*") | TEXTS.map("arn:aws:iot:*:*:topic/{}".format) | ARNS,
    st.just({}) | CONDITIONS | OF_CERTIFICATE,
    st.booleans(),
).map(lambda found: json.dumps({"Version": "2012-10-17", "Statement": found}))
NARROWLY = st.lists(
    st.tuples(st.lists(NARROW, min_size=1, max_size=2), st.booleans()), min_size=1, max_size=2
)
NAMES = st.dictionaries(
    st.sampled_from(["Subject.CommonName", "Issuer.Organization", "SerialNumber"]),
    st.lists(VALUES, min_size=1, max_size=6),
)
CLIENTS = st.builds(
    Client,
    client_id=VALUES,
    address=st.sampled_from(["192.0.2.1", "10.1.2.3", "::1"]),
    thing=st.none() | st.sampled_from(["a", "b", "ab"]),
    thing_type=st.none() | VALUES,
    attributes=st.just({}) | VALUES.map(lambda value: {"x": value}),
    names=NAMES,
    is_persistent=st.booleans(),
    will=st.none() | st.sampled_from(["a", "a/b", "b"]),
)
SUFFIXES = st.lists(
    st.builds(
        "{}{}".format,
        st.sampled_from(["topic/", "topic/", "client/"]),
        st.lists(st.sampled_from(["a", "b", "/", "+", "#", "ab"]), min_size=1, max_size=4).map(
            "".join
        ),
    ),
    min_size=1,
    max_size=6,
)


def context(client: Client) -> Context:
    """The same client, as ours sees it."""
    return Context(
        client.client_id,
        client.address,
        client.certificate_id,
        ACCOUNT,
        REGIONS,
        thing_name=client.thing,
        thing_type=client.thing_type,
        attributes=client.attributes,
        is_attached=client.thing is not None,
        certificate_names=lambda: {f"iot:Certificate.{k}": v for k, v in client.names.items()},
        asked=Asked(client.is_persistent, client.will),
    )


def authorizer(attached, client: Client) -> Authorizer:
    """Ours, of the same policies."""
    policies = [
        Attached(str(number), tuple(map(parse, versions)), is_contested)
        for number, (versions, is_contested) in enumerate(attached)
    ]
    return Authorizer(policies, context(client))
