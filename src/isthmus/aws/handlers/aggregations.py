"""What is counted of the things and groups that a query matches. All of it is exact."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from isthmus.aws.context import Context
from isthmus.aws.handlers.search import asked
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.resources import refuse
from isthmus.aws.searching import Search
from isthmus.aws.service_error import ServiceError
from isthmus.core.search import aggregates
from isthmus.core.search.matching import Scalar, number_of, text_of

#: A few seconds of CPU, in slices: of a query that has to look at more, nothing is counted.
LOOKED_MAX = 200_000
#: AWS's.
PERCENTS = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
PERCENTS_MAX = 100
BUCKETS = 10


class _Counted:
    """The field that is counted, of what a query matches."""

    def __init__(self, context: Context, parameters: Parameters) -> None:
        """Raises ServiceError for what is no query, and for a field that is not to be counted."""
        index, expression = asked(context, parameters)
        default = "registry.version" if index.has_things else "version"
        self.field: str = parameters.get("aggregationField", default)
        kind = index.type_of(self.field)
        if kind is None:
            message = f"{self.field} is neither a managed field nor a custom one of {index.name}"
            raise _invalid(message)
        self.kind = kind
        self._search = Search(context, index, expression)

    async def values(self) -> AsyncIterator[list[Scalar]]:
        """What stands in the field of each that matches, where it is of the field's type."""
        looked = 0
        async with aclosing(self._search.look(None, self.field)) as looking:
            async for _, found in looking:
                looked += 1
                if looked > LOOKED_MAX:
                    raise _invalid(f"The query has to look at more than {LOOKED_MAX}: narrow it")
                if found is not None:
                    yield [each for each in found.values(self.field) if self._is_so(each)]

    def _is_so(self, value: Scalar) -> bool:
        match self.kind:
            case "Number":
                return number_of(value) is not None
            case "Boolean":
                return text_of(value) in ("true", "false")
        return True

    async def numbers(self) -> list[float]:
        """All values; of booleans 0 and 1."""
        return [_number(each) async for values in self.values() for each in values]


def _number(value: Scalar) -> float:
    number = number_of(value)
    return float(text_of(value) == "true") if number is None else number


@OPERATIONS.handles("GetStatistics")
async def get_statistics(context: Context, parameters: Parameters) -> Output:
    """Of texts, how many have one; of booleans, as of 0 and 1."""
    counted = _Counted(context, parameters)
    if counted.kind == "String":
        count = sum([bool(values) async for values in counted.values()])
        return {"statistics": {"count": count}}
    return {"statistics": aggregates.statistics(await counted.numbers())}


@OPERATIONS.handles("GetCardinality")
async def get_cardinality(context: Context, parameters: Parameters) -> Output:
    counted = _Counted(context, parameters)
    different = {text_of(each) async for values in counted.values() for each in values}
    return {"cardinality": len(different)}


@OPERATIONS.handles("GetPercentiles")
async def get_percentiles(context: Context, parameters: Parameters) -> Output:
    counted = _Counted(context, parameters)
    if counted.kind != "Number":
        raise _invalid(f"{counted.field} is no field of numbers")
    percents = parameters.get("percents") or PERCENTS
    if len(percents) > PERCENTS_MAX:
        raise refuse(context, f"{len(percents)} percents are more than {PERCENTS_MAX}")
    pairs = aggregates.percentiles(await counted.numbers(), percents)
    return {"percentiles": [{"percent": percent, "value": value} for percent, value in pairs]}


@OPERATIONS.handles("GetBucketsAggregation")
async def get_buckets_aggregation(context: Context, parameters: Parameters) -> Output:
    counted = _Counted(context, parameters)
    wanted = parameters["bucketsAggregationType"].get("termsAggregation")
    if wanted is None:
        raise _invalid("There is no other type than termsAggregation")
    found = [values async for values in counted.values()]
    texts = (text_of(each) for values in found for each in values)
    buckets = aggregates.buckets(texts, wanted.get("maxBuckets", BUCKETS))
    shown = [{"keyValue": value, "count": count} for value, count in buckets]
    return {"totalCount": len(found), "buckets": shown}


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidAggregationException", message)
