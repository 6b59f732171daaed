"""Answers what devices ask by HTTPS, who are known by their certificates (``core.rest``).

A device is let in as at a CONNECT, for each of its requests, and what it publishes is taken in as
the API's is: under an identity of its own, and by no client. It is answered when the promise of its
topic is kept, or with QoS 0 once it is on its way. Whatever else it asks, it may do so by its
policies or it is refused here, and the region's API answers (``data_requests``).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from functools import partial

import msgspec

from isthmus.clock import monotonic_s
from isthmus.core import publishing, rest, sigv4
from isthmus.core.connecting import Refusal
from isthmus.core.message_properties import identity_of
from isthmus.core.permissions import Permissions
from isthmus.core.policy import Authorizer
from isthmus.core.rest import Refused, passing
from isthmus.core.session import may_publish
from isthmus.core.view import Concerned, View
from isthmus.gateway.data_requests import DataRequests
from isthmus.gateway.newcomers import Newcomers
from isthmus.gateway.publishing import Asked, Publishing
from isthmus.gateway.rest_connection import Head, Question, Response, RestConnection
from isthmus.gateway.shedding import Shedding
from isthmus.gateway.stream import Http
from isthmus.gateway.websocket import is_of_another_site
from isthmus.tasks import end
from isthmus.wire.packets import Publish

_log = logging.getLogger(__name__)

#: Bytes of the bodies of all connections: who asks slowly holds what he has sent.
BODIES_MAX_BYTES = 32 * 1024**2
FORBIDDEN = "ForbiddenException"
INTERNAL = "An internal error has occurred."
UNSIGNED = "Missing Authentication Token"


class Rest:
    """Those of one gateway process."""

    def __init__(
        self,
        view: View,
        permissions: Permissions,
        publishing: Publishing,
        shedding: Shedding,
        newcomers: Newcomers,
        data_requests: DataRequests,
    ) -> None:
        self._view = view
        self._permissions = permissions
        self._publishing = publishing
        self.shedding = shedding
        self._newcomers = newcomers
        self._data_requests = data_requests
        self._open: set[RestConnection] = set()
        self._of: dict[str, set[RestConnection]] = {}
        self._bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    now_s = staticmethod(monotonic_s)

    # Connections

    def take(self, transport: asyncio.Transport, http: Http) -> None:
        """Go on with a connection on which HTTP is spoken."""
        if len(self._open) >= self.shedding.limits.connections_max:
            self.shedding.refused("connections")
            transport.abort()
            return
        connection = RestConnection(self, http.stream, transport)
        self._open.add(connection)
        self._of.setdefault(connection.principal, set()).add(connection)
        transport.set_protocol(connection)
        connection.received(http.data)

    def closed(self, connection: RestConnection) -> None:
        self._open.discard(connection)
        peers = self._of.get(connection.principal, set())
        peers.discard(connection)
        if not peers:
            self._of.pop(connection.principal, None)

    def changed(self, concerned: Concerned) -> None:
        """The rights of some may be others now; whether they may be here at all is always asked."""
        of = self._of if concerned.is_anybody else concerned.principals
        for principal in of:
            for connection in self._of.get(principal, ()):
                connection.rights = None

    def sweep(self, now_s: float) -> None:
        """Close who takes too long; called every second or so."""
        for connection in list(self._open):
            if now_s > connection.until_s:
                connection.close("it has taken too long", at_once=True)

    def drain(self) -> None:
        """Let every connection end with its next answer: who comes again may come elsewhere."""
        for connection in self._open:
            connection.is_drained = True

    async def stop(self) -> None:
        """Answer nobody any more."""
        for connection in list(self._open):
            connection.close("the gateway stops")
        await end(self._tasks)

    def takes(self, size: int) -> bool:
        """Count bytes of bodies that are kept, or no longer; whether there is room for them."""
        has_room = self._bytes + size <= BODIES_MAX_BYTES
        if has_room:
            self._bytes += size
        return has_room

    # Questions

    def question(self, connection: RestConnection, head: Head) -> Question:
        """Judge the head of a request: what is refused by that is not read."""
        try:
            self._admit(connection, head)
            if reason := self._view.refusal(connection.principal):
                answer = partial(self._turn_away, connection, reason)
                return Question(answer, wants_body=False, is_last=True)
            asked = rest.asked(head.method, head.target)
            if asked.operation is not rest.PUBLISH:
                self._authorize(connection, asked)
                return Question(partial(self._relay, connection, head, asked))
            publish = rest.publish(asked, head.headers)
            self._authorize_publish(connection, publish)
        except Refused as error:
            return self.refusal(error, is_last=not connection.principal)
        return Question(partial(self._publish, connection, publish))

    def refusal(self, error: Refused, *, is_last: bool = False, status: int = 0) -> Question:
        """What answers by a refusal; ``status`` is another one than the error has."""

        async def answer(_: bytes) -> Response:
            return _refused(error, status)

        return Question(answer, wants_body=False, is_last=is_last)

    def _admit(self, connection: RestConnection, head: Head) -> None:
        """Raise Refused for who could not be let in, whatever he asks."""
        self._check_gate()
        if sigv4.is_signed(sigv4.Request(head.method, head.target, head.headers)):
            raise Refused(FORBIDDEN, "What is signed is answered by the API, at its own address")
        if not connection.principal:
            reason = "a client certificate is needed"
            raise Refused("MissingAuthenticationTokenException", UNSIGNED, reason)
        if is_of_another_site(head.header("origin"), head.header("host")):
            raise Refused(FORBIDDEN, "A page of another site may not use this certificate")

    def _check_gate(self) -> None:
        if not self._publishing.is_open:
            raise passing("This region is catching up with its peers")

    def _rights(self, connection: RestConnection) -> Authorizer:
        if connection.rights is None:
            principal, address = connection.principal, connection.address
            connection.rights = self._permissions.without_client(principal, address)
        return connection.rights

    def _authorize(self, connection: RestConnection, asked: rest.Asked) -> None:
        allowed, reason = self._rights(connection).allows(asked.operation.action, asked.resource)
        if not allowed:
            raise Refused(FORBIDDEN, "Forbidden", reason)

    def _authorize_publish(self, connection: RestConnection, publish: Publish) -> None:
        rights = self._rights(connection)
        allowed, reason = may_publish(rights, publish.topic, retain=publish.retain)
        if not allowed:
            raise Refused(FORBIDDEN, "Forbidden", reason)

    def _check_still(self, connection: RestConnection) -> None:
        """The body has taken its time: everything may be different from when the head came."""
        self._check_gate()
        if reason := self._view.refusal(connection.principal):
            raise Refused(FORBIDDEN, "Forbidden", reason)

    # Answers

    def answer(self, connection: RestConnection, question: Question, body: bytes) -> None:
        """Answer a request that is there; the connection asks nothing else meanwhile."""
        task = asyncio.create_task(self._answer(connection, question, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, connection: RestConnection, question: Question, body: bytes) -> None:
        try:
            response = await question.answer(body)
        except Refused as error:
            response = _refused(error)
        except Exception:
            _log.exception("a request failed", extra={"action": "rest-error"})
            response = _refused(Refused("InternalFailureException", INTERNAL))
        connection.respond(response)

    async def _turn_away(self, connection: RestConnection, reason: str, _: bytes) -> Response:
        """As at a CONNECT: the region may have to decide on who is new."""
        newcomer = _Newcomer(connection)
        refusal = self._newcomers.refuse(newcomer, reason) or await newcomer.refusal
        if refusal.is_passing:
            raise passing("This certificate is not active yet", refusal.reason)
        raise Refused(FORBIDDEN, "Forbidden", refusal.reason)

    async def _publish(self, connection: RestConnection, publish: Publish, body: bytes) -> Response:
        self._check_still(connection)
        self._authorize_publish(connection, publish)
        if self.shedding.is_holding:
            self.shedding.refused("backlog")
            raise passing("Too much waits to be stored or confirmed")
        identity = identity_of(publish.properties) or secrets.token_hex(16)
        waiting = Asked(publishing.source(identity, connection.principal))
        if connection.rates is not None:
            connection.rates.received((publish,), 0)
        self._publishing.put(waiting, publish._replace(payload=body), identity)
        if publish.qos and (failed := await waiting.outcome):
            raise passing("This is not promised in time, and may be stored or not", failed)
        request_id = str(uuid.uuid4())
        return _response(200, {"message": "OK", "traceId": request_id}, request_id)

    async def _relay(
        self, connection: RestConnection, head: Head, asked: rest.Asked, body: bytes
    ) -> Response:
        self._check_still(connection)
        self._authorize(connection, asked)
        return await self._data_requests.ask(connection.principal, head, asked, body)


class _Newcomer:
    """A request by a certificate that is not active, until the region has decided on that."""

    def __init__(self, connection: RestConnection) -> None:
        self.principal = connection.principal
        self.address = connection.address
        self.certificate = connection.certificate
        self.refusal: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()

    def refuse(self, refusal: Refusal) -> None:
        """Say what was decided."""
        if not self.refusal.done():
            self.refusal.set_result(refusal)


def _refused(error: Refused, status: int = 0) -> Response:
    request_id = str(uuid.uuid4())
    extra = {"action": "rest-refused", "request_id": request_id, "error": error.code}
    _log.info("a device's request is refused", extra={**extra, "reason": error.reason})
    body = {"message": error.message, "traceId": request_id}
    response = _response(status or rest.STATUSES[error.code], body, request_id)
    return response._replace(headers={**response.headers, "x-amzn-ErrorType": error.code})


def _response(status: int, body: dict[str, str], request_id: str) -> Response:
    headers = {"x-amzn-RequestId": request_id, "Content-Type": "application/json"}
    return Response(status, headers, msgspec.json.encode(body))
