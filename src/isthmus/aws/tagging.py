"""Tags as requests give them."""

from __future__ import annotations

from isthmus.aws.context import Context
from isthmus.aws.resources import refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core.resource import TAGS_MAX

#: Keys that begin so are AWS's own.
_RESERVED = "aws:"


def given(context: Context, tags: list[dict[str, str]]) -> dict[str, str]:
    """The tags that a request gives, by key; raises ServiceError where they may not be."""
    found = {tag["Key"]: tag.get("Value", "") for tag in tags}
    if len(found) < len(tags):
        raise refuse(context, "Two of the tags have the same key")
    if any(key.lower().startswith(_RESERVED) for key in found):
        raise refuse(context, f"No tag's key may begin with {_RESERVED!r}")
    if len(found) > TAGS_MAX:
        raise too_many(context)
    return found


def too_many(context: Context) -> ServiceError:
    """A resource would have more tags than it may."""
    declared = {shape.name for shape in context.call.operation.error_shapes}
    message = f"A resource has at most {TAGS_MAX} tags"
    if "LimitExceededException" in declared:
        return ServiceError("LimitExceededException", message)
    return refuse(context, message)
