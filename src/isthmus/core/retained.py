"""Retained messages: of each topic the newest that was published to be kept.

One item per topic. Two regions that retain at once keep the message with the greater stamp, which
is made from the gateway's clock and is greater than that of the message it replaces: so who
publishes one after the other keeps the second, whatever the clocks say. An empty payload leaves
none (section 3.3.1.3 of the standard of MQTT 5).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Latest
from isthmus.core.stamp import StampClock
from isthmus.core.table import Path
from isthmus.wire.packets import Publish
from isthmus.wire.properties import PublishProperties

RETAINED = "retained"


class Retained(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a later subscriber gets it."""

    payload: bytes
    qos: int
    #: When it was published, in milliseconds since 1970: its expiry runs from then.
    at_ms: int
    properties: PublishProperties | None = None

    def publish(self, topic: str) -> Publish:
        """The message, marked as one that was there before its receiver asked."""
        return Publish(topic, self.payload, self.qos, retain=True, properties=self.properties)


def retain(present: Item, clock: StampClock, publish: Publish, at_ms: int) -> Item:
    """The item of a topic after a publish with RETAIN; ``present`` is the one that is known."""
    stamp = clock.stamp(at_ms, present.stamps())
    kept = Retained(
        payload=publish.payload, qos=publish.qos, at_ms=at_ms, properties=publish.properties
    )
    value = msgspec.to_builtins(kept) if publish.payload else None
    return Item(RETAINED, publish.topic, {}, Fields({"message": Latest(stamp, value)}))


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a topic that retains something is listed, by its name."""
    found = item.fields.get("message")
    if isinstance(found, Latest) and found.value is not None:
        yield (RETAINED,), item.key


def retained(item: Item | None) -> Retained | None:
    """What a topic retains, or None; what a later release wrote and we cannot read is none."""
    found = item.fields.get("message") if item is not None else None
    if not isinstance(found, Latest) or found.value is None:
        return None
    try:
        return msgspec.convert(found.value, Retained)
    except msgspec.ValidationError:
        return None
