"""Which stored message may be a repeat of another one.

A client that lost its connection sends again what was not acknowledged, and neither DUP nor packet
id tells it from something new (docs/correctness.md, section 1). So nothing is ever dropped: what
may be a repeat is marked with the message it may repeat, the default view collapses marked copies,
and the raw view keeps them.

Without an identity, the rule is: *a copy at the opening of a connection may repeat a copy of the
same content at the closing of an earlier one of that client*, one of each, so that copies of one
message form a chain with at most one copy on every connection. A client resends first of all after
it connected, and only what was among the last messages of the connection that it lost; copies on
one connection are always different messages, because nobody repeats on a living connection.
Thereby a sensor that says "closed" once a minute loses nothing in the default view, and no order of
arrival makes fewer messages of what one connection carried.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

#: Unacknowledged publishes that one connection may have (AWS IoT's limit, which the gateway keeps).
IN_DOUBT_MAX = 100
#: A publish is answered within the promise's 10 s or its connection is closed; one more for skew.
IN_DOUBT_MS = 11_000
#: A region that lost its disk reads its streams one after another: hours apart can meet here.
CONNECTIONS_PER_CLIENT = 16
IDS_PER_CLIENT = 1_000
CLIENTS_MAX = 10_000

#: Where a message stands in the bus: ``<writer>:<batch number>:<index>``.
Position = str


@dataclass(slots=True, eq=False)
class _Entry:
    """One copy. ``is_opening``: it was among the first messages of its connection."""

    content: bytes
    position: Position
    at_ms: int
    is_opening: bool = False
    chain: _Chain | None = None


@dataclass(slots=True)
class _Connection:
    """The first and the last messages of one connection."""

    name: str
    first: list[_Entry] = field(default_factory=list)
    last: deque[_Entry] = field(default_factory=deque)

    def add(self, entry: _Entry) -> list[_Entry]:
        """Take the next message; return those that can be in doubt no longer."""
        if len(self.first) < IN_DOUBT_MAX:
            entry.is_opening = True
            self.first.append(entry)
            return []
        self.last.append(entry)
        gone = []
        while len(self.last) > IN_DOUBT_MAX or entry.at_ms - self.last[0].at_ms > IN_DOUBT_MS:
            gone.append(self.last.popleft())
        return gone

    @property
    def began_ms(self) -> int:
        return self.first[0].at_ms

    def may_be_repeated(self, entry: _Entry) -> bool:
        """Whether a copy can have been unacknowledged when the connection ended."""
        return entry.at_ms >= (self.last or self.first)[-1].at_ms - IN_DOUBT_MS


@dataclass(slots=True, eq=False)
class _Chain:
    """Copies of one message, at most one on every connection."""

    original: Position
    copies: dict[str, _Entry] = field(default_factory=dict)


@dataclass(slots=True)
class _Client:
    connections: OrderedDict[str, _Connection] = field(default_factory=OrderedDict)
    #: By content, in the order in which they began.
    chains: dict[bytes, dict[_Chain, None]] = field(default_factory=dict)
    ids: OrderedDict[str, Position] = field(default_factory=OrderedDict)

    def connection(self, name: str) -> _Connection:
        own = self.connections.get(name)
        if own is None:
            own = self.connections[name] = _Connection(name)
            if len(self.connections) > CONNECTIONS_PER_CLIENT:
                _, oldest = self.connections.popitem(last=False)
                self.forget(oldest, [*oldest.first, *oldest.last])
        return own

    def forget(self, connection: _Connection, entries: Iterable[_Entry]) -> None:
        """Nothing can repeat these any more, nor are they repeats of anything to come."""
        for entry in entries:
            chain = entry.chain
            assert chain is not None
            del chain.copies[connection.name]
            if not chain.copies:
                chains = self.chains[entry.content]
                del chains[chain]
                if not chains:
                    del self.chains[entry.content]

    def may_fit(self, own: _Connection, entry: _Entry) -> bool:
        """Whether there can be a chain that fits: who says the same for hours has many that do not.

        A copy that does not open its connection is no repeat of an earlier connection's, and none
        of its own.
        """
        others = (each for each in self.connections.values() if each is not own)
        return any(entry.is_opening or each.began_ms > own.began_ms for each in others)

    def fits(self, chain: _Chain, own: _Connection, entry: _Entry) -> bool:
        """Whether a copy may be of the chain's message, by its neighbours in time."""
        if own.name in chain.copies:
            return False
        others = sorted(
            (self.connections[name] for name in chain.copies), key=lambda each: each.began_ms
        )
        earlier = [each for each in others if each.began_ms <= own.began_ms]
        later = [each for each in others if each.began_ms > own.began_ms]
        if earlier:
            before = earlier[-1]
            if not (entry.is_opening and before.may_be_repeated(chain.copies[before.name])):
                return False
        if later:
            after = later[0]
            if not (chain.copies[after.name].is_opening and own.may_be_repeated(entry)):
                return False
        return True


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
        name = (client, principal)
        held = self._clients.get(name)
        if held is not None:
            self._clients.move_to_end(name)
            return held
        held = self._clients[name] = _Client()
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
    own = held.connection(connection)
    gone = own.add(entry)
    chains = held.chains.get(entry.content)
    if chains is None:
        chains = held.chains[entry.content] = {}
    fitting = (each for each in chains if held.fits(each, own, entry))
    chain = next(fitting, None) if held.may_fit(own, entry) else None
    is_repeat = chain is not None
    if chain is None:
        chain = _Chain(entry.position)
        chains[chain] = None
    chain.copies[connection] = entry
    entry.chain = chain
    if gone:
        held.forget(own, gone)
    return chain.original if is_repeat else None
