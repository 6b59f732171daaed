"""One request and its response, and the line in the log that tells of both.

In this order: the region may serve, the view has what was answered anywhere in the region, the
signature is right, the call is valid, the role allows it, the handler has carried it out, and what
it wrote is in a second region. Only then does the answer leave.
"""

from __future__ import annotations

import inspect
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from isthmus.aws import handlers, models, requests, responses
from isthmus.aws.context import Context
from isthmus.aws.models import IOT, Service
from isthmus.aws.requests import Call, HttpRequest
from isthmus.aws.responses import HttpResponse
from isthmus.aws.service_error import ServiceError
from isthmus.aws_server.callers import Caller
from isthmus.aws_server.listener import Read
from isthmus.clock import monotonic_s, now_ms
from isthmus.core.written import Written
from isthmus.errors import Unavailable
from isthmus.region.promise import Kept

_log = logging.getLogger(__name__)

REPLICATED, CONFIRMED_BY = "x-isthmus-replicated", "x-isthmus-confirmed-by"
INTERNAL = "An internal error has occurred."
#: Makes what a handler acts on.
MakeContext = Callable[[Call, str], Context]
#: Waits until the promise of what was written is kept; raises TimeoutError where it is not, and
#: Unavailable where nobody can say.
WhenKept = Callable[[Written], Awaitable[Kept]]
#: Has topics and payloads published, and waits for nobody.
Say = Callable[[Sequence[tuple[str, bytes]]], None]


class Judges(Protocol):
    """Who says who calls, and whether that one may."""

    def caller(self, request: HttpRequest, now_s: float) -> Caller:
        """Raises ServiceError for who may not call at all."""
        ...

    def authorize(self, caller: Caller, call: Call) -> None:
        """Raise ServiceError for who may not carry out a call."""
        ...


class Exchanges:
    """Answers requests."""

    def __init__(
        self,
        may_serve: Callable[[], Awaitable[None]],
        callers: Judges,
        context: MakeContext,
        promise: Callable[[], WhenKept],
        say: Say,
    ) -> None:
        """``may_serve`` returns when the view may be read; raises Unavailable where it may not.

        ``promise`` is asked before a handler writes: what it gives is of the region as it is then.
        """
        self._may_serve = may_serve
        self._callers = callers
        self._context = context
        self._promise = promise
        self._say = say

    async def answer(self, read: Read) -> HttpResponse:
        """Whatever happens, there is a response."""
        exchange = _Exchange()
        try:
            response = await self._carry_out(exchange, read)
        except ServiceError as error:
            response = exchange.refuse(error)
        except Unavailable as error:
            exchange.line["reason"] = str(error)
            message = f"{error.args[0]}. Send the request again, here or to another region."
            response = exchange.refuse(ServiceError("ServiceUnavailableException", message))
        except Exception:
            _log.exception("a request failed", extra={**exchange.line, "action": "aws-error"})
            response = exchange.refuse(ServiceError("InternalFailureException", INTERNAL))
        return exchange.answered(response)

    def not_http(self, reason: str) -> HttpResponse:
        """The response to what is no request at all."""
        exchange = _Exchange()
        exchange.line["reason"] = reason
        message = "The request is not HTTP that can be read"
        return exchange.answered(exchange.refuse(ServiceError("SerializationException", message)))

    async def _carry_out(self, exchange: _Exchange, read: Read) -> HttpResponse:
        line = exchange.line
        request = await read()
        await self._may_serve()
        caller = self._callers.caller(request, now_ms() / 1000)
        exchange.service, line["caller"] = caller.service, caller.key_id
        call = requests.read(caller.service, request)
        line["operation"] = call.operation.name
        self._callers.authorize(caller, call)
        handle = handlers.OPERATIONS.handler(call)
        kept = self._promise()
        context = self._context(call, caller.key_id)
        output = handle(context, call.parameters)
        if inspect.isawaitable(output):
            output = await output
        headers = await _confirmations(kept, context.written) if context.written else {}
        self._say(context.events)
        response = responses.write(call, output, exchange.request_id)
        return response._replace(headers=response.headers | headers)


class _Exchange:
    """What is known of a request so far."""

    def __init__(self) -> None:
        self.request_id = str(uuid.uuid4())
        self._began_s = monotonic_s()
        #: Until it is known who calls: what is refused before that is the same in both.
        self.service: Service = models.service(IOT)
        self.line: dict[str, Any] = {"action": "aws-request", "request_id": self.request_id}

    def answered(self, response: HttpResponse) -> HttpResponse:
        """Tell the log."""
        self.line["status"] = response.status
        self.line["ms"] = round(1000 * (monotonic_s() - self._began_s), 1)
        _log.info("a request is answered", extra=self.line)
        return response

    def refuse(self, error: ServiceError) -> HttpResponse:
        self.line["error"] = error.code
        # The message may quote what was sent; who was refused for what he is has a reason.
        self.line.setdefault("reason", getattr(error, "reason", error.message))
        return responses.refuse(self.service, error, self.request_id)


async def _confirmations(when_kept: WhenKept, written: Written) -> dict[str, str]:
    """Wait for the promise of what was written; return the headers that say who has it."""
    try:
        kept = await when_kept(written)
    except TimeoutError:
        message = (
            "This is stored in this region, and no second region has confirmed it in time. "
            "Sending the request again is safe"
        )
        raise ServiceError("ServiceUnavailableException", message) from None
    headers = {REPLICATED: "true" if kept.replicated else "false"}
    if kept.confirmed_by:
        headers[CONFIRMED_BY] = ",".join(kept.confirmed_by)
    return headers
