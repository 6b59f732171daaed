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
from isthmus.core import shadow_topics
from isthmus.core.device_topics import SHADOW
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_call import ShadowCall
from isthmus.core.shadow_request import FAILED, ShadowRefused

_log = logging.getLogger(__name__)


@DEVICE_QUESTIONS.handles_together(SHADOW, like="UpdateThingShadow", service=models.IOT_DATA)
async def serve_shadow(context: Context, asked: Sequence[Asked]) -> list[Answered]:
    """Get, update or delete one shadow, in turn, and say what became of each request."""
    try:
        key = shadow_topics.request(asked[0].topic).key
    except ShadowRefused as error:
        return [Answered(shadow_topics.rejected(each.topic, error)) for each in asked]
    return await shadowed.in_turn(context, key, [partial(_step, each) for each in asked])


def _step(asked: Asked, item: Item, writer: Writer) -> tuple[Item, Answered]:
    try:
        call = ShadowCall(asked.topic, asked.payload)
        if call.change is None:
            return item, Answered(call.answers(item, writer.now_ms))
        return call.change(item, writer), Answered([], call.events())
    except ShadowRefused as error:
        return item, Answered(shadow_topics.rejected(asked.topic, error))
    except Exception:
        # Who is closed asks again: what is a bug of ours would go on for ever.
        extra = {"action": "device-error", "principal": asked.principal, "topic": asked.topic}
        _log.exception("a request to a shadow failed", extra=extra)
        return item, Answered(shadow_topics.rejected(asked.topic, ShadowRefused(*FAILED)))
