"""Who is connected where, and what a region says of it when that changes.

A gateway tells its region's services who comes and goes. They make *words* of it: one for each
connection when it is there and one when it has ended. Words are stored in the region's bus beside
the events that clients hear (``core.presence_events``), so whoever holds the events of a region
knows its roster, and can end it when the region dies.

A client's words have versions. Each connection takes a greater one than all that is known of the
client, and is at its end said to have ended under the same one, so of the words of two regions the
newest connection's holds, and of that its end. Who was wrongly said to have ended comes again under
a greater version as soon as its region hears of that.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

import msgspec
from sortedcontainers import SortedSet

from isthmus.core.whereabouts import Whereabouts
from isthmus.wire.reason_codes import ReasonCode

#: How long the version of a client that is gone is remembered, as on AWS.
REMEMBERED_MS = 3_600_000


class DisconnectReason(StrEnum):
    """As AWS IoT names them (developer guide, "Lifecycle events")."""

    API_INITIATED_DISCONNECT = "API_INITIATED_DISCONNECT"
    AUTH_ERROR = "AUTH_ERROR"
    CLIENT_INITIATED_DISCONNECT = "CLIENT_INITIATED_DISCONNECT"
    CLIENT_ERROR = "CLIENT_ERROR"
    CONNECTION_LOST = "CONNECTION_LOST"
    DUPLICATE_CLIENTID = "DUPLICATE_CLIENTID"
    MQTT_KEEP_ALIVE_TIMEOUT = "MQTT_KEEP_ALIVE_TIMEOUT"
    SERVER_ERROR = "SERVER_ERROR"
    SERVER_INITIATED_DISCONNECT = "SERVER_INITIATED_DISCONNECT"
    THROTTLED = "THROTTLED"


_REASONS = {
    ReasonCode.NORMAL_DISCONNECTION: DisconnectReason.CLIENT_INITIATED_DISCONNECT,
    ReasonCode.NOT_AUTHORIZED: DisconnectReason.AUTH_ERROR,
    ReasonCode.SESSION_TAKEN_OVER: DisconnectReason.DUPLICATE_CLIENTID,
    ReasonCode.KEEP_ALIVE_TIMEOUT: DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT,
    ReasonCode.SERVER_BUSY: DisconnectReason.SERVER_ERROR,
    ReasonCode.SERVER_SHUTTING_DOWN: DisconnectReason.SERVER_INITIATED_DISCONNECT,
    ReasonCode.USE_ANOTHER_SERVER: DisconnectReason.SERVER_INITIATED_DISCONNECT,
    ReasonCode.QUOTA_EXCEEDED: DisconnectReason.THROTTLED,
    ReasonCode.ADMINISTRATIVE_ACTION: DisconnectReason.API_INITIATED_DISCONNECT,
}


def reason_of(code: ReasonCode | None) -> DisconnectReason:
    """Why a connection ends that is closed with a code; None where nobody closed it."""
    if code is None:
        return DisconnectReason.CONNECTION_LOST
    return _REASONS.get(code, DisconnectReason.CLIENT_ERROR)


class Present(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A connection, as its gateway tells of it."""

    #: Random; of no two connections.
    session: str
    at_ms: int
    #: The certificate, or the access key.
    principal: str
    address: str = ""
    port: int = 0
    #: Where it has connected to.
    target: str = ""
    target_port: int = 0
    #: As the client asked; None in words of a release that did not say.
    keep_alive_s: int | None = None
    #: How long its session outlives it; 0 ends it with the connection.
    session_expiry_s: int | None = None
    #: Which thing the certificate is attached to exclusively, then.
    thing: str = ""


class Came(msgspec.Struct, frozen=True, array_like=True, tag="came", gc=False):
    """A client has connected."""

    client: str
    present: Present


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="ended", gc=False):
    """The end of a connection, as its gateway tells of it."""

    client: str
    session: str
    at_ms: int
    reason: str


class Word(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a region says of a client's connection: that it is there, or that it has ended."""

    client: str
    version: int
    #: Whose gateway has it, or had.
    region: str
    gateway: str
    present: Present
    has_ended: bool = False
    #: When and why it has; nothing in words of a release that did not say.
    ended_ms: int = 0
    reason: str = ""

    @property
    def order(self) -> tuple[int, str, str, bool, bool, int, str]:
        """The greater word of a client holds: of one end the earliest that is told."""
        end = (bool(self.ended_ms), -self.ended_ms, self.reason)
        return self.version, self.region, self.present.session, self.has_ended, *end


class Listing(NamedTuple):
    """One of several parts of all who are connected at a gateway."""

    clients: Mapping[str, Present]
    part: int = 0
    parts: int = 1

    def covers(self, client: str) -> bool:
        """Whether a client would be in this part if it were connected."""
        return part_of(client, self.parts) == self.part


class Said(NamedTuple):
    """A word that is to be stored with its event, and why the connection has ended if it has."""

    word: Word
    at_ms: int
    reason: DisconnectReason | None = None
    #: The event alone is stored: the client's next word says for itself that this one is over.
    #: Otherwise the region that had the connection would ask whether it is still there.
    is_event_only: bool = False


def part_of(client: str, parts: int) -> int:
    """In which of so many parts of a listing a client is."""
    return zlib.crc32(client.encode()) % parts


def mark(client: str, session: str) -> int:
    """What a connection adds to the digest of its gateway's, which are joined by XOR."""
    found = hashlib.blake2b(f"{session}/{client}".encode(), digest_size=8).digest()
    return int.from_bytes(found, "big")


class Roster:
    """The newest word of each client, of every region."""

    def __init__(self) -> None:
        self._words: dict[str, Word] = {}
        #: Who is connected, for whoever asks for them in order.
        self._connected: SortedSet[str] = SortedSet()
        self._whereabouts = Whereabouts()
        self._digests: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        """How many are connected."""
        return sum(map(len, self._whereabouts.clients.values()))

    def __iter__(self) -> Iterator[Word]:
        return iter(self._words.values())

    def get(self, client: str) -> Word | None:
        """The newest word of a client, which may be that it has gone."""
        return self._words.get(client)

    def known(self, clients: Iterable[str]) -> list[Word]:
        """The newest word of each of these clients of whom anything is known."""
        return [self._words[client] for client in clients if client in self._words]

    def connected(self, behind: str, most: int) -> list[Word]:
        """The words of the first so many who are connected, in order, behind a client id."""
        found = self._connected.irange(minimum=behind, inclusive=(False, True))
        return [self._words[client] for client in islice(found, most)]

    def places(self) -> list[tuple[str, str]]:
        """The gateways that have clients, by region and id."""
        return list(self._whereabouts.clients)

    def at(self, region: str, gateway: str) -> list[Word]:
        """Who is connected at a gateway."""
        clients = self._whereabouts.clients.get((region, gateway), ())
        return [self._words[client] for client in sorted(clients)]

    def digest(self, region: str, gateway: str) -> int:
        """All marks of who is connected at a gateway."""
        return self._digests.get((region, gateway), 0)

    def take(self, word: Word) -> bool:
        """Take a word in; False if a newer one, or this one, is known."""
        held = self._words.get(word.client)
        if held is not None and held.order >= word.order:
            return False
        for each in (held, word):
            if each is not None and not each.has_ended:
                place = (each.region, each.gateway)
                found = self._digests.get(place, 0) ^ mark(each.client, each.present.session)
                self._digests[place] = found
                if not found:
                    del self._digests[place]
        self._words[word.client] = word
        if word.has_ended:
            self._connected.discard(word.client)
        else:
            self._connected.add(word.client)
        self._whereabouts.note(word.client, None if word.has_ended else (word.region, word.gateway))
        return True

    def forget(self, before_ms: int) -> list[str]:
        """Forget who went before that; returns whom."""
        gone = [
            word.client
            for word in self._words.values()
            if word.has_ended and max(word.present.at_ms, word.ended_ms) < before_ms
        ]
        for client in gone:
            del self._words[client]
        return gone


class Heard(NamedTuple):
    """What follows from what was heard."""

    #: To be stored, in this order.
    said: list[Said]
    #: Connections of this region that are to be closed: their clients have newer ones.
    over: Sequence[Word] = ()
    #: Gateways of this region that are to list who is there.
    doubted: Set[str] = frozenset()


class Announcer:
    """What one region has to say, given what its gateways tell and what is known of the others.

    It goes on at once from what it has said. One that begins anew has to read its own region's
    words before it listens to gateways: it would say some twice, and under older versions.
    """

    def __init__(self, region: str, roster: Roster) -> None:
        self._region = region
        self.roster = roster

    def connected(self, gateway: str, client: str, present: Present) -> Heard:
        """A client has connected to a gateway; whatever was known of it before has ended."""
        held = self.roster.get(client)
        version = max(present.at_ms, held.version + 1 if held else 0)
        word = Word(client, version, self._region, gateway, present)
        said: list[Said] = []
        over: list[Word] = []
        if held is not None and not held.has_ended:
            if held.present.session == present.session:
                return Heard([])
            if held.region == self._region:
                # By the same times gateways of one region tell each other whose is older.
                if held.present.at_ms > present.at_ms:
                    return Heard([], [word])
                over.append(held)
            said.append(_duplicate(held, present.at_ms))
        self.roster.take(word)
        said.append(Said(word, present.at_ms))
        return Heard(said, over)

    def ended(self, ended: Ended) -> Heard:
        """A connection has ended; nothing to say if that is known, or there is a newer one."""
        held = self.roster.get(ended.client)
        if held is None or held.has_ended or held.present.session != ended.session:
            return Heard([])
        try:
            reason = DisconnectReason(ended.reason)
        except ValueError:
            reason = DisconnectReason.SERVER_ERROR
        return Heard([self._end(held, ended.at_ms, reason)])

    def listed(self, gateway: str, listing: Listing, now_ms: int) -> Heard:
        """A part of those who are connected at a gateway of this region, and it has no other."""
        said: list[Said] = []
        over: list[Word] = []
        for word in self.roster.at(self._region, gateway):
            present = listing.clients.get(word.client)
            is_there = present is not None and present.session == word.present.session
            if listing.covers(word.client) and not is_there:
                said.append(self._end(word, now_ms, DisconnectReason.CONNECTION_LOST))
        for client, present in listing.clients.items():
            heard = self.connected(gateway, client, present)
            said += heard.said
            over += heard.over
        return Heard(said, over)

    def died(self, region: str, gateway: str, now_ms: int) -> Heard:
        """A gateway is no more, here or in a region that this one speaks for."""
        there = self.roster.at(region, gateway)
        return Heard([self._end(word, now_ms, DisconnectReason.SERVER_ERROR) for word in there])

    def stored(self, words: Iterable[Word], now_ms: int) -> Heard:
        """Take in what was stored, here or in another region.

        A client of this region's that is elsewhere now has left it, which nobody else may say where
        this region's events are heard. A gateway of this region is doubted of which somebody else
        said that a connection has ended: it may not have.
        """
        said: list[Said] = []
        over: list[Word] = []
        doubted: set[str] = set()
        for word in words:
            held = self.roster.get(word.client)
            is_news = self.roster.take(word)
            is_own, is_there = word.region == self._region, not word.has_ended
            if not is_news:
                # Read again after a start: maybe nobody has said yet that it is over.
                if held and held.region != self._region and is_own and is_there:
                    said.append(_duplicate(word, now_ms))
            elif is_own:
                doubted.add(word.gateway)
            elif held is not None and held.region == self._region and not held.has_ended:
                over.append(held)
                said.append(_duplicate(held, now_ms))
        return Heard(said, over, doubted)

    def _end(self, word: Word, at_ms: int, reason: DisconnectReason) -> Said:
        over = msgspec.structs.replace(word, has_ended=True, ended_ms=at_ms, reason=reason.value)
        self.roster.take(over)
        return Said(over, at_ms, reason)


def _duplicate(word: Word, at_ms: int) -> Said:
    ended = msgspec.structs.replace(word, has_ended=True)
    return Said(ended, at_ms, DisconnectReason.DUPLICATE_CLIENTID, is_event_only=True)
