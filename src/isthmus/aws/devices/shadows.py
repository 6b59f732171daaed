"""What devices and whoever watches them ask of shadows by MQTT.

Developer guide, "Device Shadow MQTT topics". Answers are messages to whoever subscribes, so there
is none for the connection alone.
"""

from __future__ import annotations

from isthmus.aws import models, shadowed
from isthmus.aws.context import Context
from isthmus.aws.device_questions import DEVICE_QUESTIONS, Answered, Asked
from isthmus.core import shadow_answers, shadow_topics
from isthmus.core.device_topics import SHADOW
from isthmus.core.shadow_request import ShadowRefused, read_token, read_update
from isthmus.core.shadow_topics import ACCEPTED, DELETE, REJECTED, UPDATE, Messages


@DEVICE_QUESTIONS.handles(SHADOW, like="UpdateThingShadow", service=models.IOT_DATA)
async def serve_shadow(context: Context, asked: Asked) -> Answered:
    """Get, update or delete a shadow, and say what became of that."""
    request = shadow_topics.request(asked.topic)
    try:
        messages = await _carry_out(context, request, asked.payload)
    except ShadowRefused as error:
        messages = [(f"{asked.topic}/{REJECTED}", shadow_answers.rejected(error))]
    return Answered([], messages)


async def _carry_out(context: Context, request: shadow_topics.Request, payload: bytes) -> Messages:
    key = request.key
    if request.what == UPDATE:
        return shadow_topics.of_update(await shadowed.update(context, key, read_update(payload)))
    token = read_token(payload)
    if request.what == DELETE:
        accepted = (await shadowed.delete(context, key, token)).accepted
    else:
        accepted = shadowed.get(context, key, token)
    return [(shadow_topics.told(key, request.what, ACCEPTED), accepted)]
