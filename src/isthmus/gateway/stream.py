"""What lies between a socket and MQTT, in one shape: plaintext in and out, and who is there.

A stream holds no socket and raises nothing for what the other side does: it answers what is to be
sent, and says that it has ended, and how. Streams stack: one that needs another one below it is
given that one, and has the same shape itself.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Http(NamedTuple):
    """The client speaks HTTP and no MQTT: below which stream, and what it has said so far."""

    stream: Stream
    data: bytes


class Ended(NamedTuple):
    """Nothing more of MQTT comes from this client, and why."""

    reason: str
    #: The client took its leave in the transport's own words: as good as DISCONNECT.
    is_goodbye: bool = False
    #: Where its connection goes on, if it does.
    http: Http | None = None


class Stream(Protocol):
    """One connection's transport. After ``ended`` is set it is fed no more."""

    @property
    def principal(self) -> str:
        """The certificate that the client speaks as, by its SHA-256; empty until that is known."""

    def certificate(self) -> str:
        """The certificate that TLS has proven, in PEM; empty where there is none."""

    @property
    def ended(self) -> Ended | None:
        """Looked at after ``feed``; what that returned is still good."""

    def feed(self, data: bytes, /) -> tuple[bytes, bytes]:
        """Take what the network brought; return plaintext, and what to send at once."""

    def wrap(self, plaintext: bytes, /) -> bytes:
        """What to put on the network for some plaintext; nothing where it cannot be said."""

    def close(self) -> bytes:
        """The transport's own goodbye; nothing may follow it."""


class PlainStream:
    """No transport at all: the bytes of a socket are MQTT, and who is there was decided before."""

    def __init__(self, principal: str) -> None:
        self.principal = principal
        self.ended: Ended | None = None

    def certificate(self) -> str:
        return ""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""

    def wrap(self, plaintext: bytes) -> bytes:
        return plaintext

    def close(self) -> bytes:
        return b""
