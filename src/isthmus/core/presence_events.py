"""The lifecycle events of clients, as AWS IoT publishes them.

Topics and members: developer guide, "Lifecycle events". They are ordinary messages of the bus,
which nobody but the region publishes: whoever may subscribe to them, and receive them, does.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from isthmus.core.batch import Message
from isthmus.core.presence import DisconnectReason, Said

#: Under what name the region's own messages stand in its bus: no client can have it.
CLIENT = "$isthmus"
_PREFIX = "$aws/events/presence"


def message(said: Said) -> Message | None:
    """The event of a word, from source 0 of its batch; None for a client whose name has no topic.

    Of client ids with a wildcard AWS publishes nothing.
    """
    word, reason = said.word, said.reason
    kind = "connected" if reason is None else "disconnected"
    topic = f"{_PREFIX}/{kind}/{word.client}"
    if not _has_topic(word.client):
        return None
    event: dict[str, object] = {
        "clientId": word.client,
        "timestamp": said.at_ms,
        "eventType": kind,
        "sessionIdentifier": word.present.session,
        "principalIdentifier": word.present.principal,
        **named(word.present.thing),
    }
    if reason is None:
        event["ipAddress"] = word.present.address
    else:
        is_clients = reason is DisconnectReason.CLIENT_INITIATED_DISCONNECT
        event["clientInitiatedDisconnect"] = is_clients
        event["disconnectReason"] = reason.value
    event["versionNumber"] = word.version
    payload = msgspec.json.encode(event)
    # What is stored again after a failure says the same.
    identity = f"{word.present.session}:{word.version}:{kind}"
    return Message(0, topic, payload, 1, False, said.at_ms, identity)


class Denied(NamedTuple):
    """A CONNECT that policies deny, by itself or for its will's topic."""

    client: str
    principal: str
    address: str
    at_ms: int
    #: Random; the connection that there is not would have had it.
    session: str
    #: Which thing the certificate is attached to exclusively.
    thing: str = ""


def connect_failed(denied: Denied) -> tuple[str, bytes] | None:
    """Topic and payload of the event of a denied CONNECT; None for a client without a topic."""
    if not _has_topic(denied.client):
        return None
    event = {
        "clientId": denied.client,
        "timestamp": denied.at_ms,
        "eventType": "connect_failed",
        "connectFailureReason": "AUTHORIZATION_FAILED",
        "principalIdentifier": denied.principal,
        **named(denied.thing),
        "sessionIdentifier": denied.session,
        "ipAddress": denied.address,
    }
    return f"{_PREFIX}/connect_failed/{denied.client}", msgspec.json.encode(event)


def named(thing: str) -> dict[str, str]:
    """What an event says of the thing whose certificate, and nobody else's, it is about."""
    return {"thingName": thing} if thing else {}


def _has_topic(client: str) -> bool:
    return "+" not in client and "#" not in client
