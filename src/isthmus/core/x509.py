"""Certificates and keys as values: what is read of the one, and what is made of the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class Certificate(NamedTuple):
    """What is read of a certificate."""

    #: The SHA-256 of its DER, in lowercase hex.
    id: str
    #: Itself and nothing else: a client's text may go on with another one, or with a private key.
    pem: str
    #: Of the subject's name: equal for equal names.
    subject: str
    common_names: tuple[str, ...]
    is_ca: bool
    not_before: datetime
    not_after: datetime
    #: Of the issuer's name, as ``subject``.
    issuer: str


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new key. Its private half is for one answer: it is stored, logged and shown nowhere."""

    public: str
    private: str = field(repr=False)
