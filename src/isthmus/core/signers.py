"""Which access key has signed a request, from a view of the items."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.core import access_keys, sigv4
from isthmus.core.sigv4 import Accepted, Request
from isthmus.core.view import View
from isthmus.errors import InputError

#: Opens what was sealed for a purpose; raises InputError where it does not open.
Unseal = Callable[[str, str], str]


class Signers:
    """The access keys of a region, as it holds them now; none may sign where none can be opened."""

    def __init__(self, view: View, accepted: Accepted, unseal: Unseal | None) -> None:
        self._view = view
        self._accepted = accepted
        self._unseal = unseal

    def signer(self, request: Request, now_s: float) -> str:
        """The id of the access key; raises InputError, with a reason that is for the log only."""
        claim = sigv4.read(request, self._accepted, now_s)
        key_id = claim.access_key_id
        if self._unseal is None:
            raise InputError("there is no secrets_key here, so no signature can be verified")
        if claim.token:
            raise InputError("it has the token of a temporary session, and there are none here")
        item = self._view.get(access_keys.ACCESS_KEY, key_id)
        grant = access_keys.grant(item) if item and access_keys.is_id(key_id) else None
        if grant is None:
            raise InputError(f"there is no access key {key_id}")
        secret = self._unseal(grant.sealed, access_keys.sealed_for(key_id, grant.role))
        if not claim.is_made_with(secret):
            raise InputError(f"it is not made with the secret of {key_id}")
        if refusal := self._view.refusal(key_id):
            raise InputError(f"{refusal}: {key_id}")
        return key_id
