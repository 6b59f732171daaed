"""The reserved topics of commands, as devices know them.

Developer guide, "Commands topics". What is sent to a device is one level longer where its type is
one of two; what devices say is on topics of ``core.device_topics``.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.core.registry import THING

ROOT = "$aws/commands/"
#: What ARNs call who has a client id and is no thing.
CLIENT = "client"
#: As topics call what ARNs call otherwise.
_DEVICES = {THING: "things", CLIENT: "clients"}
_KINDS = {plural: kind for kind, plural in _DEVICES.items()}
_FORMATS = {"application/json": "/json", "application/cbor": "/cbor"}


class Device(NamedTuple):
    """Who is commanded: ``thing`` or ``client``, and its name."""

    kind: str
    name: str


def request(kind: str, name: str, execution: str, content_type: str) -> str:
    """Where a device is sent a command."""
    last = _FORMATS.get(content_type, "")
    return f"{ROOT}{_DEVICES[kind]}/{name}/executions/{execution}/request{last}"


def responding(topic: str) -> tuple[Device, str]:
    """Which device says something of which execution, on the topic where that is said.

    Of a kind of device that there is none of, the kind is empty.
    """
    _, _, kind, name, _, execution, *_ = topic.split("/")
    return Device(_KINDS.get(kind, ""), name), execution


def answer(topic: str, last: str) -> str:
    """Where a device is told what became of what it said; ``last`` is accepted or rejected."""
    root, _, kind = topic.rpartition("/")
    return f"{root}/{last}/{kind}"
