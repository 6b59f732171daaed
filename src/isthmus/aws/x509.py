"""What handlers need of X.509: a port, as cryptography, chance and private keys are not theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from isthmus.core.issuing import Authority
from isthmus.core.x509 import Certificate, KeyPair


class X509(Protocol):
    """Reads, verifies and issues certificates.

    Whatever text is given, InputError is all that is raised for it.
    """

    def read(self, pem: str) -> Certificate:
        """The first certificate of a text, of a key that devices may have."""
        ...

    def names(self, pem: str) -> Mapping[str, Sequence[str]]:
        """Every name in a certificate, by ``core.policy_keys``, with its values."""

    def subject(self, pem: str) -> dict[str, str]:
        """What a certificate's subject says, by the names that provisioning templates have."""
        ...

    def is_issued_by(self, pem: str, ca_pem: str) -> bool:
        """Whether a CA has signed a certificate, and the names fit."""
        ...

    def first_code(self) -> str:
        """The registration code that a system begins with: 64 hex digits, the same everywhere."""
        ...

    def new_code(self) -> str:
        """A registration code: 64 hex digits by chance."""
        ...

    def new_authority(self, now: datetime) -> Authority:
        """A CA for devices, its key sealed; raises Unavailable where nothing can be sealed."""
        ...

    def may_sign(self, authority: Authority) -> bool:
        """Whether a CA's key opens here."""
        ...

    def new_keys(self) -> Awaitable[KeyPair]:
        """An RSA key of 2048 bits. It takes a while, during which other work goes on."""
        ...

    def issue(
        self,
        authority: Authority,
        public_key: str,
        now: datetime,
        not_after: datetime | None = None,
    ) -> Certificate:
        """A device's certificate for a public key that was made here; it lasts as AWS's do."""
        ...

    def issue_for(self, authority: Authority, request: str, now: datetime) -> Certificate:
        """A device's certificate for a signing request, with its subject and its key."""
        ...
