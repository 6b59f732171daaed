"""Shadows by HTTPS.

Developer guide, "Device Shadow REST API". What is refused is told to nobody but who has asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from isthmus.aws import paging, shadowed
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.service_error import ServiceError
from isthmus.core import shadow_topics, shadows
from isthmus.core.shadow_call import deleting, updating
from isthmus.core.shadow_request import ShadowRefused, read_update
from isthmus.core.shadow_topics import ACCEPTED, DELETE

_ERRORS = {
    400: "InvalidRequestException",
    404: "ResourceNotFoundException",
    409: "ConflictException",
    413: "RequestEntityTooLargeException",
    415: "UnsupportedDocumentEncodingException",
}


@OPERATIONS.handles("GetThingShadow")
async def get_thing_shadow(context: Context, parameters: Parameters) -> Output:
    """The document, with what is left to do."""
    with _refusals():
        return {"payload": await shadowed.get(context, _key(parameters))}


@OPERATIONS.handles("UpdateThingShadow")
async def update_thing_shadow(context: Context, parameters: Parameters) -> Output:
    """Whoever subscribes hears of it as of an update by MQTT."""
    with _refusals():
        request = read_update(parameters.get("payload", b""))
        updated = await shadowed.write(context, _key(parameters), updating(request))
    context.events += shadow_topics.of_update(updated)
    return {"payload": updated.accepted()}


@OPERATIONS.handles("DeleteThingShadow")
async def delete_thing_shadow(context: Context, parameters: Parameters) -> Output:
    """The version that was deleted."""
    key = _key(parameters)
    with _refusals():
        deleted = await shadowed.write(context, key, deleting(None))
    context.events.append((shadow_topics.told(key, DELETE, ACCEPTED), deleted.accepted))
    return {"payload": deleted.accepted}


@OPERATIONS.handles("ListNamedShadowsForThing")
def list_named_shadows_for_thing(context: Context, parameters: Parameters) -> Output:
    """In the order of their names; of a thing that nobody knows there are none."""
    # Not by ``paging.page``: for botocore this one has no pages.
    call, size = context.call, parameters.get("pageSize", paging.SIZE_DEFAULT)
    after = paging.key(call, parameters.get("nextToken"))
    path = shadows.LISTED_BY_THING, parameters["thingName"]
    names = list(islice(context.listed(*path, after=after), size + 1))
    output: Output = {"results": names[:size], "timestamp": context.now_ms // 1000}
    if len(names) > size:
        output["nextToken"] = paging.token(call, names[size - 1])
    return output


def _key(parameters: Parameters) -> str:
    return shadows.key(parameters["thingName"], parameters.get("shadowName"))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ShadowRefused as error:
        raise ServiceError(_ERRORS[error.code], error.message) from None
