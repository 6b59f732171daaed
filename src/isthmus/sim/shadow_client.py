"""A device that has a shadow, and hears of everybody's: it does what is desired of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from isthmus.sim.clients import AskingClient
from isthmus.wire.mqtt3 import (
    Connack,
    Filter,
    Packet,
    Puback,
    Publish,
    Suback,
    Subscribe,
)

if TYPE_CHECKING:
    from isthmus.sim.system import System

EVERY_SHADOW = "$aws/things/+/shadow/#"
#: What it can do of what is desired, and how long that takes; the rest stays to be done.
DONE = frozenset({"light"})
WORKS_S = 0.4


class ShadowClient(AskingClient):
    """It is at home in one of the regions, and goes to the next one where that does not answer.

    So that some are connected everywhere, wherever the route leads.
    """

    kind = "shadow"

    def __init__(self, system: System, name: str, principal: str) -> None:
        super().__init__(system, name, principal)
        self._at = sum(isinstance(each, ShadowClient) for each in system.clients.values())
        #: By packet: requests of this connection that are not answered.
        self._asked: dict[int, str] = {}
        #: Of its own shadow: what it knows, and the newest delta that it has heeded.
        self._version = 0
        self._heeded = 0

    @property
    def waits_for(self) -> int:
        return super().waits_for + len(self._asked)

    # The application

    def ask(self, what: str, payload: dict[str, Any] | None = None) -> None:
        """Ask for its own shadow, where it is connected."""
        if not self.is_connected:
            return
        token = self.system.next_token()
        body = json.dumps({**(payload or {}), "clientToken": token}).encode()
        self._asked[self._next_id()] = token
        topic = f"$aws/things/{self.name}/shadow/{what}"
        self._say(Publish(topic, body, 1, packet_id=self._packet_id))

    def report(self, state: dict[str, Any], *, is_checked: bool = False) -> None:
        """Say how it is; ``is_checked``: unless the shadow has changed since it heard of it."""
        asked: dict[str, Any] = {"state": {"reported": state}}
        if is_checked:
            asked["version"] = self._version
        self.ask("update", asked)

    # One connection

    def start(self) -> None:
        regions = self.system.regions_named
        self._at += 1
        self.connect(regions[(self._at - 1) % len(regions)])

    def accepted(self) -> None:
        super().accepted()
        self._asked.clear()
        self._say(Subscribe(self._next_id(), (Filter(EVERY_SHADOW, 1),)))

    def take(self, packet: Packet) -> None:
        assert self.connection is not None
        watch = self.system.watch.shadows
        match packet:
            case Connack():
                self._asked.clear()
            case Suback():
                watch.subscribed(self, self.connection)
            case Puback(packet_id):
                self._asked.pop(packet_id, None)
            case Publish():
                watch.given(self, self.connection, packet)
                self._heed(packet)
                if packet.qos:
                    self._say(Puback(packet.packet_id))
            case _:
                pass

    def _heed(self, message: Publish) -> None:
        thing, what, last = parts(message.topic)
        if thing != self.name or last == "rejected":
            return
        body = json.loads(message.payload)
        if last == "documents":
            self._version = max(self._version, body["current"]["version"])
            return
        version = body["version"]
        self._version = max(self._version, version)
        said = f": {json.dumps(body['state'])}" if last == "delta" else ""
        self.world.say(self.name, f"hears {what}/{last} of version {version}{said}")
        if last == "delta" and version > self._heeded:
            self._heeded = version
            delay_s = self._chance.uniform(0.0, WORKS_S)
            state = {name: each for name, each in body["state"].items() if name in DONE}
            if state:
                self.process.after(delay_s, self._do, version, state)

    def _do(self, version: int, state: dict[str, Any]) -> None:
        """What was desired is done, unless something else is by now."""
        if version == self._heeded:
            self.report(state)


def parts(topic: str) -> tuple[str, str, str]:
    """Of a topic on which something is told of a classic shadow: thing, what, and its end."""
    _, _, thing, _, what, last = topic.split("/")
    return thing, what, last
