"""Counts PUBACKs, and holds the server to them: as many as were sent, with their ids, in order.

MQTT acknowledges a connection's publishes in the order in which they were sent [MQTT-4.6.0-2], so
what must come is known byte by byte, and is compared as a whole instead of being parsed.
"""

from __future__ import annotations

from functools import cache

from isthmus.errors import BrokenInvariant
from isthmus.wire.mqtt3_encode import encode_puback

PUBACK_BYTES = 4


@cache
def _two_rounds(ids: int) -> bytes:
    """Two, so that every piece of up to a round is one slice."""
    return b"".join(encode_puback(each + 1) for each in range(ids)) * 2


class AckReader:
    """The PUBACKs of one connection, whose packet ids go round from 1 to ``ids``."""

    def __init__(self, ids: int) -> None:
        self._round_bytes = ids * PUBACK_BYTES
        self._expected = _two_rounds(ids)
        self._at = 0
        self._received = 0
        #: Publishes sent; whoever sends counts them here.
        self.sent = 0

    @property
    def acked(self) -> int:
        """Publishes that were acknowledged."""
        return self._received // PUBACK_BYTES

    @property
    def owed(self) -> int:
        return self.sent - self.acked

    def feed(self, data: bytes) -> int:
        """Take what came; return how many publishes it completes.

        Raises BrokenInvariant for anything but the next PUBACKs of what was sent.
        """
        before = self.acked
        end = self._at + len(data)
        if data != self._expected[self._at : end]:
            raise BrokenInvariant(f"not the next PUBACKs: {self._difference(data)}")
        self._received += len(data)
        self._at = end % self._round_bytes
        if self.acked > self.sent:
            raise BrokenInvariant(f"{self.acked} PUBACKs for {self.sent} publishes")
        return self.acked - before

    def _difference(self, data: bytes) -> str:
        """The first packet that is not the one that must come."""
        expected = self._expected[self._at : self._at + len(data)]
        pairs = enumerate(zip(data, expected, strict=False))
        first = next((number for number, (a, b) in pairs if a != b), len(expected))
        start = first - (self._at + first) % PUBACK_BYTES
        part = slice(max(0, start), start + PUBACK_BYTES)
        wanted = expected[part].hex(" ") or "nothing"
        return f"{data[part].hex(' ')} came after {self.acked} of {self.sent}, expected {wanted}"
