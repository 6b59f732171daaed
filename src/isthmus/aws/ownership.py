"""Tokens by which a device shows that a new certificate is its own.

A token is nothing that a region keeps: it says what it is about, sealed by the key that all
regions have. So a device that was given one in a region may use it in any other, also when the
first is gone. It opens for nobody who changes a bit of it, and is good only for the client of the
certificate that it was given to, for an hour.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import InputError

#: AWS's hour.
LASTS_MS = 3_600_000
#: What it is sealed for.
PURPOSE = "certificate-ownership"


class Sealing(Protocol):
    """Seals with a key of the system's; opening what it has not sealed raises InputError."""

    def seal(self, secret: str, purpose: str) -> str: ...

    def open(self, sealed: str, purpose: str) -> str: ...


class Ownership(msgspec.Struct, frozen=True, array_like=True):
    """Who was given a certificate."""

    certificate: str
    #: The claim certificate and the client by which it was asked for.
    principal: str
    client: str
    #: In milliseconds since 1970.
    until_ms: int


def token(sealing: Sealing, owned: Ownership) -> str:
    return sealing.seal(msgspec.json.encode(owned).decode(), PURPOSE)


def owned_by(sealing: Sealing, text: str, principal: str, client: str, now_ms: int) -> str:
    """The id of the certificate that a token is for; raises InputError where it is not good."""
    try:
        owned = msgspec.json.decode(sealing.open(text, PURPOSE), type=Ownership)
    except (InputError, *UNDECODABLE):
        raise InputError("the token is none that was given here") from None
    if (owned.principal, owned.client) != (principal, client):
        raise InputError("the token was given to another client")
    if owned.until_ms <= now_ms:
        raise InputError("the token has expired")
    return owned.certificate
