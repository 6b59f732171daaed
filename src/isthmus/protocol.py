"""What the processes of a region, and the regions among each other, say through NATS.

    peer.<region>.report      <region> says what it has of ours: every 100 ms, and on progress
    peer.<region>.hello       <region> asks where it may resume pulling from us
    peer.<region>.cursors     <region> starts, and asks how far we have pulled from it
    peer.<region>.head        <region> asks how far it must pull to have caught up
    region.heartbeat          this region's services to its gateways and APIs: every 100 ms, and on
                              a change
    region.catch-up           a gateway or an API asks for the position from which it may admit
    region.will               the services ask a gateway to publish a will that is due
    region.route              this site's director: where the stable name leads now
    region.gateway            a gateway's figures: every second
    region.connected          a gateway has let clients in: their other connections are older
    region.presence           a gateway tells the services who comes and goes: ten times a second
                              if anybody does, and every second
    region.census             the services ask a gateway to tell of everybody who is there
    region.device-request     a gateway asks an API what a device asks on a reserved topic
    region.connectivity       an API asks the services who is connected
    region.registration       a gateway asks an API what becomes of a certificate that nobody
                              has registered
    region.superseded         the services tell a gateway whose connections are not the newest
    region.publish            an API asks a gateway to store a message that came by no connection
    region.subscriptions      an API asks the services what a connection of any region subscribes to
    region.subscribed         the services ask a gateway the same of one that it has
    peer.<region>.subscribed  <region> asks the same of one that we have

All of it is at most once, so nothing here carries a promise by itself: reports are cumulative and
repeated, requests are asked again. Unknown fields are ignored, so that releases can differ.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from isthmus.core.cursor import Cursor
from isthmus.core.presence import Came, Ended, Word
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import InputError
from isthmus.wire.properties import PublishProperties

T = TypeVar("T")

#: Seconds between heartbeats, also when idle.
HEARTBEAT_S = 0.1


class Report(msgspec.Struct, frozen=True):
    """What a peer has of ours, and who it is."""

    region: str
    incarnation: str
    #: How far it has applied our change log.
    log: Cursor
    #: Per writer of ours: the highest contiguous batch in its own fsynced stream.
    writers: dict[str, int]
    #: False while its streams take no copies: it lives, and is no second region.
    storing: bool = True


class HelloRequest(msgspec.Struct, frozen=True):
    """Cursors of the peer that wants to pull from us."""

    log: Cursor
    bus: Cursor


class HelloReply(msgspec.Struct, frozen=True):
    """Where it may resume: after these sequences."""

    incarnation: str
    log_after: int
    bus_after: int


class CursorsReply(msgspec.Struct, frozen=True):
    """How far this region has pulled from the one that asks."""

    log: Cursor
    bus: Cursor


class HeadReply(msgspec.Struct, frozen=True):
    """What the asking region must have to be level with this one."""

    incarnation: str
    log_sequence: int
    #: Per writer of the *asking* region: what we hold of its own bus.
    writers: dict[str, int]


class Heartbeat(msgspec.Struct, frozen=True):
    """A region's state, for its gateways and APIs."""

    #: Epochs count within an incarnation: a wiped region begins again.
    incarnation: str
    #: Whether it may acknowledge by itself.
    alone: bool
    alone_epoch: int


class Shed(msgspec.Struct, frozen=True):
    """What one gateway process holds back now, and what it has turned away since it began."""

    #: Connections that wait, unread, for their turn to shake hands.
    waiting: int = 0
    #: Connections that were turned away, by the reason: ``full`` (too many wait),
    #: ``waited-too-long`` and ``left`` before their turn; and of those that sent a CONNECT,
    #: ``connections`` (too many clients), ``client-rate`` (too often under one client id) and
    #: ``backlog``.
    refused: dict[str, int] = {}
    #: Publishes, and their bytes, that wait for the stream or for a peer.
    backlog_messages: int = 0
    backlog_bytes: int = 0
    #: Whether that is too much, so that nobody who publishes is read from; and how often it was.
    holding: bool = False
    held: int = 0
    #: QoS 0 messages that a client did not get, as it was behind or over its rate.
    dropped: int = 0
    #: Clients that were cut off because they read too slowly.
    slow: int = 0
    #: Bytes that wait to be sent to clients, by the last count.
    unsent_bytes: int = 0


class GatewayStats(msgspec.Struct, frozen=True):
    """What one gateway process tells of itself, every second."""

    gateway: str
    admission: str
    connections: int
    acknowledged: int
    acknowledged_alone: int
    #: Its view of the items: how far, and a hash over all of them.
    position: int
    view: str
    shed: Shed = Shed()


class Connected(msgspec.Struct, frozen=True):
    """Clients that have connected to one gateway of this region."""

    gateway: str
    #: Of each client when it was let in, in milliseconds since 1970, and the connection's name: the
    #: greater pair is the newer connection.
    clients: dict[str, tuple[int, str]]


class PresenceTold(msgspec.Struct, frozen=True):
    """What one gateway process tells of its clients, in this order."""

    gateway: str
    changes: list[Came | Ended]
    #: Of all who are connected now, as ``core.presence.Roster`` has it, in hexadecimal: it shows
    #: whether anything was lost.
    digest: str
    #: In a census the changes are all who are there of one part of several; 0 parts are no census.
    part: int = 0
    parts: int = 0


class CensusRequest(msgspec.Struct, frozen=True):
    """Tell of everybody who is connected."""

    gateway: str


class Superseded(msgspec.Struct, frozen=True):
    """Close what is still there of these connections; their clients have newer ones."""

    gateway: str
    #: Pairs of client and session.
    connections: list[tuple[str, str]]


#: Of so many clients it is told in one answer.
CONNECTIVITY_MAX = 500


class ConnectivityRequest(msgspec.Struct, frozen=True):
    """What is known of these clients; where none is named, of the first who are connected."""

    clients: Annotated[list[str], msgspec.Meta(max_length=CONNECTIVITY_MAX)] = []
    #: Behind this client id, in order.
    behind: str = ""


class ConnectivityReply(msgspec.Struct, frozen=True):
    """The newest words of clients, in the order that was asked for; of strangers there is none."""

    words: list[Word]


#: Characters of a certificate in PEM: AWS's limit.
CERTIFICATE_MAX = 65_536


#: Seconds that a gateway waits for what becomes of a certificate: for a few writes, and for a
#: second region to have them. An API begins none for which half of that is over.
REGISTRATION_S = 8.0


class RegistrationRequest(msgspec.Struct, frozen=True):
    """A device has come whose certificate is not known, or waits for its activation."""

    certificate: Annotated[str, msgspec.Meta(max_length=CERTIFICATE_MAX)]
    #: Where it came from.
    address: str


class RegionEvent(msgspec.Struct, frozen=True):
    """What the region says to whoever has subscribed to it, and may receive it."""

    topic: str
    payload: bytes


class RegistrationReply(msgspec.Struct, frozen=True):
    """What has become of it. The gateway that asked stores the events."""

    #: Of the certificate; None where nobody registers it.
    status: str | None
    events: list[RegionEvent] = []
    #: False where nothing could be decided now: the device is to come again.
    is_decided: bool = True


class DeviceRequest(msgspec.Struct, frozen=True):
    """What a device has published to a topic of ``core.device_topics``, and may publish there."""

    principal: str
    client: str
    #: Of the thing that its connection belongs to; empty where there is none, and where a question
    #: is quick: nobody wants to know then.
    thing: str
    address: str
    topic: str
    payload: bytes


class DeviceReply(msgspec.Struct, frozen=True):
    """What follows from it; it comes when the promise of what was written is kept."""

    #: Topics and payloads, for the connection that has asked and nobody else.
    answers: list[tuple[str, bytes]] = []
    #: For everybody. The gateway that asked stores them.
    events: list[RegionEvent] = []
    #: Why nothing was done, or nothing is promised; the device has to ask again.
    failed: str = ""
    #: Nothing was changed, and the answer has no room beside others: it is to be asked for alone.
    is_left: bool = False


class DeviceRequestBatch(msgspec.Struct, frozen=True):
    """Those that a gateway asks together: of each connection one, or several about one thing."""

    requests: list[DeviceRequest]


class DeviceReplyBatch(msgspec.Struct, frozen=True):
    """To each of them, in their order; to none of what cannot be read."""

    replies: list[DeviceReply]


class DataRequest(msgspec.Struct, frozen=True):
    """A device asks by HTTPS for an operation of AWS's data plane, which it may carry out."""

    #: What its gateway has found that to be: if it is anything else, it is not done.
    operation: str
    #: What the right to it is to, as the ARNs of policies end.
    resource: str
    principal: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class DataReply(msgspec.Struct, frozen=True):
    """The response to it; it comes when the promise of what was written is kept."""

    status: int
    headers: dict[str, str]
    body: bytes


class PublishRequest(msgspec.Struct, frozen=True):
    """Store a message, which was checked, and answer when its promise is kept."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: PublishProperties | None
    #: What is published again under it was published once.
    identity: str
    #: The access key that signed.
    principal: str


class PublishReply(msgspec.Struct, frozen=True):
    """What became of it."""

    #: Why it is not promised; empty where it is.
    refused: str = ""
    #: The item of what its topic retains by it, encoded; empty where that is as it was.
    item: bytes = b""


class SubscriptionsRequest(msgspec.Struct, frozen=True):
    """What does a connection subscribe to? Nobody answers whose it is not."""

    region: str
    gateway: str
    client: str
    #: The connection's name, as ``core.presence.Present`` has it.
    session: str


class SubscriptionsReply(msgspec.Struct, frozen=True):
    """The filters of a connection, and at which QoS."""

    filters: dict[str, int]


class WillRequest(msgspec.Struct, frozen=True):
    """Publish the will of a client whose connection, of this epoch, has ended."""

    client: str
    epoch: int


class CatchUpReply(msgspec.Struct, frozen=True):
    """The log position that a gateway's view must have applied."""

    position: int


class Route(msgspec.Struct, frozen=True):
    """Where the director of this site serves the stable name to."""

    name: str
    epoch: int
    target: str


def encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def decode(raw: bytes, kind: type[T]) -> T:
    """Read a message; raises InputError for anything else."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except UNDECODABLE as error:
        raise InputError(f"not a {kind.__name__}: {error}") from None
