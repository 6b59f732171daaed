"""Messages: publish them, and look at those that topics retain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from isthmus.aws import paging
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import publishing
from isthmus.core.message_properties import has_expired, remaining
from isthmus.core.retained import RETAINED, Retained, retained
from isthmus.core.session import PAYLOAD_MAX_BYTES
from isthmus.errors import InputError


@OPERATIONS.handles("Publish")
async def publish(context: Context, parameters: Parameters) -> Output:
    """As a device does: what is answered is stored as its topic's promise says."""
    payload = parameters.get("payload", b"")
    if len(payload) > PAYLOAD_MAX_BYTES:
        message = f"A payload may have {PAYLOAD_MAX_BYTES} bytes"
        raise ServiceError("RequestEntityTooLargeException", message)
    try:
        found = publishing.checked(publishing.message(parameters))
        await context.messages.publish(found, context.caller)
    except InputError as error:
        raise refuse(context, str(error)) from None
    return {}


@OPERATIONS.handles("GetRetainedMessage")
def get_retained_message(context: Context, parameters: Parameters) -> Output:
    """None where it has expired."""
    topic = parameters["topic"]
    found = retained(context.get(RETAINED, topic))
    age_s = 0 if found is None else (context.now_ms - found.at_ms) // 1000
    if found is None or has_expired(remaining(found.properties, age_s)):
        raise ServiceError("ResourceNotFoundException", f"Nothing is retained of {topic[:256]}")
    pairs = found.properties.user_properties if found.properties else ()
    objects = [{name: value} for name, value in pairs]
    return {
        **_summary(topic, found),
        "payload": found.payload,
        "userProperties": msgspec.json.encode(objects) if objects else None,
    }


@OPERATIONS.handles("ListRetainedMessages")
def list_retained_messages(context: Context, parameters: Parameters) -> Output:
    """In the order of their topics; also what has expired and was not replaced."""

    def entries(after: str | None) -> Iterator[Entry]:
        for topic in context.listed(RETAINED, after=after):
            found = retained(context.get(RETAINED, topic))
            if found is not None:
                size = {"payloadSize": len(found.payload)}
                yield Entry(topic, {**_summary(topic, found), **size})

    return paging.page(context.call, entries)


def _summary(topic: str, found: Retained) -> dict[str, Any]:
    return {"topic": topic, "qos": found.qos, "lastModifiedTime": found.at_ms}
