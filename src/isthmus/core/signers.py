"""Which access key has signed a request, from a view of the items."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from isthmus.core import access_keys, sigv4
from isthmus.core.sigv4 import Accepted, Request
from isthmus.core.view import View
from isthmus.errors import InputError

#: Opens what was sealed for a purpose; raises InputError where it does not open.
Unseal = Callable[[str, str], str]


class UnknownSigner(InputError):
    """Who has signed, has no access key that may be used here."""


class Signer(NamedTuple):
    """Who has signed a request, and for which service."""

    key_id: str
    service: str


class Signers:
    """The access keys of a region, as it holds them now; none may sign where none can be opened."""

    def __init__(self, view: View, accepted: Accepted, unseal: Unseal | None) -> None:
        self._view = view
        self._accepted = accepted
        self._unseal = unseal

    def signer(self, request: Request, now_s: float) -> Signer:
        """Who has signed; raises InputError, with a reason that is for the log only.

        ``UnknownSigner`` and ``sigv4.WrongTime`` are for who would tell the client so much.
        """
        claim = sigv4.read(request, self._accepted, now_s)
        key_id = claim.access_key_id
        if self._unseal is None:
            raise InputError("there is no secrets_key here, so no signature can be verified")
        if claim.token:
            raise UnknownSigner("it has the token of a temporary session, and there are none here")
        item = self._view.get(access_keys.ACCESS_KEY, key_id)
        grant = access_keys.grant(item) if item and access_keys.is_id(key_id) else None
        if grant is None:
            raise UnknownSigner(f"there is no access key {key_id}")
        secret = self._unseal(grant.sealed, access_keys.sealed_for(key_id, grant.role))
        if not claim.is_made_with(secret):
            raise InputError(f"it is not made with the secret of {key_id}")
        if refusal := self._view.refusal(key_id):
            raise UnknownSigner(f"{refusal}: {key_id}")
        return Signer(key_id, claim.service)
