"""What a query matches is counted over the API."""

from __future__ import annotations

import statistics

import pytest
from aws_asking import refusal
from hypothesis import given
from hypothesis import strategies as st

from isthmus.aws.handlers import aggregations
from isthmus.core.search import aggregates

FIELDS = [
    {"name": "attributes.watts", "type": "Number"},
    {"name": "attributes.colour", "type": "String"},
    {"name": "attributes.dim", "type": "Boolean"},
]
WATTS = {"a": "10", "b": "20", "c": "30", "d": "many"}


@pytest.fixture
def fleet(client):
    client.update_indexing_configuration(
        thingIndexingConfiguration={"thingIndexingMode": "REGISTRY", "customFields": FIELDS}
    )
    for name, watts in WATTS.items():
        attributes = {"watts": watts, "colour": "blue" if name < "d" else "Red"}
        client.create_thing(
            thingName=name,
            attributePayload={"attributes": attributes | ({"dim": "true"} if name == "a" else {})},
        )
    client.create_thing(thingName="e")
    return client


def test_statistics(fleet):
    def asked(query="*", **field):
        return fleet.get_statistics(queryString=query, **field)["statistics"]

    numbers = asked(aggregationField="attributes.watts")
    assert numbers.items() >= {"count": 3, "sum": 60.0, "minimum": 10.0, "maximum": 30.0}.items()
    assert numbers.items() >= {"average": 20.0, "sumOfSquares": 1400.0}.items()
    assert asked("attributes.watts>10", aggregationField="attributes.watts")["count"] == 2
    assert asked(aggregationField="attributes.colour") == {"count": 4}
    assert asked(aggregationField="attributes.dim")["average"] == 1.0
    # Versions, where nothing is named.
    assert asked()["sum"] == 5.0
    assert asked("thingName:none") == {"count": 0}


def test_cardinality_percentiles_and_buckets(fleet):
    asked = {"queryString": "*", "aggregationField": "attributes.colour"}
    assert fleet.get_cardinality(**asked)["cardinality"] == 2
    found = fleet.get_buckets_aggregation(
        **asked, bucketsAggregationType={"termsAggregation": {"maxBuckets": 1}}
    )
    assert (found["totalCount"], found["buckets"]) == (5, [{"keyValue": "blue", "count": 3}])
    asked["aggregationField"] = "attributes.watts"
    found = fleet.get_percentiles(**asked, percents=[0, 25, 100])["percentiles"]
    assert [each["value"] for each in found] == [10.0, 15.0, 30.0]
    assert len(fleet.get_percentiles(**asked)["percentiles"]) == 7
    asked["queryString"] = "thingName:none"
    assert fleet.get_percentiles(**asked)["percentiles"] == []


def test_what_cannot_be_counted_is_refused(fleet, monkeypatch):
    asked = {"queryString": "*", "aggregationField": "attributes.other"}
    for call in (fleet.get_statistics, fleet.get_cardinality, fleet.get_percentiles):
        assert refusal(call, **asked)[0] == "InvalidAggregationException"
    asked["aggregationField"] = "attributes.colour"
    assert refusal(fleet.get_percentiles, **asked)[0] == "InvalidAggregationException"
    refused = refusal(fleet.get_buckets_aggregation, **asked, bucketsAggregationType={})
    assert refused[0] == "InvalidAggregationException"
    assert refusal(fleet.get_statistics, queryString="a:")[0] == "InvalidQueryException"
    monkeypatch.setattr(aggregations, "LOOKED_MAX", 4)
    assert refusal(fleet.get_cardinality, **asked)[0] == "InvalidAggregationException"
    asked["queryString"] = "thingName:a"
    assert fleet.get_cardinality(**asked)["cardinality"] == 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_statistics_are_those_of_the_standard_library(values):
    found = aggregates.statistics(values)
    assert found["average"] == pytest.approx(statistics.fmean(values))
    assert found["stdDeviation"] == pytest.approx(found["variance"] ** 0.5)
    assert found["variance"] == pytest.approx(statistics.pvariance(values), rel=1e-9, abs=1e-6)
    ((_, median),) = aggregates.percentiles(values, [50])
    assert median == pytest.approx(statistics.median(values))


def test_values_that_cannot_be_counted_with_have_no_statistics():
    assert aggregates.statistics([1e308, 1e308]) == {"count": 2}
