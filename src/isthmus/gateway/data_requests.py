"""Asks the region's API what devices ask by HTTPS, and may: a gateway has no models and no writes.

The request goes as it came, so that the models are read once, and with what its gateway has found
it to be, which is what was judged: an API that reads it as anything else does not carry it out.
"""

from __future__ import annotations

import asyncio

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.core.rest import Asked, passing
from isthmus.errors import InputError
from isthmus.gateway.requests import HANDLING_S
from isthmus.gateway.rest_connection import Head, Response
from isthmus.protocol import DataReply, DataRequest

#: Requests that are asked at once. The others wait, and each is one of its connection.
AT_ONCE = 64


class DataRequests:
    """Those of one gateway process."""

    def __init__(self, client: Client, promise_timeout_s: float) -> None:
        self._client = client
        self._timeout_s = promise_timeout_s + HANDLING_S
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def ask(self, principal: str, head: Head, asked: Asked, body: bytes) -> Response:
        """The API's response, whatever it is; or Refused, where there is none in time."""
        request = DataRequest(
            asked.operation.name,
            asked.resource,
            principal,
            head.method,
            head.target,
            list(head.headers),
            body,
        )
        try:
            async with self._at_once:
                message = await self._client.request(
                    "region.data-request", protocol.encode(request), timeout=self._timeout_s
                )
            reply = protocol.decode(message.data, DataReply)
        except (NatsError, TimeoutError, InputError) as error:
            raise passing("The API of this region does not answer", repr(error)) from None
        return Response(reply.status, reply.headers, reply.body)
