"""Percentiles of what was measured, always a value that occurred."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """p50, p95, p99 and max: the smallest value that so many of all do not exceed.

    Empty where there are no values.
    """
    ordered = sorted(values)
    if not ordered:
        return {}
    return {name: ordered[ceil(share * len(ordered)) - 1] for name, share in SHARES.items()}
