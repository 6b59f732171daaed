"""Which stored message may be a repeat of another one.

A client that lost its connection sends again what was not acknowledged, and neither DUP nor packet
id tells it from something new (docs/correctness.md, section 1). So nothing is ever dropped: what
may be a repeat is marked with the message it may repeat, the default view collapses marked copies,
and the raw view keeps them.

Without an identity, the rule is: *the n-th copy of a content at the opening of a connection may
repeat the n-th copy at the closing of an earlier one of that client*. A client resends first of all
after it connected, and only what was among the last messages of the connection that it lost; copies
on one connection are always different messages, because nobody repeats on a living connection.
Thereby a sensor that says "closed" once a minute loses nothing in the default view. Which copy is
marked depends on the order of arrival; how many remain does not.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from dataclasses import dataclass, field

#: Unacknowledged publishes that one connection may have (AWS IoT's limit, which the gateway keeps).
IN_DOUBT_MAX = 100
#: A publish is answered within the promise's 10 s or its connection is closed; one more for skew.
IN_DOUBT_MS = 11_000
CONNECTIONS_PER_CLIENT = 4
IDS_PER_CLIENT = 1_000
CLIENTS_MAX = 10_000

#: Where a message stands in the bus: ``<writer>:<batch number>:<index>``.
Position = str


@dataclass(slots=True)
class _Entry:
    content: bytes
    position: Position
    at_ms: int


@dataclass(slots=True)
class _Connection:
    """The first and the last messages of one connection, by content."""

    first: list[_Entry] = field(default_factory=list)
    last: deque[_Entry] = field(default_factory=deque)

    def add(self, entry: _Entry) -> None:
        if len(self.first) < IN_DOUBT_MAX:
            self.first.append(entry)
            return
        self.last.append(entry)
        while len(self.last) > IN_DOUBT_MAX or entry.at_ms - self.last[0].at_ms > IN_DOUBT_MS:
            self.last.popleft()

    @property
    def began_ms(self) -> int:
        return self.first[0].at_ms

    def opening(self, content: bytes) -> list[_Entry]:
        """Copies that may repeat something of an earlier connection."""
        return [each for each in self.first if each.content == content]

    def closing(self, content: bytes) -> list[_Entry]:
        """Copies that can have been unacknowledged when the connection ended."""
        since_ms = (self.last or self.first)[-1].at_ms - IN_DOUBT_MS
        recent = (*self.first, *self.last)
        return [each for each in recent if each.content == content and each.at_ms >= since_ms]


@dataclass(slots=True)
class _Client:
    connections: OrderedDict[str, _Connection] = field(default_factory=OrderedDict)
    ids: OrderedDict[str, Position] = field(default_factory=OrderedDict)


class RepeatIndex:
    """Marks possible repeats among the messages of one lake, in the order of their arrival."""

    def __init__(self) -> None:
        self._clients: OrderedDict[tuple[str, str], _Client] = OrderedDict()

    def mark(
        self,
        client: str,
        principal: str,
        connection: str,
        topic: str,
        payload: bytes,
        identity: str,
        position: Position,
        at_ms: int,
    ) -> Position | None:
        """Note a message; return the position of the one that it may repeat, if any."""
        held = self._client(client, principal)
        if identity:
            return _by_identity(held, identity, position)
        content = hashlib.blake2b(payload, digest_size=12, person=b"repeat")
        content.update(b"\0" + topic.encode())
        entry = _Entry(content.digest(), position, at_ms)
        return _by_content(held, connection, entry)

    def _client(self, client: str, principal: str) -> _Client:
        held = self._clients.setdefault((client, principal), _Client())
        self._clients.move_to_end((client, principal))
        if len(self._clients) > CLIENTS_MAX:
            self._clients.popitem(last=False)
        return held


def _by_identity(held: _Client, identity: str, position: Position) -> Position | None:
    known = held.ids.get(identity)
    if known is None:
        held.ids[identity] = position
        if len(held.ids) > IDS_PER_CLIENT:
            held.ids.popitem(last=False)
    return known


def _by_content(held: _Client, connection: str, entry: _Entry) -> Position | None:
    own = held.connections.get(connection)
    if own is None:
        own = held.connections[connection] = _Connection()
        if len(held.connections) > CONNECTIONS_PER_CLIENT:
            held.connections.popitem(last=False)
    own.add(entry)
    for name, other in reversed(held.connections.items()):
        if name == connection:
            continue
        if own.began_ms < other.began_ms:
            mine, theirs = own.closing(entry.content), other.opening(entry.content)
        else:
            mine, theirs = own.opening(entry.content), other.closing(entry.content)
        if mine and mine[-1] is entry and len(theirs) >= len(mine):
            return theirs[len(mine) - 1].position
    return None
