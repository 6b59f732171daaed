"""The reserved topics of shadows: what is asked on them, and what is told of a shadow.

Developer guide, "Device Shadow MQTT topics". Names: the models of AWS's data plane. Whoever
subscribes hears what became of an update, however it was asked for: the document before and after,
and what is left to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from isthmus.core import shadow_answers, shadows
from isthmus.core.item import Item
from isthmus.core.shadow_request import TOO_MANY, ShadowRefused, read_token
from isthmus.core.shadows import Documents, Updated

GET, UPDATE, DELETE = "get", "update", "delete"
ACCEPTED, REJECTED, DELTA, DOCUMENTS = "accepted", "rejected", "delta", "documents"
_CLASSIC, _NAMED = "$aws/things/+/shadow", "$aws/things/+/shadow/name/+"
#: Filters of the topics of requests, and of all that follows from them.
ASKED = tuple(f"{root}/{what}" for root in (_CLASSIC, _NAMED) for what in (GET, UPDATE, DELETE))
TOLD = (
    *(f"{topic}/{last}" for topic in ASKED for last in (ACCEPTED, REJECTED)),
    *(f"{root}/{UPDATE}/{last}" for root in (_CLASSIC, _NAMED) for last in (DELTA, DOCUMENTS)),
)
#: AWS's quota: requests of one connection to the shadows of one thing that are under way.
IN_FLIGHT_MAX = 10
_THING = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
_NAME = re.compile(r"[$a-zA-Z0-9:_-]{1,64}")

#: Topics and payloads.
Messages = list[tuple[str, bytes]]


class Request(NamedTuple):
    """What a topic asks, and of which shadow."""

    thing: str
    #: None for the classic shadow.
    name: str | None
    #: One of get, update and delete.
    what: str

    @property
    def key(self) -> str:
        """The shadow's; raises ShadowRefused where no shadow can have such a name."""
        if not _THING.fullmatch(self.thing):
            raise ShadowRefused(400, "Invalid thing name")
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise ShadowRefused(400, "Invalid shadow name")
        return shadows.key(self.thing, self.name)


def request(topic: str) -> Request:
    """What is asked by a publish to a topic that one of ASKED matches."""
    _, _, thing, _, *rest = topic.split("/")
    return Request(thing, rest[1] if len(rest) > 1 else None, rest[-1])


def told(key: str, what: str, last: str) -> str:
    """Where is told what became of a request, as ``last`` says."""
    thing, name = shadows.of(key)
    root = f"$aws/things/{thing}/shadow"
    return f"{root}/{what}/{last}" if name is None else f"{root}/name/{name}/{what}/{last}"


def of_update(updated: Updated) -> Messages:
    """What is told of an update that is kept."""
    return [(told(updated.item.key, UPDATE, ACCEPTED), updated.accepted()), *of_change(updated)]


def of_change(changed: Documents) -> Messages:
    """What is told of a document that is another one, whoever has changed it."""
    key = changed.item.key
    messages = [(told(key, UPDATE, DOCUMENTS), changed.documents())]
    if (delta := changed.delta()) is not None:
        messages.append((told(key, UPDATE, DELTA), delta))
    return messages


def again(item: Item) -> Messages:
    """What a region may not have told: what is left to do. What was before nobody knows."""
    if not shadows.is_there(item):
        return []
    shown = Documents(Item(item.kind, item.key), item)
    delta = shown.delta()
    return [] if delta is None else [(told(item.key, UPDATE, DELTA), delta)]


def rejected(topic: str, error: ShadowRefused) -> Messages:
    """What is told of a request that is refused."""
    return [(f"{topic}/{REJECTED}", shadow_answers.rejected(error))]


def is_beyond(topic: str, under_way: Sequence[str]) -> bool:
    """Whether a request is one too many beside those of its connection, by their topics."""
    thing = request(topic).thing
    return [request(each).thing for each in under_way].count(thing) >= IN_FLIGHT_MAX


def too_many(topic: str, payload: bytes) -> Messages:
    """What is told of a request while IN_FLIGHT_MAX others are under way."""
    try:
        token = read_token(payload)
    except ShadowRefused:
        token = None
    return rejected(topic, ShadowRefused(*TOO_MANY, token))
