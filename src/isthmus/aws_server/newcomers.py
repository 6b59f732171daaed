"""Answers gateways that ask about devices with certificates which nobody has registered.

As with a request of HTTP: the region may serve, the view has what was answered anywhere in it, the
device is dealt with, and the answer leaves once a second region has what was written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.aws import models, newcomers
from isthmus.aws.context import Context
from isthmus.aws.requests import Call
from isthmus.aws_server.exchange import WhenKept
from isthmus.errors import InputError, Unavailable
from isthmus.protocol import REGISTRATION_S, RegionEvent, RegistrationReply, RegistrationRequest

_log = logging.getLogger(__name__)

#: Dealt with at once, so that requests of HTTP have their share; and those that wait for it. A
#: gateway that asks for more is told to let its devices come again.
AT_ONCE_MAX = 32
WAITING_MAX = 1_000
#: Seconds of those that a gateway waits which are left to the way of the answer.
ANSWER_S = 1.0
_LATER = RegistrationReply(None, is_decided=False)


class Newcomers:
    """Those that this process of the API is asked about."""

    def __init__(
        self,
        may_serve: Callable[[], Awaitable[None]],
        context: Callable[[Call], Context],
        promise: Callable[[], WhenKept],
    ) -> None:
        """As ``aws_server.exchange`` takes them; here nobody calls, so all is allowed."""
        self._may_serve = may_serve
        self._context = context
        self._promise = promise
        service = models.service(models.IOT)
        #: What is written for a device is what RegisterThing writes, and refused as by that.
        self._call = Call(service, service.operations["RegisterThing"], {})
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._answering: set[asyncio.Task[None]] = set()

    async def asked(self, message: Msg) -> None:
        """Answer, while more is asked."""
        if len(self._answering) >= WAITING_MAX:
            await message.respond(protocol.encode(_LATER))
            return
        answering = asyncio.create_task(self._answer(message))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)

    async def _answer(self, message: Msg) -> None:
        until_s = asyncio.get_running_loop().time() + REGISTRATION_S - ANSWER_S
        try:
            request = protocol.decode(message.data, RegistrationRequest)
            # What nobody waits for any more would be written, and its event lost.
            async with asyncio.timeout(REGISTRATION_S / 2):
                await self._room.acquire()
            try:
                reply = await self._reply(request, until_s)
            finally:
                self._room.release()
        except (InputError, Unavailable, TimeoutError) as error:
            extra = {"action": "newcomer-waits", "reason": str(error)}
            _log.info("a newcomer is not decided on", extra=extra)
            reply = _LATER
        except Exception:
            _log.exception("a newcomer failed", extra={"action": "newcomer-error"})
            reply = _LATER
        # A gateway that hears nothing lets its device come again.
        with contextlib.suppress(NatsError):
            await message.respond(protocol.encode(reply))

    async def _reply(self, request: RegistrationRequest, until_s: float) -> RegistrationReply:
        await self._may_serve()
        kept = self._promise()
        context = self._context(self._call)
        outcome = await newcomers.come(context, request.certificate, request.address)
        extra = {"action": "newcomer", "status": outcome.status, "reason": outcome.reason}
        _log.info("a device has come by itself", extra={**extra, "address": request.address})
        events = [RegionEvent(*each) for each in outcome.events]
        try:
            if context.written:
                async with asyncio.timeout_at(until_s):
                    await kept(context.written)
        except (TimeoutError, Unavailable):
            # The device may be active by now, and is not asked about when it comes again.
            return RegistrationReply(None, events, is_decided=False)
        return RegistrationReply(outcome.status, events)
