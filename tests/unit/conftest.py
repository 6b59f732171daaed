"""What many of these tests begin with."""

from __future__ import annotations

from typing import Any

import pytest
from aws_region import AwsRegion


@pytest.fixture
def region() -> AwsRegion:
    """An empty region, asked by no network."""
    return AwsRegion()


@pytest.fixture
def client(region: AwsRegion) -> Any:
    """botocore's client of ``region``, whatever a module makes of that."""
    return region.client()
