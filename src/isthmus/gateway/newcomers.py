"""Clients whose certificate nobody has registered, and those that wait for their activation.

A gateway may not write items: it asks an API of its region what becomes of such a client, and
closes the connection, as AWS does. Who is activated is let in when it comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from nats.aio.client import Client
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.clock import monotonic_s
from isthmus.core import access_keys, ca_certificates, registry
from isthmus.core.ca_certificates import CA_CERTIFICATE
from isthmus.core.connecting import Refusal
from isthmus.core.limits import Buckets
from isthmus.core.registry import CERTIFICATE, CertificateStatus
from isthmus.core.view import View
from isthmus.errors import InputError
from isthmus.protocol import (
    CERTIFICATE_MAX,
    REGISTRATION_S,
    RegistrationReply,
    RegistrationRequest,
)
from isthmus.wire.reason_codes import ReasonCode

#: Newcomers of one process that wait for an answer. A handshake costs more than to wait, so it is
#: about as many as an API can answer in time.
ASKED_MAX = 250
#: About one certificate the region is asked so often, and its event told as often if it waits.
AGAIN_PER_S = 1.0
#: About certificates that are not known it is asked so often for each address, and after a while
#: without any about so many at once: a fleet behind one address may come to its first start, and a
#: host that makes up certificates takes no other's place.
STRANGERS_PER_S = 50.0
STRANGERS_AT_ONCE = 500

#: What may still be let in, as it is.
_WAITING = frozenset({CertificateStatus.ACTIVE, CertificateStatus.PENDING_ACTIVATION})


class Refusable(Protocol):
    """Who has come with a certificate, and waits to be told."""

    @property
    def principal(self) -> str: ...
    @property
    def address(self) -> str: ...
    def certificate(self) -> str: ...
    def refuse(self, refusal: Refusal, /) -> None: ...


class Newcomers:
    """Those of one gateway process."""

    def __init__(
        self,
        client: Client,
        view: View,
        say: Callable[[str, bytes], None],
        *,
        is_asked: bool,
    ) -> None:
        """``is_asked``: whether the region has an API at all."""
        self._client = client
        self._view = view
        self._say = say
        self._is_asked = is_asked
        self._asking: set[asyncio.Task[None]] = set()
        self._lately = Buckets(AGAIN_PER_S, 1)
        self._strangers = Buckets(STRANGERS_PER_S, STRANGERS_AT_ONCE)

    def refuse(self, connection: Refusable, reason: str) -> Refusal | None:
        """Refuse who is not active: at once, or with None once the region has decided on it."""
        principal = connection.principal
        if not self._is_asked or not self._may_be_registered(principal):
            return Refusal(ReasonCode.NOT_AUTHORIZED, reason)
        if len(self._asking) >= ASKED_MAX or not self._may_ask(principal, connection.address):
            return _passing(reason)
        certificate = connection.certificate()
        if not 0 < len(certificate) <= CERTIFICATE_MAX:
            return Refusal(ReasonCode.NOT_AUTHORIZED, reason)
        request = RegistrationRequest(certificate, connection.address)
        asking = asyncio.create_task(self._ask(connection, request, reason))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        return None

    def close(self) -> None:
        """Nobody waits for an answer any more."""
        for each in self._asking:
            each.cancel()

    def _may_be_registered(self, principal: str) -> bool:
        """Whether a certificate is not known, or its CA may have more to say of it."""
        item = self._view.get(CERTIFICATE, principal)
        status = registry.certificate_status(item) if item else None
        if item is None or status is None:
            return not access_keys.is_id(principal)
        if status is not CertificateStatus.PENDING_ACTIVATION:
            return False
        ca = self._view.get(CA_CERTIFICATE, item.register("ca") or "")
        return ca is not None and ca_certificates.is_registering(ca)

    def _may_ask(self, principal: str, address: str) -> bool:
        """Whether it is not too soon to ask about a certificate, and about others from there."""
        now_s = monotonic_s()
        if not self._lately.take(principal, now_s):
            return False
        is_known = self._view.status(principal) is not None
        return is_known or self._strangers.take(address, now_s)

    async def _ask(self, connection: Refusable, request: RegistrationRequest, reason: str) -> None:
        try:
            answer = await self._client.request(
                "region.registration", protocol.encode(request), timeout=REGISTRATION_S
            )
            reply = protocol.decode(answer.data, RegistrationReply)
        except (NatsError, TimeoutError, InputError) as error:
            connection.refuse(_passing(f"{reason}, and the API does not answer: {error!r}"))
            return
        for event in reply.events:
            self._say(event.topic, event.payload)
        if not reply.is_decided:
            connection.refuse(_passing(f"{reason}, and the API cannot decide now"))
        elif reply.status in _WAITING:
            connection.refuse(_passing(f"{reason}; after registration it is {reply.status}"))
        else:
            connection.refuse(Refusal(ReasonCode.NOT_AUTHORIZED, reason))


def _passing(reason: str) -> Refusal:
    """Closed without a word, so that the client connects again."""
    return Refusal(ReasonCode.SERVER_UNAVAILABLE, reason, is_passing=True)
