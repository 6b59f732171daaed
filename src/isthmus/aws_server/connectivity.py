"""Who is connected, asked of the region's services: they know it of every region's clients.

What a connection is subscribed to its gateway knows alone, and the services ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.core.presence import Word
from isthmus.errors import InputError, Unavailable
from isthmus.protocol import (
    CONNECTIVITY_MAX,
    ConnectivityReply,
    ConnectivityRequest,
    SubscriptionsReply,
    SubscriptionsRequest,
)

T = TypeVar("T")

#: Usually it is a millisecond or two.
TIMEOUT_S = 2.0


class Connectivity:
    """What the services of this region know."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def known(self, clients: Sequence[str]) -> list[Word]:
        """The newest word of each of these clients of whom anything is known."""
        found: list[Word] = []
        for first in range(0, len(clients), CONNECTIVITY_MAX):
            asked = list(clients[first : first + CONNECTIVITY_MAX])
            found += await self._ask(ConnectivityRequest(clients=asked))
        return found

    async def connected(self, behind: str) -> list[Word]:
        """The words of the next who are connected, in order; none where there is nobody more."""
        return await self._ask(ConnectivityRequest(behind=behind))

    async def subscriptions(self, word: Word) -> dict[str, int]:
        """The filters of a connection, and at which QoS; in any region that can be reached."""
        request = SubscriptionsRequest(word.region, word.gateway, word.client, word.present.session)
        return (await self._request("region.subscriptions", request, SubscriptionsReply)).filters

    async def _ask(self, request: ConnectivityRequest) -> list[Word]:
        return (await self._request("region.connectivity", request, ConnectivityReply)).words

    async def _request(self, subject: str, request: object, kind: type[T]) -> T:
        try:
            raw = protocol.encode(request)
            message = await self._client.request(subject, raw, timeout=TIMEOUT_S)
            return protocol.decode(message.data, kind)
        except (NatsError, TimeoutError, InputError) as error:
            raise Unavailable("The services do not say who is connected") from error
