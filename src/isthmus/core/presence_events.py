"""The lifecycle events of clients, as AWS IoT publishes them.

Topics and members: developer guide, "Lifecycle events". They are ordinary messages of the bus,
which nobody but the region publishes: whoever may subscribe to them, and receive them, does.
"""

from __future__ import annotations

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
    if "+" in word.client or "#" in word.client:
        return None
    event: dict[str, object] = {
        "clientId": word.client,
        "timestamp": said.at_ms,
        "eventType": kind,
        "sessionIdentifier": word.present.session,
        "principalIdentifier": word.present.principal,
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
