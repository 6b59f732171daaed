"""What devices and whoever watches them ask of shadows by MQTT.

Developer guide, "Device Shadow MQTT topics". What has changed is told to whoever subscribes, by
messages. What was read, and why something is refused, concerns the connection that has asked: to
keep that on every region's disk would cost more than the request.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from isthmus.aws import models, shadowed
from isthmus.aws.context import Context
from isthmus.aws.device_questions import DEVICE_QUESTIONS, Answered, Asked
from isthmus.core import shadow_topics, shadows
from isthmus.core.device_topics import SHADOW
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import FAILED, ShadowRefused, read_token, read_update
from isthmus.core.shadow_topics import ACCEPTED, DELETE, GET, UPDATE

_log = logging.getLogger(__name__)


@DEVICE_QUESTIONS.handles_together(SHADOW, like="UpdateThingShadow", service=models.IOT_DATA)
async def serve_shadow(context: Context, asked: Sequence[Asked]) -> list[Answered]:
    """Get, update or delete one shadow, in turn, and say what became of each request."""
    try:
        key = shadow_topics.request(asked[0].topic).key
    except ShadowRefused as error:
        return [Answered(shadow_topics.rejected(each.topic, error)) for each in asked]
    steps = [partial(_step, context.now_ms, key, each) for each in asked]
    return await shadowed.in_turn(context, key, steps)


def _step(now_ms: int, key: str, asked: Asked, item: Item, writer: Writer) -> tuple[Item, Answered]:
    try:
        return _carried_out(now_ms, key, asked, item, writer)
    except ShadowRefused as error:
        return item, Answered(shadow_topics.rejected(asked.topic, error))
    except Exception:
        # Who is closed asks again: what is a bug of ours would go on for ever.
        extra = {"action": "device-error", "principal": asked.principal, "topic": asked.topic}
        _log.exception("a request to a shadow failed", extra=extra)
        return item, Answered(shadow_topics.rejected(asked.topic, ShadowRefused(*FAILED)))


def _carried_out(
    now_ms: int, key: str, asked: Asked, item: Item, writer: Writer
) -> tuple[Item, Answered]:
    what = shadow_topics.request(asked.topic).what
    if what == UPDATE:
        updated = shadows.update(item, writer, read_update(asked.payload))
        return updated.item, Answered([], shadow_topics.of_update(updated))
    token = read_token(asked.payload)
    topic = shadow_topics.told(key, what, ACCEPTED)
    if what == DELETE:
        deleted = shadows.delete(item, writer, token)
        return deleted.item, Answered([], [(topic, deleted.accepted)])
    assert what == GET
    return item, Answered([(topic, shadows.get(item, now_ms, token))])
