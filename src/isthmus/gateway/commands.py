"""Gives devices the commands that were started for them, in whichever region.

An execution is in every region's log, and the gateway process that holds the device's connection
gives it: at once where the device has subscribed, and else when it does. What it has acknowledged,
or was sent at QoS 0, is told by a batch, so that no connection is given it again; before that the
next one is. Nothing is given that has timed out.

A thing's commands are for the connection that belongs to it, whatever its client id; of several,
for the one that last subscribed to any. A client's are for who has its id.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakValueDictionary

from isthmus.clock import now_ms
from isthmus.core import command_executions, command_topics, commanding
from isthmus.core.command_executions import COMMAND_EXECUTION, LISTED_PENDING, Execution, Waiting
from isthmus.core.command_topics import CLIENT, Device
from isthmus.core.item import Item
from isthmus.core.log_view import LogView
from isthmus.core.registry import THING
from isthmus.gateway.lane import Carrying, Lane
from isthmus.wire.packets import Publish
from isthmus.wire.properties import PublishProperties
from isthmus.wire.topics import matches

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

#: Between two attempts to store that a device has something.
AGAIN_S = 1.0


class Listener:
    """What there is to know of a connection that listens to commands."""

    def __init__(self) -> None:
        #: The executions that it was given and may not have yet.
        self.given: set[str] = set()
        #: What it has subscribed to since it was last looked what waits for it.
        self.joined: set[str] = set()


class Commands:
    """Those for the clients of one gateway process."""

    def __init__(
        self, view: LogView, lane: Lane, client_of: Callable[[str], Connection | None]
    ) -> None:
        self._view = view
        self._lane = lane
        self._client_of = client_of
        self._loop = asyncio.get_running_loop()
        self._listeners: WeakKeyDictionary[Connection, Listener] = WeakKeyDictionary()
        #: By the thing that each belonged to when it was last looked what waits for it.
        self._of_thing: WeakValueDictionary[str, Connection] = WeakValueDictionary()
        #: For whom it is to be looked what waits, one in each turn of the loop: whatever a client
        #: subscribes to, the others come in between.
        self._due: dict[Connection, None] = {}
        view.hear(COMMAND_EXECUTION, self._changed)

    def joined(self, connection: Connection, topic_filter: str) -> None:
        """A client that has its CONNACK subscribes; it is given what waits a little later."""
        if topic_filter.startswith(command_topics.ROOT):
            self._listeners.setdefault(connection, Listener()).joined.add(topic_filter)
            self._is_due(connection)

    def rights_changed(self, connection: Connection) -> None:
        """A client may have become another thing's, or may have what it might not before."""
        listener, session = self._listeners.get(connection), connection.session
        if listener is not None and session is not None:
            listener.joined |= session.subscriptions.keys()
            self._is_due(connection)

    def has(self, execution: str) -> None:
        """A device has a command."""
        item = command_executions.delivered(execution)
        self._view.join(item)
        self._carry(item)

    def _changed(self, item: Item) -> None:
        execution = command_executions.read(item)
        if execution is None or not execution.is_untouched:
            return
        asked = execution.asked
        find = self._of_thing.get if asked.kind == THING else self._client_of
        connection = find(asked.name)
        if connection is None or connection not in self._listeners:
            return
        # Who is due is given it soon, behind what was created before it.
        if connection not in self._due:
            self._give(connection, execution)

    def _is_due(self, connection: Connection) -> None:
        if not self._due:
            self._loop.call_soon(self._look)
        self._due[connection] = None

    def _look(self) -> None:
        """Give the next client what waits for it and it has just subscribed to."""
        connection = next(iter(self._due))
        del self._due[connection]
        if self._due:
            self._loop.call_soon(self._look)
        listener, session = self._listeners[connection], connection.session
        if session is None or not connection.is_open:
            return
        joined, listener.joined = listener.joined & session.subscriptions.keys(), set()
        devices = self._devices(connection)
        for device in devices:
            if device.kind == THING:
                self._of_thing[device.name] = connection
        waiting = self._waiting(devices)
        listener.given.intersection_update(each.key for each in waiting)
        # Not read before it is to be given: its device may subscribe to this or that all day.
        found = [
            execution
            for each in waiting
            if each.key not in listener.given
            and any(matches(topic_filter, each.topic) for topic_filter in joined)
            and commanding.granted(session, each.topic) is not None
            and (execution := self._read(each.key)) is not None
        ]
        for execution in sorted(found, key=lambda each: each.created):
            self._give(connection, execution)

    def _give(self, connection: Connection, execution: Execution) -> None:
        """Give a client what it was not given on this connection, if it may have it."""
        session, given, now = connection.session, self._listeners[connection].given, now_ms()
        is_over = now >= execution.deadline_ms
        if session is None or not connection.is_open or is_over or execution.id in given:
            return
        device = execution.asked.device
        if device not in self._devices(connection):
            return
        if not execution.is_for(self._view.get(*device)):
            return
        at_ms = execution.created.ms
        actions = commanding.give(session, _message(execution), at_ms, now, execution.id)
        if actions is not None:
            given.add(execution.id)
            connection.perform(actions)

    def _devices(self, connection: Connection) -> list[Device]:
        """As which devices a client is commanded: its id, and the thing that it belongs to."""
        session = connection.session
        client = session.client_id if session else ""
        thing = self._view.view.associated(connection.principal, client)
        return [Device(CLIENT, client), *([Device(THING, thing)] if thing else [])]

    def _waiting(self, devices: list[Device]) -> list[Waiting]:
        """What waits for these: as many as whoever starts executions lets wait."""
        due = command_executions.due_after(now_ms())
        return [
            command_executions.waiting(each)
            for device in devices
            for each in self._view.catalogue.after(LISTED_PENDING, *device, name=due)
        ]

    def _read(self, key: str) -> Execution | None:
        return command_executions.read(self._view.get(COMMAND_EXECUTION, key))

    def _carry(self, item: Item) -> None:
        def again(_reason: str) -> None:
            self._loop.call_later(AGAIN_S, self._carry, item)

        self._lane.carry(item.encode(), Carrying(lambda: None, again))


def _message(execution: Execution) -> Publish:
    """What the device gets; its expiry tells a client of MQTT 5 how long it may take."""
    asked = execution.asked
    topic = command_topics.request(asked.kind, asked.name, execution.id, asked.content_type)
    properties = PublishProperties(
        message_expiry_s=asked.timeout_s, content_type=asked.content_type
    )
    return Publish(topic, base64.b64decode(asked.content), 1, properties=properties)
