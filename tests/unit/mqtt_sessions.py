"""Sessions of both versions for the tests of the state machine, and what they have said."""

from __future__ import annotations

from typing import Any

from isthmus.core.session import Action, Send, Session
from isthmus.wire import mqtt3, mqtt5, packets


class Rights:
    """Allows everything that does not contain a word."""

    def __init__(self, *denied: str) -> None:
        self.denied = denied
        self.asked: list[tuple[str, str]] = []

    def allows(self, action: str, resource_suffix: str) -> tuple[bool, str]:
        self.asked.append((action, resource_suffix))
        denied = any(word in f"{action} {resource_suffix}" for word in self.denied)
        return not denied, f"{action} on {resource_suffix} is denied" if denied else ""


def session(*denied: str, level: int = packets.LEVEL_3, **fields: Any) -> Session:
    return Session("car-1", Rights(*denied), 45.0, level=level, **fields)


def sent(data: bytes, level: int = packets.LEVEL_3) -> list[packets.Packet]:
    """The packets as a client reads them; the codec refuses a code that a packet must not have."""
    decoder = mqtt5.Decoder(2**20) if level == packets.LEVEL_5 else mqtt3.Decoder(2**20)
    return list(decoder.feed(data))


def said(actions: list[Action]) -> list[packets.Packet]:
    """What a client of MQTT 5 hears of some actions."""
    data = b"".join(action.data for action in actions if isinstance(action, Send))
    return sent(data, packets.LEVEL_5)
