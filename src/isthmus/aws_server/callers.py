"""Who calls, and whether they may: signatures and roles.

A client is told what AWS tells, which is not why; the log has the reason.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from isthmus.adapters.sealing import Sealing
from isthmus.aws import models
from isthmus.aws.models import Service
from isthmus.aws.requests import Call, HttpRequest
from isthmus.aws.service_error import ServiceError
from isthmus.config import RegionConfig
from isthmus.core import access_keys, sigv4
from isthmus.core.item import Item
from isthmus.core.permissions import Permissions
from isthmus.core.policy import Authorizer
from isthmus.core.session import may_publish
from isthmus.core.signers import Signers, UnknownSigner
from isthmus.core.sigv4 import SKEW_MAX_S, Accepted, Request, WrongTime
from isthmus.core.view import View
from isthmus.errors import InputError

UNSIGNED = "Missing Authentication Token"
UNKNOWN = "The security token included in the request is invalid."
WRONG = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)
LATE = f"Signature expired, or not yet current: the time of signing is over {SKEW_MAX_S} s off."
#: Keys whose rights are kept, compiled.
ROLES_MAX = 1_000


class Caller(NamedTuple):
    """Who has signed a request, and which service it is for."""

    key_id: str
    service: Service


class _Role(NamedTuple):
    """What a key may do, and the version of the key that says so."""

    item: Item | None
    authorizer: Authorizer


class Refused(ServiceError):
    """Who calls is refused; ``reason`` is for the log."""

    def __init__(self, code: str, message: str, reason: str) -> None:
        super().__init__(code, message)
        self.reason = reason


class Callers:
    """The access keys of a region, and what their roles may do."""

    def __init__(self, config: RegionConfig, view: View, sealing: Sealing) -> None:
        accepted = Accepted(frozenset(models.signing_names()), config.arn_regions)
        self._signers = Signers(view, accepted, sealing.open)
        self._view = view
        self._roles: dict[str, _Role] = {}
        self._permissions = Permissions(config.account_id, config.arn_regions, view)

    def caller(self, request: HttpRequest, now_s: float) -> Caller:
        """Who has signed a request; raises Refused where nobody has who may."""
        digest = hashlib.sha256(request.body).hexdigest()
        signed = Request(request.method, request.target, request.headers, digest)
        try:
            if not sigv4.is_signed(signed):
                code = "MissingAuthenticationTokenException"
                raise Refused(code, UNSIGNED, "it is not signed")
            key_id, service = self._signers.signer(signed, now_s)
        except UnknownSigner as error:
            raise Refused("UnrecognizedClientException", UNKNOWN, str(error)) from None
        except WrongTime as error:
            raise Refused("InvalidSignatureException", LATE, str(error)) from None
        except InputError as error:
            raise Refused("InvalidSignatureException", WRONG, str(error)) from None
        return Caller(key_id, models.signed_as(service))

    def authorize(self, caller: Caller, call: Call) -> None:
        """Raise Refused where the role of a key does not have the right to an operation."""
        action, role = f"iot:{call.operation.name}", self._role(caller.key_id)
        if call.operation.name == "Publish":
            # As of a client of MQTT: to be retained it needs a right of its own.
            topic, retain = call.parameters["topic"], call.parameters.get("retain", False)
            allowed, reason = may_publish(role, topic, retain=retain)
        else:
            # Roles tell other operations apart, and nothing yet what they act on.
            allowed, reason = role.allows(action, "*")
        if not allowed:
            message = f"User: {caller.key_id} is not authorized to perform: {action}"
            raise Refused("AccessDeniedException", message, reason)

    def may(self, key_id: str, operation: str) -> bool:
        """Whether a key's role has the right to an operation of this name."""
        return self._role(key_id).allows(f"iot:{operation}", "*")[0]

    def _role(self, key_id: str) -> Authorizer:
        """What a key's role allows. Nothing but the key's own item decides that."""
        item = self._view.get(access_keys.ACCESS_KEY, key_id)
        known = self._roles.get(key_id)
        if known is not None and known.item is item:
            return known.authorizer
        if len(self._roles) >= ROLES_MAX:
            self._roles.clear()
        role = _Role(item, self._permissions.of(key_id, "", ""))
        self._roles[key_id] = role
        return role.authorizer
