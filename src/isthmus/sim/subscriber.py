"""A plain client whose session outlives its connections: it subscribes, and acknowledges."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from isthmus.core.reconnect import Ending
from isthmus.sim.clients import AskingClient
from isthmus.wire.mqtt3 import (
    Connack,
    Connect,
    Disconnect,
    Filter,
    Packet,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsubscribe,
)

if TYPE_CHECKING:
    from isthmus.sim.system import System

#: How long it thinks about a message, and how often it never answers.
THINKS_S = 0.3
NEVER = 0.05


class Subscriber(AskingClient):
    """It asks for its session again wherever it connects, and subscribes to what it must."""

    def __init__(self, system: System, name: str, principal: str) -> None:
        super().__init__(system, name, principal)
        self._wanted: dict[str, None] = {}
        #: What it was told that it is subscribed to.
        self._believed: set[str] = set()
        self._asked: dict[int, str] = {}
        self._begins_anew = False
        self._is_away = False

    # The application

    def subscribe(self, topic_filter: str) -> None:
        self._wanted[topic_filter] = None
        self._ask()

    def unsubscribe(self, topic_filter: str) -> None:
        if topic_filter not in self._wanted:
            return
        del self._wanted[topic_filter]
        self._believed.discard(topic_filter)
        self.system.watch.sessions.unsubscribes(self, topic_filter)
        if self.is_connected:
            self._say(Unsubscribe(self._next_id(), (topic_filter,)))

    def leave(self, seconds: float) -> None:
        """Disconnect in good order, and come back later."""
        if self.is_connected and not self._is_away:
            self._is_away = True
            self.world.at(self.world.now_s + seconds, self.process, self._return)
            self._say(Disconnect())
            self._end(self._attempt, "moved")

    def _return(self) -> None:
        self._is_away = False
        self.start()

    def begin_anew(self) -> None:
        """Give the session up, and begin another one."""
        self._begins_anew = True
        if self.is_connected:
            self._end(self._attempt, "moved")

    def wander(self, region: str) -> None:
        """Change networks: nobody hears of the old connection any more, nor that it is gone."""
        if self.is_connected:
            self.world.say(self.name, f"wanders from {self.region} to {region}", "wandered")
            self.is_connected = False
            self._channel = None
            self.connect(region)

    def _ask(self) -> None:
        if not self.is_connected:
            return
        asked = self._asked.values()
        for topic_filter in self._wanted:
            if topic_filter not in self._believed and topic_filter not in asked:
                number = self._next_id()
                self._asked[number] = topic_filter
                self._say(Subscribe(number, (Filter(topic_filter, 1),)))

    # One connection

    def hello(self) -> Connect:
        if self._begins_anew:
            self._believed.clear()
            self.system.watch.sessions.cleans(self)
        return Connect(self.name, clean_session=self._begins_anew, keep_alive_s=30)

    def take(self, packet: Packet) -> None:
        assert self.connection is not None
        watch = self.system.watch.sessions
        match packet:
            case Connack(is_present, 0):
                self._asked.clear()
                if self._begins_anew:
                    return
                state = "session-present" if is_present else "session-new"
                text = "has its session again" if is_present else "has a new session"
                self.world.say(self.name, text, state)
                watch.accepted(self, self.connection, is_present=is_present)
                if not is_present:
                    self._believed.clear()
            case Suback(packet_id, codes):
                topic_filter = self._asked.pop(packet_id, "")
                if topic_filter in self._wanted and codes == (1,):
                    self._believed.add(topic_filter)
                    watch.subscribed(self, self.connection, topic_filter)
                    self.world.say(self.name, f"is subscribed to {topic_filter}", "subscribed")
            case Publish():
                self._given(packet)
            case _:
                pass

    def _given(self, message: Publish) -> None:
        assert self.connection is not None
        how = "what is retained: " if message.retain else ""
        self.world.say(self.name, f'is given {how}"{message.payload.decode()}"', "given")
        self.system.watch.sessions.delivered(self, self.connection, message)
        if message.qos and self._chance.random() >= NEVER:
            delay_s = self._chance.uniform(0.0, THINKS_S)
            self.process.after(delay_s, self._answer, self._attempt, message)

    def _answer(self, attempt: int, message: Publish) -> None:
        if attempt == self._attempt and self.is_connected:
            self.system.watch.sessions.answers(self, message.payload)
            self._say(Puback(message.packet_id))

    def accepted(self) -> None:
        if self._begins_anew:
            # That ended the old session; the next CONNECT begins one that lasts.
            self._begins_anew = False
            self.process.after(0.0, partial(self._end, self._attempt, "moved"))
            return
        super().accepted()
        self._ask()

    def ended(self, how: Ending) -> None:
        if not self._is_away:
            super().ended(how)
