"""What devices and whoever watches them ask of shadows by MQTT.

Developer guide, "Device Shadow MQTT topics". What has changed is told to whoever subscribes, by
messages. What was read, and why something is refused, concerns the connection that has asked: to
keep that on every region's disk would cost more than the request.
"""

from __future__ import annotations

import logging

from isthmus.aws import models, shadowed
from isthmus.aws.context import Context
from isthmus.aws.device_questions import DEVICE_QUESTIONS, Answered, Asked
from isthmus.core import shadow_topics
from isthmus.core.device_topics import SHADOW
from isthmus.core.shadow_request import FAILED, ShadowRefused, read_token, read_update
from isthmus.core.shadow_topics import ACCEPTED, DELETE, UPDATE, Request
from isthmus.errors import Unavailable

_log = logging.getLogger(__name__)


@DEVICE_QUESTIONS.handles(SHADOW, like="UpdateThingShadow", service=models.IOT_DATA)
async def serve_shadow(context: Context, asked: Asked) -> Answered:
    """Get, update or delete a shadow, and say what became of that."""
    request = shadow_topics.request(asked.topic)
    try:
        return await _carry_out(context, request, asked.payload)
    except ShadowRefused as error:
        return Answered(shadow_topics.rejected(asked.topic, error))
    except (Unavailable, TimeoutError):
        raise
    except Exception:
        # Who is closed asks again: what is a bug of ours would go on for ever.
        extra = {"action": "device-error", "principal": asked.principal, "topic": asked.topic}
        _log.exception("a request to a shadow failed", extra=extra)
        return Answered(shadow_topics.rejected(asked.topic, ShadowRefused(*FAILED)))


async def _carry_out(context: Context, request: Request, payload: bytes) -> Answered:
    key = request.key
    if request.what == UPDATE:
        updated = await shadowed.update(context, key, read_update(payload))
        return Answered([], shadow_topics.of_update(updated))
    token = read_token(payload)
    topic = shadow_topics.told(key, request.what, ACCEPTED)
    if request.what == DELETE:
        deleted = await shadowed.delete(context, key, token)
        return Answered([], [(topic, deleted.accepted)])
    return Answered([(topic, shadowed.get(context, key, token))])
