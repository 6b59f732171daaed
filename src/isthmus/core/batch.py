"""The bus's record: a batch of messages that one gateway process stored together.

A *writer* is one start of one gateway process's lane, with a random 128-bit id. Its batches are
numbered 1, 2, 3 ... without gaps: a peer confirms, per writer, the highest contiguous number that
its own fsynced stream holds. Batches are copied between regions byte for byte; fields are only ever
added at the end, so that releases read each other's.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from isthmus.core.presence import Word
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import InputError
from isthmus.wire.properties import PublishProperties


class Source(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One connection of one client, as its messages name it."""

    #: Random per connection: a client repeats a message only on another connection.
    connection: str
    client: str
    #: Certificate id.
    principal: str


class Share(NamedTuple):
    """Whose a message is, of one group that shares a subscription (``core.shares``)."""

    client: str
    #: As the client subscribed, ``$share/NAME/FILTER``.
    topic_filter: str


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One publish, as the gateway accepted it."""

    #: Index into the batch's sources.
    source: int
    topic: str
    payload: bytes
    qos: int
    #: The publish carried DUP: a hint for people, proof of nothing.
    dup: bool
    #: Milliseconds since 1970 when the gateway had read it.
    at_ms: int
    #: The client's own identity of the message, where it gives one; empty otherwise.
    id: str = ""
    #: What came with the message in MQTT 5. It is an array that releases must agree on in length:
    #: its fields are the standard's, which are final; what we would add is a field here.
    properties: PublishProperties | None = None
    #: The publish carried RETAIN.
    retain: bool = False
    #: One of each group that shares a subscription to it.
    shares: tuple[Share, ...] = ()
    #: It was stored before, and is now for those of ``shares`` and nobody else.
    is_handed_over: bool = False


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What a writer stored as one stream message."""

    origin: str
    writer: str
    number: int
    sources: tuple[Source, ...]
    messages: tuple[Message, ...]
    #: Encoded items that go with the messages (``core.carried``): every region that has the batch
    #: joins them into its log.
    items: tuple[bytes, ...] = ()
    #: What the region says of who is connected (``core.presence``).
    presence: tuple[Word, ...] = ()


class Carried(msgspec.Struct, frozen=True, array_like=True):
    """A batch of which the messages are not read."""

    origin: str
    writer: str
    number: int
    sources: msgspec.Raw
    messages: msgspec.Raw
    items: tuple[bytes, ...] = ()
    presence: tuple[Word, ...] = ()


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Batch)
_CARRIED = msgspec.msgpack.Decoder(Carried)


def encode(batch: Batch) -> bytes:
    return _ENCODER.encode(batch)


def decode(raw: bytes) -> Batch:
    """Read a batch; raises InputError for anything else."""
    try:
        return _DECODER.decode(raw)
    except UNDECODABLE as error:
        raise InputError(f"not a batch: {error}") from None


def carried_by(raw: bytes) -> Carried:
    """Read an encoded batch and pass its messages over; raises InputError."""
    try:
        return _CARRIED.decode(raw)
    except UNDECODABLE as error:
        raise InputError(f"not a batch: {error}") from None


def batch_id(writer: str, number: int) -> str:
    """What batches are de-duplicated by."""
    return f"{writer}:{number}"
