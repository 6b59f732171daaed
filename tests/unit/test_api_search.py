"""The fleet is searched over the API: what is found is what the query is true of, and no more."""

from __future__ import annotations

import pytest
from aws_asking import refusal
from aws_region import AwsRegion
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.aws import searching
from isthmus.aws.handlers import search
from isthmus.core.presence import Present, Word
from isthmus.core.search.matching import matches
from isthmus.core.search.query import parse

INDEXED = {"thingIndexingMode": "REGISTRY", "thingConnectivityIndexingMode": "STATUS"}


def indexed(region):
    client = region.client()
    client.update_indexing_configuration(
        thingIndexingConfiguration=INDEXED,
        thingGroupIndexingConfiguration={"thingGroupIndexingMode": "ON"},
    )
    return client


def connect(region, name, version=5, **ended):
    present = Present(f"session-{version}", 1000 + version, "certificate")
    region.services.roster.take(
        Word(name, version, "eu", "g", present, has_ended=bool(ended), **ended)
    )


def found(client, query, size=100, **asked):
    """All pages of a search: the names of what they have."""
    names, token = [], {}
    while True:
        page = client.search_index(queryString=query, maxResults=size, **asked, **token)
        kind = "thingGroups" if asked.get("indexName") == "AWS_ThingGroups" else "things"
        assert len(page[kind]) <= size
        names += [
            each["thingGroupName" if kind == "thingGroups" else "thingName"] for each in page[kind]
        ]
        if "nextToken" not in page:
            return names
        token = {"nextToken": page["nextToken"]}


# What is found


def test_a_thing_is_shown_with_all_that_is_known_of_it(region):
    client = indexed(region)
    client.create_thing_type(thingTypeName="lamp")
    client.create_billing_group(billingGroupName="bill")
    client.create_thing_group(thingGroupName="house")
    client.create_thing_group(thingGroupName="kitchen", parentGroupName="house")
    made = client.create_thing(
        thingName="a",
        thingTypeName="lamp",
        billingGroupName="bill",
        attributePayload={"attributes": {"colour": "Red"}},
    )
    client.add_thing_to_thing_group(thingName="a", thingGroupName="kitchen")
    client.create_thing(thingName="b")
    (thing,) = client.search_index(queryString="attributes.colour:red")["things"]
    assert thing == {
        "thingName": "a",
        "thingId": made["thingId"],
        "thingTypeName": "lamp",
        "thingGroupNames": ["kitchen", "bill"],
        "attributes": {"colour": "Red"},
        "connectivity": {"connected": False},
    }
    connect(region, "a")
    (thing,) = client.search_index(queryString="connectivity.connected:true")["things"]
    assert thing["connectivity"] == {"connected": True, "timestamp": 1005, "clientId": "a"}
    connect(region, "a", ended_ms=2000, reason="CONNECTION_LOST")
    (thing,) = client.search_index(queryString="connectivity.timestamp>=2000")["things"]
    assert thing["connectivity"] == {
        "connected": False,
        "timestamp": 2000,
        "disconnectReason": "CONNECTION_LOST",
        "clientId": "a",
    }
    asked = Present("newer", 3000, "certificate", keep_alive_s=60, session_expiry_s=0)
    region.services.roster.take(Word("a", 6, "eu", "g", asked))
    (thing,) = client.search_index(queryString="connectivity.connected:true")["things"]
    terms = {"keepAliveDuration": 60, "cleanSession": True, "sessionExpiry": 0}
    assert terms.items() <= thing["connectivity"].items()
    assert set(client.search_index(queryString="thingName:b")["things"][0]) == {
        "thingName",
        "thingId",
        "connectivity",
    }
    # What has ended is not there any more.
    client.delete_thing_group(thingGroupName="kitchen")
    client.deprecate_thing_type(thingTypeName="lamp")
    assert found(client, "thingGroupNames:kitchen") == []
    assert found(client, "thingGroupNames:bill") == ["a"]


def test_groups_are_searched(region):
    client = indexed(region)
    client.create_thing_group(thingGroupName="house")
    made = client.create_thing_group(
        thingGroupName="kitchen",
        parentGroupName="house",
        thingGroupProperties={
            "thingGroupDescription": "Where we cook",
            "attributePayload": {"attributes": {"floor": "2"}},
        },
    )
    groups = {"indexName": "AWS_ThingGroups"}
    (group,) = client.search_index(queryString="description:cook", **groups)["thingGroups"]
    assert group == {
        "thingGroupName": "kitchen",
        "thingGroupId": made["thingGroupId"],
        "thingGroupDescription": "Where we cook",
        "attributes": {"floor": "2"},
        "parentGroupNames": ["house"],
    }
    for query in ("thingGroupName:KITCHEN", "parentGroupNames:h*", "attributes.floor>1", "cook"):
        assert found(client, query, **groups) == ["kitchen"]
    assert found(client, "*", size=1, **groups) == ["house", "kitchen"]


@pytest.mark.parametrize(
    ("asked", "code", "reason"),
    [
        ({"queryString": "a:"}, "InvalidQueryException", "at the end"),
        ({"queryString": "colour:red"}, "InvalidQueryException", "invalid field name"),
        ({"queryString": "connectivity.x:1"}, "InvalidQueryException", "invalid field name"),
        (
            {"queryString": "shadow.desired.x:1"},
            "InvalidRequestException",
            "Shadow indexing is not",
        ),
        ({"queryString": "a" * 1001}, "InvalidRequestException", "1001 characters"),
        ({"queryVersion": "1"}, "InvalidRequestException", "2017-09-30"),
        ({"nextToken": "x"}, "InvalidRequestException", "token"),
        (
            {"indexName": "AWS_ThingGroups", "queryString": "thingName:a"},
            "InvalidQueryException",
            "invalid field name",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(region, asked, code, reason):
    client = indexed(region)
    refused = refusal(client.search_index, **{"queryString": "*", **asked})
    assert refused[0] == code
    assert reason in refused[1]


def test_who_is_connected_is_found_only_where_that_is_indexed(region, client):
    client.update_indexing_configuration(
        thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"}
    )
    client.create_thing(thingName="a")
    connect(region, "a")
    code, message = refusal(client.search_index, queryString="connectivity.connected:true")
    assert (code, "Connectivity indexing is not enabled" in message) == (
        "InvalidRequestException",
        True,
    )
    assert "connectivity" not in client.search_index(queryString="*")["things"][0]


def test_nothing_is_searched_until_it_is_indexed(client):
    for name in ("AWS_Things", "AWS_ThingGroups"):
        refused = refusal(client.search_index, indexName=name, queryString="*")
        assert refused[0] == "ResourceNotFoundException"
    refused = refusal(client.search_index, indexName="other", queryString="*")
    assert refused == ("InvalidRequestException", "Unrecognized indexName other")


def test_what_is_in_two_lists_is_found_once(region):
    client = indexed(region)
    for name in ("g", "G"):
        client.create_thing_group(thingGroupName=name)
        client.create_billing_group(billingGroupName=name)
    client.create_thing(thingName="a", billingGroupName="g")
    client.update_thing_groups_for_thing(thingName="a", thingGroupsToAdd=["g", "G"])
    assert found(client, "thingGroupNames:g") == ["a"]


def test_all_are_found_however_many_are_looked_at_at_once(region, monkeypatch):
    monkeypatch.setattr(searching, "SLICE", 2)
    client = indexed(region)
    names = ["x-0", "x-1", "x-10", "x-11", "x-2"]
    for name in names:
        client.create_thing(thingName=name)
        connect(region, name)
    for size in (1, 2, 5):
        assert found(client, "connectivity.connected:true", size) == names
        assert found(client, "thingName:x*", size) == names


def test_a_token_is_for_its_query(region):
    client = indexed(region)
    for name in "abc":
        client.create_thing(thingName=name)
    token = client.search_index(queryString="*", maxResults=1)["nextToken"]
    refused = refusal(client.search_index, queryString="thingName:a", nextToken=token)
    assert refused == (
        "InvalidRequestException",
        "nextToken was from a request with different parameters",
    )


@pytest.mark.parametrize("query", ["*", "connectivity.connected:true", "attributes.x:*"])
def test_a_page_ends_where_it_has_looked_at_enough(region, monkeypatch, query):
    monkeypatch.setattr(search, "LOOKED_MAX", 3)
    monkeypatch.setattr(searching, "SLICE", 2)
    client = indexed(region)
    names = [f"thing-{number}" for number in range(7)]
    for name in names:
        client.create_thing(thingName=name, attributePayload={"attributes": {"x": name}})
        connect(region, name)
    page = client.search_index(queryString=f"{query} thingName:*6")
    assert page["things"] == []
    assert "nextToken" in page
    assert found(client, f"{query} thingName:*6") == ["thing-6"]
    assert found(client, query) == names


# Whichever list is read, what is found is what the query is true of

NAMES = ["a", "A", "ab", "aB", "AbC", "b1", "B-2"]
VALUES = ["1", "2", "10", "-3", "red", "Red", "reD2", "blue"]
TERMS = [
    *(f"thingName:{each}" for each in ("a", "AB", "a*", "b?*", '"b-2"', "*")),
    *(f"attributes.x:{each}" for each in ("1", "red", "r*", "re?", "*", "[1 TO 10}", "{-5 TO 2]")),
    *(f"attributes.x{each}" for each in (">1", "<=2", ">blue")),
    'attributes.x:["blue" TO "red"]',
    "attributes.y:(1 OR red)",
    *(f"thingTypeName:{each}" for each in ("t", "*")),
    *(f"thingGroupNames:{each}" for each in ("g", "h", "bill", "g*", "(g AND h)")),
    *(f"connectivity.connected:{each}" for each in ("true", "false")),
    *(f"connectivity.timestamp{each}" for each in (">1002", ":*")),
    "connectivity.disconnectReason:CONNECTION_LOST",
    "red",
    "a",
    "*",
]
queries = st.recursive(
    st.sampled_from(TERMS),
    lambda inner: (
        st.builds("({} {})".format, inner, inner)
        | st.builds("({} OR {})".format, inner, inner)
        | st.builds("({} AND {})".format, inner, inner)
        | st.builds("(NOT {})".format, inner)
    ),
    max_leaves=5,
)
things = st.fixed_dictionaries(
    {
        "x": st.sampled_from([*VALUES, None]),
        "y": st.none() | st.sampled_from(VALUES),
        "type": st.none() | st.sampled_from(["t", "T"]),
        "groups": st.sets(st.sampled_from(["g", "G", "h"])),
        "billing": st.none() | st.just("Bill"),
        "connected": st.sampled_from(["never", "is", "was"]),
    }
)


class Expected:
    """A thing as the test knows it."""

    def __init__(self, name, thing_id, said, version):
        is_known, was = said["connected"] != "never", said["connected"] == "was"
        self.fields = {
            "thingName": [name],
            "thingId": [thing_id],
            "thingTypeName": [said["type"]],
            "thingGroupNames": [*said["groups"], said["billing"]],
            "attributes.x": [said["x"]],
            "attributes.y": [said["y"]],
            "connectivity.connected": [said["connected"] == "is"],
            "connectivity.timestamp": [2000 if was else 1000 + version if is_known else None],
            "connectivity.disconnectReason": ["CONNECTION_LOST" if was else None],
        }

    def values(self, field):
        return [each for each in self.fields.get(field, ()) if each is not None]

    def anywhere(self):
        registry = [name for name in self.fields if not name.startswith("connectivity.")]
        return [(name, each) for name in registry for each in self.values(name)]


@given(
    st.dictionaries(st.sampled_from(NAMES), things, min_size=2, max_size=7),
    st.lists(queries, min_size=5, max_size=12),
    st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_whichever_list_is_read_what_is_found_is_what_the_query_is_true_of(said, asked, size):
    region = AwsRegion()
    client = indexed(region)
    for name in ("t", "T"):
        client.create_thing_type(thingTypeName=name)
    for name in ("g", "G", "h"):
        client.create_thing_group(thingGroupName=name)
    client.create_billing_group(billingGroupName="Bill")
    # Somebody who is connected, and no thing.
    connect(region, "aa")
    expected = {}
    for version, (name, each) in enumerate(said.items()):
        attributes = {key: each[key] for key in "xy" if each[key]}
        given = {"thingTypeName": each["type"], "billingGroupName": each["billing"]}
        made = client.create_thing(
            thingName=name,
            attributePayload={"attributes": attributes},
            **{key: value for key, value in given.items() if value},
        )
        client.update_thing_groups_for_thing(
            thingName=name, thingGroupsToAdd=sorted(each["groups"])
        )
        if each["connected"] != "never":
            connect(region, name, version)
        if each["connected"] == "was":
            connect(region, name, version, ended_ms=2000, reason="CONNECTION_LOST")
        expected[name] = Expected(name, made["thingId"], each, version)
    for query in asked:
        wanted = [name for name, each in expected.items() if matches(parse(query), each)]
        assert sorted(found(client, query, size)) == sorted(wanted), query
