"""Carries out what devices ask by HTTPS, as gateways pass it on: operations of AWS's data plane.

As ``exchange`` does for who signs. The gateway has found out who asks, and whether it may.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.aws import models
from isthmus.aws.models import IOT_DATA
from isthmus.aws.requests import Call, HttpRequest
from isthmus.aws_server.callers import Caller, Refused
from isthmus.aws_server.exchange import Exchanges, MakeContext, Say, WhenKept
from isthmus.aws_server.serving import Serving
from isthmus.core import rest
from isthmus.errors import InputError
from isthmus.protocol import DataReply, DataRequest

_log = logging.getLogger(__name__)


class DataRequests:
    """Those that one process of the API answers."""

    def __init__(
        self,
        client: Client,
        is_open: Callable[[], bool],
        may_serve: Callable[[], Awaitable[None]],
        context: MakeContext,
        promise: Callable[[], WhenKept],
        say: Say,
    ) -> None:
        """``is_open``: whether the region has caught up; ``may_serve`` waits for the view too."""
        self._may_serve = may_serve
        self._context = context
        self._promise = promise
        self._say = say
        self.run = Serving(client, "region.data-request", is_open, self._answer).run

    async def _answer(self, message: Msg) -> None:
        try:
            asked = protocol.decode(message.data, DataRequest)
            judged = _Judged(asked)
            exchanges = Exchanges(self._may_serve, judged, self._context, self._promise, self._say)
            found = await exchanges.answer(judged.request)
            await message.respond(protocol.encode(DataReply(*found)))
        except (InputError, NatsError) as error:
            # The gateway hears nothing, and says so.
            extra = {"action": "data-request", "reason": repr(error)}
            _log.warning("what a device has asked is not answered", extra=extra)


class _Judged:
    """A request whose gateway says who asks, and what for."""

    def __init__(self, asked: DataRequest) -> None:
        self._asked = asked

    async def request(self) -> HttpRequest:
        asked = self._asked
        return HttpRequest(asked.method, asked.target, tuple(asked.headers), asked.body)

    def caller(self, request: HttpRequest, now_s: float) -> Caller:
        """The device, and the data plane."""
        return Caller(self._asked.principal, models.service(IOT_DATA))

    def authorize(self, caller: Caller, call: Call) -> None:
        """Raise Refused for anything else than the gateway has judged."""
        name = call.operation.name
        found = next((each for each in rest.OPERATIONS if each.name == name), None)
        judged = self._asked.operation, self._asked.resource
        if found is None or (name, found.right_to(call.parameters)) != judged:
            reason = f"its gateway has taken {name} for {judged[0]} of {judged[1][:256]!r}"
            raise Refused("ForbiddenException", "Forbidden", reason)
