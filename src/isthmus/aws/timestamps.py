"""Moments in the three forms that requests and responses have them in.

For handlers they are datetimes that know their zone, as they are for a caller of boto3.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from botocore.model import Shape

UNIX, ISO8601, RFC822 = "unixtimestamp", "iso8601", "rfc822"
#: Where neither member nor shape says which.
_DEFAULTS = {None: UNIX, "querystring": ISO8601, "uri": ISO8601, "header": RFC822}
_ISO8601 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_NUMBER = re.compile(r"-?\d{1,16}(\.\d{1,16})?", re.ASCII)


def form_of(shape: Shape) -> str:
    """The form in which a member stands where it stands."""
    serialization = shape.serialization
    default = _DEFAULTS[serialization.get("location")]
    form: str = serialization.get("timestampFormat", default)
    return form.lower()


def read(value: str | float, form: str) -> datetime:
    """The moment; raises ValueError where it is none in this form."""
    try:
        if form == UNIX:
            if isinstance(value, str) and not _NUMBER.fullmatch(value):
                raise ValueError
            return datetime.fromtimestamp(float(value), UTC)
        if not isinstance(value, str):
            raise ValueError
        if form == RFC822:
            moment = parsedate_to_datetime(value)
        elif _ISO8601.fullmatch(value):
            moment = datetime.fromisoformat(value)
        else:
            raise ValueError
        # Before year 1 in UTC, or after 9999, is a moment that nothing can be done with.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError, TypeError, IndexError):
        raise ValueError(f"not a timestamp of the form {form}") from None


def write(moment: datetime, form: str) -> Any:
    """The same moment as ``read`` takes it: a number where the form is one."""
    if form == UNIX:
        return moment.timestamp()
    moment = moment.astimezone(UTC)
    if form == RFC822:
        return format_datetime(moment.replace(microsecond=0), usegmt=True)
    return moment.isoformat().replace("+00:00", "Z")
