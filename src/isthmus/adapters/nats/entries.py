"""One message of a stream, by whichever way it comes."""

from __future__ import annotations

from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from isthmus.core.cursor import message_id


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream message."""

    sequence: int
    subject: str
    payload: bytes
    #: The batch id, where there is one.
    id: str
    #: When this stream had it, in seconds since 1970 by the server's clock; 0 where not said.
    stored_s: float = 0.0


def entry_id(entry: Entry) -> str:
    """The id by which a cursor remembers an entry."""
    return entry.id or message_id(entry.subject, entry.payload)


def delivered(message: Msg) -> Entry:
    """What a consumer has delivered."""
    # $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>
    place = message.reply.split(".")
    batch_id = (message.headers or {}).get("Nats-Msg-Id", "")
    stored_s = int(place[7]) / 1e9
    return Entry(int(place[5]), message.subject, message.data, batch_id, stored_s)


def looked_up(found: RawStreamMsg) -> Entry:
    """What a stream was asked for."""
    return Entry(
        found.seq or 0,
        found.subject or "",
        found.data or b"",
        (found.headers or {}).get("Nats-Msg-Id", ""),
    )


async def entry_at(client: Client, stream: str, sequence: int, subject: str = "") -> Entry | None:
    """What stands at a sequence, or, of a subject, there or next; None where nothing does.

    Raises NatsError and TimeoutError.
    """
    js = client.jetstream()
    try:
        if not subject:
            return looked_up(await js.get_msg(stream, sequence, direct=True))
        return looked_up(await js.get_msg(stream, sequence, subject, direct=True, next=True))
    except NotFoundError:
        return None


async def id_at(client: Client, stream: str, sequence: int) -> str | None:
    """The id of what stands at a sequence; None where nothing does. Raises as ``entry_at``."""
    entry = await entry_at(client, stream, sequence) if sequence else None
    return None if entry is None else entry_id(entry)
