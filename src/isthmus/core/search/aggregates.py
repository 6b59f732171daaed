"""What is counted of the values that were found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence


def statistics(values: Sequence[float]) -> dict[str, float]:
    """By the names that AWS's clients give them; no more than a count where that is all there is.

    Values whose squares cannot be counted with have no statistics, as on AWS.
    """
    count = len(values)
    try:
        total, squares = math.fsum(values), math.fsum(each * each for each in values)
    except OverflowError:
        return {"count": count}
    if not count or not math.isfinite(squares):
        return {"count": count}
    average = total / count
    variance = math.fsum((each - average) ** 2 for each in values) / count
    return {
        "count": count,
        "average": average,
        "sum": total,
        "minimum": min(values),
        "maximum": max(values),
        "sumOfSquares": squares,
        "variance": variance,
        "stdDeviation": math.sqrt(variance),
    }


def percentiles(values: Iterable[float], percents: Iterable[float]) -> list[tuple[float, float]]:
    """The value that so many percent do not exceed, for each; between two values, in proportion."""
    ordered = sorted(values)
    found = []
    for percent in percents if ordered else ():
        place = (len(ordered) - 1) * percent / 100
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        found.append((percent, low + (high - low) * (place - math.floor(place))))
    return found


def buckets(values: Iterable[str], most: int) -> list[tuple[str, int]]:
    """The most frequent values and how often each is there; of equals, in order."""
    counted = Counter(values).items()
    return sorted(counted, key=lambda each: (-each[1], each[0]))[:most]
