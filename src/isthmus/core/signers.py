"""Which access key has signed a request, from a view of the items."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from isthmus.core import access_keys, sigv4
from isthmus.core.item import Item
from isthmus.core.sigv4 import Accepted, Request
from isthmus.core.view import View
from isthmus.errors import InputError

#: Opens what was sealed for a purpose; raises InputError where it does not open.
Unseal = Callable[[str, str], str]


#: Opened secrets kept: who signs once mostly signs again. Whoever reads this process's memory finds
#: what opens all of them there anyway.
OPENED_MAX = 1_000


class UnknownSigner(InputError):
    """Who has signed, has no access key that may be used here."""


class Signer(NamedTuple):
    """Who has signed a request, and for which service."""

    key_id: str
    service: str


class _Opened(NamedTuple):
    """A secret, and the version of the access key that it was opened from."""

    item: Item
    secret: str


class Signers:
    """The access keys of a region, as it holds them now; none may sign where none can be opened."""

    def __init__(self, view: View, accepted: Accepted, unseal: Unseal | None) -> None:
        self._view = view
        self._accepted = accepted
        self._unseal = unseal
        self._opened: dict[str, _Opened] = {}

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
        if not claim.is_made_with(self._secret(key_id, self._unseal)):
            raise InputError(f"it is not made with the secret of {key_id}")
        if refusal := self._view.refusal(key_id):
            raise UnknownSigner(f"{refusal}: {key_id}")
        return Signer(key_id, claim.service)

    def _secret(self, key_id: str, unseal: Unseal) -> str:
        item = self._view.get(access_keys.ACCESS_KEY, key_id)
        opened = self._opened.get(key_id)
        if opened is not None and opened.item is item:
            return opened.secret
        self._opened.pop(key_id, None)
        grant = access_keys.grant(item) if item and access_keys.is_id(key_id) else None
        if item is None or grant is None:
            raise UnknownSigner(f"there is no access key {key_id}")
        secret = unseal(grant.sealed, access_keys.sealed_for(key_id, grant.role))
        if len(self._opened) >= OPENED_MAX:
            self._opened.clear()
        self._opened[key_id] = _Opened(item, secret)
        return secret
