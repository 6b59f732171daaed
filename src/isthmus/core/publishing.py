"""Messages that come by no connection of MQTT: whose they are, and what they may be.

They are checked as those of a device that speaks AWS IoT Core's MQTT 5, and go the same way.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from isthmus.core import json_text
from isthmus.core.batch import Source
from isthmus.core.dialect import AWS
from isthmus.core.message_properties import clamped, refuse_properties
from isthmus.core.session import PAYLOAD_MAX_BYTES
from isthmus.errors import InputError, MalformedPacket
from isthmus.wire.packets import Publish
from isthmus.wire.properties import PublishProperties, UserProperties
from isthmus.wire.topics import validate_topic

#: Under what name such messages stand in the bus: no client can have it.
CLIENT = "$http"
_FORMATS = {"UNSPECIFIED_BYTES": 0, "UTF8_DATA": 1}


def source(identity: str, principal: str) -> Source:
    """Whose a message is. It has an identity, so that whoever sends it again has sent it once."""
    return Source(identity, CLIENT, principal)


def message(given: Mapping[str, Any]) -> Publish:
    """The message that the members of AWS's operation Publish are.

    They are of the types that the operation says, and some of them are encoded once more: raises
    InputError where that cannot be read.
    """
    indicator = given.get("payloadFormatIndicator")
    properties = PublishProperties(
        payload_format=None if indicator is None else _FORMATS[indicator],
        message_expiry_s=given.get("messageExpiry"),
        response_topic=given.get("responseTopic"),
        correlation_data=_correlation(given.get("correlationData")),
        content_type=given.get("contentType"),
        user_properties=_pairs(given.get("userProperties", [])),
    )
    return Publish(
        given["topic"],
        given.get("payload", b""),
        given.get("qos", 0),
        given.get("retain", False),
        properties=None if properties == PublishProperties() else properties,
    )


def _correlation(text: str | None) -> bytes | None:
    try:
        return None if text is None else from_base64(text)
    except ValueError:
        raise InputError("correlationData is not base64") from None


def from_base64(text: str) -> bytes:
    """Raises ValueError for what is not base64, and nothing else."""
    return base64.b64decode(text, validate=True)


def _pairs(given: Any) -> UserProperties:
    """Pairs, of objects with one member each. Whoever gives botocore text sends JSON of JSON."""
    try:
        if isinstance(given, str):
            given = json_text.decode(given.encode())
        return tuple(
            msgspec.convert(pair, tuple[str, str])
            for each in msgspec.convert(given, list[dict[str, str]])
            for pair in each.items()
        )
    except ValueError as error:
        raise InputError(f"userProperties: {error}") from None


def checked(message: Publish) -> Publish:
    """The message as it is stored; raises InputError for one that no device could publish."""
    _check_topic("topic", message.topic)
    if message.topic.startswith("$"):
        # Also what devices ask on: an answer would have nobody to go to.
        raise InputError(f"topic {message.topic[:80]!r} is reserved")
    if len(message.payload) > PAYLOAD_MAX_BYTES:
        size = len(message.payload)
        raise InputError(f"a payload of {size} bytes is above {PAYLOAD_MAX_BYTES}")
    properties = message.properties
    if properties is None:
        return message
    if properties.response_topic is not None:
        _check_topic("response topic", properties.response_topic)
    _check_texts(properties)
    if refused := refuse_properties(properties):
        raise InputError(refused[1])
    return message._replace(properties=clamped(properties))


def _check_topic(what: str, topic: str) -> None:
    try:
        validate_topic(topic)
    except MalformedPacket as error:
        raise InputError(str(error)) from None
    if not AWS.takes_topic(topic):
        raise InputError(f"the {what} is too long or too deep")


def _check_texts(properties: PublishProperties) -> None:
    """[MQTT-1.5.4-2]: no text of a packet has U+0000 in it."""
    pairs = (text for pair in properties.user_properties for text in pair)
    if any("\0" in text for text in (properties.content_type or "", *pairs)):
        raise InputError("a property holds U+0000 [MQTT-1.5.4-2]")
