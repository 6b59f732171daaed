"""What an acknowledgement of a message promises, by its topic.

The first rule whose filter matches decides. Without a second region nothing can be promised of one:
then it is this region's disk, quietly.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from isthmus.wire.topics import matches

#: Topics whose promise is remembered: devices publish to few.
TOPICS_REMEMBERED_MAX = 10_000


class Promise(Enum):
    """What is true of a message when its PUBACK leaves."""

    #: This process has it. It is stored a moment later, and lost if the process dies before.
    MEMORY = "memory"
    #: This region's disk has it.
    REGION = "region"
    #: Two regions' disks have it; while this region is alone, its own.
    TWO_REGIONS = "two-regions"
    #: Two regions' disks have it, or there is no PUBACK.
    NEVER_ALONE = "never-alone"


class Rule(NamedTuple):
    """A promise for the topics of a filter."""

    topic_filter: str
    promise: Promise


class Promises:
    """The rules of a region."""

    def __init__(self, rules: Sequence[Rule], *, has_peers: bool) -> None:
        self._rules = tuple(rules)
        self._has_peers = has_peers
        self._known: dict[str, Promise] = {}

    def of(self, topic: str) -> Promise:
        """What is promised of a message to a topic."""
        promise = self._known.get(topic)
        if promise is None:
            promise = self._decide(topic)
            if len(self._known) >= TOPICS_REMEMBERED_MAX:
                self._known.clear()
            self._known[topic] = promise
        return promise

    def _decide(self, topic: str) -> Promise:
        found = (each.promise for each in self._rules if matches(each.topic_filter, topic))
        promise = next(found, Promise.TWO_REGIONS)
        if promise is not Promise.MEMORY and not self._has_peers:
            return Promise.REGION
        return promise
