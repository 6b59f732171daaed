"""What a region must remember of itself, in its STATE stream: written before it takes effect."""

from __future__ import annotations

from typing import TypeVar

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from isthmus import protocol
from isthmus.adapters.nats.streams import STATE
from isthmus.errors import Unavailable

T = TypeVar("T")

INCARNATION = "state.incarnation"
ALONE = "state.alone"
#: The items whose events are being told.
TELLING = "state.telling"


def cursor_name(peer: str, stream: str) -> str:
    """``stream`` is ``log`` or ``bus``."""
    return f"state.cursor.{peer}.{stream}"


def first_fill_name(peer: str) -> str:
    """What was read of a peer's log while nothing was known of that peer."""
    return f"state.first-fill.{peer}"


def told_name(peer: str) -> str:
    """Up to which revision of our own log it is told what has come from a peer."""
    return f"state.told.{peer}"


def read_name(origin: str) -> str:
    """How far the bus stream of a region was read here."""
    return f"state.read.{origin}"


def presence_name(number: int) -> str:
    """One part of who is connected where."""
    return f"state.presence.{number}"


def alone_range_name(writer: str) -> str:
    return f"state.alone-range.{writer}"


class StateStore:
    """Small values by name; a write is on disk when it returns."""

    def __init__(self, client: Client) -> None:
        self._js = client.jetstream(timeout=2)

    async def get(self, name: str, kind: type[T]) -> T | None:
        try:
            found = await self._js.get_last_msg(STATE, name)
        except NotFoundError:
            return None
        except (TimeoutError, NatsError) as error:
            raise Unavailable(f"the state stream does not answer: {error!r}") from error
        assert found.data is not None
        return protocol.decode(found.data, kind)

    async def put(self, name: str, value: object) -> None:
        try:
            await self._js.publish(name, protocol.encode(value), stream=STATE)
        except (TimeoutError, NatsError) as error:
            raise Unavailable(f"the state stream does not answer: {error!r}") from error
