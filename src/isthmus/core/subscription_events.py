"""The events of what clients subscribe to, as AWS IoT publishes them.

Topics and members: developer guide, "Lifecycle events". What a client does at once stands in one
event. A filter that is subscribed to again is subscribed to, and was not left before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import msgspec

from isthmus.core import presence_events
from isthmus.core.batch import Source
from isthmus.wire.packets import Publish

C = TypeVar("C")

_PREFIX = "$aws/events/subscriptions"
#: Of one event: as many as AWS takes in one SUBSCRIBE.
TOPICS_MAX = 8


class Change(NamedTuple):
    """What one client does, in this order."""

    is_subscribed: bool
    topics: tuple[str, ...]


def gathered(changes: Iterable[tuple[C, str, bool]]) -> Iterator[tuple[C, Change]]:
    """What is to be said of connections that subscribed to a filter, or left it, in this order."""
    by_connection: dict[C, list[tuple[str, bool]]] = {}
    for connection, topic_filter, is_subscribed in changes:
        done = by_connection.setdefault(connection, [])
        if is_subscribed and done and done[-1] == (topic_filter, False):
            # It is replaced: the session leaves it first.
            done.pop()
        done.append((topic_filter, is_subscribed))
    for connection, done in by_connection.items():
        yield from ((connection, change) for change in _runs(done))


def _runs(done: Iterable[tuple[str, bool]]) -> Iterator[Change]:
    topics: list[str] = []
    kind = True
    for topic_filter, is_subscribed in done:
        if topics and (is_subscribed is not kind or len(topics) == TOPICS_MAX):
            yield Change(kind, tuple(topics))
            topics = []
        kind = is_subscribed
        topics.append(topic_filter)
    if topics:
        yield Change(kind, tuple(topics))


def event(source: Source, thing: str, change: Change, at_ms: int) -> Publish | None:
    """The event of a change; None for a client whose name has no topic.

    ``thing`` is the one that the certificate is attached to exclusively.
    """
    client = source.client
    # As of presence: of client ids with a wildcard AWS publishes nothing.
    if "+" in client or "#" in client:
        return None
    kind = "subscribed" if change.is_subscribed else "unsubscribed"
    payload = {
        "clientId": client,
        "timestamp": at_ms,
        "eventType": kind,
        "sessionIdentifier": source.connection,
        "principalIdentifier": source.principal,
        **presence_events.named(thing),
        "topics": change.topics,
    }
    return Publish(f"{_PREFIX}/{kind}/{client}", msgspec.json.encode(payload), 1)
