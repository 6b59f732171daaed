"""An ARN of any region of the system means the same; one of anybody else's means nothing."""

from __future__ import annotations

import pytest

from isthmus.core.arns import Naming
from isthmus.errors import InputError

NAMING = Naming("123456789012", "eu-west-1", frozenset({"eu", "eu-west-1", "us"}))


def test_what_is_written_is_read_and_so_are_the_other_regions():
    assert NAMING.arn("thing", "lamp:1/2") == "arn:aws:iot:eu-west-1:123456789012:thing/lamp:1/2"
    assert NAMING.read(NAMING.arn("thing", "lamp:1/2")) == ("thing", "lamp:1/2")
    assert NAMING.read("arn:aws:iot:us:123456789012:policy/p") == ("policy", "p")


@pytest.mark.parametrize(
    ("arn", "reason"),
    [
        ("lamp", "not an ARN"),
        ("arn:aws:s3:us:123456789012:thing/lamp", "not an ARN"),
        ("arn:aws:iot:us:123456789012:thing", "not an ARN"),
        ("arn:aws:iot:us:123456789012:thing/", "not an ARN"),
        ("arn:aws:iot:ap:123456789012:thing/lamp", "none of this system's"),
        ("arn:aws:iot:us:123456789013:thing/lamp", "another account"),
    ],
)
def test_an_arn_that_is_not_ours_is_refused(arn, reason):
    with pytest.raises(InputError, match=reason):
        NAMING.read(arn)
