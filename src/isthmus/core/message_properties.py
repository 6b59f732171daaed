"""What the properties of an MQTT 5 message or will may be, and what becomes of them on their way.

Names in brackets are normative statements of the OASIS standard of MQTT 5, 7 March 2019.
"""

from __future__ import annotations

from isthmus.wire.properties import PublishProperties
from isthmus.wire.reason_codes import ReasonCode

#: AWS IoT Core's bounds: of all names and values together, of the correlation data, and of the
#: content type; and of the message expiry, which is brought within 1 s and this.
USER_PROPERTIES_MAX_BYTES = 8 * 1024
CORRELATION_MAX_BYTES = 8 * 1024
CONTENT_TYPE_MAX_BYTES = 256
EXPIRY_MAX_S = 604_800
#: The user property whose value is the client's own identity of a QoS 1 message. Whoever sends one
#: again with the same identity has sent it once, in the lake's default view, whatever else differs:
#: on another connection or to another region, while the identity is among the last that the lake
#: remembers of the client (``core.repeat``). The client chooses it, unique among its own messages;
#: a random UUID will do. Of several the first counts, and an empty one is none. Like every user
#: property it reaches the subscribers too.
IDENTITY_PROPERTY = "isthmus-id"
IDENTITY_MAX_BYTES = 128


def refuse_properties(properties: PublishProperties) -> tuple[ReasonCode, str] | None:
    """What no message or will may carry: sizes are AWS IoT Core's."""
    if properties.subscription_ids:
        return ReasonCode.PROTOCOL_ERROR, "a client sends no subscription identifiers"
    if len(identity_of(properties).encode()) > IDENTITY_MAX_BYTES:
        reason = f"an {IDENTITY_PROPERTY} above {IDENTITY_MAX_BYTES} bytes"
        return ReasonCode.QUOTA_EXCEEDED, reason
    said = sum(
        len(name.encode()) + len(value.encode()) for name, value in properties.user_properties
    )
    if said > USER_PROPERTIES_MAX_BYTES:
        reason = f"user properties above {USER_PROPERTIES_MAX_BYTES} bytes"
        return ReasonCode.QUOTA_EXCEEDED, reason
    if len(properties.correlation_data or b"") > CORRELATION_MAX_BYTES:
        return ReasonCode.QUOTA_EXCEEDED, f"correlation data above {CORRELATION_MAX_BYTES} bytes"
    if len((properties.content_type or "").encode()) > CONTENT_TYPE_MAX_BYTES:
        return ReasonCode.QUOTA_EXCEEDED, f"a content type above {CONTENT_TYPE_MAX_BYTES} bytes"
    return None


def identity_of(properties: PublishProperties | None) -> str:
    """The client's own identity of a message; empty where it gives none."""
    if properties is None:
        return ""
    pairs = properties.user_properties
    return next((value for name, value in pairs if name == IDENTITY_PROPERTY), "")


def clamped(properties: PublishProperties) -> PublishProperties:
    """With an expiry within AWS IoT Core's bounds."""
    expiry_s = properties.message_expiry_s
    if expiry_s is None:
        return properties
    return properties._replace(message_expiry_s=min(max(expiry_s, 1), EXPIRY_MAX_S))


def remaining(properties: PublishProperties | None, age_s: int) -> PublishProperties | None:
    """[MQTT-3.3.2-6]: the expiry is forwarded without the time that the message has waited."""
    if properties is None or properties.message_expiry_s is None or age_s <= 0:
        return properties
    return properties._replace(message_expiry_s=properties.message_expiry_s - age_s)


def has_expired(properties: PublishProperties | None) -> bool:
    """Whether nothing of a message's expiry remains [MQTT-3.3.2-5]."""
    expiry_s = None if properties is None else properties.message_expiry_s
    return expiry_s is not None and expiry_s <= 0
