"""Ways between places: datagrams that get lost, doubled and overtaken, and connections that stall.

Regions, sites and nameservers speak in datagrams here, which is harsher than the connections that
they really use. Devices hold connections: in order, and silent while the way is cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from isthmus.sim.world import Process, World

#: How often TCP tries a way that is cut, and a machine that is down.
RETRANSMIT_S = 0.25
LOCAL_S = 0.0003


@dataclass(slots=True)
class Way:
    """How one place reaches another one now."""

    delay_s: float
    is_cut: bool = False
    loss: float = 0.0
    doubles: float = 0.0
    extra_s: float = 0.0


class Network:
    """Every way, by its two ends; each direction is a way of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance("network")
        self._ways: dict[tuple[str, str], Way] = {}

    def way(self, source: str, target: str) -> Way:
        found = self._ways.get((source, target))
        if found is None:
            delay_s = self._world.chance(f"way {source} {target}").uniform(0.001, 0.04)
            found = self._ways[source, target] = Way(delay_s)
        return found

    def is_cut(self, source: str, target: str) -> bool:
        return source != target and self.way(source, target).is_cut

    def delay_s(self, source: str, target: str) -> float:
        if source == target:
            return LOCAL_S
        way = self.way(source, target)
        return way.delay_s * (1.0 + self._chance.random()) + way.extra_s

    def send(self, source: str, target: str, deliver: Callable[..., None], *args: Any) -> None:
        """A datagram; ``deliver`` finds out by itself who is there to take it."""
        world, draw = self._world, self._chance.random
        if source == target:
            world.at(world.now_s + LOCAL_S, None, deliver, *args)
            return
        way = self._ways.get((source, target)) or self.way(source, target)
        if way.is_cut or (way.loss and draw() < way.loss):
            return
        copies = 2 if way.doubles and draw() < way.doubles else 1
        for _ in range(copies):
            when_s = world.now_s + way.delay_s * (1.0 + draw()) + way.extra_s
            world.at(when_s, None, self._arrive, way, deliver, args)

    @staticmethod
    def _arrive(way: Way, deliver: Callable[..., None], args: Any) -> None:
        if not way.is_cut:
            deliver(*args)


class End(Protocol):
    """One end of a connection."""

    process: Process

    def received(self, channel: Channel, data: Any) -> None: ...
    def closed(self, channel: Channel) -> None: ...


class _Closing:
    """What travels when an end closes."""


CLOSING = _Closing()


class Channel:
    """A connection between a device and a gateway."""

    __slots__ = ("_due_s", "_ends", "_is_open", "_network", "_queues", "_world")

    def __init__(self, network: Network, world: World, client: End, server: End) -> None:
        self._network = network
        self._world = world
        self._ends = (client, server)
        self._queues: tuple[deque[tuple[float, Any]], ...] = (deque(), deque())
        self._due_s = [0.0, 0.0]
        self._is_open = [True, True]

    def send(self, sender: End, data: Any) -> None:
        """Send in order; nothing happens where this end was closed."""
        side = self._ends.index(sender)
        if not self._is_open[side]:
            return
        source, target = self._ends[side], self._ends[1 - side]
        names = (source.process.machine.name, target.process.machine.name)
        due_s = max(self._due_s[side], self._world.now_s + self._network.delay_s(*names))
        self._due_s[side] = due_s
        self._queues[side].append((due_s, data))
        self._world.at(due_s, None, self._pump, side)

    def close(self, sender: End, *, at_once: bool = False) -> None:
        """Close this end; what was sent before still arrives, unless ``at_once``."""
        side = self._ends.index(sender)
        if at_once:
            self._queues[side].clear()
        self.send(sender, CLOSING)
        self._is_open[side] = False

    def died(self, sender: End) -> None:
        """The sender's process is gone while its machine lives: the kernel closes for it."""
        self.close(sender, at_once=True)

    def is_open(self, end: End) -> bool:
        return self._is_open[self._ends.index(end)]

    def _pump(self, side: int) -> None:
        queue = self._queues[side]
        if not queue or queue[0][0] > self._world.now_s:
            return
        receiver = self._ends[1 - side]
        machine = receiver.process.machine
        source = self._ends[side].process.machine.name
        if not machine.is_up or self._network.is_cut(source, machine.name):
            self._world.at(self._world.now_s + RETRANSMIT_S, None, self._pump, side)
            return
        _, data = queue.popleft()
        if not receiver.process.is_running:
            queue.clear()
            self._reset(side)
        elif data is CLOSING or self._is_open[1 - side]:
            # A process that is paused finds it in its socket when it goes on.
            receiver.process.hand(self._hand_over, side, data)
        if queue:
            when_s = max(queue[0][0], self._world.now_s)
            self._world.at(when_s, None, self._pump, side)

    def _reset(self, side: int) -> None:
        """Nobody is there any more: the sender's end is closed by the answer."""
        sender = self._ends[side]
        if self._is_open[side] and sender.process.is_running:
            self._is_open[side] = False
            self._world.at(self._world.now_s + LOCAL_S, sender.process, sender.closed, self)

    def _hand_over(self, side: int, data: Any) -> None:
        receiver = self._ends[1 - side]
        if not self._is_open[1 - side]:
            return
        if data is CLOSING:
            self._is_open[1 - side] = False
            receiver.closed(self)
        else:
            receiver.received(self, data)
